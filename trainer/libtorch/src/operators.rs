//! Layers at work: each an explicit forward and backward on tensors, with sizes and places in the flat buffers known.
//!
//! Built from a [`Model`](lockstep_nn::Model)'s stages by `build`, run in order (and backwards) by `micro_batch`. An operator decides alone how it
//! computes; these use libtorch's functions, one by one, without autograd. Image activations are channels-last (NHWC
//! in memory) throughout.

mod average_pool;
mod batch_norm;
mod build;
mod convolution;
mod dense;
mod dropout;
mod flatten;
mod max_pool;
mod relu;
mod residual;

use std::fmt::Debug;
use std::ops::Range;

use lockstep_nn::{FlatBuffer, Part, Parts, RandomKey, Weights};
use tch::{TchError, Tensor};

pub(crate) use build::{Layer, build};

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
    /// The leaf: gradients, this micro-batch's means and variances, loss. Every operator overwrites its own ranges.
    pub(crate) leaf: &'a mut FlatBuffer,
    /// Where the statistics begin in the leaf.
    pub(crate) parameter_len: usize,
    /// What to deliver once the first convolution goes backward, if it has not been.
    pub(crate) upper: Option<Upper>,
    pub(crate) parts: &'a mut dyn Parts,
    pub(crate) key: RandomKey,
    /// Buffers of random bits that no layer holds at the moment.
    pub(crate) masks: &'a mut Vec<Vec<u16>>,
}

/// The part of a leaf that is complete before the convolutions go backward.
pub(crate) struct Upper {
    /// Where it begins.
    pub(crate) cut: usize,
    pub(crate) counts: Vec<u64>,
}

impl Pass<'_> {
    /// The place of a parameter's gradient.
    pub(crate) fn gradient(&mut self, range: &Range<usize>) -> &mut [f32] {
        &mut self.leaf[range.clone()]
    }

    /// The place of a batch statistic.
    pub(crate) fn statistic(&mut self, range: &Range<usize>) -> &mut [f32] {
        &mut self.leaf[self.parameter_len..][range.clone()]
    }

    /// To be called before a convolution goes backward: everything after the model's last one is complete by then.
    pub(crate) fn before_convolution(&mut self) {
        if let Some(Upper { cut, counts }) = self.upper.take() {
            self.deliver(cut..self.leaf.len(), counts);
        }
    }

    /// Hands a copy of that part of the leaf on.
    pub(crate) fn deliver(&mut self, range: Range<usize>, counts: Vec<u64>) {
        let mut vector = self.parts.vector(range.len());
        vector.copy_from_slice(&self.leaf[range.clone()]);
        self.parts.deliver(Part { start: range.start, vector, counts });
    }
}
