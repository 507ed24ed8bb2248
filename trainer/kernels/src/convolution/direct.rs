//! Convolutions as they are defined, for every kernel and number of channels; 1x1 kernels make them matrix products.

use super::Bordered;
use crate::gemm::{self, Factors, Sums, Tile};
use crate::isa::Kernel;
use crate::simd::Simd;
use crate::{LANES, padded};

/// Pixels of the gradient that stay in the first-level cache while the sums of all input channels run over them.
const PIXELS_AT_ONCE: usize = 128;

/// Packs a kernel as `[block of LANES outputs][tap][input][LANES]`, zero for outputs past `outputs`.
pub(super) fn pack(
    taps: usize,
    inputs: usize,
    outputs: usize,
    packed: &mut [f32],
    weight: impl Fn(usize, usize, usize) -> f32,
) {
    for (row, values) in packed.chunks_exact_mut(LANES).enumerate() {
        let (block, tap, input) = (row / (taps * inputs), row / inputs % taps, row % inputs);
        for (lane, value) in values.iter_mut().enumerate() {
            let output = block * LANES + lane;
            *value = if output < outputs { weight(output, input, tap) } else { 0.0 };
        }
    }
}

/// Writes the gradient of a kernel, `[outputs][inputs][taps]`, from sums `[taps][inputs][padded outputs]`.
pub(super) fn finish_weights(
    taps: usize,
    inputs: usize,
    outputs: usize,
    sums: &[f32],
    kernel_gradient: &mut [f32],
) {
    for (row, sums) in sums.chunks_exact(padded(outputs)).enumerate() {
        let (tap, input) = (row / inputs, row % inputs);
        for (output, sum) in sums[..outputs].iter().enumerate() {
            kernel_gradient[(output * inputs + input) * taps + tap] = *sum;
        }
    }
}

/// `output = relu(convolution(input) + bias)`; slices exactly as long as the sizes say.
pub(super) struct Forward<'a> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) kernel: usize,
    /// Channels of the input.
    pub(super) channels: usize,
    /// Blocks of channels of the output.
    pub(super) blocks: usize,
    pub(super) source: Bordered,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) packed: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    pub(super) output: &'a mut [f32],
}

/// One image of [`Forward`]: a line is a row of pixels.
struct Rows<'a> {
    input: *const f32,
    output: *mut f32,
    packed: &'a [f32],
    bias: Option<&'a [f32]>,
    relu: bool,
    width: usize,
    kernel: usize,
    blocks: usize,
    /// From row to row and pixel to pixel of the input.
    row_stride: usize,
    pixel_stride: usize,
    /// A row of the kernel is `segments` runs of `length` weights that lie as the inputs do, `pixel_stride` apart.
    segments: usize,
    length: usize,
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        assert_eq!(self.input.len(), self.images * self.source.len());
        assert_eq!(self.packed.len(), self.blocks * LANES * self.kernel * self.kernel * self.channels);
        assert_eq!(self.output.len(), self.images * self.height * self.width * self.blocks * LANES);
        assert!(self.bias.is_none_or(|bias| bias.len() == self.blocks * LANES));
        assert!(self.source.rows >= self.height + self.kernel - 1);
        assert!(
            self.source.columns >= self.width + self.kernel - 1
                && self.source.channel_stride >= self.channels
        );
        if self.kernel == 1 {
            // No border: all pixels are one row.
            self.width *= self.height * self.images;
            (self.height, self.images) = (1, 1);
        }
        let (segments, length) = runs(self.kernel, self.channels, self.source.channel_stride);
        for image in 0..self.images {
            // SAFETY: the lengths asserted hold all images.
            unsafe {
                let rows = Rows {
                    input: self.input.as_ptr().add(image * self.source.len()),
                    output: self
                        .output
                        .as_mut_ptr()
                        .add(image * self.height * self.width * self.blocks * LANES),
                    packed: self.packed,
                    bias: self.bias,
                    relu: self.relu,
                    width: self.width,
                    kernel: self.kernel,
                    blocks: self.blocks,
                    row_stride: self.source.columns * self.source.channel_stride,
                    pixel_stride: self.source.channel_stride,
                    segments,
                    length,
                };
                gemm::sweep::<S, _>(self.height, self.width, self.blocks, &rows);
            }
        }
    }
}

/// How a row of the kernel's inputs lies in memory: so many runs of so many values, a pixel apart.
fn runs(kernel: usize, channels: usize, channel_stride: usize) -> (usize, usize) {
    if channels == channel_stride { (1, kernel * channels) } else { (kernel, channels) }
}

impl Tile for Rows<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        line: usize,
        row: usize,
        block: usize,
    ) {
        // SAFETY: pixels `row..row + ROWS` of row `line`, whose inputs begin at the same place in the bordered image.
        unsafe {
            let mut sums = [[S::zero(); VECTORS]; ROWS];
            let panel = self.kernel * self.segments * self.length * LANES;
            let mut weights = self.packed.as_ptr().add(block * panel);
            for kernel_row in 0..self.kernel {
                let first = (line + kernel_row) * self.row_stride + row * self.pixel_stride;
                for segment in 0..self.segments {
                    let factors = Factors {
                        a: self.input.add(first + segment * self.pixel_stride),
                        a_row: self.pixel_stride,
                        a_step: 1,
                        b: weights,
                        b_block: panel,
                        b_step: LANES,
                    };
                    gemm::chain::<S, ROWS, VECTORS>(&mut sums, self.length, factors);
                    weights = weights.add(self.length * LANES);
                }
            }
            finish::<S, ROWS, VECTORS>(
                &mut sums,
                self.bias.map(|bias| bias.as_ptr().add(block * LANES)),
                self.relu,
            );
            let channels = self.blocks * LANES;
            let to = self.output.add((line * self.width + row) * channels + block * LANES);
            gemm::store::<S, ROWS, VECTORS>(to, channels, LANES, &sums);
        }
    }
}

