//! What computes a model: a [`Backend`] gives every engine thread a [`Worker`], which takes one micro-batch at a time.
//!
//! A model is data; how its layers are computed, fused and laid out in memory is the backend's affair. What every backend
//! promises: a leaf is a pure function of (weights, seed, step, position, images), never of the thread, the number of
//! threads, or what was computed before.

use std::fmt::Debug;
use std::sync::Arc;

use snafu::{Snafu, ensure};

use crate::fingerprint;
use crate::model::{Model, Weights};

/// Why a micro-batch could not be computed.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub))]
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
    /// The backend's own failure, for example want of memory.
    #[snafu(display("failed to compute {pass} of {stage}"))]
    Stage {
        /// Layer, or input.
        stage: String,
        /// `forward`, `backward`, …
        pass: &'static str,
        /// What the backend's library said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The backend cannot compute this model on this machine.
    #[snafu(display("failed to start the {backend} kernels: {reason}"))]
    Unusable {
        /// Name of the backend.
        backend: &'static str,
        /// What is wrong, with the remedy.
        reason: String,
    },
}

impl Error {
    /// Whether trying again may help: a library's own failures may be for want of memory.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Stage { .. } => true,
            Self::PixelCount { .. }
            | Self::NoImages
            | Self::LabelRange { .. }
            | Self::WrongWeights
            | Self::Unusable { .. } => false,
        }
    }
}

/// One implementation of all layers.
pub trait Backend: Debug + Send + Sync {
    /// As in the specification's `numerics.kernels`.
    fn name(&self) -> &'static str;

    /// Raised whenever a bit of any result changes; part of every job's result hash.
    fn numerics_version(&self) -> &'static str;

    /// A worker for the calling thread: it is used on the thread that asked for it.
    ///
    /// # Errors
    /// [`Error::Unusable`], or the backend's library fails.
    fn worker(&self, model: &Arc<Model>) -> Result<Box<dyn Worker>, Error>;

    /// The numeric fingerprint: equal for two executors only if they compute the same bits for `model`, for a training
    /// `micro_batch` and evaluation batches of `evaluations` images.
    ///
    /// # Errors
    /// When a size is 0, the backend fails, or it does not compute what it must.
    fn fingerprint(
        &self,
        model: &Arc<Model>,
        micro_batch: usize,
        evaluations: &[usize],
    ) -> Result<[u8; 32], fingerprint::Error>;
}

/// Computes micro-batches of one model, one at a time, with buffers of its own.
///
/// A worker may keep what it made of some weights (packed kernels) for as long as it is given the same ones again. It must
/// hold them by a `Weak`: the optimizer writes over weights that nobody else holds, and then moves them to a new
/// allocation, so that `Weak::ptr_eq` tells changed weights from unchanged ones.
pub trait Worker: Send {
    /// Computes a training leaf: `[gradients | batch means and variances | mean loss]`, [`Model::reduction_len`] values.
    ///
    /// Delivered as two parts cut at [`Model::reduction_cut`] (one if that is 0): first `[cut..]`, as soon as it is
    /// complete and while the convolutions still go backward, then `[..cut]`. Gaps between tensors are zeros.
    ///
    /// # Errors
    /// See [`Images::check`]; or the backend's library fails.
    fn train(
        &mut self,
        weights: &Arc<Weights>,
        images: Images<'_>,
        key: RandomKey,
        label_smoothing: f64,
        parts: &mut dyn Parts,
    ) -> Result<(), Error>;

    /// Computes an evaluation leaf: the sum of the images' losses and the number of correct images.
    ///
    /// # Errors
    /// As [`Worker::train`].
    fn evaluate(
        &mut self,
        weights: &Arc<Weights>,
        images: Images<'_>,
        label_smoothing: f64,
    ) -> Result<(f32, u64), Error>;

    /// The logits of any number of images in evaluation, `[images, classes]`.
    ///
    /// # Errors
    /// As [`Worker::train`].
    fn logits(&mut self, weights: &Arc<Weights>, pixels: &[u8]) -> Result<Vec<f32>, Error>;
}

/// Where a worker leaves the parts of a training leaf.
pub trait Parts {
    /// Memory for a part: `len` values, which may be those of an earlier leaf.
    fn vector(&mut self, len: usize) -> Vec<f32>;

    /// Takes a complete part.
    fn deliver(&mut self, part: Part);
}

/// A stretch of a leaf's vector. The last one of a leaf, and only that one, starts at 0.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Index of the first value in the leaf's vector.
    pub start: usize,
    /// The values.
    pub vector: Vec<f32>,
    /// Correct images, images; in a leaf's first part. Empty in another.
    pub counts: Vec<u64>,
}

impl Part {
    /// Whether no other part of the leaf follows.
    pub fn is_last(&self) -> bool {
        self.start == 0
    }
}

/// The images of a micro-batch.
#[derive(Clone, Copy, Debug)]
pub struct Images<'a> {
    /// One image after the other; rows, columns, channels.
    pub pixels: &'a [u8],
    /// One for each image.
    pub labels: &'a [u32],
}

impl Images<'_> {
    /// Whether `model` with `weights` can compute them.
    ///
    /// # Errors
    /// No images, pixels that are not as many images as labels, a label that is no class, or another model's weights.
    pub fn check(self, model: &Model, weights: &Weights) -> Result<(), Error> {
        let Self { pixels, labels } = self;
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
}

/// What a micro-batch's randomness is a function of, besides the layer.
#[derive(Clone, Copy, Debug)]
pub struct RandomKey {
    /// The job's.
    pub seed: u64,
    /// Updates done before this one.
    pub step: u64,
    /// Position of the micro-batch in the global batch.
    pub position: u32,
}
