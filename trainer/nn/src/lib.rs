//! The neural network: layers, the micro-batch engine, optimizers, schedules. libtorch lives in this crate only.
//!
//! The flow of one training step, and the files in its order:
//! `layer` (what a model is made of) → [`Model`] (checked shapes, where every tensor lies in the flat buffers) →
//! [`Engine`] (threads, each computing one micro-batch at a time by [`micro_batch`] over the `operators`) → a
//! [`LeafSum`], which the collective sums over all micro-batches → [`optimizer::apply`] → the next [`State`].
//!
//! A micro-batch's leaf is a pure function of (weights, seed, step, position, images): not of the thread, the number of
//! threads, or what was computed before. Bits may differ between CPUs with different instruction sets; [`fingerprint`]
//! tells whether they do.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod engine;
mod ffi;
pub mod fingerprint;
pub mod flat;
pub mod layer;
mod loss;
pub mod micro_batch;
pub mod model;
mod operators;
pub mod optimizer;
pub mod schedule;
pub mod state;

pub use engine::{Engine, EngineOptions, LeafSum, Task, TaskKind};
pub use fingerprint::fingerprint;
pub use flat::FlatBuffer;
pub use layer::{Layer, Shape, two_block};
pub use model::{Model, TensorInfo, Weights};
pub use optimizer::{Optimizer, StepSummary, apply};
pub use schedule::{Schedule, Stretch};
pub use state::{State, weights_sha256};

/// Holds libtorch, OpenMP and MKL to one thread for operations called from this thread and from threads started later.
///
/// To be called first in `main`. The engine's workers do it for themselves again, because OpenMP and MKL keep the number
/// per thread; with it neither depends on `OMP_NUM_THREADS` or `MKL_NUM_THREADS`.
pub fn pin_single_threaded() {
    tch::set_num_threads(1);
}