/// `sums = relu(sums + bias)`.
///
/// # Safety
/// The CPU has `S`'s instructions; `bias` is readable for the tile's channels.
#[inline(always)]
unsafe fn finish<S: Simd, const ROWS: usize, const VECTORS: usize>(
    sums: &mut Sums<S, ROWS, VECTORS>,
    bias: Option<*const f32>,
    relu: bool,
) {
    // SAFETY: the caller's.
    unsafe {
        if let Some(bias) = bias {
            for vector in 0..VECTORS {
                let bias = S::load(bias.add(vector * S::LEN));
                for sums in sums.iter_mut() {
                    sums[vector] = S::add(sums[vector], bias);
                }
            }
        }
        if relu {
            for sum in sums.iter_mut().flatten() {
                *sum = S::relu(*sum);
            }
        }
    }
}

/// Adds images' gradients of the kernel to `accumulators`, `[kernel][kernel][channels][blocks * LANES]`; slices exactly as
/// long as the sizes say.
pub(super) struct Weights<'a> {
    pub(super) height: usize,
    pub(super) width: usize,
    pub(super) kernel: usize,
    /// Channels of the input.
    pub(super) channels: usize,
    /// Blocks of channels of the gradient.
    pub(super) blocks: usize,
    pub(super) input_layout: Bordered,
    pub(super) gradient_layout: Bordered,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) gradient: &'a [f32],
    /// The accumulators hold nothing yet.
    pub(super) first: bool,
    pub(super) accumulators: &'a mut [f32],
    /// Scratch for one image's sums.
    pub(super) partial: &'a mut [f32],
}

/// Some rows of pixels of one image of [`Weights`]: a line is one run of a kernel's row.
struct Pixels {
    input: *const f32,
    input_row: usize,
    input_pixel: usize,
    gradient: *const f32,
    gradient_row: usize,
    gradient_pixel: usize,
    width: usize,
    /// Rows of pixels to sum over.
    rows: usize,
    /// The sums so far count.
    resume: bool,
    partial: *mut f32,
    blocks: usize,
    segments: usize,
    length: usize,
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let (input, gradient) = (self.input_layout, self.gradient_layout);
        assert_eq!(self.input.len(), self.images * input.len());
        assert_eq!(self.gradient.len(), self.images * gradient.len());
        assert_eq!(self.accumulators.len(), self.kernel * self.kernel * self.channels * self.blocks * LANES);
        assert_eq!(self.partial.len(), self.accumulators.len());
        assert!(input.rows >= self.height + self.kernel - 1 && input.columns >= self.width + self.kernel - 1);
        assert!(
            gradient.rows >= self.height + gradient.top && gradient.columns >= self.width + gradient.left
        );
        assert!(input.channel_stride >= self.channels && gradient.channel_stride == self.blocks * LANES);
        if self.kernel == 1 {
            // No border: an image's pixels are one row.
            self.width *= self.height;
            self.height = 1;
        }
        let (segments, length) = runs(self.kernel, self.channels, input.channel_stride);
        let rows_at_once = (PIXELS_AT_ONCE / self.width).max(1);
        for image in 0..self.images {
            for row in (0..self.height).step_by(rows_at_once) {
                // SAFETY: the lengths asserted hold all images.
                unsafe {
                    let input_row = input.columns * input.channel_stride;
                    let gradient_row = gradient.columns * gradient.channel_stride;
                    let pixels = Pixels {
                        input: self.input.as_ptr().add(image * input.len() + row * input_row),
                        input_row,
                        input_pixel: input.channel_stride,
                        gradient: self.gradient.as_ptr().add(image * gradient.len() + gradient.pixel(row, 0)),
                        gradient_row,
                        gradient_pixel: gradient.channel_stride,
                        width: self.width,
                        rows: rows_at_once.min(self.height - row),
                        resume: row > 0,
                        partial: self.partial.as_mut_ptr(),
                        blocks: self.blocks,
                        segments,
                        length,
                    };
                    gemm::sweep::<S, _>(self.kernel * segments, length, self.blocks, &pixels);
                }
            }
            if self.first && image == 0 {
                self.accumulators.copy_from_slice(self.partial);
            } else {
                for (sum, part) in self.accumulators.iter_mut().zip(&*self.partial) {
                    *sum += *part;
                }
            }
        }
    }
}

impl Tile for Pixels {
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        line: usize,
        row: usize,
        block: usize,
    ) {
        // SAFETY: inputs `row..row + ROWS` of the run `line` and the gradients at the same pixels.
        unsafe {
            let channels = self.blocks * LANES;
            let to = self.partial.add((line * self.length + row) * channels + block * LANES);
            let mut sums = if self.resume {
                gemm::load::<S, ROWS, VECTORS>(to, channels, LANES)
            } else {
                [[S::zero(); VECTORS]; ROWS]
            };
            let (kernel_row, segment) = (line / self.segments, line % self.segments);
            for pixel_row in 0..self.rows {
                let first = (pixel_row + kernel_row) * self.input_row + segment * self.input_pixel;
                let factors = Factors {
                    a: self.input.add(first + row),
                    a_row: 1,
                    a_step: self.input_pixel,
                    b: self.gradient.add(pixel_row * self.gradient_row + block * LANES),
                    b_block: LANES,
                    b_step: self.gradient_pixel,
                };
                gemm::chain::<S, ROWS, VECTORS>(&mut sums, self.width, factors);
            }
            gemm::store::<S, ROWS, VECTORS>(to, channels, LANES, &sums);
        }
    }
}
