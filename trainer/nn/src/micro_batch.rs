//! One micro-batch through the model: forward, loss, backward. What an engine thread does, on one intra-op thread.

use snafu::{ResultExt, Snafu, ensure};
use tch::{Device, Kind, TchError, Tensor};

use crate::ffi::{self, Inference};
use crate::flat::FlatBuffer;
use crate::loss::softmax_cross_entropy;
use crate::model::{Model, Weights};
use crate::operators::{Pass, RandomKey, Wanted};

/// Why a micro-batch could not be computed.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum Error {
    /// The pixels are no whole number of images, or not as many as the labels.
    #[snafu(display(
        "failed to take a micro-batch of {labels} labels: {expected} bytes of pixels expected, {found} found"
    ))]
    PixelCount {
        /// Labels, and so images.
        labels: usize,
        /// Bytes that many images have.
        expected: usize,
        /// Bytes given.
        found: usize,
    },
    /// Nothing to compute the mean of.
    #[snafu(display("failed to take a micro-batch: it has no images"))]
    NoImages,
    /// A label that is no class.
    #[snafu(display(
        "failed to take image {image} of the micro-batch: its label {label} is not below {classes}"
    ))]
    LabelRange {
        /// Position in the micro-batch.
        image: usize,
        /// The label.
        label: u32,
        /// Classes of the model.
        classes: usize,
    },
    /// Weights of another model.
    #[snafu(display("failed to use the weights: their buffers have not the model's lengths"))]
    WrongWeights,
    /// libtorch refused, for example memory.
    #[snafu(display("failed to compute {pass} of {stage}"))]
    LibTorch {
        /// Layer, or input.
        stage: String,
        /// `forward`, `backward`, …
        pass: &'static str,
        /// What libtorch said.
        source: TchError,
    },
}

impl Error {
    /// Whether trying again may help: libtorch's own failures may be for want of memory.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::LibTorch { .. } => true,
            Self::PixelCount { .. } | Self::NoImages | Self::LabelRange { .. } | Self::WrongWeights => false,
        }
    }
}

/// The images of a micro-batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Images<'a> {
    /// One image after the other; rows, columns, channels.
    pub(crate) pixels: &'a [u8],
    /// One for each image.
    pub(crate) labels: &'a [u32],
}

/// A thread's buffers, kept from one micro-batch to the next.
#[derive(Debug, Default)]
pub(crate) struct Workspace {
    /// Where the operators write: aligned, so that the bits cannot depend on an allocator's choice.
    gradients: Option<FlatBuffer>,
    masks: Vec<Vec<u16>>,
}

/// Computes a training leaf: `vector` becomes `[gradients | batch means and variances | mean loss]` (its old contents are
/// dropped, its memory is used); returns the number of correct images.
pub(crate) fn train(
    model: &Model,
    weights: &Weights,
    images: Images<'_>,
    key: RandomKey,
    label_smoothing: f64,
    workspace: &mut Workspace,
    vector: &mut Vec<f32>,
) -> Result<u64, Error> {
    check(model, weights, images)?;
    let Images { pixels, labels } = images;
    let _inference = Inference::enter().context(LibTorchSnafu { stage: "inference mode", pass: "start" })?;
    let gradients = workspace.gradients.get_or_insert_with(|| FlatBuffer::zeros(model.reduction_len()));
    let (parameters, rest) = gradients.split_at_mut(model.parameter_len());
    let (statistics, mean_loss) = rest.split_at_mut(model.running_len());
    let mut pass = Pass { gradients: parameters, statistics, key, masks: &mut workspace.masks };

    let mut activation = load(model, pixels, labels.len())?;
    let mut backwards = Vec::with_capacity(model.stages().len());
    for stage in model.stages() {
        let result = stage.operator.forward(weights, &mut pass, activation);
        let backward;
        (activation, backward) = result.context(LibTorchSnafu { stage: &*stage.name, pass: "forward" })?;
        backwards.push(backward);
    }

    let mut gradient = vec![0.0; labels.len() * model.classes()];
    let loss = ffi::read(&activation, |logits| {
        softmax_cross_entropy(logits, labels, label_smoothing, Some(&mut gradient))
    })
    .context(LibTorchSnafu { stage: "the loss", pass: "forward" })?;
    mean_loss[0] = (loss.sum / labels.len() as f64) as f32;

    let logits = [labels.len() as i64, model.classes() as i64];
    drop(activation);
    let mut flowing = Tensor::f_from_slice(&gradient)
        .and_then(|gradient| gradient.f_view(logits))
        .map(Some)
        .context(LibTorchSnafu { stage: "the loss", pass: "backward" })?;
    let stages = model.stages().iter().enumerate().skip(model.first_trainable());
    for ((index, stage), backward) in stages.rev().zip(backwards.into_iter().rev()) {
        let Some(gradient) = flowing.take() else { break };
        let wanted =
            if index > model.first_trainable() { Wanted::InputGradient } else { Wanted::ParametersOnly };
        flowing = backward(&mut pass, gradient, wanted)
            .context(LibTorchSnafu { stage: &*stage.name, pass: "backward" })?;
    }
    vector.clear();
    vector.extend_from_slice(gradients);
    Ok(loss.correct)
}

