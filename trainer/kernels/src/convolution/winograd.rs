//! 3x3 convolutions by Winograd's F(4x4, 3x3): tiles of 4x4 outputs with 36 multiplications a pair of channels instead of
//! 144.
//!
//! Inputs are transformed tile by tile to 36 matrices `[tiles][channels]`, each multiplied by the matrix of the kernel at
//! its point, and the products transformed back. The gradient of the kernel takes the transposed way.

use std::ops::Range;

use super::{Bordered, Shape};
use crate::gemm::{self, Factors, Tile};
use crate::isa::Kernel;
use crate::simd::Simd;
use crate::{LANES, padded};

mod transform;

use transform::{OUTPUTS, POINTS, WEIGHTS};

/// Matrices of a transformed tile.
const MATRICES: usize = POINTS * POINTS;

/// Tiles whose matrices stay in the second-level cache, together with a kernel's.
const TILES_AT_ONCE: usize = 64;

/// Whether a convolution has enough channels for the transforms to pay, and enough pixels for at least half the
/// multiplications to be saved.
pub(super) fn pays(shape: Shape) -> bool {
    let Shape { height, width, input_channels, output_channels, kernel } = shape;
    let tiles = Tiles::new(height, width).of_image();
    kernel == WEIGHTS
        && input_channels >= 8
        && output_channels >= 8
        && 9 * height * width >= 2 * MATRICES * tiles
}

/// Values from a matrix of `rows` x `columns` to the next. The vector between them keeps a value's 36 points out of one
/// set of the first-level cache.
fn matrix(rows: usize, columns: usize) -> usize {
    rows * columns + LANES
}

/// Values of a packed kernel, or of the sums of its gradient.
pub(super) fn kernel_len(inputs: usize, outputs: usize) -> usize {
    MATRICES * matrix(inputs, padded(outputs))
}

/// Values of the transformed inputs and outputs of the tiles done at once of `images` images.
pub(super) fn scratch_len(tiles: Tiles, images: usize, inputs: usize, outputs: usize) -> usize {
    let count = tiles.lines_at_once(images) * tiles.across;
    MATRICES * (matrix(count, padded(inputs)) + matrix(count, padded(outputs)))
}

/// How images are cut into tiles, whose rows are numbered image by image.
#[derive(Clone, Copy)]
pub(super) struct Tiles {
    height: usize,
    width: usize,
    down: usize,
    across: usize,
}

impl Tiles {
    pub(super) fn new(height: usize, width: usize) -> Self {
        Self { height, width, down: height.div_ceil(OUTPUTS), across: width.div_ceil(OUTPUTS) }
    }

    /// Tiles of one image.
    pub(super) fn of_image(self) -> usize {
        self.down * self.across
    }

    /// Rows of tiles of some images to do at once: their matrices stay in the second-level cache.
    fn lines_at_once(self, images: usize) -> usize {
        (TILES_AT_ONCE / self.across).max(1).min(images * self.down)
    }

    /// The rows of tiles of `images` images, in parts to do at once.
    fn parts(self, images: usize) -> impl Iterator<Item = Range<usize>> {
        let (lines, at_once) = (images * self.down, self.lines_at_once(images));
        (0..lines).step_by(at_once).map(move |first| first..lines.min(first + at_once))
    }

    /// The scratch image that has whole tiles.
    pub(super) fn bordered(self, channels: usize) -> Bordered {
        Bordered {
            rows: self.down * OUTPUTS + 2,
            columns: self.across * OUTPUTS + 2,
            channel_stride: padded(channels),
            top: 1,
            left: 1,
        }
    }
}

/// Packs a kernel, given as `weight(output, input, tap)`, as matrices of `[block of LANES outputs][input][LANES]`.
pub(super) struct Pack<'a, F> {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) weight: F,
    pub(super) packed: &'a mut [f32],
}

