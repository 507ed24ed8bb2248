//! One layer of a checked model: what flows in and out, and where its tensors lie.

use std::fmt;
use std::ops::Range;

use crate::dropout::Dropout;
use crate::layer::Shape;

/// What flows between two layers, of one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Before `Flatten` or `GlobalAveragePool2D`.
    Image(Shape),
    /// After it: so many numbers.
    Features(usize),
}

impl Extent {
    /// Values of one image.
    pub fn values(self) -> usize {
        match self {
            Self::Image(shape) => shape.values(),
            Self::Features(features) => features,
        }
    }

    /// What batch norm keeps statistics of.
    pub fn channels(self) -> usize {
        match self {
            Self::Image(shape) => shape.channels,
            Self::Features(features) => features,
        }
    }
}

impl fmt::Display for Extent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Image(shape) => write!(formatter, "images of {shape}"),
            Self::Features(features) => write!(formatter, "{features} features"),
        }
    }
}

/// Where one tensor of a layer lies in a flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// In the parameters (and gradients), or in the running statistics.
    pub range: Range<usize>,
    /// PyTorch's layout, row-major.
    pub dims: Vec<usize>,
}

/// One layer.
#[derive(Clone, Debug)]
pub struct Stage {
    /// For messages: `layer 3 (Conv2D)`.
    pub name: String,
    /// What it takes.
    pub input: Extent,
    /// What it gives.
    pub output: Extent,
    /// What it does.
    pub operation: Operation,
}

impl Stage {
    /// Whether it, or a layer inside it, has trained tensors.
    pub fn has_parameters(&self) -> bool {
        match &self.operation {
            Operation::Convolution { .. } | Operation::BatchNorm { .. } | Operation::Dense { .. } => true,
            Operation::Residual { stages } => stages.iter().any(Self::has_parameters),
            Operation::Relu
            | Operation::MaxPool { .. }
            | Operation::AveragePool { .. }
            | Operation::GlobalAveragePool
            | Operation::Dropout(_)
            | Operation::Flatten => false,
        }
    }
}

/// What a layer does, with its tensors' places.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Square convolution, stride 1, zeros around so that the size stays.
    Convolution {
        /// Side of the kernel; odd.
        kernel_size: usize,
        /// Output channels, input channels, rows, columns.
        kernel: Slot,
        /// One for each output channel.
        bias: Slot,
    },
    /// `max(x, 0)`; NaN stays NaN.
    Relu,
    /// Normalisation of each channel over the micro-batch (training) or by running statistics (evaluation).
    BatchNorm {
        /// Keras's gamma.
        scale: Slot,
        /// Keras's beta.
        offset: Slot,
        /// In the running statistics.
        mean: Slot,
        /// In the running statistics; biased.
        variance: Slot,
        /// Added to the variance.
        epsilon: f64,
    },
    /// Maximum over squares without overlap; rows and columns that fill no square are dropped.
    MaxPool {
        /// Side of the square, and the stride.
        size: usize,
    },
    /// Mean over squares without overlap; rows and columns that fill no square are dropped.
    AveragePool {
        /// Side of the square, and the stride.
        size: usize,
    },
    /// Mean over each channel's pixels: image to features.
    GlobalAveragePool,
    /// The layers inside, plus their input.
    Residual {
        /// At least one, none of them a `Residual`; the last one's output is of the first one's input's extent.
        stages: Vec<Stage>,
    },
    /// Zeroes values at random in training and scales the others up; nothing in evaluation.
    Dropout(Dropout),
    /// Image to features, in PyTorch's order: channel, row, column.
    Flatten,
    /// Fully connected.
    Dense {
        /// Output features, input features.
        matrix: Slot,
        /// One for each output feature.
        bias: Slot,
    },
}
