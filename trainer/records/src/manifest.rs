//! `dataset.json`: what a data set is and where its records lie. Its existence says that the data set is whole.
//!
//! Written last by [`prepare`](crate::prepare), read first by [`Dataset`](crate::Dataset). A manifest is believed
//! only if every part agrees with every other, its own digest included.

use serde::{Deserialize, Serialize};
use snafu::{ResultExt, Snafu, ensure};

use crate::framing::MAX_DATA_BYTES;

mod digest;
mod lengths;
mod shard;

pub use lengths::{Lengths, Run};
pub use shard::{Compressed, ScanError, Shard};

/// Name of the manifest in the data set's folder.
pub const FILE_NAME: &str = "dataset.json";
/// The format's version that this build writes and reads.
pub const VERSION: u32 = 1;
/// Largest manifest that is read: four million records that all differ in length fit.
pub const MAX_BYTES: u64 = 64 << 20;

const MAX_CLASSES: usize = 65_536;
const MAX_SHARDS: usize = 100_000;
const MAX_NAME_BYTES: usize = 255;
/// Longest side of an image, pixels.
pub(crate) const MAX_SIDE: u32 = 16_384;
const MAX_CHANNELS: u32 = 16;

/// Size of every image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Values of a pixel.
    pub channels: u32,
}

impl Shape {
    /// Bytes of one raw image.
    pub fn bytes(&self) -> usize {
        self.height as usize * self.width as usize * self.channels as usize
    }
}

impl std::fmt::Display for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// Order of the values in a raw image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// Row by row, the channels of a pixel together: what TensorFlow and files of images use.
    #[serde(rename = "HWC")]
    Hwc,
    /// Channel by channel: what PyTorch and the CIFAR archives use.
    #[serde(rename = "CHW")]
    Chw,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Hwc => "HWC",
            Self::Chw => "CHW",
        })
    }
}

/// How the image stands in its feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// One byte a value, nothing else.
    Raw,
    /// A whole PNG file.
    Png,
    /// A whole JPEG file.
    Jpeg,
}

/// Where the records came from; for people, not part of the content.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Kind of source, as on the command line of `lockstep prepare`.
    pub format: String,
    /// Name of the file or folder, without the folders above it.
    pub name: String,
    /// Part of it that this data set holds: `train` or `test`.
    pub split: String,
}

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifest {
    /// [`VERSION`].
    pub version: u32,
    /// Of every image.
    pub shape: Shape,
    /// Of every image.
    pub layout: Layout,
    /// Of every image.
    pub encoding: Encoding,
    /// Names of the classes; a label is a place in this list.
    pub classes: Vec<String>,
    /// Records in all shards.
    pub records: u64,
    /// Mean of each channel over all pixels, in 0..=255. Empty, as the next, where no image was looked at.
    pub channel_mean: Vec<f64>,
    /// Standard deviation of each channel over all pixels, in units of a pixel value.
    pub channel_deviation: Vec<f64>,
    /// [`Manifest::content_digest`]: everything that training can see of the data.
    pub digest: String,
    /// Where the records came from.
    pub source: Source,
    /// Sorted by name; records are numbered through them in this order.
    pub shards: Vec<Shard>,
}

/// Why a text is not a manifest.
#[derive(Debug, Snafu)]
pub enum Error {
    /// Not JSON, or not of the manifest's fields and types.
    #[snafu(display("failed to parse {FILE_NAME}"))]
    Parse {
        /// The parser's error, with line and column.
        source: serde_json::Error,
    },
    /// Written by another version of this program.
    #[snafu(display("failed to read {FILE_NAME}: its version is {found}, this program reads {VERSION}"))]
    Version {
        /// As it stands there.
        found: u64,
    },
    /// A field contradicts the format or another field.
    #[snafu(display("failed to accept {FILE_NAME}: {field}: {reason}"))]
    Invalid {
        /// Path of the field.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Manifest {
    /// Parses and validates.
    pub fn parse(json: &[u8]) -> Result<Self, Error> {
        /// The version alone, since the other fields may differ in another one.
        #[derive(Deserialize)]
        struct Header {
            version: u64,
        }
        let Header { version } = serde_json::from_slice(json).context(ParseSnafu)?;
        ensure!(version == u64::from(VERSION), VersionSnafu { found: version });
        let manifest: Self = serde_json::from_slice(json).context(ParseSnafu)?;
        manifest.validate()?;
        Ok(manifest)
    }

    /// As a text: the same bytes for the same manifest.
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a manifest holds nothing that JSON cannot");
        json.push(b'\n');
        json
    }

