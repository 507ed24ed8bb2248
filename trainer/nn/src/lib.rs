//! The neural network: models, the engine, optimizers, schedules; and the traits of what computes the layers.
//!
//! The flow of one training step, and the files in its order:
//! `layer` (what a model is made of) → [`Model`] (checked shapes, where every tensor lies in the flat buffers) →
//! [`Engine`] (threads, each with a [`Worker`] of a [`Backend`], computing one micro-batch at a time) → a leaf's
//! [`Part`]s, which the collective sums over all micro-batches → [`optimizer::apply`] → the next [`State`].
//!
//! A micro-batch's leaf is a pure function of (weights, seed, step, position, images): not of the thread, the number of
//! threads, or what was computed before. Whether bits differ between CPUs depends on the backend; its
//! [`fingerprint`](Backend::fingerprint) tells.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod backend;
pub mod dropout;
pub mod engine;
pub mod fingerprint;
pub mod flat;
pub mod layer;
pub mod loss;
pub mod model;
pub mod native;
pub mod optimizer;
pub mod schedule;
pub mod state;

pub use backend::{Backend, Images, Part, Parts, RandomKey, Worker};
pub use engine::{Engine, EngineOptions, Task, TaskKind};
pub use flat::FlatBuffer;
pub use layer::{Layer, Shape, res_net_9, two_block};
pub use model::{Extent, Model, Operation, Slot, Stage, TensorInfo, Weights};
pub use optimizer::{Optimizer, StepSummary, apply};
pub use schedule::{Schedule, Stretch};
pub use state::{State, weights_sha256};
