//! A shard's entry in the manifest, and how it is made from the shard itself.

use std::io::Read;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use snafu::{ResultExt, Snafu};

use super::{Lengths, MAX_NAME_BYTES};
use crate::{
    compression::Compression,
    framing::{self, Frames, MAX_DATA_BYTES, OVERHEAD_BYTES},
};

/// One TFRecord file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// File name in the data set's folder.
    pub name: String,
    /// Number of records.
    pub records: u64,
    /// Size of the file, or of its content where it is compressed.
    pub bytes: u64,
    /// Of the same bytes, hex.
    pub sha256: String,
    /// Where each record begins in them.
    pub lengths: Lengths,
    /// How the file is compressed; left out where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compressed: Option<Compressed>,
}

/// A shard's file, where that is not the shard itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Compressed {
    /// How it is compressed.
    pub format: Compression,
    /// Size of the file.
    pub bytes: u64,
}

/// A shard is damaged.
#[derive(Debug, Snafu)]
#[snafu(display("failed to scan the shard {shard} at byte {offset}"))]
pub struct ScanError {
    /// File name.
    pub shard: String,
    /// Where the record that could not be read begins.
    pub offset: u64,
    /// What is wrong with it.
    pub source: framing::Error,
}

impl Shard {
    /// Reads a whole shard, checking every record, and describes it. Works for shards that others wrote, too; of a
    /// compressed one it takes the content.
    pub fn scan(name: &str, shard: impl Read) -> Result<Self, ScanError> {
        let mut sha256 = Sha256::new();
        let mut frames = Frames::new(Hashing { input: shard, sha256: &mut sha256 });
        let mut lengths = Lengths::default();
        loop {
            let record = frames.next_record().map(|record| record.map(|data| data.len() + OVERHEAD_BYTES));
            let Some(bytes) = record.with_context(|_| ScanSnafu { shard: name, offset: frames.offset() })?
            else {
                break;
            };
            assert!(lengths.push(bytes as u64), "no file holds 2^64 bytes");
        }
        let (records, bytes) = (lengths.records(), lengths.bytes());
        Ok(Self {
            name: name.to_owned(),
            records,
            bytes,
            sha256: hex::encode(sha256.finalize()),
            lengths,
            compressed: None,
        })
    }

    /// Size of the file as it is stored.
    pub fn file_bytes(&self) -> u64 {
        self.compressed.map_or(self.bytes, |compressed| compressed.bytes)
    }

    pub(super) fn validate(&self) -> Result<(), (&'static str, String)> {
        // A compressed file may have any size.
        let Self { name, records, bytes, sha256, lengths, compressed: _ } = self;
        let require = |holds: bool, field: &'static str, reason: &dyn Fn() -> String| {
            if holds { Ok(()) } else { Err((field, reason())) }
        };
        require(is_file_name(name), "name", &|| format!("{name:?} is no plain file name"))?;
        let is_hex = sha256.len() == 64 && sha256.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        require(is_hex, "sha256", &|| format!("{sha256:?} is not 64 lower-case hex digits"))?;
        let longest = MAX_DATA_BYTES + OVERHEAD_BYTES as u64;
        let allowed = OVERHEAD_BYTES as u64..=longest;
        if let Some(run) = lengths.runs().iter().find(|run| !allowed.contains(&run.bytes)) {
            return Err(("lengths", format!("{} bytes is no length of a record", run.bytes)));
        }
        let sums = [("records", *records, lengths.records()), ("bytes", *bytes, lengths.bytes())];
        for (field, stated, sum) in sums {
            require(stated == sum, field, &|| format!("is {stated}, the lengths make {sum}"))?;
        }
        require(*records <= u64::from(u32::MAX), "records", &|| "must be below 2^32".to_owned())
    }
}

fn is_file_name(name: &str) -> bool {
    let odd = |c: char| c == '/' || c == '\\' || c.is_control();
    !name.is_empty() && name.len() <= MAX_NAME_BYTES && !name.starts_with('.') && !name.contains(odd)
}

/// Feeds what is read through it to a digest.
struct Hashing<'a, R> {
    input: R,
    sha256: &'a mut Sha256,
}

impl<R: Read> Read for Hashing<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let bytes = self.input.read(buffer)?;
        self.sha256.update(&buffer[..bytes]);
        Ok(bytes)
    }
}
