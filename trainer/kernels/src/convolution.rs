//! Convolutions of stride 1 whose output is as large as their input ("same"): forward, backward to the data and backward
//! to the weights.
//!
//! A convolution reads its input, and the gradient of its output, from scratch images with a border of zeros
//! ([`Bordered`]), which the caller fills with whatever is computed on the fly (normalisation, gradients of activations).

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::{LANES, padded};

mod direct;
mod winograd;

use winograd::Tiles;

/// What a convolution computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Rows of the images.
    pub height: usize,
    /// Columns of the images.
    pub width: usize,
    /// Channels it reads.
    pub input_channels: usize,
    /// Channels it writes.
    pub output_channels: usize,
    /// Rows and columns of the kernel: odd.
    pub kernel: usize,
}

/// Where an image lies in a scratch with a border of zeros: `rows` x `columns` x `channel_stride` values, the first pixel
/// at (`top`, `left`). The images of a group follow each other, [`Bordered::len`] values apart.
///
/// The caller fills pixels and channels; everything else, padding lanes too, must be zero and is never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Bordered {
    /// Rows with the border.
    pub rows: usize,
    /// Columns with the border.
    pub columns: usize,
    /// Values from one pixel to the next: the channels themselves where they are few (less than 8, as in an image), else
    /// the padded ones.
    pub channel_stride: usize,
    /// The image's first row.
    pub top: usize,
    /// The image's first column.
    pub left: usize,
}

impl Bordered {
    /// Values of one image.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.rows * self.columns * self.channel_stride
    }

    /// Where the pixel at (`row`, `column`) of the image begins.
    pub fn pixel(&self, row: usize, column: usize) -> usize {
        ((self.top + row) * self.columns + self.left + column) * self.channel_stride
    }
}

/// A convolution of one shape: how it is computed and how large its buffers are.
///
/// `images` may be any number from 1; the bits do not depend on how images are cut into groups. The lengths of slices are
/// in `f32` values; a longer slice is allowed, a shorter one panics.
///
/// Directly, each element of the output is one chain of fused multiply-adds from +0 over (kernel row, kernel column, input
/// channel), then `+ bias`, then ReLU; each element of the kernel's gradient is one chain over an image's pixels row by
/// row, the images' sums then added in sequence. 3x3 kernels with at least 8 channels on both sides, and images of at least
/// 8 pixels a 4x4 tile, go by Winograd's F(4x4, 3x3): at each of 36 points one chain over the input channels (for the
/// kernel's gradient over the tiles, image by image and row by row), between the transforms, whose operations their
/// functions state. Backward to the data is forward with the kernel turned by half a circle and its channels exchanged,
/// without bias.
///
/// Winograd errs by 2 to 3.5 times as much as the direct chain. Measured with 64 channels by `convolution_error`, relative
/// to the result's root mean square: 6.4e-7 forward, 8.2e-7 to the data and 7.1e-7 to the weights in the root mean square
/// (directly 2.9e-7, 4.2e-7 and 2.1e-7); 7e-6 at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Convolution {
    shape: Shape,
    algorithm: Algorithm,
}

/// How a convolution is computed: a function of its shape alone, for the bits depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Algorithm {
    Direct,
    Winograd,
}

impl Convolution {
    /// # Panics
    /// The kernel's extent is even, or an extent is zero.
    pub fn new(shape: Shape) -> Self {
        let Shape { height, width, input_channels, output_channels, kernel } = shape;
        assert!(kernel % 2 == 1, "a kernel's extent must be odd, found {kernel}");
        assert!(
            height > 0 && width > 0 && input_channels > 0 && output_channels > 0,
            "a convolution's extents must be positive: {shape:?}"
        );
        let algorithm = if winograd::pays(shape) { Algorithm::Winograd } else { Algorithm::Direct };
        Self { shape, algorithm }
    }

    /// What it computes.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Images worth doing at once: as many as the second-level cache holds.
    pub fn group(&self) -> usize {
        1024_usize.div_ceil(self.shape.height * self.shape.width).min(64)
    }

    /// Where the input lies.
    pub fn input(&self) -> Bordered {
        self.bordered(self.shape.input_channels, true)
    }

    /// Where the gradient of the output lies.
    pub fn gradient(&self) -> Bordered {
        self.bordered(self.shape.output_channels, false)
    }

    fn bordered(&self, channels: usize, may_be_few: bool) -> Bordered {
        let Shape { height, width, kernel, .. } = self.shape;
        if self.algorithm == Algorithm::Winograd {
            return self.tiles().bordered(channels);
        }
        let border = kernel / 2;
        Bordered {
            rows: height + 2 * border,
            columns: width + 2 * border,
            channel_stride: if may_be_few && channels < 8 { channels } else { padded(channels) },
            top: border,
            left: border,
        }
    }

    fn tiles(&self) -> Tiles {
        Tiles::new(self.shape.height, self.shape.width)
    }

    /// Values of the kernel: `[output_channels][input_channels][kernel][kernel]`.
    pub fn kernel_len(&self) -> usize {
        self.shape.output_channels * self.shape.input_channels * self.taps()
    }

