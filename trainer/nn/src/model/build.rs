//! Makes one layer of a specification an operator: checks its numbers and what it takes, and lays out its tensors.

use snafu::ensure;

use super::{
    Error, Initialiser, MOST_VALUES, Model, OutOfRangeSnafu, RunningMomentum, TensorInfo, TooLargeSnafu,
    WrongInputSnafu,
};
use crate::flat::aligned;
use crate::layer::{Layer, Shape};
use crate::operators::{BatchNorm, Convolution, Dense, Dropout, Flatten, MaxPool, Operator, Relu, Slot};

/// What flows between two layers.
#[derive(Clone, Copy, Debug)]
pub(super) enum Extent {
    Image(Shape),
    Features(usize),
}

impl Extent {
    pub(super) fn values(self) -> usize {
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

/// Which layer is being built; for names and messages.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) index: usize,
    pub(super) kind: &'static str,
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

impl Model {
    /// Makes one layer work on `extent`, which becomes its output's.
    pub(super) fn operator(
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
