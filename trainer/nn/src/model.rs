//! A model: its layers checked and made operators, and where every tensor lies in the flat buffers.
//!
//! The parameter buffer (and with it gradients and moments) holds the tensors in layer order, in PyTorch's layouts; the
//! running buffer the running means and variances of batch norm. Every tensor starts on a 64-byte boundary; the gaps
//! hold zeros and belong to no hash. Names are those of the same layers in PyTorch's `nn.Sequential`.

mod initialise;

use snafu::{Snafu, ensure};

use crate::flat::{FlatBuffer, aligned};
use crate::layer::{Layer, Shape};
use crate::operators::{BatchNorm, Convolution, Dense, Dropout, Flatten, MaxPool, Operator, Relu, Slot};

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
        /// Position in the list.
        layer: usize,
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
        /// Position in the list.
        layer: usize,
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
    /// Sizes that no machine holds.
    #[snafu(display("failed to build layer {layer} ({kind}): it has more than 2^31 values"))]
    TooLarge {
        /// Position in the list.
        layer: usize,
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

/// One layer of a model at work.
#[derive(Debug)]
pub(crate) struct Stage {
    /// For messages: `layer 3 (Conv2D)`.
    pub(crate) name: String,
    pub(crate) operator: Box<dyn Operator>,
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
    /// The first stage with parameters: the ones before it need no backward pass.
    first_trainable: usize,
    parameters: Vec<TensorInfo>,
    initialisers: Vec<Initialiser>,
    running: Vec<TensorInfo>,
    running_initialisers: Vec<Initialiser>,
    momenta: Vec<RunningMomentum>,
    parameter_len: usize,
    running_len: usize,
}

/// What flows between two layers.
#[derive(Clone, Copy, Debug)]
enum Extent {
    Image(Shape),
    Features(usize),
}

impl Extent {
    fn values(self) -> usize {
        match self {
            Self::Image(shape) => shape.values(),
            Self::Features(features) => features,
        }
    }

    /// What batch norm keeps statistics of.
    fn channels(self) -> usize {
        match self {
            Self::Image(shape) => shape.channels,
            Self::Features(features) => features,
        }
    }
}

impl std::fmt::Display for Extent {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Image(shape) => write!(formatter, "images of {shape}"),
            Self::Features(features) => write!(formatter, "{features} features"),
        }
    }
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
            first_trainable: layers.len(),
            parameters: Vec::new(),
            initialisers: Vec::new(),
            running: Vec::new(),
            running_initialisers: Vec::new(),
            momenta: Vec::new(),
            parameter_len: 0,
            running_len: 0,
        };
        let mut extent = Extent::Image(input);
        // Whether the activation is also kept by the layer that made it (only a ReLU keeps its output).
        let mut output_kept = false;
        for (index, layer) in layers.iter().enumerate() {
            let place = Place { index, kind: layer.kind() };
            ensure!(extent.values() <= MOST_VALUES, TooLargeSnafu { layer: index, kind: layer.kind() });
            let operator = model.operator(place, layer, &mut extent, output_kept)?;
            output_kept = match layer {
                Layer::ReLU => true,
                Layer::Flatten => output_kept,
                Layer::Conv2D { .. }
                | Layer::BatchNorm { .. }
                | Layer::MaxPool2D { .. }
                | Layer::Dropout { .. }
                | Layer::Dense { .. } => false,
            };
            model.stages.push(Stage { name: format!("layer {index} ({})", layer.kind()), operator });
        }
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

    pub(crate) fn stages(&self) -> &[Stage] {
        &self.stages
    }

    pub(crate) fn first_trainable(&self) -> usize {
        self.first_trainable
    }

    pub(crate) fn momenta(&self) -> &[RunningMomentum] {
        &self.momenta
    }

    /// Whether the buffers have this model's lengths.
    pub(crate) fn fits(&self, weights: &Weights) -> bool {
        weights.parameters.len() == self.parameter_len && weights.running.len() == self.running_len
    }

    /// Makes one layer work on `extent`, which becomes its output's.
    fn operator(
        &mut self,
        place: Place,
        layer: &Layer,
        extent: &mut Extent,
        output_kept: bool,
    ) -> Result<Box<dyn Operator>, Error> {
        Ok(match *layer {
            Layer::Conv2D { filters, kernel_size } => {
                let shape = place.image(*extent)?;
                place.check(filters > 0, "filters", filters, "positive")?;
                place.check(kernel_size % 2 == 1, "kernelSize", kernel_size, "odd")?;
                *extent = Extent::Image(Shape { channels: filters, ..shape });
                let area = kernel_size.saturating_mul(kernel_size);
                let glorot = Initialiser::GlorotUniform {
                    layer: place.index as u64,
                    fan_in: area.saturating_mul(shape.channels),
                    fan_out: area.saturating_mul(filters),
                };
                let dims = vec![filters, shape.channels, kernel_size, kernel_size];
                Box::new(Convolution {
                    kernel: self.parameter(place, "weight", dims, glorot)?,
                    bias: self.parameter(place, "bias", vec![filters], Initialiser::Zeros)?,
                    padding: (kernel_size / 2) as i64,
                })
            }
            Layer::ReLU => Box::new(Relu),
            Layer::BatchNorm { momentum, epsilon } => {
                place.check((0.0..=1.0).contains(&momentum), "momentum", momentum, "from 0 to 1")?;
                place.check(
                    epsilon > 0.0 && epsilon.is_finite(),
                    "epsilon",
                    epsilon,
                    "positive and finite",
                )?;
                let dims = || vec![extent.channels()];
                let scale = self.parameter(place, "weight", dims(), Initialiser::Ones)?;
                let offset = self.parameter(place, "bias", dims(), Initialiser::Zeros)?;
                let mean = self.running(place, "running_mean", dims(), Initialiser::Zeros)?;
                let variance = self.running(place, "running_var", dims(), Initialiser::Ones)?;
                self.momenta
                    .push(RunningMomentum { ranges: [mean.range.clone(), variance.range.clone()], momentum });
                Box::new(BatchNorm { scale, offset, mean, variance, epsilon })
            }
            Layer::MaxPool2D { size } => {
                let shape = place.image(*extent)?;
                let most = shape.height.min(shape.width);
                place.check((1..=most).contains(&size), "size", size, &format!("from 1 to {most}"))?;
                *extent =
                    Extent::Image(Shape { height: shape.height / size, width: shape.width / size, ..shape });
                Box::new(MaxPool { size: size as i64 })
            }
            Layer::Dropout { rate } => {
                place.check((0.0..1.0).contains(&rate), "rate", rate, "at least 0 and below 1")?;
                Box::new(Dropout::new(rate, place.index as u32, !output_kept))
            }
            Layer::Flatten => {
                *extent = Extent::Features(place.image(*extent)?.values());
                Box::new(Flatten)
            }
            Layer::Dense { units } => {
                let Extent::Features(features) = *extent else {
                    return place.wrong_input("features (put a Flatten layer before it)", *extent);
                };
                place.check(units > 0, "units", units, "positive")?;
                *extent = Extent::Features(units);
                let glorot = Initialiser::GlorotUniform {
                    layer: place.index as u64,
                    fan_in: features,
                    fan_out: units,
                };
                Box::new(Dense {
                    matrix: self.parameter(place, "weight", vec![units, features], glorot)?,
                    bias: self.parameter(place, "bias", vec![units], Initialiser::Zeros)?,
                })
            }
        })
    }

    fn parameter(
        &mut self,
        place: Place,
        name: &str,
        dims: Vec<usize>,
        initialiser: Initialiser,
    ) -> Result<Slot, Error> {
        self.first_trainable = self.first_trainable.min(place.index);
        self.initialisers.push(initialiser);
        lay_out(&mut self.parameters, &mut self.parameter_len, place, name, dims)
    }

    fn running(
        &mut self,
        place: Place,
        name: &str,
        dims: Vec<usize>,
        initialiser: Initialiser,
    ) -> Result<Slot, Error> {
        self.running_initialisers.push(initialiser);
        lay_out(&mut self.running, &mut self.running_len, place, name, dims)
    }
}

