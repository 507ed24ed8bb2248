//! How the network is trained: everything here determines the result.

use crate::resolve::defaults::{GLOBAL_BATCH_SIZE, MICRO_BATCH_SIZE};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How the network is trained.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new(format!("self.?globalBatchSize.orValue({GLOBAL_BATCH_SIZE}) % self.?microBatchSize.orValue({MICRO_BATCH_SIZE}) == 0"))
    .message("training.globalBatchSize must be a multiple of training.microBatchSize").field_path(".globalBatchSize"))]
pub struct Training {
    /// Passes over the training data. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000))]
    pub epochs: Option<u32>,
    /// Images per optimizer update. Default 128.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_048_576))]
    pub global_batch_size: Option<u32>,
    /// Images that are computed together, and the batch of batch normalisation; must divide `globalBatchSize`. Default 16.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 4096))]
    pub micro_batch_size: Option<u32>,
    /// Fixes everything random: initial weights, data order, dropout, augmentation. Default 42.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 9_007_199_254_740_991_u64))]
    pub seed: Option<u64>,
    /// How gradients change the weights. Default Adam with learning rate 0.001.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub optimizer: Option<Optimizer>,
    /// How the learning rate changes over time. Default Constant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Random changes to training images. Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub augmentation: Option<Augmentation>,
    /// Share of each label that is spread over all classes, at least 0 and below 1. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    #[x_kube(validation = Rule::new("double(self) < 1.0").message("labelSmoothing must be below 1"))]
    pub label_smoothing: Option<f64>,
    /// Kernels and precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub numerics: Option<Numerics>,
    /// Ends training when a metric stops improving. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub early_stopping: Option<EarlyStopping>,
}

/// Kinds of optimizers.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[allow(clippy::upper_case_acronyms)]
pub enum OptimizerType {
    /// Adam (Kingma and Ba); `adam` is optional.
    Adam,
    /// Stochastic gradient descent; needs `sgd`.
    SGD,
}

/// How gradients change the weights: a `type`, and the member of that type.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.adam) || self.type == 'Adam'").message("adam may only be set for type Adam"),
    validation = Rule::new("(self.type == 'SGD') == has(self.sgd)").message("sgd must be set for type SGD, and only then")
)]
pub struct Optimizer {
    /// Which optimizer.
    #[serde(rename = "type")]
    pub kind: OptimizerType,
    /// Parameters of Adam.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adam: Option<Adam>,
    /// Parameters of SGD.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sgd: Option<Sgd>,
}

/// Parameters of Adam.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Adam {
    /// Default 0.001.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    #[x_kube(validation = Rule::new("double(self) > 0.0").message("learningRate must be positive"))]
    pub learning_rate: Option<f64>,
    /// Decay of the first moment. Default 0.9.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    #[x_kube(validation = Rule::new("double(self) < 1.0").message("beta1 must be below 1"))]
    pub beta1: Option<f64>,
    /// Decay of the second moment. Default 0.999.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    #[x_kube(validation = Rule::new("double(self) < 1.0").message("beta2 must be below 1"))]
    pub beta2: Option<f64>,
    /// Added to the root of the second moment. Default 1e-7, as in Keras.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    #[x_kube(validation = Rule::new("double(self) > 0.0").message("epsilon must be positive"))]
    pub epsilon: Option<f64>,
}

/// Parameters of stochastic gradient descent.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sgd {
    /// Has no default: the right value depends on the model.
    #[schemars(range(min = 0.0, max = 1000.0))]
    #[x_kube(validation = Rule::new("double(self) > 0.0").message("learningRate must be positive"))]
    pub learning_rate: f64,
    /// Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    #[x_kube(validation = Rule::new("double(self) < 1.0").message("momentum must be below 1"))]
    pub momentum: Option<f64>,
    /// Whether the gradient is taken where momentum leads. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nesterov: Option<bool>,
    /// L2 penalty. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub weight_decay: Option<f64>,
}

/// Kinds of learning-rate schedules.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ScheduleType {
    /// The optimizer's learning rate throughout.
    Constant,
    /// Falls along half a cosine; `cosine` is optional.
    Cosine,
    /// Rises to the optimizer's learning rate, then falls far below where it began; `oneCycle` is optional.
    OneCycle,
    /// Changes at given epochs; needs `piecewise`.
    Piecewise,
}