    /// Values of the kernel packed for [`Convolution::forward`].
    pub fn forward_weights_len(&self) -> usize {
        self.packed_len(self.shape.input_channels, self.shape.output_channels)
    }

    /// Values of the kernel packed for [`Convolution::backward_data`].
    pub fn backward_weights_len(&self) -> usize {
        self.packed_len(self.shape.output_channels, self.shape.input_channels)
    }

    /// Values of the sums of [`Convolution::accumulate_weights`].
    pub fn accumulators_len(&self) -> usize {
        self.forward_weights_len()
    }

    /// Values of scratch that any of the passes wants for `images` images; what it holds before and after is of no meaning.
    pub fn scratch_len(&self, images: usize) -> usize {
        let Shape { input_channels, output_channels, .. } = self.shape;
        match self.algorithm {
            Algorithm::Direct => self.accumulators_len(),
            Algorithm::Winograd => {
                winograd::scratch_len(self.tiles(), images, input_channels, output_channels)
            }
        }
    }

    fn taps(&self) -> usize {
        self.shape.kernel * self.shape.kernel
    }

    fn pixels(&self) -> usize {
        self.shape.height * self.shape.width
    }

    fn packed_len(&self, inputs: usize, outputs: usize) -> usize {
        match self.algorithm {
            Algorithm::Direct => padded(outputs) * inputs * self.taps(),
            Algorithm::Winograd => winograd::kernel_len(inputs, outputs),
        }
    }

    /// Packs `kernel` (`[output_channels][input_channels][kernel][kernel]`) for [`Convolution::forward`], once a step.
    pub fn pack_forward(&self, isa: Isa, kernel: &[f32], packed: &mut [f32]) {
        let Shape { input_channels, output_channels, .. } = self.shape;
        let taps = self.taps();
        let kernel = &kernel[..self.kernel_len()];
        self.pack(isa, input_channels, output_channels, packed, |output, input, tap| {
            kernel[(output * input_channels + input) * taps + tap]
        });
    }

    /// Packs `kernel` (`[output_channels][input_channels][kernel][kernel]`) for [`Convolution::backward_data`], once a
    /// step.
    pub fn pack_backward(&self, isa: Isa, kernel: &[f32], packed: &mut [f32]) {
        let Shape { input_channels, output_channels, .. } = self.shape;
        let taps = self.taps();
        let kernel = &kernel[..self.kernel_len()];
        self.pack(isa, output_channels, input_channels, packed, |input, output, tap| {
            kernel[(output * input_channels + input) * taps + taps - 1 - tap]
        });
    }

    /// Packs the kernel `weight(output, input, tap)` of a convolution from `inputs` to `outputs` channels.
    fn pack(
        &self,
        isa: Isa,
        inputs: usize,
        outputs: usize,
        packed: &mut [f32],
        weight: impl Fn(usize, usize, usize) -> f32,
    ) {
        let packed = &mut packed[..self.packed_len(inputs, outputs)];
        match self.algorithm {
            Algorithm::Direct => direct::pack(self.taps(), inputs, outputs, packed, weight),
            Algorithm::Winograd => isa.run(winograd::Pack { inputs, outputs, weight, packed }),
        }
    }

    /// Writes the output of `images` images.
    ///
    /// `input`: `images` times [`Convolution::input`]; `packed`: of [`Convolution::pack_forward`]; `bias`: padded output
    /// channels, the padding zero; `output`: `[images][height][width][padded output_channels]`, padding lanes become zero.
    #[allow(clippy::too_many_arguments, reason = "the operands of a kernel")]
    pub fn forward(
        &self,
        isa: Isa,
        images: usize,
        input: &[f32],
        packed: &[f32],
        bias: &[f32],
        relu: bool,
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Shape { input_channels: inputs, output_channels: outputs, .. } = self.shape;
        let bias = Some(&bias[..padded(outputs)]);
        let layer = Layer { inputs, outputs, layout: self.input(), packed, bias, relu };
        self.apply(isa, images, layer, input, output, scratch);
    }

    /// Writes the gradient of the input of `images` images.
    ///
    /// `gradient`: `images` times [`Convolution::gradient`]; `packed`: of [`Convolution::pack_backward`];
    /// `input_gradient`: `[images][height][width][padded input_channels]`, padding lanes become zero.
    pub fn backward_data(
        &self,
        isa: Isa,
        images: usize,
        gradient: &[f32],
        packed: &[f32],
        input_gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Shape { input_channels: outputs, output_channels: inputs, .. } = self.shape;
        let layer = Layer { inputs, outputs, layout: self.gradient(), packed, bias: None, relu: false };
        self.apply(isa, images, layer, gradient, input_gradient, scratch);
    }