impl<F: Fn(usize, usize, usize) -> f32> Kernel for Pack<'_, F> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { inputs, outputs, weight, packed } = self;
        assert_eq!(packed.len(), kernel_len(inputs, outputs));
        let step = matrix(inputs, padded(outputs));
        let mut taps = [[0.0; LANES]; WEIGHTS * WEIGHTS];
        for block in 0..padded(outputs) / LANES {
            for input in 0..inputs {
                for (tap, values) in taps.iter_mut().enumerate() {
                    for (lane, value) in values.iter_mut().enumerate() {
                        let output = block * LANES + lane;
                        *value = if output < outputs { weight(output, input, tap) } else { 0.0 };
                    }
                }
                for lane in (0..LANES).step_by(S::LEN) {
                    // SAFETY: within a row of each matrix.
                    unsafe {
                        let mut columns = [[S::zero(); POINTS]; WEIGHTS];
                        for (index, column) in columns.iter_mut().enumerate() {
                            *column = transform::weights::<S>(std::array::from_fn(|row| {
                                S::load(taps[row * WEIGHTS + index].as_ptr().add(lane))
                            }));
                        }
                        let to = packed.as_mut_ptr().add((block * inputs + input) * LANES + lane);
                        for row in 0..POINTS {
                            let values = transform::weights::<S>(columns.map(|column| column[row]));
                            for (column, value) in values.into_iter().enumerate() {
                                S::store(to.add((row * POINTS + column) * step), value);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `output = relu(convolution(input) + bias)`; slices exactly as long as the sizes say.
pub(super) struct Forward<'a> {
    pub(super) tiles: Tiles,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) packed: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    pub(super) relu: bool,
    pub(super) output: &'a mut [f32],
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { tiles, inputs, outputs, images, input, packed, bias, relu, output, scratch } = self;
        let (columns, channels) = (padded(inputs), padded(outputs));
        assert_eq!(input.len(), images * tiles.bordered(inputs).len());
        assert_eq!(packed.len(), kernel_len(inputs, outputs));
        assert_eq!(output.len(), images * tiles.height * tiles.width * channels);
        assert_eq!(scratch.len(), scratch_len(tiles, images, inputs, outputs));
        assert!(bias.is_none_or(|bias| bias.len() == channels));
        for lines in tiles.parts(images) {
            let count = lines.len() * tiles.across;
            let (transformed, products) = scratch.split_at_mut(MATRICES * matrix(count, columns));
            // SAFETY: the lengths asserted hold all tiles.
            unsafe {
                transform_input::<S>(tiles, columns, lines.clone(), input, transformed);
                for index in 0..MATRICES {
                    let product = Product {
                        factors: Factors {
                            a: transformed.as_ptr().add(index * matrix(count, columns)),
                            a_row: columns,
                            a_step: 1,
                            b: packed.as_ptr().add(index * matrix(inputs, channels)),
                            b_block: inputs * LANES,
                            b_step: LANES,
                        },
                        length: inputs,
                        add: false,
                        to: products.as_mut_ptr().add(index * matrix(count, channels)),
                        to_row: channels,
                    };
                    gemm::sweep::<S, _>(1, count, channels / LANES, &product);
                }
                transform_output::<S>(tiles, channels, lines, products, Rest { bias, relu }, output);
            }
        }
    }
}

/// A matrix product, or what is added to it.
struct Product {
    factors: Factors,
    length: usize,
    /// The chains go on from what stands there.
    add: bool,
    to: *mut f32,
    to_row: usize,
}

impl Tile for Product {
    #[inline(always)]
    unsafe fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
        &self,
        _: usize,
        row: usize,
        block: usize,
    ) {
        // SAFETY: the caller's rows and blocks.
        unsafe {
            let Factors { a, a_row, b, b_block, .. } = self.factors;
            let factors = Factors { a: a.add(row * a_row), b: b.add(block * b_block), ..self.factors };
            let to = self.to.add(row * self.to_row + block * LANES);
            let mut sums = if self.add {
                gemm::load::<S, ROWS, VECTORS>(to, self.to_row, LANES)
            } else {
                [[S::zero(); VECTORS]; ROWS]
            };
            gemm::chain::<S, ROWS, VECTORS>(&mut sums, self.length, factors);
            gemm::store::<S, ROWS, VECTORS>(to, self.to_row, LANES, &sums);
        }
    }
}

/// Writes the matrices of the tiles of `lines` of an input.
///
/// # Safety
/// The CPU has `S`'s instructions; the slices hold all images, and these tiles, of `channels` channels.
#[inline(always)]
unsafe fn transform_input<S: Simd>(
    tiles: Tiles,
    channels: usize,
    lines: Range<usize>,
    input: &[f32],
    transformed: &mut [f32],
) {
    let layout = tiles.bordered(channels);
    let row_stride = layout.columns * channels;
    let step = matrix(lines.len() * tiles.across, channels);
    let mut tile = 0;
    for line in lines {
        let (image, down) = (line / tiles.down, line % tiles.down);
        for across in 0..tiles.across {
            for channel in (0..channels).step_by(S::LEN) {
                let first = down * OUTPUTS * row_stride + across * OUTPUTS * channels + channel;
                // SAFETY: a tile's 6x6 inputs are within the bordered image.
                unsafe {
                    let from = input.as_ptr().add(image * layout.len() + first);
                    let to = transformed.as_mut_ptr().add(tile * channels + channel);
                    let mut columns = [[S::zero(); POINTS]; POINTS];
                    for (index, column) in columns.iter_mut().enumerate() {
                        let values =
                            std::array::from_fn(|row| S::load(from.add(row * row_stride + index * channels)));
                        *column = transform::input::<S>(values);
                    }
                    for row in 0..POINTS {
                        let values = transform::input::<S>(columns.map(|column| column[row]));
                        for (column, value) in values.into_iter().enumerate() {
                            S::store(to.add((row * POINTS + column) * step), value);
                        }
                    }
                }
            }
            tile += 1;
        }
    }
}

/// What follows a convolution.
#[derive(Clone, Copy)]
struct Rest<'a> {
    bias: Option<&'a [f32]>,
    relu: bool,
}

/// Writes the output of the tiles of `lines` from their matrices.
///
/// # Safety
/// The CPU has `S`'s instructions; the slices hold all images, and these tiles, of `channels` channels.
#[inline(always)]
unsafe fn transform_output<S: Simd>(
    tiles: Tiles,
    channels: usize,
    lines: Range<usize>,
    products: &[f32],
    rest: Rest<'_>,
    output: &mut [f32],
) {
    let step = matrix(lines.len() * tiles.across, channels);
    let mut tile = 0;
    for line in lines {
        let (image, down) = (line / tiles.down, line % tiles.down);
        for across in 0..tiles.across {
            let (row, column) = (down * OUTPUTS, across * OUTPUTS);
            let rows = OUTPUTS.min(tiles.height - row);
            let columns = OUTPUTS.min(tiles.width - column);
            let pixel = (image * tiles.height + row) * tiles.width + column;
            for channel in (0..channels).step_by(S::LEN) {
                // SAFETY: the tile's matrices, and as many of its pixels as the image has.
                unsafe {
                    let from = products.as_ptr().add(tile * channels + channel);
                    let to = output.as_mut_ptr().add(pixel * channels + channel);
                    let bias = rest.bias.map(|bias| S::load(bias.as_ptr().add(channel)));
                    let mut sums = [[S::zero(); OUTPUTS]; POINTS];
                    for (index, column) in sums.iter_mut().enumerate() {
                        let values =
                            std::array::from_fn(|row| S::load(from.add((row * POINTS + index) * step)));
                        *column = transform::output::<S>(values);
                    }
                    for row in 0..OUTPUTS {
                        if row >= rows {
                            break;
                        }
                        let values = transform::output::<S>(sums.map(|column| column[row]));
                        for (column, mut value) in values.into_iter().enumerate() {
                            if let Some(bias) = bias {
                                value = S::add(value, bias);
                            }
                            if rest.relu {
                                value = S::relu(value);
                            }
                            if column < columns {
                                S::store(to.add((row * tiles.width + column) * channels), value);
                            }
                        }
                    }
                }
            }
            tile += 1;
        }
    }
}

/// Adds images' gradients of the kernel to `accumulators`, matrices of `[inputs][padded outputs]`; slices exactly as long
/// as the sizes say.
pub(super) struct Weights<'a> {
    pub(super) tiles: Tiles,
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) gradient: &'a [f32],
    /// The accumulators hold nothing yet.
    pub(super) first: bool,
    pub(super) accumulators: &'a mut [f32],
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { tiles, inputs, outputs, images, input, gradient, first, accumulators, scratch } = self;
        let (columns, channels) = (padded(inputs), padded(outputs));
        assert_eq!(input.len(), images * tiles.bordered(inputs).len());
        assert_eq!(gradient.len(), images * tiles.bordered(outputs).len());
        assert_eq!(accumulators.len(), kernel_len(inputs, outputs));
        assert_eq!(scratch.len(), scratch_len(tiles, images, inputs, outputs));
        for lines in tiles.parts(images) {
            let count = lines.len() * tiles.across;
            let (transformed, gradients) = scratch.split_at_mut(MATRICES * matrix(count, columns));
            let add = !(first && lines.start == 0);
            // SAFETY: the lengths asserted hold all tiles.
            unsafe {
                transform_input::<S>(tiles, columns, lines.clone(), input, transformed);
                transform_gradient::<S>(tiles, channels, lines, gradient, gradients);
                for index in 0..MATRICES {
                    let product = Product {
                        factors: Factors {
                            a: transformed.as_ptr().add(index * matrix(count, columns)),
                            a_row: 1,
                            a_step: columns,
                            b: gradients.as_ptr().add(index * matrix(count, channels)),
                            b_block: LANES,
                            b_step: channels,
                        },
                        length: count,
                        add,
                        to: accumulators.as_mut_ptr().add(index * matrix(inputs, channels)),
                        to_row: channels,
                    };
                    gemm::sweep::<S, _>(1, inputs, channels / LANES, &product);
                }
            }
        }
    }
}