/// How the learning rate changes over time: a `type`, and the member of that type. Factors multiply the optimizer's learning rate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.cosine) || self.type == 'Cosine'").message("cosine may only be set for type Cosine"),
    validation = Rule::new("!has(self.oneCycle) || self.type == 'OneCycle'").message("oneCycle may only be set for type OneCycle"),
    validation = Rule::new("(self.type == 'Piecewise') == has(self.piecewise)").message("piecewise must be set for type Piecewise, and only then"),
    validation = Rule::new("!has(self.warmupSteps) || self.type != 'OneCycle'").message("warmupSteps cannot be combined with type OneCycle, which has a warm-up of its own")
)]
pub struct Schedule {
    /// Which schedule.
    #[serde(rename = "type")]
    pub kind: ScheduleType,
    /// Steps over which the learning rate first rises linearly from zero. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 100_000_000))]
    pub warmup_steps: Option<u32>,
    /// Parameters of Cosine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<Cosine>,
    /// Parameters of OneCycle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub one_cycle: Option<OneCycle>,
    /// Parameters of Piecewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub piecewise: Option<Piecewise>,
}

/// Parameters of the cosine schedule.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cosine {
    /// Factor at the last step. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub final_factor: Option<f64>,
}

/// Parameters of the one-cycle schedule.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OneCycle {
    /// Share of the steps in which the learning rate rises. Default 0.3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub rise_fraction: Option<f64>,
    /// The first learning rate is the optimizer's divided by this. Default 25.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e9))]
    pub initial_divisor: Option<f64>,
    /// The last learning rate is the first divided by this. Default 10000.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1.0, max = 1e9))]
    pub final_divisor: Option<f64>,
}

/// Parameters of the piecewise schedule.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Piecewise {
    /// When the factor changes, epochs ascending. Before the first the factor is 1.
    #[schemars(length(min = 1, max = 64))]
    pub changes: Vec<PiecewiseChange>,
}

/// One change of the learning rate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PiecewiseChange {
    /// Complete epochs after which the factor holds.
    #[schemars(range(min = 1, max = 100_000))]
    pub epoch: u32,
    /// Multiplies the optimizer's learning rate.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub factor: f64,
}

/// Random changes to training images, in each epoch others: first the colours, then mirrored, moved, a square made black.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Augmentation {
    /// Whether every second image, at random, is mirrored: left becomes right. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub horizontal_flip: Option<bool>,
    /// Most pixels by which an image is moved, at random, up or down and left or right; what moves in is black. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 256))]
    pub translate_pixels: Option<u32>,
    /// Side of a square made black; its centre is a random pixel, so that it may reach over the edge. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 256))]
    pub cutout_pixels: Option<u32>,
    /// Changes of brightness, contrast and saturation, as torchvision's ColorJitter. Images must have 1 or 3 channels.
    /// Default none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub color_jitter: Option<ColorJitter>,
}

/// Random changes of an image's colours. Each strength s stands for a factor between 1 - s and 1 + s; they come in random order.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ColorJitter {
    /// How far an image's brightness changes: 0 is black, 1 as it was. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub brightness: Option<f64>,
    /// How far its contrast changes: 0 is all the mean grey, 1 as it was. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub contrast: Option<f64>,
    /// How far its saturation changes: 0 is grey, 1 as it was. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub saturation: Option<f64>,
}

/// Which implementation computes the layers. Default Native.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Kernels {
    /// Lockstep's own kernels, with the same bits on every CPU.
    Native,
    /// libtorch's kernels.
    LibTorch,
}

/// The number format of the computation. Default Float32.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Precision {
    /// 32-bit floating point throughout.
    Float32,
    /// 16-bit brain floating point for products, 32-bit for sums.
    BFloat16,
}

/// Kernels and precision.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Numerics {
    /// See [`Kernels`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernels: Option<Kernels>,
    /// See [`Precision`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<Precision>,
}

/// Metrics that decide about early stopping.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum StoppingMetric {
    /// Share of validation images with the right class; higher is better.
    ValidationAccuracy,
    /// Mean loss over the validation images; lower is better.
    ValidationLoss,
}

/// Ends training when a metric stops improving.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EarlyStopping {
    /// Default ValidationAccuracy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metric: Option<StoppingMetric>,
    /// Epochs without improvement after which training ends.
    #[schemars(range(min = 1, max = 100_000))]
    pub patience: u32,
    /// Smallest change that counts as an improvement. Default 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub min_delta: Option<f64>,
}
