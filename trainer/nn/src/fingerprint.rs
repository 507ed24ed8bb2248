//! The numeric fingerprint: whether two executors compute the same bits.
//!
//! A library may choose kernels by the CPU's instruction set and caches. Rather than assume when that matters, an executor
//! runs fixed inputs through the job's own model at the job's own shapes and hashes what comes out.

use std::sync::Arc;

use lockstep_rng::{Domain, Stream};
use sha2::{Digest, Sha256};
use snafu::{ResultExt, Snafu};

use crate::backend::{self, Images, Part, Parts, RandomKey, Worker};
use crate::flat::digest_values;
use crate::model::Model;
use crate::optimizer::{self, Optimizer, apply};
use crate::state::State;

/// Why there is no fingerprint.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub))]
#[non_exhaustive]
pub enum Error {
    /// A micro-batch of fixed images.
    #[snafu(display("failed to compute the fingerprint of a micro-batch of {images} images"))]
    MicroBatch {
        /// Its size.
        images: usize,
        /// Why.
        source: backend::Error,
    },
    /// No worker.
    #[snafu(display("failed to compute the fingerprint"))]
    Worker {
        /// Why.
        source: backend::Error,
    },
    /// The update.
    #[snafu(display("failed to compute the fingerprint of the update"))]
    Update {
        /// Why.
        source: optimizer::Error,
    },
}

impl Error {
    /// Whether trying again may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Worker { source } | Self::MicroBatch { source, .. } => source.is_retryable(),
            Self::Update { source } => source.is_retryable(),
        }
    }
}

/// SHA-256 over a training leaf of `micro_batch` images, the state after an Adam step with it, and the logits and losses
/// of evaluations of each of `evaluation_batches` images (the full size, and that of a short last one).
///
/// Takes a few times as long as those micro-batches.
///
/// # Errors
/// When a size is 0, the backend fails, or the model diverges on random pixels.
pub fn measure(
    worker: &mut dyn Worker,
    model: &Model,
    micro_batch: usize,
    evaluation_batches: &[usize],
) -> Result<[u8; 32], Error> {
    let mut digest = Sha256::new();
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let mut state = State::new(model, &optimizer, model.initial_weights(SEED));
    let (pixels, labels) = fixed_images(model, micro_batch, 0);
    let images = Images { pixels: &pixels, labels: &labels };
    let key = RandomKey { seed: SEED, step: 0, position: 0 };
    let mut whole = Whole::default();
    worker
        .train(&state.weights, images, key, 0.1, &mut whole)
        .context(MicroBatchSnafu { images: micro_batch })?;
    digest_values(&mut digest, &whole.vector);
    whole.counts.iter().take(1).for_each(|correct| digest.update(correct.to_le_bytes()));
    apply(model, &optimizer, 1e-3, &mut state, &whole.vector, 1).context(UpdateSnafu)?;
    digest.update(state.hash());
    for (index, &count) in evaluation_batches.iter().enumerate() {
        let (pixels, labels) = fixed_images(model, count, 1 + index as u64);
        let images = Images { pixels: &pixels, labels: &labels };
        let weights = Arc::clone(&state.weights);
        let logits = worker.logits(&weights, &pixels).context(MicroBatchSnafu { images: count })?;
        let (loss, correct) =
            worker.evaluate(&weights, images, 0.1).context(MicroBatchSnafu { images: count })?;
        digest_values(&mut digest, &logits);
        digest_values(&mut digest, &[loss]);
        digest.update(correct.to_le_bytes());
    }
    Ok(digest.finalize().into())
}

/// A leaf put together from its parts.
#[derive(Default)]
struct Whole {
    vector: Vec<f32>,
    counts: Vec<u64>,
}

impl Parts for Whole {
    fn vector(&mut self, len: usize) -> Vec<f32> {
        vec![0.0; len]
    }

    fn deliver(&mut self, mut part: Part) {
        self.counts.append(&mut part.counts);
        part.vector.append(&mut self.vector);
        self.vector = part.vector;
    }
}

const SEED: u64 = 0x4c6f_636b_7374_6570;

fn fixed_images(model: &Model, count: usize, batch: u64) -> (Vec<u8>, Vec<u32>) {
    let mut stream = Stream::new(SEED, Domain::Validation, batch, 0);
    let pixels = (0..count * model.input().values()).map(|_| (stream.next_u32() >> 24) as u8).collect();
    let labels = (0..count).map(|_| stream.below(model.classes() as u64) as u32).collect();
    (pixels, labels)
}
