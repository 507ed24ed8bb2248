//! The data sets: where they are and how they are read.

use crate::{Quantity, schema::URI_MAX};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The data sets.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Data {
    /// What the network learns from.
    pub training: DataSource,
    /// What early stopping and the best checkpoint go by. Default: a tenth of the training records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation: Option<Validation>,
    /// What the final accuracy is measured on; read once, at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test: Option<DataSource>,
    /// Names of the features in each tf.train.Example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<Features>,
    /// What the records hold, for TFRecords without a dataset.json. Where there is one, it must say the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<ImageFormat>,
    /// What happens where raw images clearly stand in another layout than the one that is said. Default Refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout_check: Option<LayoutCheck>,
    /// How far records travel when the data order is shuffled. Part of what determines the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shuffle: Option<Shuffle>,
    /// Most memory that one executor's reader uses. Default 512Mi. Never changes the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_size: Option<Quantity>,
}

/// A data set.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DataSource {
    /// The folder with the TFRecord shards, for example file:///data/cifar10/train. With data.format, its last part may be a
    /// pattern for the shards' names: file:///data/cifar10-train.tfrecord*.
    #[schemars(length(min = 1, max = URI_MAX))]
    #[x_kube(validation = Rule::new("self.startsWith('file:///') || self.startsWith('hdfs://') || self.startsWith('s3://')").message("uri must start with file:///, hdfs:// or s3://"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z0-9]+://[^/]*@')").message("uri must not hold user names or passwords; use storage for credentials"))]
    pub uri: String,
}

/// Where validation records come from. Exactly one of `fraction` and `uri`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.fraction) != has(self.uri)").message("data.validation needs exactly one of fraction and uri"))]
pub struct Validation {
    /// Share of the training records that is held out, at most 0.5; 0 means no validation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 0.5))]
    pub fraction: Option<f64>,
    /// A data set of its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = URI_MAX))]
    pub uri: Option<String>,
}

/// Names of the features in each tf.train.Example.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Features {
    /// The bytes feature with the image. Default "image".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub image: Option<String>,
    /// The int64 feature with the class. Default "label".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub label: Option<String>,
}

/// What the records of a data set hold. Exactly one of `classes` and `classNames`.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.classes) != has(self.classNames)").message("data.format needs exactly one of classes and classNames"))]
#[x_kube(validation = Rule::new("self.encoding == 'Raw' || !has(self.layout)").message("data.format.layout can only be set for encoding Raw"))]
pub struct ImageFormat {
    /// How an image's bytes are encoded.
    pub encoding: ImageEncoding,
    /// Order of a raw image's values. Default HWC.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layout: Option<ImageLayout>,
    /// Pixels from top to bottom.
    #[schemars(range(min = 1, max = 4096))]
    pub height: u32,
    /// Pixels from left to right.
    #[schemars(range(min = 1, max = 4096))]
    pub width: u32,
    /// Values of a pixel; 1 or 3 where images are encoded.
    #[schemars(range(min = 1, max = 16))]
    pub channels: u32,
    /// Number of classes; labels are 0 to classes - 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 65536))]
    pub classes: Option<u32>,
    /// Names of the classes, in the order of the labels.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = CLASS_NAMES_MAX), inner(length(min = 1, max = CLASS_NAME_MAX)))]
    pub class_names: Option<Vec<String>>,
}

/// Most classes that a spec may name.
pub const CLASS_NAMES_MAX: u32 = 1024;
/// Longest name of a class in a spec, in characters.
pub const CLASS_NAME_MAX: u32 = 128;

/// How an image's bytes are encoded.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ImageEncoding {
    /// One byte per value.
    Raw,
    /// PNG.
    Png,
    /// JPEG.
    Jpeg,
}

/// Order of a raw image's values.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[allow(clippy::upper_case_acronyms)]
pub enum ImageLayout {
    /// Rows of pixels, all values of a pixel together.
    HWC,
    /// One plane after the other.
    CHW,
}

/// What happens where raw images clearly stand in another layout than the one that is said.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum LayoutCheck {
    /// The job fails and says what was measured.
    #[default]
    Refuse,
    /// The log says what was measured.
    Warn,
}

/// Two-level shuffle: blocks of neighbouring records are shuffled and dealt out to the micro-batches of a global batch, then
/// the records inside a window.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Shuffle {
    /// Records that are read together. Default 256.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub block_records: Option<u32>,
    /// Records that are mixed with each other, of all micro-batches together; at least `blockRecords`. Default 65536.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 16_777_216))]
    pub window_records: Option<u32>,
}
