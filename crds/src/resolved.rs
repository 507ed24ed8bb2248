//! A job with every default decided: what the ConfigMap's `job.json` holds and the executor reads.
//!
//! [`ResolvedJob::result`] is everything in the spec that determines the result and nothing else; the rest may differ between two
//! runs that yield the same bits. Of the data, only the data set's own digest joins it in the result hash, never its address.

use crate::spec::{
    Assignment, ImageEncoding, ImageLayout, Kernels, LayoutCheck, ModelPreset, Precision, StoppingMetric,
};
use serde::{Deserialize, Serialize};

/// A job with every default decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedJob {
    /// Executors wanted.
    pub executors: u32,
    /// Worker threads of each.
    pub threads_per_executor: u32,
    /// How executors come and go.
    pub elastic: ResolvedElastic,
    /// What determines the result.
    pub result: ResultSpec,
    /// Where the data is.
    pub data: ResolvedData,
    /// Where checkpoints go.
    pub checkpoint: ResolvedCheckpoint,
    /// Where else the run is reported.
    #[serde(default, skip_serializing_if = "ResolvedTracking::is_default")]
    pub tracking: ResolvedTracking,
    /// As whom storage is reached.
    #[serde(default, skip_serializing_if = "ResolvedStorage::is_default")]
    pub storage: ResolvedStorage,
}

/// How executors come and go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedElastic {
    /// Training pauses below this number of executors.
    pub min_executors: u32,
    /// How long the start waits for all executors.
    pub join_grace_seconds: u32,
    /// Silence after which an executor counts as lost.
    pub heartbeat_timeout_seconds: u32,
    /// How long the first start may take.
    pub start_timeout_seconds: u32,
    /// How the micro-batches of a step are shared.
    #[serde(default)]
    pub assignment: Assignment,
}

/// Everything in the spec that determines the result, and nothing else.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResultSpec {
    /// The network.
    pub model: ResolvedModel,
    /// How it is trained.
    pub training: ResolvedTraining,
    /// How the training data is read and split.
    pub data: ResolvedSelection,
}

/// The network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ResolvedModel {
    /// By name; the number of classes comes from the data set.
    Preset(ModelPreset),
    /// Layer by layer.
    Layers(Vec<ResolvedLayer>),
}

/// One layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum ResolvedLayer {
    /// Convolution with stride 1 and "same" padding.
    Conv2D { filters: u32, kernel_size: u32 },
    /// max(0, x).
    ReLU,
    /// Normalisation per channel over the micro-batch.
    BatchNorm { momentum: f64, epsilon: f64 },
    /// Maximum over squares of this side.
    MaxPool2D { size: u32 },
    /// Mean over squares of this side.
    AveragePool2D { size: u32 },
    /// Mean over all pixels of a channel; from images to vectors.
    GlobalAveragePool2D,
    /// These layers' output plus their input.
    Residual { layers: Vec<ResolvedLayer> },
    /// Zeroes this share of the activations while training.
    Dropout { rate: f64 },
    /// From images to vectors.
    Flatten,
    /// Fully connected.
    Dense { units: u32 },
}

/// How the network is trained.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedTraining {
    /// Passes over the training data.
    pub epochs: u32,
    /// Images per optimizer update; a multiple of `micro_batch_size`.
    pub global_batch_size: u32,
    /// Images that are computed together.
    pub micro_batch_size: u32,
    /// Fixes everything random.
    pub seed: u64,
    /// How gradients change the weights.
    pub optimizer: ResolvedOptimizer,
    /// How the learning rate changes over time.
    pub schedule: ResolvedSchedule,
    /// Steps of linear rise before the schedule; 0 for none.
    pub warmup_steps: u32,
    /// Share of each label that is spread over all classes.
    pub label_smoothing: f64,
    /// Random changes to training images. Left out where there are none, so that it enters no other job's hash.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<ResolvedAugmentation>,
    /// Which implementation computes the layers.
    pub kernels: Kernels,
    /// Number format.
    pub precision: Precision,
    /// When training ends early.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<ResolvedEarlyStopping>,
}

impl ResolvedTraining {
    /// Micro-batches of a global batch: the leaves of the reduction tree, and the most executors that can share the work.
    pub fn micro_batches(&self) -> u32 {
        self.global_batch_size / self.micro_batch_size
    }
}

