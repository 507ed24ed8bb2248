//! What is wrong with records, by kind, and where.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_records::{example, framing};
use serde::{Deserialize, Serialize};

/// Findings of a split that are listed; the others are only counted.
pub const LISTED_FINDINGS: usize = 10_000;

/// Kinds of damage. A record has at most one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Kind {
    /// A shard of the manifest is not there.
    MissingShard,
    /// A shard ends inside a record, or before its last one.
    Truncated,
    /// A shard is longer than the manifest says.
    TrailingBytes,
    /// A compressed shard that cannot be unpacked to its end.
    Compression,
    /// The checksum of a record's length.
    LengthChecksum,
    /// A record of another length than the manifest says, or beyond the limit.
    Length,
    /// The checksum of a record's data.
    DataChecksum,
    /// An intact record that is no `tf.train.Example`.
    NotAnExample,
    /// No such feature.
    FeatureMissing,
    /// A feature of another type, or of none or several values.
    FeatureMistyped,
    /// A label that is none of the classes.
    LabelOutOfRange,
    /// An image that cannot be decoded.
    ImageUndecodable,
    /// An image of another size than all.
    ImageSize,
}

impl Kind {
    /// All kinds, in the order in which they are reported.
    pub const ALL: [Self; 13] = [
        Self::MissingShard,
        Self::Truncated,
        Self::TrailingBytes,
        Self::Compression,
        Self::LengthChecksum,
        Self::Length,
        Self::DataChecksum,
        Self::NotAnExample,
        Self::FeatureMissing,
        Self::FeatureMistyped,
        Self::LabelOutOfRange,
        Self::ImageUndecodable,
        Self::ImageSize,
    ];

    /// In a few words, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::MissingShard => "shard missing",
            Self::Truncated => "shard truncated",
            Self::TrailingBytes => "shard longer than the manifest says",
            Self::Compression => "compressed shard damaged",
            Self::LengthChecksum => "checksum of a record's length",
            Self::Length => "length of a record",
            Self::DataChecksum => "checksum of a record's data",
            Self::NotAnExample => "not a tf.train.Example",
            Self::FeatureMissing => "feature missing",
            Self::FeatureMistyped => "feature of another type",
            Self::LabelOutOfRange => "label out of range",
            Self::ImageUndecodable => "image undecodable",
            Self::ImageSize => "image of another size",
        }
    }

    /// `None` where reading failed, which says nothing about the data.
    pub(crate) fn of_framing(error: &framing::Error) -> Option<Self> {
        Some(match error {
            framing::Error::Truncated { .. } => Self::Truncated,
            framing::Error::LengthChecksum { .. } => Self::LengthChecksum,
            framing::Error::TooLong { .. } | framing::Error::Length { .. } => Self::Length,
            framing::Error::DataChecksum { .. } => Self::DataChecksum,
            framing::Error::Stream { .. } => return None,
        })
    }

    pub(crate) fn of_example(error: &example::Error) -> Self {
        match error {
            example::Error::Decode { .. } => Self::NotAnExample,
            example::Error::Missing { .. } => Self::FeatureMissing,
            example::Error::Type { .. } | example::Error::Count { .. } => Self::FeatureMistyped,
        }
    }
}

/// One damage. Ordered by place.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Finding {
    /// Place in the split's list of shards.
    pub shard: u32,
    /// Where the record begins in it, in bytes.
    pub offset: u64,
    /// What is wrong.
    pub kind: Kind,
    /// Records that it makes unreadable.
    pub records: u64,
    /// Bytes that it makes unreadable.
    pub bytes: u64,
    /// The error, for people.
    pub detail: String,
}

/// How much there is of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// Findings.
    pub findings: u64,
    /// Records that they make unreadable.
    pub records: u64,
    /// Bytes that they make unreadable.
    pub bytes: u64,
}

/// All findings of a split: every one counted, the first [`LISTED_FINDINGS`] by place listed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    counts: BTreeMap<Kind, Count>,
    listed: BTreeSet<Finding>,
}

impl Findings {
    pub(crate) fn add(&mut self, finding: Finding) {
        let count = self.counts.entry(finding.kind).or_default();
        count.findings += 1;
        count.records += finding.records;
        count.bytes += finding.bytes;
        self.listed.insert(finding);
        self.trim();
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (kind, Count { findings, records, bytes }) in other.counts {
            let count = self.counts.entry(kind).or_default();
            count.findings += findings;
            count.records += records;
            count.bytes += bytes;
        }
        self.listed.extend(other.listed);
        self.trim();
    }

    fn trim(&mut self) {
        while self.listed.len() > LISTED_FINDINGS {
            self.listed.pop_last();
        }
    }

    /// By kind; kinds of which there are none are left out.
    pub fn counts(&self) -> &BTreeMap<Kind, Count> {
        &self.counts
    }

    /// In order of their places.
    pub fn listed(&self) -> impl Iterator<Item = &Finding> {
        self.listed.iter()
    }

    /// All findings.
    pub fn total(&self) -> u64 {
        self.counts.values().map(|count| count.findings).sum()
    }

    /// Records that cannot be read.
    pub fn records(&self) -> u64 {
        self.counts.values().map(|count| count.records).sum()
    }
}
