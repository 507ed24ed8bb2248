//! Dense layers: forward, backward to the data and backward to the weights.
//!
//! Features lie image by image, padded by zeros to whole vectors: `[images][padded(features)]`, which is also an
//! activation of height and width 1. Weights are PyTorch's: `[outputs][inputs]`, read where they lie, never packed.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::{LANES, padded};

mod backward;
mod forward;

use backward::{Data, Weights};
use forward::Forward;

/// Features of a block whose transposed copy is made at once: with 16 images, half of a second-level cache at most.
const BLOCK: usize = 1024;

/// A dense layer of one shape.
///
/// `images` may be any number from 1; the bits do not depend on how images are cut into groups. The lengths of slices
/// are in `f32` values; a longer slice is allowed, a shorter one panics.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Dense {
    inputs: usize,
    outputs: usize,
}

impl Dense {
    /// # Panics
    /// A number of features is zero.
    pub fn new(inputs: usize, outputs: usize) -> Self {
        assert!(inputs > 0 && outputs > 0, "a dense layer needs features, found {inputs} and {outputs}");
        Self { inputs, outputs }
    }

    /// Features of an input, padded: the distance from one image to the next.
    pub fn input_stride(&self) -> usize {
        padded(self.inputs)
    }

    /// Features of an output, padded: the distance from one image to the next.
    pub fn output_stride(&self) -> usize {
        padded(self.outputs)
    }

    /// Values of the scratch that every method takes, whatever the number of images.
    pub fn scratch_len(&self) -> usize {
        (BLOCK.min(padded(self.inputs)) + self.output_stride()) * LANES
    }

    /// `output[n][o] = bias[o] + sum over i of input[n][i] * weights[o][i]`: a chain of fused multiply-adds that starts
    /// at the bias and goes through the inputs in sequence; then ReLU if `relu`.
    #[allow(clippy::too_many_arguments, reason = "the operands of a layer")]
    pub fn forward(
        &self,
        isa: Isa,
        images: usize,
        input: &[f32],
        weights: &[f32],
        bias: &[f32],
        relu: bool,
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (transposed, sums) =
            scratch[..self.scratch_len()].split_at_mut(BLOCK.min(padded(self.inputs)) * LANES);
        isa.run(Forward {
            dense: *self,
            images,
            input: &input[..images * self.input_stride()],
            weights: &weights[..self.outputs * self.inputs],
            bias: &bias[..self.outputs],
            relu,
            output: &mut output[..images * self.output_stride()],
            transposed,
            sums,
        });
    }

    /// `input_gradient[n][i] = sum over o of gradient[n][o] * weights[o][i]`: a chain of fused multiply-adds from +0
    /// through the outputs in sequence. Padding becomes zero.
    #[allow(clippy::too_many_arguments, reason = "the operands of a layer")]
    pub fn backward_data(
        &self,
        isa: Isa,
        images: usize,
        gradient: &[f32],
        weights: &[f32],
        input_gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        isa.run(Data {
            dense: *self,
            images,
            gradient: &gradient[..images * self.output_stride()],
            weights: &weights[..self.outputs * self.inputs],
            input_gradient: &mut input_gradient[..images * self.input_stride()],
            scratch: &mut scratch[..self.scratch_len()],
        });
    }

    /// `weights_gradient[o][i] = sum over n of gradient[n][o] * input[n][i]`: a chain of fused multiply-adds from +0
    /// through the images in sequence. `bias_gradient[o] = sum over n of gradient[n][o]`: additions from +0 through the
    /// images in sequence. Both are overwritten, unpadded.
    #[allow(clippy::too_many_arguments, reason = "the operands of a layer")]
    pub fn backward_weights(
        &self,
        isa: Isa,
        images: usize,
        input: &[f32],
        gradient: &[f32],
        weights_gradient: &mut [f32],
        bias_gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        isa.run(Weights {
            dense: *self,
            images,
            input: &input[..images * self.input_stride()],
            gradient: &gradient[..images * self.output_stride()],
            weights_gradient: &mut weights_gradient[..self.outputs * self.inputs],
            bias_gradient: &mut bias_gradient[..self.outputs],
            scratch: &mut scratch[..self.scratch_len()],
        });
    }
}

/// ReLU backward, in place: `gradient = activation > 0 ? gradient : 0`, where `activation` is ReLU's output (or input).
///
/// Both of the same length, a multiple of [`LANES`].
pub fn relu_backward(isa: Isa, activation: &[f32], gradient: &mut [f32]) {
    assert_eq!(activation.len(), gradient.len(), "a gradient is as long as its activation");
    assert!(gradient.len().is_multiple_of(LANES), "activations are padded");
    isa.run(ReluBackward { activation, gradient });
}

struct ReluBackward<'a> {
    activation: &'a [f32],
    gradient: &'a mut [f32],
}

impl Kernel for ReluBackward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        for (activation, gradient) in
            self.activation.chunks_exact(S::LEN).zip(self.gradient.chunks_exact_mut(S::LEN))
        {
            // SAFETY: the slices are one vector long.
            unsafe {
                let value = S::where_positive(S::load(activation.as_ptr()), S::load(gradient.as_ptr()));
                S::store(gradient.as_mut_ptr(), value);
            }
        }
    }
}
