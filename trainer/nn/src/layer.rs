//! What a model is made of, as data: the layers of a specification, before shapes are known.

use std::fmt;

/// Height, width and channels of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Values a pixel.
    pub channels: usize,
}

impl Shape {
    /// Values of one image.
    pub fn values(&self) -> usize {
        self.height * self.width * self.channels
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}x{}", self.height, self.width, self.channels)
    }
}

/// One layer; a model is a list of them, and PyTorch's `nn.Sequential` has one module for each.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Layer {
    /// Square convolution, stride 1, zeros around so that the size stays ("same"), with bias.
    Conv2D {
        /// Channels of the output.
        filters: usize,
        /// Side of the kernel; odd.
        kernel_size: usize,
    },
    /// `max(x, 0)`.
    ReLU,
    /// Normalisation of each channel over the micro-batch; of images or features.
    BatchNorm {
        /// Share of the old running statistics kept at a step, in [0, 1]: Keras's meaning, 1 - PyTorch's.
        momentum: f64,
        /// Added to the variance; positive.
        epsilon: f64,
    },
    /// Maximum over squares without overlap; rows and columns that fill no square are dropped.
    MaxPool2D {
        /// Side of the square, and the stride.
        size: usize,
    },
    /// Zeroes values at random in training and scales the others up; nothing in evaluation.
    Dropout {
        /// Share of values zeroed, in [0, 1); rounded to a multiple of 2^-16.
        rate: f64,
    },
    /// Image to features, in PyTorch's order: channel, row, column.
    Flatten,
    /// Fully connected, with bias.
    Dense {
        /// Features of the output.
        units: usize,
    },
}

impl Layer {
    /// The name of the kind, as in the specification.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Conv2D { .. } => "Conv2D",
            Self::ReLU => "ReLU",
            Self::BatchNorm { .. } => "BatchNorm",
            Self::MaxPool2D { .. } => "MaxPool2D",
            Self::Dropout { .. } => "Dropout",
            Self::Flatten => "Flatten",
            Self::Dense { .. } => "Dense",
        }
    }
}

/// The `TwoBlock` preset: the reference's CNN with Keras's batch norm. Softmax is part of the loss.
pub fn two_block(classes: usize) -> Vec<Layer> {
    let block = |filters| {
        let convolution = Layer::Conv2D { filters, kernel_size: 3 };
        let norm = Layer::BatchNorm { momentum: 0.99, epsilon: 1e-3 };
        let pool = Layer::MaxPool2D { size: 2 };
        let dropout = Layer::Dropout { rate: 0.25 };
        [convolution, Layer::ReLU, norm, convolution, Layer::ReLU, norm, pool, dropout]
    };
    let head = [
        Layer::Flatten,
        Layer::Dense { units: 128 },
        Layer::ReLU,
        Layer::Dropout { rate: 0.5 },
        Layer::Dense { units: classes },
    ];
    [block(32), block(64)].into_iter().flatten().chain(head).collect()
}
