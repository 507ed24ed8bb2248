//! From images to vectors of features and back: NHWC activations to PyTorch's order (channel, row, column), so that a
//! dense layer's weights are PyTorch's. No arithmetic, so the bits are those of the input.

use crate::isa::{Isa, Kernel};
use crate::padded;
use crate::simd::Simd;
use crate::transpose::transpose;

/// Flattens images of `pixels` (rows times columns) and `channels`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Flatten {
    /// Rows times columns.
    pub pixels: usize,
    /// Channels, unpadded.
    pub channels: usize,
}

impl Flatten {
    /// Values of one image in NHWC, padding included.
    pub fn image_len(&self) -> usize {
        self.pixels * padded(self.channels)
    }

    /// Features of one image, padding included: see [`crate::dense`].
    pub fn features_stride(&self) -> usize {
        padded(self.pixels * self.channels)
    }

    /// `output[n][c * pixels + p] = input[n][p][c]`; padding becomes zero.
    pub fn forward(&self, isa: Isa, images: usize, input: &[f32], output: &mut [f32]) {
        let input = &input[..images * self.image_len()];
        let output = &mut output[..images * self.features_stride()];
        isa.run(Run { flatten: *self, back: false, input, output });
    }

    /// `input_gradient[n][p][c] = gradient[n][c * pixels + p]`; padding becomes zero.
    pub fn backward(&self, isa: Isa, images: usize, gradient: &[f32], input_gradient: &mut [f32]) {
        let input = &gradient[..images * self.features_stride()];
        let output = &mut input_gradient[..images * self.image_len()];
        isa.run(Run { flatten: *self, back: true, input, output });
    }
}

struct Run<'a> {
    flatten: Flatten,
    back: bool,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Run<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { flatten, back, input, output } = self;
        let Flatten { pixels, channels } = flatten;
        let (image, features) = (flatten.image_len(), flatten.features_stride());
        let stride = padded(channels);
        if back {
            for (input, output) in input.chunks_exact(features).zip(output.chunks_exact_mut(image)) {
                // SAFETY: `S` is the CPU's.
                unsafe { transpose::<S>(channels, pixels, input, pixels, output, stride) };
                if stride > channels {
                    output.chunks_exact_mut(stride).for_each(|pixel| pixel[channels..].fill(0.0));
                }
            }
        } else {
            for (input, output) in input.chunks_exact(image).zip(output.chunks_exact_mut(features)) {
                // SAFETY: `S` is the CPU's.
                unsafe { transpose::<S>(pixels, channels, input, stride, output, pixels) };
                output[pixels * channels..].fill(0.0);
            }
        }
    }
}