/// Random changes to training images; at least one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedAugmentation {
    /// Whether every second image is mirrored.
    pub horizontal_flip: bool,
    /// Most pixels by which an image is moved; 0 for none.
    pub translate_pixels: u32,
    /// Side of the square that is made black; 0 for none.
    pub cutout_pixels: u32,
    /// Random changes of the colours. Left out where there are none, so that it enters no other job's hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<ResolvedColorJitter>,
}

/// Strengths of random changes of the colours, each in 0..=1; at least one above 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedColorJitter {
    /// Of the brightness.
    pub brightness: f64,
    /// Of the contrast.
    pub contrast: f64,
    /// Of the saturation.
    pub saturation: f64,
}

/// How gradients change the weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum ResolvedOptimizer {
    /// Adam.
    Adam { learning_rate: f64, beta1: f64, beta2: f64, epsilon: f64 },
    /// Stochastic gradient descent.
    #[serde(rename = "SGD")]
    Sgd { learning_rate: f64, momentum: f64, nesterov: bool, weight_decay: f64 },
}

/// How the learning rate changes over time; factors multiply the optimizer's learning rate.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all_fields = "camelCase", deny_unknown_fields)]
#[allow(missing_docs)]
pub enum ResolvedSchedule {
    /// No change.
    Constant,
    /// Half a cosine down to `final_factor`.
    Cosine { final_factor: f64 },
    /// Up for `rise_fraction` of the steps from 1/`initial_divisor`, then down to 1/(`initial_divisor` * `final_divisor`).
    OneCycle { rise_fraction: f64, initial_divisor: f64, final_divisor: f64 },
    /// (complete epochs, factor from there on), ascending.
    Piecewise { changes: Vec<(u32, f64)> },
}

/// When training ends early.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedEarlyStopping {
    /// What must improve.
    pub metric: StoppingMetric,
    /// Epochs without improvement after which training ends.
    pub patience: u32,
    /// Smallest change that counts.
    pub min_delta: f64,
}

/// How the training data is read and split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedSelection {
    /// The bytes feature with the image.
    pub image_feature: String,
    /// The int64 feature with the class.
    pub label_feature: String,
    /// Share of the training records that is held out; 0 for no validation.
    pub validation_fraction: f64,
    /// Records that are read together.
    pub block_records: u32,
    /// Records that are mixed with each other.
    pub window_records: u32,
}

/// Where the data is. Not part of what determines the result: the data sets' digests are, and the executor adds them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedData {
    /// The training set.
    pub training_uri: String,
    /// The test set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_uri: Option<String>,
    /// Most memory that the reader uses.
    pub cache_bytes: u64,
    /// What the records hold, where the data sets do not say it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub format: Option<ResolvedFormat>,
    /// What happens where images stand in another layout than the one that is said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub layout_check: LayoutCheck,
}

/// What the records of a data set hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedFormat {
    /// How an image's bytes are encoded.
    pub encoding: ImageEncoding,
    /// Order of its values; HWC where it is encoded.
    pub layout: ImageLayout,
    /// Pixels from top to bottom.
    pub height: u32,
    /// Pixels from left to right.
    pub width: u32,
    /// Values of a pixel.
    pub channels: u32,
    /// Of the labels.
    pub classes: ResolvedClasses,
}

/// The classes of a data set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub enum ResolvedClasses {
    /// How many.
    Count(u32),
    /// Their names, in the order of the labels.
    Names(Vec<String>),
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Where checkpoints go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedCheckpoint {
    /// The folder below which runs have theirs.
    pub uri: String,
    /// Steps between checkpoints.
    pub every_steps: u32,
    /// How many of the newest are kept.
    pub keep: u32,
    /// Whether the one with the best validation accuracy is kept too.
    pub keep_best: bool,
}

/// Where the run is reported besides its own folder. Never part of what determines the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedTracking {
    /// The folder below which runs have their TensorBoard event files; none: there are no such files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_board_uri: Option<String>,
}

impl ResolvedTracking {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// As whom storage is reached. Never part of what determines the result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResolvedStorage {
    /// The user in HDFS; none: as the environment says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

impl ResolvedStorage {
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
