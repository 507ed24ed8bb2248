//! The network: a preset or a list of layers, and weights to start from.

use crate::schema::URI_MAX;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The network. Exactly one of `preset` and `layers`.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.preset) != has(self.layers)").message("model needs exactly one of preset and layers"))]
pub struct Model {
    /// A network that Lockstep knows by name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preset: Option<ModelPreset>,
    /// The layers from input to output. The last must be a Dense layer with one unit per class; softmax is part of the loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub layers: Option<Vec<Layer>>,
    /// Weights to start from instead of random ones: warm start, fine-tuning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub initial_weights: Option<WeightsSource>,
}

/// Networks that Lockstep knows by name.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ModelPreset {
    /// Two blocks of two 3x3 convolutions (32, then 64 filters) with ReLU and batch norm, each with max-pooling and dropout,
    /// then a dense layer of 128 units with dropout and the classifier.
    TwoBlock,
    /// Eight 3x3 convolutions of 64 to 512 filters, each with batch norm and ReLU, with three max-poolings and two residual
    /// blocks, then the mean over all pixels and the classifier: 6.6 million parameters. For images of at least 8x8 pixels.
    ResNet9,
}

/// A `model.safetensors` to start from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WeightsSource {
    /// The file, or the checkpoint folder that holds it.
    #[schemars(length(min = 1, max = URI_MAX))]
    pub uri: String,
}

/// Kinds of layers.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum LayerType {
    /// Convolution with stride 1 and "same" padding; needs `conv2D`.
    Conv2D,
    /// max(0, x).
    ReLU,
    /// Normalisation per channel over the micro-batch; `batchNorm` is optional.
    BatchNorm,
    /// Maximum over squares that do not overlap; `maxPool2D` is optional.
    MaxPool2D,
    /// Mean over squares that do not overlap; `averagePool2D` is optional.
    AveragePool2D,
    /// Mean over all pixels of a channel: from images to vectors.
    GlobalAveragePool2D,
    /// Zeroes activations at random while training; needs `dropout`.
    Dropout,
    /// From images to vectors.
    Flatten,
    /// Fully connected; needs `dense`.
    Dense,
    /// A block whose input is added to its output; needs `residual`.
    Residual,
}

/// One layer: a `type`, and the member of that type.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Conv2D') == has(self.conv2D)").message("conv2D must be set for type Conv2D, and only then"),
    validation = Rule::new("(self.type == 'Dropout') == has(self.dropout)").message("dropout must be set for type Dropout, and only then"),
    validation = Rule::new("(self.type == 'Dense') == has(self.dense)").message("dense must be set for type Dense, and only then"),
    validation = Rule::new("(self.type == 'Residual') == has(self.residual)").message("residual must be set for type Residual, and only then"),
    validation = Rule::new("!has(self.batchNorm) || self.type == 'BatchNorm'").message("batchNorm may only be set for type BatchNorm"),
    validation = Rule::new("!has(self.maxPool2D) || self.type == 'MaxPool2D'").message("maxPool2D may only be set for type MaxPool2D"),
    validation = Rule::new("!has(self.averagePool2D) || self.type == 'AveragePool2D'").message("averagePool2D may only be set for type AveragePool2D")
)]
pub struct Layer {
    /// What the layer does.
    #[serde(rename = "type")]
    pub kind: LayerType,
    /// Parameters of a Conv2D layer.
    #[serde(rename = "conv2D", skip_serializing_if = "Option::is_none")]
    pub conv2d: Option<Conv2D>,
    /// Parameters of a BatchNorm layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNorm>,
    /// Parameters of a MaxPool2D layer.
    #[serde(rename = "maxPool2D", skip_serializing_if = "Option::is_none")]
    pub max_pool2d: Option<MaxPool2D>,
    /// Parameters of an AveragePool2D layer.
    #[serde(rename = "averagePool2D", skip_serializing_if = "Option::is_none")]
    pub average_pool2d: Option<AveragePool2D>,
    /// Parameters of a Dropout layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<Dropout>,
    /// Parameters of a Dense layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dense: Option<Dense>,
    /// The block inside a Residual layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub residual: Option<Residual>,
}

/// Parameters of a convolution.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Conv2D {
    /// Number of output channels.
    #[schemars(range(min = 1, max = 4096))]
    pub filters: u32,
    /// Side of the square kernel in pixels; odd, so that "same" padding is symmetric.
    #[schemars(range(min = 1, max = 31))]
    #[x_kube(validation = Rule::new("self % 2 == 1").message("kernelSize must be odd"))]
    pub kernel_size: u32,
}

/// Parameters of batch normalisation.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchNorm {
    /// Weight of the old running statistics at each step. Default 0.99.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub momentum: Option<f64>,
    /// Added to the variance. Default 0.001.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub epsilon: Option<f64>,
}

/// Parameters of max-pooling.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MaxPool2D {
    /// Side of the square in pixels. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 16))]
    pub size: Option<u32>,
}

/// Parameters of average-pooling.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AveragePool2D {
    /// Side of the square in pixels. Default 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 16))]
    pub size: Option<u32>,
}

/// Parameters of dropout.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dropout {
    /// Share of the activations that is zeroed, at least 0 and below 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    #[x_kube(validation = Rule::new("double(self) < 1.0").message("rate must be below 1"))]
    pub rate: f64,
}

/// Parameters of a fully connected layer.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Dense {
    /// Number of outputs.
    #[schemars(range(min = 1, max = 65536))]
    pub units: u32,
}

/// A block whose input is added to its output.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Residual {
    /// The layers of the block; a residual block inside a residual block is not possible.
    #[schemars(length(min = 1, max = 16))]
    pub layers: Vec<ResidualLayer>,
}

/// Kinds of layers inside a residual block.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum ResidualLayerType {
    /// As outside.
    Conv2D,
    /// As outside.
    ReLU,
    /// As outside.
    BatchNorm,
    /// As outside.
    Dropout,
}

/// One layer inside a residual block.
#[derive(KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(self.type == 'Conv2D') == has(self.conv2D)").message("conv2D must be set for type Conv2D, and only then"),
    validation = Rule::new("(self.type == 'Dropout') == has(self.dropout)").message("dropout must be set for type Dropout, and only then"),
    validation = Rule::new("!has(self.batchNorm) || self.type == 'BatchNorm'").message("batchNorm may only be set for type BatchNorm")
)]
pub struct ResidualLayer {
    /// What the layer does.
    #[serde(rename = "type")]
    pub kind: ResidualLayerType,
    /// Parameters of a Conv2D layer.
    #[serde(rename = "conv2D", skip_serializing_if = "Option::is_none")]
    pub conv2d: Option<Conv2D>,
    /// Parameters of a BatchNorm layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_norm: Option<BatchNorm>,
    /// Parameters of a Dropout layer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<Dropout>,
}