    /// SHA-256, hex, over all that training can see: shape, layout, encoding, classes, and each shard's name, number
    /// of records and SHA-256, in order. Source, statistics and compression are left out.
    pub fn content_digest(&self) -> String {
        digest::of(self)
    }

    pub(crate) fn validate(&self) -> Result<(), Error> {
        let Self {
            version: _,
            shape,
            layout: _,
            encoding: _,
            classes,
            records,
            channel_mean,
            channel_deviation,
            digest,
            source: _,
            shards,
        } = self;
        require(
            [shape.height, shape.width].iter().all(|side| (1..=MAX_SIDE).contains(side))
                && (1..=MAX_CHANNELS).contains(&shape.channels)
                && shape.bytes() as u64 <= MAX_DATA_BYTES / 2,
            "shape",
            || format!("{shape} is no size of an image"),
        )?;
        validate_classes(classes)?;
        for (field, values) in [("channelMean", channel_mean), ("channelDeviation", channel_deviation)] {
            require(
                (values.is_empty() || values.len() == shape.channels as usize)
                    && values.iter().all(|v| (0.0..=255.0).contains(v)),
                field,
                || format!("must hold {} numbers in 0..=255", shape.channels),
            )?;
        }
        require((1..=MAX_SHARDS).contains(&shards.len()), "shards", || {
            format!("must be 1 to {MAX_SHARDS}, are {}", shards.len())
        })?;
        for (i, shard) in shards.iter().enumerate() {
            shard.validate().map_err(|(field, reason)| invalid(format!("shards[{i}].{field}"), reason))?;
        }
        if let Some(i) = shards.windows(2).position(|pair| pair[0].name >= pair[1].name) {
            return Err(invalid(format!("shards[{}].name", i + 1), "names must be sorted and all different"));
        }
        // Each shard has at most 2^32 records, so this cannot overflow.
        let sum: u64 = shards.iter().map(|shard| shard.records).sum();
        require(*records == sum, "records", || format!("is {records}, the shards have {sum}"))?;
        require(*records <= u64::from(u32::MAX), "records", || "must be below 2^32".to_owned())?;
        let computed = self.content_digest();
        require(*digest == computed, "digest", || format!("is {digest}, the content's is {computed}"))
    }
}

fn validate_classes(classes: &[String]) -> Result<(), Error> {
    require((1..=MAX_CLASSES).contains(&classes.len()), "classes", || {
        format!("must be 1 to {MAX_CLASSES}, are {}", classes.len())
    })?;
    let mut seen = std::collections::BTreeSet::new();
    for (i, class) in classes.iter().enumerate() {
        let field = || format!("classes[{i}]");
        if class.is_empty() || class.len() > MAX_NAME_BYTES || class.contains(char::is_control) {
            return Err(invalid(field(), format!("{class:?} is no name of a class")));
        }
        if !seen.insert(class) {
            return Err(invalid(field(), format!("{class:?} stands there twice")));
        }
    }
    Ok(())
}

fn invalid(field: impl Into<String>, reason: impl Into<String>) -> Error {
    Error::Invalid { field: field.into(), reason: reason.into() }
}

fn require(holds: bool, field: &str, reason: impl FnOnce() -> String) -> Result<(), Error> {
    if holds { Ok(()) } else { Err(invalid(field, reason())) }
}

#[cfg(test)]
mod tests;
