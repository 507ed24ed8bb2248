//! What can go wrong when a data set is opened and read. Every error about a record names its shard and byte offset.

use snafu::Snafu;

use crate::{compression::Compression, example, framing, manifest, pixels};

/// A failed action on a data set.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
pub enum Error {
    /// Reading the manifest, or listing the shards.
    #[snafu(display("failed to open the data set {uri}"))]
    Open {
        /// Folder of the data set.
        uri: String,
        /// The store's error.
        #[snafu(source(from(lockstep_storage::Error, Box::new)))]
        source: Box<lockstep_storage::Error>,
    },
    /// There is no manifest, so there is no (whole) data set.
    #[snafu(display(
        "failed to open the data set {uri}: it has no {} (`lockstep prepare` writes it last)",
        manifest::FILE_NAME
    ))]
    NoManifest {
        /// Folder of the data set.
        uri: String,
    },
    /// The manifest is longer than any real one.
    #[snafu(display(
        "failed to open the data set {uri}: {} has {bytes} bytes, the limit is {}",
        manifest::FILE_NAME,
        manifest::MAX_BYTES
    ))]
    ManifestSize {
        /// Folder of the data set.
        uri: String,
        /// Its size.
        bytes: u64,
    },
    /// The manifest is not one.
    #[snafu(display("failed to open the data set {uri}"))]
    Manifest {
        /// Folder of the data set.
        uri: String,
        /// What is wrong with it.
        source: manifest::Error,
    },
    /// A shard of the manifest is not there.
    #[snafu(display("failed to open the data set {uri}: the shard {shard} is missing"))]
    MissingShard {
        /// Folder of the data set.
        uri: String,
        /// File name.
        shard: String,
    },
    /// A shard is shorter or longer than the manifest says.
    #[snafu(display(
        "failed to read {shard}: it ends at byte {found}, {} says {expected}",
        manifest::FILE_NAME
    ))]
    ShardSize {
        /// URI of the shard.
        shard: String,
        /// Bytes that are there.
        found: u64,
        /// Bytes according to the manifest.
        expected: u64,
    },
    /// A compressed shard cannot be unpacked.
    #[snafu(display("failed to unpack {shard} ({compression})"))]
    Unpack {
        /// URI of the shard.
        shard: String,
        /// How it is compressed.
        compression: Compression,
        /// The decoder's error.
        source: std::io::Error,
    },
    /// A compressed shard holds more or less than the manifest says.
    #[snafu(display(
        "failed to unpack {shard}: it does not hold the {expected} bytes that {} says",
        manifest::FILE_NAME
    ))]
    UnpackedSize {
        /// URI of the shard.
        shard: String,
        /// Bytes according to the manifest.
        expected: u64,
    },
    /// Compressed shards are kept in memory, and there is not enough of it.
    #[snafu(display(
        "failed to read {uri}: its compressed shards hold {} MiB or more and are kept in memory, which may take {} MiB; raise \
         data.cacheSize, or write them anew without compression (`lockstep prepare tfrecords`)",
        needed.div_ceil(1 << 20), limit >> 20
    ))]
    CompressedSize {
        /// Folder of the data set, or a shard of it.
        uri: String,
        /// Bytes that are known of.
        needed: u64,
        /// Bytes allowed.
        limit: u64,
    },
    /// No file of the folder is taken for a shard.
    #[snafu(display("failed to open the data set {uri}: none of its {files} files {}", match pattern {
        Some(pattern) => format!("matches {pattern:?}"),
        None => format!("is a shard by its name; name them by a pattern, for example {uri}/part-*"),
    }))]
    NoShards {
        /// Folder of the data set.
        uri: String,
        /// Which names were wanted, if any were.
        pattern: Option<String>,
        /// Files in the folder itself.
        files: usize,
    },
    /// The folder holds shards of several data sets.
    #[snafu(display(
        "failed to open the data set {uri}: it holds shards of {} data sets ({}); name one by a pattern: {uri}/{}*",
        names.len(), names.join(", "), names.first().map_or("NAME", String::as_str)
    ))]
    SeveralSets {
        /// Folder of the data sets.
        uri: String,
        /// What the names of each begin with.
        names: Vec<String>,
    },
    /// Shards that count themselves, and are fewer.
    #[snafu(display(
        "failed to open the data set {uri}: {found} of the {expected} shards {name}-… are there"
    ))]
    MissingShards {
        /// Folder of the data set.
        uri: String,
        /// What their names begin with.
        name: String,
        /// Shards that are there.
        found: usize,
        /// Shards that their names speak of.
        expected: usize,
    },
    /// The shards make no data set.
    #[snafu(display("failed to use the shards of {uri}"))]
    Scanned {
        /// Folder of the data set.
        uri: String,
        /// What is wrong with them.
        source: manifest::Error,
    },
    /// The caller says one thing, the manifest another.
    #[snafu(display(
        "failed to open the data set {uri}: data.format says {field} {stated}, {} says {found}; correct data.format, or leave it \
         out",
        manifest::FILE_NAME
    ))]
    Disagreement {
        /// Folder of the data set.
        uri: String,
        /// What they disagree about.
        field: &'static str,
        /// By the caller.
        stated: String,
        /// By the manifest.
        found: String,
    },
    /// A thread that reads shards.
    #[snafu(display("failed to read {uri}: a thread that works on it ended"))]
    Worker {
        /// Folder of the data set.
        uri: String,
        /// Why.
        source: tokio::task::JoinError,
    },
    /// The caller asked for a record that the data set does not have.
    #[snafu(display("failed to read record {record} of {uri}: it has {records} records"))]
    NoSuchRecord {
        /// Folder of the data set.
        uri: String,
        /// Number of the record.
        record: u64,
        /// Records of the data set.
        records: u64,
    },
    /// Reading bytes of a shard.
    #[snafu(display("failed to read {bytes} bytes of {shard} at byte {offset}"))]
    Read {
        /// URI of the shard.
        shard: String,
        /// Where the range begins.
        offset: u64,
        /// Length of the range.
        bytes: u64,
        /// The store's error.
        #[snafu(source(from(lockstep_storage::Error, Box::new)))]
        source: Box<lockstep_storage::Error>,
    },
    /// A record's framing is damaged.
    #[snafu(display("failed to read the record in {shard} at byte {offset}"))]
    Frame {
        /// URI of the shard.
        shard: String,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        source: framing::Error,
    },
    /// A record is intact and does not hold what it should.
    #[snafu(display("failed to read the record in {shard} at byte {offset}"))]
    Example {
        /// URI of the shard.
        shard: String,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        source: example::Error,
    },
    /// A label that is none of the classes.
    #[snafu(display(
        "failed to read the record in {shard} at byte {offset}: its label {label} is not in 0..{classes}"
    ))]
    Label {
        /// URI of the shard.
        shard: String,
        /// Where the record begins.
        offset: u64,
        /// As it stands there.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// An image that is not what the manifest says.
    #[snafu(display("failed to read the record in {shard} at byte {offset}"))]
    Image {
        /// URI of the shard.
        shard: String,
        /// Where the record begins.
        offset: u64,
        /// What is wrong with it.
        source: pixels::Error,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing the data.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Open { source, .. } | Self::Read { source, .. } => source.is_retryable(),
            Self::Worker { .. } => true,
            Self::NoManifest { .. }
            | Self::ManifestSize { .. }
            | Self::Manifest { .. }
            | Self::MissingShard { .. }
            | Self::ShardSize { .. }
            | Self::Unpack { .. }
            | Self::UnpackedSize { .. }
            | Self::CompressedSize { .. }
            | Self::NoShards { .. }
            | Self::SeveralSets { .. }
            | Self::MissingShards { .. }
            | Self::Scanned { .. }
            | Self::Disagreement { .. }
            | Self::NoSuchRecord { .. }
            | Self::Frame { .. }
            | Self::Example { .. }
            | Self::Label { .. }
            | Self::Image { .. } => false,
        }
    }

    /// Whether one record is at fault, and others can be read.
    pub(crate) fn is_of_one_record(&self) -> bool {
        matches!(self, Self::Frame { .. } | Self::Example { .. } | Self::Label { .. } | Self::Image { .. })
    }
}

/// An error and its causes in one line. Causes that were told already are left out.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let told = cause.to_string();
        if !words.contains(&told) {
            words.push_str(": ");
            words.push_str(&told);
        }
        source = cause.source();
    }
    words
}
