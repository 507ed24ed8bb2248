//! What can go wrong when a source is turned into a data set. Every error about a source names the file.

use std::path::PathBuf;

use snafu::Snafu;

use crate::{Shape, manifest, pixels};

/// A failed action of a preparation.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub enum Error {
    /// Reading a file or folder of the source.
    #[snafu(display("failed to read {}", path.display()))]
    ReadSource {
        /// File or folder.
        path: PathBuf,
        /// The system's or the decompressor's error.
        source: std::io::Error,
    },
    /// Reading inside a compressed or packed file.
    #[snafu(display("failed to unpack {} at byte {offset} of {within}", path.display()))]
    Unpack {
        /// The archive.
        path: PathBuf,
        /// The file in it, or its unpacked content.
        within: String,
        /// Bytes of that unpacked before the failure.
        offset: u64,
        /// The decompressor's error.
        source: std::io::Error,
    },
    /// The source lacks a file that it must have.
    #[snafu(display("failed to find {name} in {}", path.display()))]
    MissingFile {
        /// Archive or folder.
        path: PathBuf,
        /// What was looked for.
        name: String,
    },
    /// A file of fixed layout is too short or too long.
    #[snafu(display(
        "failed to read {file}: it has {found} bytes, must have {expected} (whole up to byte {offset})"
    ))]
    FileSize {
        /// File, or archive and file in it.
        file: String,
        /// Bytes that are there; of a file that is too long perhaps not all.
        found: u64,
        /// Bytes that must be there.
        expected: u64,
        /// Where the last whole image ends.
        offset: u64,
    },
    /// A label that is none of the classes.
    #[snafu(display("failed to read {file}: the label at byte {offset} is {label}, not in 0..{classes}"))]
    Label {
        /// File, or archive and file in it.
        file: String,
        /// Where the label stands.
        offset: u64,
        /// As it stands there.
        label: i64,
        /// Number of classes.
        classes: usize,
    },
    /// A file is not of the format it should be.
    #[snafu(display("failed to read {file}: {reason}"))]
    Format {
        /// File.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A folder is not laid out as it should be.
    #[snafu(display("failed to read the folder {}: {reason}", path.display()))]
    Layout {
        /// Folder or file.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// A file is no image that can be decoded.
    #[snafu(display("failed to decode the image {}", path.display()))]
    Decode {
        /// File.
        path: PathBuf,
        /// The decoder's error.
        source: image::ImageError,
    },
    /// An image has another size than the first one.
    #[snafu(display(
        "failed to take the image {}: it is {found_width}x{found_height}, the first image is {width}x{height} (give a \
         size to resize all to)", path.display()
    ))]
    ImageSize {
        /// File.
        path: PathBuf,
        /// Its columns.
        found_width: u32,
        /// Its rows.
        found_height: u32,
        /// Columns of the first image.
        width: u32,
        /// Rows of the first image.
        height: u32,
    },
    /// An image cannot be taken for another reason.
    #[snafu(display("failed to take the image {}: {reason}", path.display()))]
    Image {
        /// File.
        path: PathBuf,
        /// What is wrong with it, and what would be right.
        reason: String,
    },
    /// Opening or reading records.
    #[snafu(display("failed to read the records of {uri}"))]
    Records {
        /// Folder of the shards.
        uri: String,
        /// What is wrong with which.
        #[snafu(source(from(crate::Error, Box::new)))]
        source: Box<crate::Error>,
    },
    /// Several images cannot be taken.
    #[snafu(display("failed to take {} images{}:\n{}", errors.len(), if *more { " and perhaps more" } else { "" }, lines(errors)))]
    Images {
        /// Why, one error an image, in the order of the images.
        errors: Vec<Error>,
        /// Whether the rest was not looked at.
        more: bool,
    },
    /// The source has the part already that it is to be split into.
    #[snafu(display(
        "failed to split {name}: it has a {part} split of its own, leave {part} out of the shares"
    ))]
    PartExists {
        /// Of the source.
        name: String,
        /// Of the part.
        part: &'static str,
    },
    /// No class has enough images.
    #[snafu(display(
        "failed to split {name}: no class has enough images for one of {part}, give it a larger share"
    ))]
    EmptyPart {
        /// Of the source.
        name: String,
        /// Of the part.
        part: &'static str,
    },
    /// Images that an encoding cannot hold.
    #[snafu(display("failed to encode images of {shape}: PNG and JPEG are for 1 or 3 channels, choose raw"))]
    EncodedChannels {
        /// Of each image.
        shape: Shape,
    },
    /// An encoder gave up.
    #[snafu(display("failed to encode an image of {shape}"))]
    Encode {
        /// Of the image.
        shape: Shape,
        /// The encoder's error.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// An image that was just encoded cannot be decoded: a defect of this program or of the machine's memory.
    #[snafu(display("failed to decode an image of {shape} that was just encoded"))]
    CheckImage {
        /// Of the image.
        shape: Shape,
        /// What is wrong with it.
        source: pixels::Error,
    },
    /// The destination holds a whole data set.
    #[snafu(display("failed to write to {uri}: it holds a prepared data set already"))]
    Prepared {
        /// Destination.
        uri: String,
    },
    /// The destination holds something else.
    #[snafu(display("failed to write to {uri}: {path} is in the way (choose an empty folder)"))]
    NotEmpty {
        /// Destination.
        uri: String,
        /// What is there.
        path: String,
    },
    /// The images do not fit into the shards.
    #[snafu(display(
        "failed to write {uri}: a shard of {images} images of {shape} is too large, use more shards"
    ))]
    ShardTooLarge {
        /// Destination of the split.
        uri: String,
        /// Images a shard.
        images: u64,
        /// Of each image.
        shape: Shape,
    },
    /// What was just made does not pass its own checks: a defect of this program or of the machine's memory.
    #[snafu(display("failed to check {uri} before writing it"))]
    Check {
        /// Destination of the shard.
        uri: String,
        /// What is wrong with it.
        source: manifest::ScanError,
    },
    /// As [`Error::Check`], for the manifest.
    #[snafu(display("failed to check the manifest of {uri} before writing it"))]
    CheckManifest {
        /// Destination of the split.
        uri: String,
        /// What is wrong with it.
        source: manifest::Error,
    },
    /// Writing to the destination.
    #[snafu(display("failed to write the data set to {uri}"))]
    Store {
        /// Destination.
        uri: String,
        /// The store's error.
        #[snafu(source(from(lockstep_storage::Error, Box::new)))]
        source: Box<lockstep_storage::Error>,
    },
    /// A thread that converts images died.
    #[snafu(display("failed to convert images: a thread died"))]
    Worker {
        /// How it died.
        source: tokio::task::JoinError,
    },
}