/// Writes the matrices of the tiles of `lines` of a gradient.
///
/// # Safety
/// The CPU has `S`'s instructions; the slices hold all images, and these tiles, of `channels` channels.
#[inline(always)]
unsafe fn transform_gradient<S: Simd>(
    tiles: Tiles,
    channels: usize,
    lines: Range<usize>,
    gradient: &[f32],
    transformed: &mut [f32],
) {
    let layout = tiles.bordered(channels);
    let row_stride = layout.columns * channels;
    let step = matrix(lines.len() * tiles.across, channels);
    let mut tile = 0;
    for line in lines {
        let (image, down) = (line / tiles.down, line % tiles.down);
        for across in 0..tiles.across {
            for channel in (0..channels).step_by(S::LEN) {
                let first = layout.pixel(down * OUTPUTS, across * OUTPUTS) + channel;
                // SAFETY: a tile's 4x4 outputs are within the bordered image.
                unsafe {
                    let from = gradient.as_ptr().add(image * layout.len() + first);
                    let to = transformed.as_mut_ptr().add(tile * channels + channel);
                    let mut columns = [[S::zero(); POINTS]; OUTPUTS];
                    for (index, column) in columns.iter_mut().enumerate() {
                        let values =
                            std::array::from_fn(|row| S::load(from.add(row * row_stride + index * channels)));
                        *column = transform::output_gradient::<S>(values);
                    }
                    for row in 0..POINTS {
                        let values = transform::output_gradient::<S>(columns.map(|column| column[row]));
                        for (column, value) in values.into_iter().enumerate() {
                            S::store(to.add((row * POINTS + column) * step), value);
                        }
                    }
                }
            }
            tile += 1;
        }
    }
}

