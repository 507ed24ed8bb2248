//! The numeric fingerprint: whether two executors compute the same bits.
//!
//! libtorch chooses kernels by the CPU's instruction set and caches. Rather than assume when that matters, an executor
//! runs fixed inputs through the job's own model at the job's own shapes and hashes what comes out.

use lockstep_rng::{Domain, Stream};
use sha2::{Digest, Sha256};
use snafu::{ResultExt, Snafu};

use crate::flat::digest_values;
use crate::micro_batch::{self, Images, Workspace};
use crate::model::Model;
use crate::operators::RandomKey;
use crate::optimizer::{self, Optimizer, apply};
use crate::state::State;

/// Why there is no fingerprint.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum Error {
    /// A micro-batch of fixed images.
    #[snafu(display("failed to compute the fingerprint of a micro-batch of {images} images"))]
    MicroBatch {
        /// Its size.
        images: usize,
        /// Why.
        source: micro_batch::Error,
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
            Self::MicroBatch { source, .. } => source.is_retryable(),
            Self::Update { source } => source.is_retryable(),
        }
    }
}

/// SHA-256 over a training leaf of `micro_batch` images, the state after an Adam step with it, and the logits and losses
/// of evaluations of each of `evaluation_batches` images (the full size, and that of a short last one).
///
/// Takes a few times as long as those micro-batches. To be called on a thread with [`crate::pin_single_threaded`].
///
/// # Errors
/// When a size is 0, libtorch fails, or the model diverges on random pixels.
pub fn fingerprint(
    model: &Model,
    micro_batch: usize,
    evaluation_batches: &[usize],
) -> Result<[u8; 32], Error> {
    let mut digest = Sha256::new();
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let mut state = State::new(model, &optimizer, model.initial_weights(SEED));
    let mut vector = Vec::new();
    let (pixels, labels) = fixed_images(model, micro_batch, 0);
    let images = Images { pixels: &pixels, labels: &labels };
    let key = RandomKey { seed: SEED, step: 0, position: 0 };
    let mut workspace = Workspace::default();
    let correct = micro_batch::train(model, &state.weights, images, key, 0.1, &mut workspace, &mut vector)
        .context(MicroBatchSnafu { images: micro_batch })?;
    digest_values(&mut digest, &vector);
    digest.update(correct.to_le_bytes());
    apply(model, &optimizer, 1e-3, &mut state, &vector, 1).context(UpdateSnafu)?;
    digest.update(state.hash());
    for (index, &count) in evaluation_batches.iter().enumerate() {
        let (pixels, labels) = fixed_images(model, count, 1 + index as u64);
        let images = Images { pixels: &pixels, labels: &labels };
        let logits =
            micro_batch::logits(model, &state.weights, &pixels).context(MicroBatchSnafu { images: count })?;
        let (loss, correct) = micro_batch::evaluate(model, &state.weights, images, 0.1)
            .context(MicroBatchSnafu { images: count })?;
        digest_values(&mut digest, &logits);
        digest_values(&mut digest, &[loss]);
        digest.update(correct.to_le_bytes());
    }
    Ok(digest.finalize().into())
}

const SEED: u64 = 0x4c6f_636b_7374_6570;

fn fixed_images(model: &Model, count: usize, batch: u64) -> (Vec<u8>, Vec<u32>) {
    let mut stream = Stream::new(SEED, Domain::Validation, batch, 0);
    let pixels = (0..count * model.input().values()).map(|_| (stream.next_u32() >> 24) as u8).collect();
    let labels = (0..count).map(|_| stream.below(model.classes() as u64) as u32).collect();
    (pixels, labels)
}
