//! Layers at work: each an explicit forward and backward on tensors, with sizes and places in the flat buffers known.
//!
//! Built by [`Model`](crate::Model), run in order (and backwards) by `micro_batch`. An operator decides alone how it
//! computes; these use libtorch's functions, one by one, without autograd. Image activations are channels-last (NHWC
//! in memory) throughout.

mod batch_norm;
mod convolution;
mod dense;
mod dropout;
mod flatten;
mod max_pool;
mod relu;

use std::fmt::Debug;
use std::ops::Range;

use tch::{TchError, Tensor};

pub(crate) use batch_norm::BatchNorm;
pub(crate) use convolution::Convolution;
pub(crate) use dense::Dense;
pub(crate) use dropout::Dropout;
pub(crate) use flatten::Flatten;
pub(crate) use max_pool::MaxPool;
pub(crate) use relu::Relu;

use crate::model::Weights;

type Result<T> = std::result::Result<T, TchError>;

/// One layer of a model.
pub(crate) trait Operator: Debug + Send + Sync {
    /// The output in evaluation. May overwrite `input`, which nobody else keeps.
    fn evaluate(&self, weights: &Weights, input: Tensor) -> Result<Tensor>;

    /// The output in training, and what computes the gradients once the output's is known.
    ///
    /// Writes batch statistics into `pass`.
    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        pass: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)>;
}

/// The backward half of one forward call, with what it saved: takes the gradient of the output, which it may overwrite,
/// writes the gradients of the layer's parameters into the pass, and gives the gradient of the input if wanted.
pub(crate) type Backward<'a> = Box<dyn FnOnce(&mut Pass<'_>, Tensor, Wanted) -> Result<Option<Tensor>> + 'a>;

/// Whether a layer before this one needs the gradient of its output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    InputGradient,
    ParametersOnly,
}

/// Where the operators of one training micro-batch leave their results, and what they draw randomness from.
pub(crate) struct Pass<'a> {
    /// In the layout of the parameters; every operator overwrites its own ranges.
    pub(crate) gradients: &'a mut [f32],
    /// In the layout of the running statistics: this micro-batch's means and variances.
    pub(crate) statistics: &'a mut [f32],
    pub(crate) key: RandomKey,
    /// Buffers of random bits that no layer holds at the moment.
    pub(crate) masks: &'a mut Vec<Vec<u16>>,
}

/// What a micro-batch's randomness is a function of, besides the layer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RandomKey {
    pub(crate) seed: u64,
    pub(crate) step: u64,
    pub(crate) position: u32,
}

/// Where one tensor of a layer lies in a flat buffer.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) range: Range<usize>,
    /// PyTorch's layout.
    pub(crate) dims: Vec<i64>,
}
