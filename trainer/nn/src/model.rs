//! A model: its layers checked, with their shapes and where every tensor lies in the flat buffers. Data only: a
//! [`Backend`](crate::Backend) computes it.
//!
//! The parameter buffer (and with it gradients and moments) holds the tensors in layer order, in PyTorch's layouts; the
//! running buffer the running means and variances of batch norm. Every tensor starts on a 64-byte boundary; the gaps
//! hold zeros and belong to no hash. Names are those of the same layers in PyTorch's `nn.Sequential`; a `Residual` there
//! is a nested one, `class Residual(nn.Sequential)` whose `forward` is `x + super().forward(x)`, so that the first layer
//! inside layer 6 has a `6.0.weight`.

mod build;
mod initialise;
mod stage;

use snafu::{Snafu, ensure};

use crate::flat::FlatBuffer;
use crate::layer::{Layer, Shape};

pub use stage::{Extent, Operation, Slot, Stage};

/// Most values of one activation or tensor, so that sizes and offsets stay far from overflow.
const MOST_VALUES: usize = 1 << 31;

/// Why a list of layers makes no model. Never retryable: the specification is wrong.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(crate)))]
#[non_exhaustive]
pub enum Error {
    /// Zero rows, columns or channels.
    #[snafu(display("failed to build a model for images of {input}: every side must be positive"))]
    EmptyImage {
        /// The images.
        input: Shape,
    },
    /// Nothing to tell apart.
    #[snafu(display("failed to build a model for {classes} classes: two or more are needed"))]
    TooFewClasses {
        /// The classes.
        classes: usize,
    },
    /// A number of a layer out of its range.
    #[snafu(display("failed to build layer {layer} ({kind}): {field} is {value}, but must be {range}"))]
    OutOfRange {
        /// Position in the list; `6.0` is the first one inside layer 6.
        layer: String,
        /// Kind of the layer.
        kind: &'static str,
        /// The field.
        field: &'static str,
        /// Its value.
        value: String,
        /// What it may be.
        range: String,
    },
    /// An image layer after `Flatten`, or a dense layer before it.
    #[snafu(display(
        "failed to build layer {layer} ({kind}): it takes {expected}, but the layers before it give {found}"
    ))]
    WrongInput {
        /// Position in the list; `6.0` is the first one inside layer 6.
        layer: String,
        /// Kind of the layer.
        kind: &'static str,
        /// What the layer works on.
        expected: &'static str,
        /// What it would get.
        found: String,
    },
    /// The output is no list of logits.
    #[snafu(display(
        "failed to end the model: the last layer must give one number for each of {classes} classes, but it gives {found}"
    ))]
    WrongOutput {
        /// The classes.
        classes: usize,
        /// What the last layer gives.
        found: String,
    },
    /// A `Residual` whose layers change the shape, or that holds another one or nothing.
    #[snafu(display("failed to build layer {layer} (Residual): {reason}"))]
    Residual {
        /// Position in the list.
        layer: String,
        /// What is wrong.
        reason: String,
    },
    /// Sizes that no machine holds.
    #[snafu(display("failed to build layer {layer} ({kind}): it has more than 2^31 values"))]
    TooLarge {
        /// Position in the list; `6.0` is the first one inside layer 6.
        layer: String,
        /// Kind of the layer.
        kind: &'static str,
    },
}

impl Error {
    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::EmptyImage { .. }
            | Self::TooFewClasses { .. }
            | Self::OutOfRange { .. }
            | Self::WrongInput { .. }
            | Self::WrongOutput { .. }
            | Self::Residual { .. }
            | Self::TooLarge { .. } => false,
        }
    }
}

/// Where one tensor lies in its flat buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Name in the state dict of `nn.Sequential`, such as `2.running_mean`.
    pub name: String,
    /// PyTorch's layout: convolution kernels OIHW, dense matrices `[out, in]`; row-major.
    pub dims: Vec<usize>,
    /// Index of the first value; a multiple of 16.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
}

impl TensorInfo {
    /// The tensor's place in its buffer.
    pub fn range(&self) -> std::ops::Range<usize> {
        self.offset..self.offset + self.len
    }
}

/// Parameters and running statistics, in the layout of one [`Model`].
#[derive(Clone, Debug)]
pub struct Weights {
    /// What the optimizer trains.
    pub parameters: FlatBuffer,
    /// Running means and variances of batch norm, used in evaluation.
    pub running: FlatBuffer,
}