impl Error {
    /// Whether the same call may succeed later without anybody changing the source or the destination.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Store { source, .. } => source.is_retryable(),
            Self::Records { source, .. } => source.is_retryable(),
            Self::ReadSource { .. }
            | Self::Unpack { .. }
            | Self::MissingFile { .. }
            | Self::FileSize { .. }
            | Self::Label { .. }
            | Self::Format { .. }
            | Self::Layout { .. }
            | Self::Decode { .. }
            | Self::ImageSize { .. }
            | Self::Image { .. }
            | Self::Images { .. }
            | Self::PartExists { .. }
            | Self::EmptyPart { .. }
            | Self::EncodedChannels { .. }
            | Self::Encode { .. }
            | Self::CheckImage { .. }
            | Self::Prepared { .. }
            | Self::NotEmpty { .. }
            | Self::ShardTooLarge { .. }
            | Self::Check { .. }
            | Self::CheckManifest { .. }
            | Self::Worker { .. } => false,
        }
    }

    /// Whether one image is at fault, and others may be too.
    pub(super) fn is_of_one_image(&self) -> bool {
        match self {
            Self::Label { .. } | Self::Decode { .. } | Self::ImageSize { .. } | Self::Image { .. } => true,
            Self::Records { source, .. } => source.is_of_one_record(),
            Self::ReadSource { .. }
            | Self::Unpack { .. }
            | Self::MissingFile { .. }
            | Self::FileSize { .. }
            | Self::Format { .. }
            | Self::Layout { .. }
            | Self::Images { .. }
            | Self::PartExists { .. }
            | Self::EmptyPart { .. }
            | Self::EncodedChannels { .. }
            | Self::Encode { .. }
            | Self::CheckImage { .. }
            | Self::Prepared { .. }
            | Self::NotEmpty { .. }
            | Self::ShardTooLarge { .. }
            | Self::Check { .. }
            | Self::CheckManifest { .. }
            | Self::Store { .. }
            | Self::Worker { .. } => false,
        }
    }
}

/// Each error with its causes on a line of its own.
fn lines(errors: &[Error]) -> String {
    let line = |error: &Error| {
        let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
        format!("  {}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "))
    };
    errors.iter().map(line).collect::<Vec<_>>().join("\n")
}
