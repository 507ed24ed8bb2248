//! What one part found, as a file for whoever merges all parts.
//!
//! `magic line | length of the JSON u64 | JSON | fingerprints | BLAKE3 of all before`, little endian. Which data it is
//! about is part of it: results about other data are never merged.

use std::collections::BTreeMap;

use lockstep_records::manifest::Encoding;
use lockstep_storage::Store;
use serde::{Deserialize, Serialize};
use snafu::{ResultExt, ensure};

use crate::{
    Part, Result,
    error::{ForeignPartialSnafu, MissingPartialsSnafu, PartialSnafu},
    finding::Findings,
    fingerprint::{BYTES, Fingerprint},
    histogram::Histogram,
    levels::Levels,
    split::Split,
    tally::{Form, Tally, name},
};

const MAGIC: &[u8] = b"lockstep analysis, part, version 1\n";
const HASH_BYTES: usize = 32;

#[derive(Serialize, Deserialize)]
struct Header {
    /// [`data_digest`].
    data: String,
    splits: Vec<Counts>,
}

#[derive(Serialize, Deserialize)]
struct Counts {
    records: u64,
    labels: BTreeMap<u32, u64>,
    forms: Vec<FormCount>,
    channels: Vec<Histogram>,
    levels: Levels,
    findings: Findings,
    fingerprints: usize,
}

#[derive(Serialize, Deserialize)]
struct FormCount {
    encoding: Encoding,
    size: [u32; 3],
    records: u64,
}

/// Hex digest of which data is analysed, and how: names, formats, and every shard's name, size and index.
pub(crate) fn data_digest(splits: &[Split], skip_duplicates: bool) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut line = |words: String| {
        hasher.update(words.as_bytes()).update(b"\n");
    };
    line(format!("skip duplicates {skip_duplicates}"));
    for split in splits {
        line(format!("split {:?} {:?}", split.name, split.format));
        for shard in &split.shards {
            let index = shard.index.clone().map(String::from).unwrap_or_default();
            line(format!("shard {:?} {:?} {:?} {index}", shard.name, shard.bytes, shard.compression));
        }
    }
    hasher.finalize().to_hex().to_string()
}

fn file_name(Part { number, parts }: Part) -> String {
    format!("part-{number:05}-of-{parts:05}.analysis")
}

/// Writes what a part found, in place of what it may have written before.
pub(crate) async fn write(store: &Store, part: Part, data: &str, tallies: &[Tally]) -> Result<()> {
    let Part { number, parts } = part;
    let written = store.put(&file_name(part), encode(data, tallies).into()).await;
    written.context(PartialSnafu { part: number, parts })
}

/// Adds up what all parts found.
///
/// # Errors
/// [`crate::Error::MissingPartials`] names those that are not there yet.
pub(crate) async fn merge(store: &Store, parts: u32, data: &str, splits: usize) -> Result<Vec<Tally>> {
    let of = |number| Part { number, parts };
    let there = store.list("").await.context(PartialSnafu { part: 0u32, parts })?;
    let is_there = |number: &u32| there.iter().any(|entry| entry.path == file_name(of(*number)));
    let missing: Vec<u32> = (0..parts).filter(|number| !is_there(number)).collect();
    ensure!(missing.is_empty(), MissingPartialsSnafu { uri: store.uri(), parts, missing });
    let mut sums: Vec<Tally> = (0..splits).map(|_| Tally::default()).collect();
    for number in 0..parts {
        let file = file_name(of(number));
        let bytes = store.get(&file).await.context(PartialSnafu { part: number, parts })?;
        let uri = format!("{}/{file}", store.uri());
        let tallies = decode(&bytes, data).or_else(|reason| ForeignPartialSnafu { uri, reason }.fail())?;
        for (sum, tally) in sums.iter_mut().zip(tallies) {
            sum.merge(tally)?;
        }
    }
    Ok(sums)
}