/// How the initial values of a parameter are drawn.
#[derive(Clone, Copy, Debug)]
enum Initialiser {
    Zeros,
    Ones,
    /// Uniform in ±sqrt(6 / (fan_in + fan_out)).
    GlorotUniform {
        layer: u64,
        fan_in: usize,
        fan_out: usize,
    },
}

/// The batch norm of one pair of running tensors.
#[derive(Clone, Debug)]
pub(crate) struct RunningMomentum {
    /// In the running buffer: mean and variance, without gaps' values.
    pub(crate) ranges: [std::ops::Range<usize>; 2],
    pub(crate) momentum: f64,
}

/// A checked list of layers with the layout of its tensors. Immutable and shared by all threads.
#[derive(Debug)]
pub struct Model {
    input: Shape,
    classes: usize,
    stages: Vec<Stage>,
    first_trainable: usize,
    parameters: Vec<TensorInfo>,
    initialisers: Vec<Initialiser>,
    running: Vec<TensorInfo>,
    running_initialisers: Vec<Initialiser>,
    momenta: Vec<RunningMomentum>,
    parameter_len: usize,
    running_len: usize,
    reduction_cut: usize,
}

impl Model {
    /// Checks the layers against each other and lays out their tensors.
    ///
    /// # Errors
    /// When a number is out of range, layers do not fit, or the last one does not give one number a class.
    pub fn new(input: Shape, classes: usize, layers: &[Layer]) -> Result<Self, Error> {
        ensure!(input.height > 0 && input.width > 0 && input.channels > 0, EmptyImageSnafu { input });
        ensure!(classes >= 2, TooFewClassesSnafu { classes });
        let mut model = Self {
            input,
            classes,
            stages: Vec::new(),
            first_trainable: 0,
            parameters: Vec::new(),
            initialisers: Vec::new(),
            running: Vec::new(),
            running_initialisers: Vec::new(),
            momenta: Vec::new(),
            parameter_len: 0,
            running_len: 0,
            reduction_cut: 0,
        };
        let mut extent = Extent::Image(input);
        model.stages = model.build(layers, None, &mut 0, &mut extent)?;
        model.first_trainable =
            model.stages.iter().position(Stage::has_parameters).unwrap_or(model.stages.len());
        let found = extent.to_string();
        ensure!(
            matches!(extent, Extent::Features(features) if features == classes),
            WrongOutputSnafu { classes, found }
        );
        Ok(model)
    }

    /// The images it takes.
    pub fn input(&self) -> Shape {
        self.input
    }

    /// Classes, and logits an image.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// The trained tensors, in layer order.
    pub fn parameters(&self) -> &[TensorInfo] {
        &self.parameters
    }

    /// Running mean and running variance of each batch norm, in layer order.
    pub fn running_statistics(&self) -> &[TensorInfo] {
        &self.running
    }

    /// Length of the parameter buffer, gaps included; a multiple of 16.
    pub fn parameter_len(&self) -> usize {
        self.parameter_len
    }

    /// Length of the running buffer, gaps included; a multiple of 16.
    pub fn running_len(&self) -> usize {
        self.running_len
    }

    /// Length of a training leaf's vector: gradients in the parameters' layout, batch means and variances in the running
    /// buffer's layout, mean loss.
    pub fn reduction_len(&self) -> usize {
        self.parameter_len + self.running_len + 1
    }

    /// Number of trained values, gaps left out.
    pub fn trainable_parameters(&self) -> usize {
        self.parameters.iter().map(|tensor| tensor.len).sum()
    }

    /// Where a training leaf's vector is cut in two: the first parameter after the last convolution, 0 without one. What
    /// lies above is complete while the convolutions still go backward, and with dense layers holds most of the bytes.
    pub fn reduction_cut(&self) -> usize {
        self.reduction_cut
    }

    /// The layers, in order.
    pub fn stages(&self) -> &[Stage] {
        &self.stages
    }

    /// Index of the first stage with parameters: the ones before it need no backward pass. The number of stages if none
    /// has any.
    pub fn first_trainable(&self) -> usize {
        self.first_trainable
    }

    pub(crate) fn momenta(&self) -> &[RunningMomentum] {
        &self.momenta
    }

    /// Whether the buffers have this model's lengths.
    pub fn fits(&self, weights: &Weights) -> bool {
        weights.parameters.len() == self.parameter_len && weights.running.len() == self.running_len
    }
}

#[cfg(test)]
mod tests;
