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
#[derive(Clone, Debug, PartialEq)]
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
    /// Mean over squares without overlap; rows and columns that fill no square are dropped.
    AveragePool2D {
        /// Side of the square, and the stride.
        size: usize,
    },
    /// Mean over each channel's pixels: image to features.
    GlobalAveragePool2D,
    /// `x + layers(x)`: the layers keep the shape. Nests one level deep.
    Residual {
        /// The layers inside.
        layers: Vec<Layer>,
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
            Self::AveragePool2D { .. } => "AveragePool2D",
            Self::GlobalAveragePool2D => "GlobalAveragePool2D",
            Self::Residual { .. } => "Residual",
            Self::Dropout { .. } => "Dropout",
            Self::Flatten => "Flatten",
            Self::Dense { .. } => "Dense",
        }
    }
}

/// Keras's batch norm.
const KERAS_NORM: Layer = Layer::BatchNorm { momentum: 0.99, epsilon: 1e-3 };

/// The `TwoBlock` preset: the reference's CNN with Keras's batch norm. Softmax is part of the loss.
pub fn two_block(classes: usize) -> Vec<Layer> {
    let block = |filters| {
        let convolution = || Layer::Conv2D { filters, kernel_size: 3 };
        let pool = Layer::MaxPool2D { size: 2 };
        let dropout = Layer::Dropout { rate: 0.25 };
        [convolution(), Layer::ReLU, KERAS_NORM, convolution(), Layer::ReLU, KERAS_NORM, pool, dropout]
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

/// The `ResNet9` preset: eight convolutions, two residual blocks of two each, and a dense layer; 6.6 million parameters
/// for ten classes. Batch norm with PyTorch's momentum and epsilon.
///
/// Source of the architecture: D. Page, "How to train your ResNet", 2018, with average in place of max-pooling at the end.
pub fn res_net_9(classes: usize) -> Vec<Layer> {
    let norm = Layer::BatchNorm { momentum: 0.9, epsilon: 1e-5 };
    let unit = |filters| [Layer::Conv2D { filters, kernel_size: 3 }, norm.clone(), Layer::ReLU];
    let pool = || [Layer::MaxPool2D { size: 2 }];
    let residual = |filters| [Layer::Residual { layers: [unit(filters), unit(filters)].concat() }];
    let parts: [&[Layer]; 10] = [
        &unit(64),
        &unit(128),
        &pool(),
        &residual(128),
        &unit(256),
        &pool(),
        &unit(512),
        &pool(),
        &residual(512),
        &[Layer::GlobalAveragePool2D, Layer::Dense { units: classes }],
    ];
    parts.concat()
}
