//! Training through the crate's public face: the same bits whatever the threads, right gradients, PyTorch's numbers.
#![allow(clippy::unwrap_used, missing_docs)]

mod bits;
mod failures;
mod gradients;
mod loss;
mod native;
mod parity;
mod parts;
mod statistics;
mod support;
