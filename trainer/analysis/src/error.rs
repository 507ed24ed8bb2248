//! What ends an analysis. Damage of the data does not: that is what it reports.

use snafu::Snafu;

/// A failed action of an analysis.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// Listing or reading a split's folder.
    #[snafu(display("failed to open the split {split}, {uri}"))]
    Open {
        /// Its name.
        split: String,
        /// Its folder.
        uri: String,
        /// The store's error.
        #[snafu(source(from(lockstep_storage::Error, Box::new)))]
        source: Box<lockstep_storage::Error>,
    },
    /// The manifest is not one, or names do not say which files are the shards.
    #[snafu(display("failed to find the shards of the split {split}"))]
    Shards {
        /// Its name.
        split: String,
        /// What is wrong.
        #[snafu(source(from(lockstep_records::Error, Box::new)))]
        source: Box<lockstep_records::Error>,
    },
    /// A manifest without any shard.
    #[snafu(display("failed to open the split {split}: the dataset.json in {uri} names no shard"))]
    NoShards {
        /// Its name.
        split: String,
        /// Its folder.
        uri: String,
    },
    /// Reading bytes of a shard.
    #[snafu(display("failed to read the shard {shard}"))]
    Read {
        /// URI of the shard.
        shard: String,
        /// The store's error.
        #[snafu(source(from(lockstep_storage::Error, Box::new)))]
        source: Box<lockstep_storage::Error>,
    },
    /// More images than are compared in memory.
    #[snafu(display(
        "failed to look for duplicates among more than {limit} images; analyse fewer, or leave it out \
         (--skip-duplicates)"
    ))]
    TooManyImages {
        /// The most that are compared.
        limit: usize,
    },
    /// Writing or reading what a part found.
    #[snafu(display("failed to access the results of part {part} of {parts}"))]
    Partial {
        /// Number of the part, from 0.
        part: u32,
        /// Number of parts.
        parts: u32,
        /// The store's error.
        #[snafu(source(from(lockstep_storage::Error, Box::new)))]
        source: Box<lockstep_storage::Error>,
    },
    /// Parts that have not written what they found.
    #[snafu(display(
        "failed to merge {parts} parts: of 0 to {} these are not in {uri}: {}; run `lockstep analyze` with {}",
        parts - 1,
        list(missing, u32::to_string),
        list(missing, |part| format!("--part {part}/{parts}"))
    ))]
    MissingPartials {
        /// Where they should be.
        uri: String,
        /// Number of parts.
        parts: u32,
        /// Their numbers, from 0.
        missing: Vec<u32>,
    },
    /// A part's file is damaged, of another version, or about other data.
    #[snafu(display("failed to merge {uri}: {reason}"))]
    ForeignPartial {
        /// The file.
        uri: String,
        /// What is wrong with it, and what to do.
        reason: &'static str,
    },
    /// A thread of the analysis ended by itself.
    #[snafu(display("failed to run a thread of the analysis"))]
    Worker {
        /// Why.
        source: tokio::task::JoinError,
    },
    /// Making a picture for the report.
    #[snafu(display("failed to write a picture as PNG"))]
    Picture {
        /// The encoder's error.
        source: image::ImageError,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing the data.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } | Self::Partial { source, .. } => {
                source.is_retryable()
            }
            Self::Shards { source, .. } => source.is_retryable(),
            Self::Worker { .. } | Self::MissingPartials { .. } => true,
            Self::NoShards { .. }
            | Self::TooManyImages { .. }
            | Self::ForeignPartial { .. }
            | Self::Picture { .. } => false,
        }
    }
}

/// At most ten of them, and how many more there are.
fn list(items: &[u32], each: impl Fn(&u32) -> String) -> String {
    let named: Vec<_> = items.iter().take(10).map(each).collect();
    let more = items.len() - named.len();
    let rest = if more == 0 { String::new() } else { format!(" and {more} more") };
    named.join(", ") + &rest
}