fn lay_out(
    tensors: &mut Vec<TensorInfo>,
    buffer_len: &mut usize,
    place: Place,
    name: &str,
    dims: Vec<usize>,
) -> Result<Slot, Error> {
    let Place { index: layer, kind } = place;
    let values = dims.iter().try_fold(1_usize, |values, &dim| values.checked_mul(dim));
    let Some(len) = values.filter(|&len| len <= MOST_VALUES) else {
        return TooLargeSnafu { layer, kind }.fail();
    };
    let offset = *buffer_len;
    *buffer_len += aligned(len);
    let slot = Slot { range: offset..offset + len, dims: dims.iter().map(|&dim| dim as i64).collect() };
    tensors.push(TensorInfo { name: format!("{layer}.{name}"), dims, offset, len });
    Ok(slot)
}

/// Which layer is being built; for names and messages.
#[derive(Clone, Copy)]
struct Place {
    index: usize,
    kind: &'static str,
}

impl Place {
    fn check(self, holds: bool, field: &'static str, value: impl ToString, range: &str) -> Result<(), Error> {
        let Self { index: layer, kind } = self;
        ensure!(holds, OutOfRangeSnafu { layer, kind, field, value: value.to_string(), range });
        Ok(())
    }

    fn image(self, extent: Extent) -> Result<Shape, Error> {
        match extent {
            Extent::Image(shape) => Ok(shape),
            Extent::Features(_) => self.wrong_input("images (put it before Flatten)", extent),
        }
    }

    fn wrong_input<T>(self, expected: &'static str, found: Extent) -> Result<T, Error> {
        let Self { index: layer, kind } = self;
        WrongInputSnafu { layer, kind, expected, found: found.to_string() }.fail()
    }
}

#[cfg(test)]
mod tests;