fn encode(data: &str, tallies: &[Tally]) -> Vec<u8> {
    let header = Header { data: data.to_owned(), splits: tallies.iter().map(counts).collect() };
    let json = serde_json::to_vec(&header).expect("counts hold nothing that JSON cannot");
    let mut bytes = [MAGIC, &(json.len() as u64).to_le_bytes(), &json].concat();
    for fingerprint in tallies.iter().flat_map(|tally| &tally.fingerprints) {
        bytes.extend_from_slice(&fingerprint.to_bytes());
    }
    let hash = blake3::hash(&bytes);
    bytes.extend_from_slice(hash.as_bytes());
    bytes
}

fn counts(tally: &Tally) -> Counts {
    let Tally { records, labels, forms, channels, levels, findings, fingerprints } = tally;
    let forms = forms.iter().map(|(form, records)| FormCount {
        encoding: form.encoding(),
        size: [form.height, form.width, form.channels],
        records: *records,
    });
    Counts {
        records: *records,
        labels: labels.clone(),
        forms: forms.collect(),
        channels: channels.clone(),
        levels: levels.clone(),
        findings: findings.clone(),
        fingerprints: fingerprints.len(),
    }
}

fn decode(bytes: &[u8], data: &str) -> Result<Vec<Tally>, &'static str> {
    const DAMAGED: &str = "it is damaged or of another version of lockstep: run the part again";
    let (content, hash) = bytes.split_last_chunk::<HASH_BYTES>().ok_or(DAMAGED)?;
    if blake3::hash(content) != *hash {
        return Err(DAMAGED);
    }
    let rest = content.strip_prefix(MAGIC).ok_or(DAMAGED)?;
    let (length, rest) = rest.split_first_chunk::<8>().ok_or(DAMAGED)?;
    let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| DAMAGED)?;
    let (json, fingerprints) = rest.split_at_checked(length).ok_or(DAMAGED)?;
    let header: Header = serde_json::from_slice(json).map_err(|_| DAMAGED)?;
    if header.data != data {
        return Err("it is about other data or options: run the part again with the same arguments");
    }
    let (fingerprints, _) = fingerprints.as_chunks::<BYTES>();
    let mut fingerprints = fingerprints.iter().map(Fingerprint::from_bytes);
    Ok(header.splits.into_iter().map(|counts| tally(counts, &mut fingerprints)).collect())
}

fn tally(counts: Counts, all: &mut impl Iterator<Item = Fingerprint>) -> Tally {
    let Counts { records, labels, forms, channels, levels, findings, fingerprints } = counts;
    let forms = forms.into_iter().map(|FormCount { encoding, size: [height, width, channels], records }| {
        (Form { encoding: name(encoding), height, width, channels }, records)
    });
    Tally {
        records,
        labels,
        forms: forms.collect(),
        channels,
        levels,
        findings,
        fingerprints: all.take(fingerprints).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Finding, Kind};

    fn example() -> Vec<Tally> {
        let mut first = Tally { records: 3, ..Tally::default() };
        first.labels.insert(7, 3);
        first.forms.insert(Form { encoding: "png", height: 2, width: 3, channels: 1 }, 3);
        first.channels.push(Histogram::new(256));
        let detail = "why".to_owned();
        first.findings.add(Finding {
            shard: 1,
            offset: 2,
            kind: Kind::Truncated,
            records: 3,
            bytes: 4,
            detail,
        });
        first.fingerprints.push(Fingerprint { digest: [9; 16], shard: 1, offset: 5, label: 7 });
        vec![first, Tally::default()]
    }

    #[test]
    fn what_was_written_is_read_back() {
        assert_eq!(decode(&encode("data", &example()), "data").unwrap(), example());
    }

    #[test]
    fn damage_and_other_data_are_refused() {
        let bytes = encode("data", &example());
        assert!(decode(&bytes, "other").unwrap_err().contains("other data"));
        for at in (0..bytes.len()).step_by(7) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(decode(&damaged, "data").unwrap_err().contains("damaged"), "byte {at}");
            assert!(decode(&bytes[..at], "data").is_err());
        }
    }

    #[tokio::test]
    async fn parts_that_are_not_there_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        for number in [0, 2] {
            write(&store, Part { number, parts: 4 }, "data", &example()).await.unwrap();
        }
        let error = merge(&store, 4, "data", 2).await.unwrap_err().to_string();
        assert!(error.contains(": 1, 3;") && error.contains("--part 3/4"), "{error}");
    }
}