    fn apply(
        &self,
        isa: Isa,
        images: usize,
        layer: Layer<'_>,
        input: &[f32],
        output: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Shape { height, width, kernel, .. } = self.shape;
        let Layer { inputs, outputs, layout, packed, bias, relu } = layer;
        let input = &input[..images * layout.len()];
        let packed = &packed[..self.packed_len(inputs, outputs)];
        let output = &mut output[..images * self.pixels() * padded(outputs)];
        match self.algorithm {
            Algorithm::Direct => isa.run(direct::Forward {
                height,
                width,
                kernel,
                channels: inputs,
                blocks: padded(outputs) / LANES,
                source: layout,
                images,
                input,
                packed,
                bias,
                relu,
                output,
            }),
            Algorithm::Winograd => isa.run(winograd::Forward {
                tiles: self.tiles(),
                inputs,
                outputs,
                images,
                input,
                packed,
                bias,
                relu,
                output,
                scratch: &mut scratch[..self.scratch_len(images)],
            }),
        }
        clear_padding(outputs, output);
    }

    /// Adds `images` images' part of the kernel's gradient to `accumulators`, which the call with `first` sets: the
    /// images of a micro-batch in order, in one or more calls.
    ///
    /// `input` and `gradient`: `images` times [`Convolution::input`] and [`Convolution::gradient`].
    #[allow(clippy::too_many_arguments, reason = "the operands of a kernel")]
    pub fn accumulate_weights(
        &self,
        isa: Isa,
        images: usize,
        input: &[f32],
        gradient: &[f32],
        first: bool,
        accumulators: &mut [f32],
        scratch: &mut [f32],
    ) {
        let Shape { height, width, input_channels, output_channels, kernel } = self.shape;
        let input = &input[..images * self.input().len()];
        let gradient = &gradient[..images * self.gradient().len()];
        let accumulators = &mut accumulators[..self.accumulators_len()];
        let scratch = &mut scratch[..self.scratch_len(images)];
        match self.algorithm {
            Algorithm::Direct => isa.run(direct::Weights {
                height,
                width,
                kernel,
                channels: input_channels,
                blocks: padded(output_channels) / LANES,
                input_layout: self.input(),
                gradient_layout: self.gradient(),
                images,
                input,
                gradient,
                first,
                accumulators,
                partial: scratch,
            }),
            Algorithm::Winograd => isa.run(winograd::Weights {
                tiles: self.tiles(),
                inputs: input_channels,
                outputs: output_channels,
                images,
                input,
                gradient,
                first,
                accumulators,
                scratch,
            }),
        }
    }

    /// Writes the kernel's gradient, `[output_channels][input_channels][kernel][kernel]`, from the sums over all images.
    pub fn finish_weights(
        &self,
        isa: Isa,
        accumulators: &[f32],
        kernel_gradient: &mut [f32],
        scratch: &mut [f32],
    ) {
        let _ = scratch;
        let Shape { input_channels: inputs, output_channels: outputs, .. } = self.shape;
        let accumulators = &accumulators[..self.accumulators_len()];
        let kernel_gradient = &mut kernel_gradient[..self.kernel_len()];
        match self.algorithm {
            Algorithm::Direct => {
                direct::finish_weights(self.taps(), inputs, outputs, accumulators, kernel_gradient)
            }
            Algorithm::Winograd => {
                isa.run(winograd::Finish { inputs, outputs, accumulators, kernel_gradient });
            }
        }
    }
}

/// A convolution forward, or backward to the data: the same from `inputs` to `outputs` channels.
struct Layer<'a> {
    inputs: usize,
    outputs: usize,
    layout: Bordered,
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
}

/// Padding lanes hold zero times the input, which is not zero where that is not finite.
fn clear_padding(channels: usize, output: &mut [f32]) {
    if !channels.is_multiple_of(LANES) {
        for pixel in output.chunks_exact_mut(padded(channels)) {
            pixel[channels..].fill(0.0);
        }
    }
}

/// Billions of operations a second that this core does at most with these instructions: fused multiply-adds, each two,
/// on registers alone. For benchmarks.
pub fn multiply_add_rate(isa: Isa) -> f64 {
    isa.run(Peak)
}

/// See [`multiply_add_rate`].
struct Peak;

impl Kernel for Peak {
    type Output = f64;

    #[inline(always)]
    unsafe fn run<S: Simd>(self) -> f64 {
        const CHAINS: usize = 12;
        const LENGTH: usize = 100_000;
        let mut best: f64 = 0.0;
        for _ in 0..50 {
            let start = std::time::Instant::now();
            // SAFETY: registers alone.
            unsafe {
                let factor = S::splat(std::hint::black_box(0.5));
                let mut sums = [S::zero(); CHAINS];
                for _ in 0..LENGTH {
                    for sum in &mut sums {
                        *sum = S::fma(*sum, factor, factor);
                    }
                }
                let mut total = [0.0; LANES];
                for sum in sums {
                    S::store(total.as_mut_ptr(), sum);
                    std::hint::black_box(total[0]);
                }
            }
            let operations = (2 * CHAINS * S::LEN * LENGTH) as f64;
            best = best.max(operations / start.elapsed().as_secs_f64() / 1e9);
        }
        best
    }
}