/// Computes an evaluation leaf: the sum of the images' losses and the number of correct images.
pub(crate) fn evaluate(
    model: &Model,
    weights: &Weights,
    images: Images<'_>,
    label_smoothing: f64,
) -> Result<(f32, u64), Error> {
    check(model, weights, images)?;
    let Images { pixels, labels } = images;
    let logits = forward(model, weights, pixels, labels.len())?;
    let loss = ffi::read(&logits, |logits| softmax_cross_entropy(logits, labels, label_smoothing, None))
        .context(LibTorchSnafu { stage: "the loss", pass: "forward" })?;
    Ok((loss.sum as f32, loss.correct))
}

/// The logits of any number of images in evaluation, `[images, classes]`.
pub(crate) fn logits(model: &Model, weights: &Weights, pixels: &[u8]) -> Result<Vec<f32>, Error> {
    let images = pixels.len() / model.input().values();
    check(model, weights, Images { pixels, labels: &vec![0; images] })?;
    let logits = forward(model, weights, pixels, images)?;
    ffi::read(&logits, <[f32]>::to_vec).context(LibTorchSnafu { stage: "the logits", pass: "reading" })
}

fn forward(model: &Model, weights: &Weights, pixels: &[u8], count: usize) -> Result<Tensor, Error> {
    let _inference = Inference::enter().context(LibTorchSnafu { stage: "inference mode", pass: "start" })?;
    let mut activation = load(model, pixels, count)?;
    for stage in model.stages() {
        let result = stage.operator.evaluate(weights, activation);
        activation = result.context(LibTorchSnafu { stage: &*stage.name, pass: "evaluation" })?;
    }
    Ok(activation)
}

fn check(model: &Model, weights: &Weights, images: Images<'_>) -> Result<(), Error> {
    let Images { pixels, labels } = images;
    let expected = labels.len().saturating_mul(model.input().values());
    let (labels_len, found) = (labels.len(), pixels.len());
    ensure!(found == expected, PixelCountSnafu { labels: labels_len, expected, found });
    ensure!(labels_len > 0, NoImagesSnafu);
    let classes = model.classes();
    for (image, &label) in labels.iter().enumerate() {
        ensure!((label as usize) < classes, LabelRangeSnafu { image, label, classes });
    }
    ensure!(model.fits(weights), WrongWeightsSnafu);
    Ok(())
}

/// The pixels scaled to [0, 1], as a channels-last tensor `[images, channels, height, width]`.
fn load(model: &Model, pixels: &[u8], count: usize) -> Result<Tensor, Error> {
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
    build().context(LibTorchSnafu { stage: "the images", pass: "loading" })
}
