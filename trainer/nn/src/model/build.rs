//! Makes the layers of a specification stages: checks their numbers and what they take, and lays out their tensors.

use snafu::ensure;

use super::{
    Error, Extent, Initialiser, MOST_VALUES, Model, Operation, OutOfRangeSnafu, ResidualSnafu,
    RunningMomentum, Slot, Stage, TensorInfo, TooLargeSnafu, WrongInputSnafu,
};
use crate::dropout::Dropout;
use crate::flat::aligned;
use crate::layer::{Layer, Shape};

/// Which layer is being built; for names, keys and messages.
struct Place {
    /// As in PyTorch's names: `6`, or `6.0` inside a residual block.
    path: String,
    /// Counted depth first; part of the key of the layer's randomness.
    number: u32,
    kind: &'static str,
}

impl Place {
    fn check(
        &self,
        holds: bool,
        field: &'static str,
        value: impl ToString,
        range: &str,
    ) -> Result<(), Error> {
        let Self { path: layer, kind, .. } = self;
        ensure!(holds, OutOfRangeSnafu { layer, kind: *kind, field, value: value.to_string(), range });
        Ok(())
    }

    fn image(&self, extent: Extent) -> Result<Shape, Error> {
        match extent {
            Extent::Image(shape) => Ok(shape),
            Extent::Features(_) => self.wrong_input("images (put it before Flatten)", extent),
        }
    }

    fn wrong_input<T>(&self, expected: &'static str, found: Extent) -> Result<T, Error> {
        let Self { path: layer, kind, .. } = self;
        WrongInputSnafu { layer, kind: *kind, expected, found: found.to_string() }.fail()
    }

    /// Squares of `size` without overlap.
    fn pooled(&self, size: usize, extent: Extent) -> Result<Extent, Error> {
        let shape = self.image(extent)?;
        let most = shape.height.min(shape.width);
        self.check((1..=most).contains(&size), "size", size, &format!("from 1 to {most}"))?;
        Ok(Extent::Image(Shape { height: shape.height / size, width: shape.width / size, ..shape }))
    }
}

impl Model {
    /// Makes `layers`, which lie inside layer `parent` if there is one, work on `extent`, which becomes their output's.
    /// `number` counts the layers of the model.
    pub(super) fn build(
        &mut self,
        layers: &[Layer],
        parent: Option<&str>,
        number: &mut u32,
        extent: &mut Extent,
    ) -> Result<Vec<Stage>, Error> {
        let mut stages = Vec::with_capacity(layers.len());
        for (index, layer) in layers.iter().enumerate() {
            let path = parent.map_or_else(|| index.to_string(), |parent| format!("{parent}.{index}"));
            let place = Place { path, number: *number, kind: layer.kind() };
            *number += 1;
            let Place { path, kind, .. } = &place;
            ensure!(extent.values() <= MOST_VALUES, TooLargeSnafu { layer: path, kind: *kind });
            let input = *extent;
            let operation = match layer {
                Layer::Residual { layers } => {
                    self.residual(&place, layers, parent.is_some(), number, extent)?
                }
                layer => self.operation(&place, layer, extent)?,
            };
            let name = format!("layer {path} ({kind})");
            stages.push(Stage { name, input, output: *extent, operation });
        }
        Ok(stages)
    }

    fn residual(
        &mut self,
        place: &Place,
        layers: &[Layer],
        nested: bool,
        number: &mut u32,
        extent: &mut Extent,
    ) -> Result<Operation, Error> {
        let refuse = |reason: &str| ResidualSnafu { layer: &place.path, reason }.fail();
        if nested {
            return refuse("it lies inside another one, but they nest one level deep");
        }
        if layers.is_empty() {
            return refuse("it has no layers");
        }
        let input = *extent;
        let stages = self.build(layers, Some(&place.path), number, extent)?;
        if *extent != input {
            return refuse(&format!("it takes {input}, but its layers give {extent}: they must not differ"));
        }
        Ok(Operation::Residual { stages })
    }