/// Writes the gradient of the kernel, `[outputs][inputs][3][3]`, from the sums of all images.
pub(super) struct Finish<'a> {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) accumulators: &'a [f32],
    pub(super) kernel_gradient: &'a mut [f32],
}

impl Kernel for Finish<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { inputs, outputs, accumulators, kernel_gradient } = self;
        let channels = padded(outputs);
        assert_eq!(accumulators.len(), kernel_len(inputs, outputs));
        let step = matrix(inputs, channels);
        let mut taps = [[0.0; LANES]; WEIGHTS * WEIGHTS];
        for input in 0..inputs {
            for block in 0..channels / LANES {
                for lane in (0..LANES).step_by(S::LEN) {
                    // SAFETY: within a row of each matrix.
                    unsafe {
                        let from = accumulators.as_ptr().add(input * channels + block * LANES + lane);
                        let mut columns = [[S::zero(); WEIGHTS]; POINTS];
                        for (index, column) in columns.iter_mut().enumerate() {
                            let values =
                                std::array::from_fn(|row| S::load(from.add((row * POINTS + index) * step)));
                            *column = transform::weights_gradient::<S>(values);
                        }
                        for row in 0..WEIGHTS {
                            let values = transform::weights_gradient::<S>(columns.map(|column| column[row]));
                            for (column, value) in values.into_iter().enumerate() {
                                S::store(taps[row * WEIGHTS + column].as_mut_ptr().add(lane), value);
                            }
                        }
                    }
                }
                for lane in 0..LANES.min(outputs - block * LANES) {
                    let kernel = ((block * LANES + lane) * inputs + input) * taps.len();
                    for (value, tap) in kernel_gradient[kernel..][..taps.len()].iter_mut().zip(&taps) {
                        *value = tap[lane];
                    }
                }
            }
        }
    }
}
