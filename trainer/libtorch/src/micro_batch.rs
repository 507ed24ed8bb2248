//! One micro-batch through the model: forward, loss, backward. What an engine thread does, on one intra-op thread.

use std::sync::Arc;

use lockstep_nn::backend::{self, StageSnafu};
use lockstep_nn::loss::softmax_cross_entropy;
use lockstep_nn::{FlatBuffer, Images, Model, Parts, RandomKey, Weights};
use snafu::ResultExt;
use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::{self, Inference};
use crate::operators::{Layer, Pass, Upper, Wanted, build};

/// A thread's operators and buffers.
pub(crate) struct Worker {
    model: Arc<Model>,
    layers: Vec<Layer>,
    /// Where the operators write: aligned, so that the bits cannot depend on an allocator's choice.
    leaf: FlatBuffer,
    masks: Vec<Vec<u16>>,
}

impl Worker {
    pub(crate) fn new(model: &Arc<Model>) -> Self {
        let layers = build(model.stages());
        let leaf = FlatBuffer::zeros(model.reduction_len());
        Self { model: Arc::clone(model), layers, leaf, masks: Vec::new() }
    }
}

/// Says at which layer libtorch failed.
trait At<T> {
    fn at(self, stage: &str, pass: &'static str) -> Result<T, backend::Error>;
}

impl<T> At<T> for Result<T, TchError> {
    fn at(self, stage: &str, pass: &'static str) -> Result<T, backend::Error> {
        self.boxed().context(StageSnafu { stage, pass })
    }
}

impl lockstep_nn::Worker for Worker {
    fn train(
        &mut self,
        weights: &Arc<Weights>,
        images: Images<'_>,
        key: RandomKey,
        label_smoothing: f64,
        parts: &mut dyn Parts,
    ) -> Result<(), backend::Error> {
        let Self { model, layers, leaf, masks } = self;
        images.check(model, weights)?;
        let Images { pixels, labels } = images;
        let _inference = Inference::enter().at("inference mode", "start")?;
        let parameter_len = model.parameter_len();
        let mut pass = Pass { leaf, parameter_len, upper: None, parts, key, masks };

        let mut activation = load(model, pixels, labels.len())?;
        let mut backwards = Vec::with_capacity(layers.len());
        for Layer { name, operator } in &*layers {
            let backward;
            (activation, backward) = operator.forward(weights, &mut pass, activation).at(name, "forward")?;
            backwards.push(backward);
        }

        let mut gradient = vec![0.0; labels.len() * model.classes()];
        let loss = ffi::read(&activation, |logits| {
            softmax_cross_entropy(logits, labels, label_smoothing, Some(&mut gradient))
        })
        .at("the loss", "forward")?;
        let last = pass.leaf.len() - 1;
        pass.leaf[last] = (loss.sum / labels.len() as f64) as f32;
        let cut = model.reduction_cut();
        pass.upper = Some(Upper { cut, counts: vec![loss.correct, labels.len() as u64] });

        let logits = [labels.len() as i64, model.classes() as i64];
        drop(activation);
        let mut flowing = Tensor::f_from_slice(&gradient)
            .and_then(|gradient| gradient.f_view(logits))
            .map(Some)
            .at("the loss", "backward")?;
        let layers = layers.iter().enumerate().skip(model.first_trainable());
        for ((index, layer), backward) in layers.rev().zip(backwards.into_iter().rev()) {
            let Some(gradient) = flowing.take() else { break };
            let wanted =
                if index > model.first_trainable() { Wanted::InputGradient } else { Wanted::ParametersOnly };
            flowing = backward(&mut pass, gradient, wanted).at(&layer.name, "backward")?;
        }
        // Without a convolution, this is the whole leaf.
        pass.before_convolution();
        if cut > 0 {
            pass.deliver(0..cut, Vec::new());
        }
        Ok(())
    }

    fn evaluate(
        &mut self,
        weights: &Arc<Weights>,
        images: Images<'_>,
        label_smoothing: f64,
    ) -> Result<(f32, u64), backend::Error> {
        images.check(&self.model, weights)?;
        let Images { pixels, labels } = images;
        let logits = self.forward(weights, pixels, labels.len())?;
        let loss = ffi::read(&logits, |logits| softmax_cross_entropy(logits, labels, label_smoothing, None))
            .at("the loss", "forward")?;
        Ok((loss.sum as f32, loss.correct))
    }

    fn logits(&mut self, weights: &Arc<Weights>, pixels: &[u8]) -> Result<Vec<f32>, backend::Error> {
        let images = pixels.len() / self.model.input().values();
        Images { pixels, labels: &vec![0; images] }.check(&self.model, weights)?;
        let logits = self.forward(weights, pixels, images)?;
        ffi::read(&logits, <[f32]>::to_vec).at("the logits", "reading")
    }
}

impl Worker {
    fn forward(&self, weights: &Weights, pixels: &[u8], count: usize) -> Result<Tensor, backend::Error> {
        let _inference = Inference::enter().at("inference mode", "start")?;
        let mut activation = load(&self.model, pixels, count)?;
        for Layer { name, operator } in &self.layers {
            activation = operator.evaluate(weights, activation).at(name, "evaluation")?;
        }
        Ok(activation)
    }
}

/// The pixels scaled to [0, 1], as a channels-last tensor `[images, channels, height, width]`.
fn load(model: &Model, pixels: &[u8], count: usize) -> Result<Tensor, backend::Error> {
    let shape = model.input();
    let size = [count as i64, shape.height as i64, shape.width as i64, shape.channels as i64];
    let build = || {
        let mut images = Tensor::f_empty(size, (Kind::Float, Device::Cpu))?;
        ffi::write(&mut images, |values| {
            for (value, &pixel) in values.iter_mut().zip(pixels) {
                *value = f32::from(pixel) / 255.0;
            }
        })?;
        images.f_permute([0, 3, 1, 2])
    };
    build().at("the images", "loading")
}
