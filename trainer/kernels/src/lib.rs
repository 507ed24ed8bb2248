//! Kernels of our own: layers forward and backward, with the same bits on every CPU.
//!
//! Every output element is one fixed sequence of IEEE-754 single-precision operations (fused multiply-adds, additions,
//! divisions, square roots), which the doc comment of its function states. Vectors only compute several elements side by
//! side, so the width of an instruction set ([`Isa`]) never enters a bit. The payload and sign of a NaN are the one
//! exception: processors choose them; that a value is NaN is the same everywhere.
//!
//! Layouts: activations are NHWC with the channels padded by zeros to a multiple of [`LANES`], so that no kernel has a
//! remainder in channels. Parameters and their gradients are in PyTorch's layouts, unpadded.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod activation;
pub mod convolution;
pub mod dense;
pub mod dropout;
pub mod flatten;
pub(crate) mod gemm;
pub mod isa;
pub mod normalisation;
pub mod optimizer;
pub mod pixels;
pub mod pool;
pub mod residual;
pub(crate) mod simd;
pub mod softmax_cross_entropy;
pub(crate) mod transpose;

pub use isa::Isa;

/// Channels of activations are padded to a multiple of this: the widest vector in use, whatever the CPU has.
pub const LANES: usize = 16;

/// `channels` rounded up to whole vectors.
pub const fn padded(channels: usize) -> usize {
    channels.next_multiple_of(LANES)
}