    /// Makes one layer work on `extent`, which becomes its output's.
    fn operation(&mut self, place: &Place, layer: &Layer, extent: &mut Extent) -> Result<Operation, Error> {
        Ok(match *layer {
            Layer::Conv2D { filters, kernel_size } => {
                let shape = place.image(*extent)?;
                place.check(filters > 0, "filters", filters, "positive")?;
                place.check(kernel_size % 2 == 1, "kernelSize", kernel_size, "odd")?;
                *extent = Extent::Image(Shape { channels: filters, ..shape });
                let area = kernel_size.saturating_mul(kernel_size);
                let glorot = Initialiser::GlorotUniform {
                    layer: place.number.into(),
                    fan_in: area.saturating_mul(shape.channels),
                    fan_out: area.saturating_mul(filters),
                };
                let dims = vec![filters, shape.channels, kernel_size, kernel_size];
                let kernel = self.parameter(place, "weight", dims, glorot)?;
                let bias = self.parameter(place, "bias", vec![filters], Initialiser::Zeros)?;
                self.reduction_cut = self.parameter_len;
                Operation::Convolution { kernel_size, kernel, bias }
            }
            Layer::ReLU => Operation::Relu,
            Layer::BatchNorm { momentum, epsilon } => {
                place.check((0.0..=1.0).contains(&momentum), "momentum", momentum, "from 0 to 1")?;
                let positive = epsilon > 0.0 && epsilon.is_finite();
                place.check(positive, "epsilon", epsilon, "positive and finite")?;
                let dims = || vec![extent.channels()];
                let scale = self.parameter(place, "weight", dims(), Initialiser::Ones)?;
                let offset = self.parameter(place, "bias", dims(), Initialiser::Zeros)?;
                let mean = self.running(place, "running_mean", dims(), Initialiser::Zeros)?;
                let variance = self.running(place, "running_var", dims(), Initialiser::Ones)?;
                self.momenta
                    .push(RunningMomentum { ranges: [mean.range.clone(), variance.range.clone()], momentum });
                Operation::BatchNorm { scale, offset, mean, variance, epsilon }
            }
            Layer::MaxPool2D { size } => {
                *extent = place.pooled(size, *extent)?;
                Operation::MaxPool { size }
            }
            Layer::AveragePool2D { size } => {
                *extent = place.pooled(size, *extent)?;
                Operation::AveragePool { size }
            }
            Layer::GlobalAveragePool2D => {
                *extent = Extent::Features(place.image(*extent)?.channels);
                Operation::GlobalAveragePool
            }
            Layer::Dropout { rate } => {
                place.check((0.0..1.0).contains(&rate), "rate", rate, "at least 0 and below 1")?;
                Operation::Dropout(Dropout::new(rate, place.number))
            }
            Layer::Flatten => {
                *extent = Extent::Features(place.image(*extent)?.values());
                Operation::Flatten
            }
            Layer::Dense { units } => {
                let Extent::Features(features) = *extent else {
                    return place.wrong_input("features (put a Flatten layer before it)", *extent);
                };
                place.check(units > 0, "units", units, "positive")?;
                *extent = Extent::Features(units);
                let glorot = Initialiser::GlorotUniform {
                    layer: place.number.into(),
                    fan_in: features,
                    fan_out: units,
                };
                let matrix = self.parameter(place, "weight", vec![units, features], glorot)?;
                let bias = self.parameter(place, "bias", vec![units], Initialiser::Zeros)?;
                Operation::Dense { matrix, bias }
            }
            Layer::Residual { .. } => {
                return ResidualSnafu { layer: &place.path, reason: "it is no plain layer" }.fail();
            }
        })
    }

    fn parameter(
        &mut self,
        place: &Place,
        name: &str,
        dims: Vec<usize>,
        initialiser: Initialiser,
    ) -> Result<Slot, Error> {
        self.initialisers.push(initialiser);
        lay_out(&mut self.parameters, &mut self.parameter_len, place, name, dims)
    }

    fn running(
        &mut self,
        place: &Place,
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
    place: &Place,
    name: &str,
    dims: Vec<usize>,
) -> Result<Slot, Error> {
    let Place { path: layer, kind, .. } = place;
    let values = dims.iter().try_fold(1_usize, |values, &dim| values.checked_mul(dim));
    let Some(len) = values.filter(|&len| len <= MOST_VALUES) else {
        return TooLargeSnafu { layer, kind: *kind }.fail();
    };
    let offset = *buffer_len;
    *buffer_len += aligned(len);
    let slot = Slot { range: offset..offset + len, dims: dims.clone() };
    tensors.push(TensorInfo { name: format!("{layer}.{name}"), dims, offset, len });
    Ok(slot)
}
