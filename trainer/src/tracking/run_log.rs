//! The run log: parts `<run>/events/events-….jsonl`, one [`Record`] a line.
//!
//! Every writer has parts of its own, so none is ever overwritten by another; they are put together here, in the order of the
//! run, with one record of each key.

use std::{collections::BTreeMap, fmt};

use lockstep_storage::Store;

use super::record::{Key, Record};

const SUFFIX: &str = ".jsonl";

/// A run's records as far as they can be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct RunLog {
    /// In the order of the run, each once.
    pub records: Vec<Record>,
    /// Lines that are no records.
    pub damage: Vec<Damage>,
}

/// A line that is no record, such as a last one that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Name of the part.
    pub part: String,
    /// Counted from 1.
    pub line: usize,
    /// Whether the line has no end: the part is not whole.
    pub truncated: bool,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = if self.truncated { "is cut off" } else { "is no record" };
        write!(f, "line {} of {} {what}", self.line, self.part)
    }
}

/// Adds `records` to a part.
pub(crate) fn append(records: &[Record], part: &mut Vec<u8>) -> serde_json::Result<()> {
    for record in records {
        serde_json::to_writer(&mut *part, record)?;
        part.push(b'\n');
    }
    Ok(())
}

/// Puts parts, given by name and content, together.
pub(crate) fn merge<'a>(parts: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> RunLog {
    let mut log = RunLog::default();
    let mut records = Vec::new();
    for (part, content) in parts {
        for (number, line) in content.split_inclusive(|byte| *byte == b'\n').enumerate() {
            let truncated = !line.ends_with(b"\n");
            match serde_json::from_slice(line) {
                // A whole record without its line's end would be one that nobody acknowledged; it is true all the same.
                Ok(record) => records.push(record),
                Err(_) => log.damage.push(Damage { part: part.to_owned(), line: number + 1, truncated }),
            }
        }
    }
    log.records = unique(records);
    log
}

/// One record of each key, in the order of the run; of several the first.
pub(crate) fn unique(records: impl IntoIterator<Item = Record>) -> Vec<Record> {
    let mut kept: BTreeMap<Key, Record> = BTreeMap::new();
    for record in records {
        kept.entry(record.key()).or_insert(record);
    }
    kept.into_values().collect()
}

/// Reads the parts in `folder`.
pub(crate) async fn read(folder: &Store) -> lockstep_storage::Result<RunLog> {
    let mut parts = Vec::new();
    for entry in folder.list("").await? {
        if entry.path.ends_with(SUFFIX) {
            let content = folder.get(&entry.path).await?;
            parts.push((entry.path, content));
        }
    }
    Ok(merge(parts.iter().map(|(name, content)| (name.as_str(), content.as_ref()))))
}

/// Name of part `number` of what `incarnation` writes from `begin` on, in milliseconds.
pub(crate) fn part_name(begin: i64, incarnation: u64, number: u32) -> String {
    format!("events-{begin:013}-{incarnation:016x}-{number:04}{SUFFIX}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tracking::strategies::record;

    fn part(records: &[Record]) -> Vec<u8> {
        let mut part = Vec::new();
        append(records, &mut part).unwrap();
        part
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_back(records in prop::collection::vec(record(50), 0..40)) {
            let (whole, expected) = (part(&records), unique(records));
            let log = merge([("a", whole.as_slice())]);
            prop_assert_eq!(log, RunLog { records: expected, damage: vec![] });
        }

        /// However a run's records are spread over writers, and whoever wrote some of them again.
        #[test]
        fn records_in_several_parts_and_twice_are_read_once_and_in_the_order_of_the_run(
            records in prop::collection::vec(record(20), 1..40),
            cuts in prop::collection::vec((0..40_usize, 0..40_usize), 0..6),
        ) {
            let mut parts = vec![part(&records)];
            for (start, end) in cuts {
                let end = end.min(records.len());
                parts.push(part(&records[start.min(end)..end]));
            }
            let log = merge(parts.iter().map(|part| ("p", part.as_slice())));
            let keys: Vec<_> = log.records.iter().map(Record::key).collect();
            prop_assert!(keys.is_sorted_by(|one, next| one < next));
            prop_assert_eq!(log.records, unique(records));
        }

        /// A part that ends anywhere gives the records before that place, and names the line that was cut.
        #[test]
        fn a_line_that_is_cut_off_is_named_and_costs_only_itself(
            records in prop::collection::vec(record(1000), 1..20),
            cut in any::<prop::sample::Index>(),
        ) {
            let whole = part(&records);
            let cut = cut.index(whole.len());
            let lines = whole[..cut].iter().filter(|byte| **byte == b'\n').count();
            let log = merge([("part-7", &whole[..cut])]);
            let after_the_record = whole[cut] == b'\n';
            prop_assert_eq!(log.records, unique(records[..lines + usize::from(after_the_record)].to_vec()));
            let inside = cut > 0 && whole[cut - 1] != b'\n' && !after_the_record;
            let damage = inside.then(|| Damage { part: "part-7".into(), line: lines + 1, truncated: true });
            prop_assert_eq!(log.damage, Vec::from_iter(damage));
        }

        /// Whatever stands in a part, reading goes on after it.
        #[test]
        fn foreign_lines_are_named_and_skipped(noise in prop::collection::vec(any::<u8>(), 0..200), last in record(9)) {
            let mut content = noise.clone();
            content.push(b'\n');
            content.extend(part(std::slice::from_ref(&last)));
            let log = merge([("p", content.as_slice())]);
            prop_assert_eq!(&log.records, &vec![last]);
            prop_assert!(log.damage.iter().all(|damage| !damage.truncated));
            prop_assert_eq!(log.damage.len(), noise.iter().filter(|byte| **byte == b'\n').count() + 1);
        }
    }

    #[test]
    fn damage_names_part_and_line() {
        let damage = Damage { part: "events-1.jsonl".into(), line: 3, truncated: true };
        assert_eq!(damage.to_string(), "line 3 of events-1.jsonl is cut off");
    }
}
