//! Pooling over windows without overlap, forward and backward, fused with the reading of its input (batch norm, ReLU)
//! and with the sums that the batch norm's way backward needs.

use crate::LANES;
use crate::activation::{Extent, Reading, read};
use crate::isa::{Isa, Kernel};
use crate::normalisation::{Sums, tree};
use crate::simd::Simd;

/// What becomes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Its largest value, NaN if there is one; the first of equal values takes the gradient.
    Maximum,
    /// Its mean: the sum in four chains by index in the window, combined as `(0 + 1) + (2 + 3)`, divided by the number.
    Average,
}

/// A pooling. Rows and columns that fill no window are dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pool {
    /// What becomes of a window.
    pub kind: Kind,
    /// Rows of a window; the windows lie side by side.
    pub rows: usize,
    /// Columns of a window.
    pub columns: usize,
}

impl Pool {
    /// The output's size.
    pub fn output(&self, input: Extent) -> Extent {
        Extent { height: input.height / self.rows, width: input.width / self.columns, ..input }
    }

    fn check(&self, input: Extent) {
        assert!(self.rows > 0 && self.columns > 0, "an empty window");
        assert!(self.rows <= input.height && self.columns <= input.width, "windows must fit");
    }

    /// Pools what `reading` makes of `values`, which are of the input's size.
    pub fn forward(&self, isa: Isa, input: Extent, values: &[f32], reading: Reading<'_>, output: &mut [f32]) {
        reading.check(&input);
        self.check(input);
        let len = self.output(input).len();
        let values = &values[..input.len()];
        let output = &mut output[..len];
        isa.run(Forward { pool: *self, input, values, reading, output });
    }

    /// Writes the gradient of the input, before `reading`'s affine map: 0 where its ReLU got nothing above 0. Adds the
    /// sums of these gradients and of their products with `value - centre` to `sums`, for a batch norm.
    ///
    /// `gradients`: of the output; `input_gradients`: of the input's size. An image's sums run in four chains by index in
    /// the window.
    #[allow(clippy::too_many_arguments, reason = "the operands of a kernel")]
    pub fn backward(
        &self,
        isa: Isa,
        input: Extent,
        values: &[f32],
        reading: Reading<'_>,
        centre: &[f32],
        gradients: &[f32],
        input_gradients: &mut [f32],
        sums: &mut Sums,
    ) {
        reading.check(&input);
        self.check(input);
        sums.check(&input);
        assert!(centre.len() >= input.channels);
        let len = self.output(input).len();
        let values = &values[..input.len()];
        let gradients = &gradients[..len];
        let to = &mut input_gradients[..input.len()];
        self.clear_outside(input, to);
        isa.run(Backward { pool: *self, input, values, reading, centre, gradients, to, sums });
    }

    /// No gradient flows to pixels that fill no window.
    fn clear_outside(&self, input: Extent, gradients: &mut [f32]) {
        let (height, width) =
            (input.height / self.rows * self.rows, input.width / self.columns * self.columns);
        if (height, width) == (input.height, input.width) {
            return;
        }
        for (row, values) in gradients.chunks_exact_mut(input.width * input.channels).enumerate() {
            let inside = if row % input.height < height { width * input.channels } else { 0 };
            values[inside..].fill(0.0);
        }
    }
}

struct Forward<'a> {
    pool: Pool,
    input: Extent,
    values: &'a [f32],
    reading: Reading<'a>,
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `Pool::forward` checked the lengths; the rest is the caller's promise.
        unsafe {
            match (self.pool, self.reading.relu) {
                (Pool { kind: Kind::Maximum, rows: 2, columns: 2 }, false) => self.all::<S, 2, false>(),
                (Pool { kind: Kind::Maximum, rows: 2, columns: 2 }, true) => self.all::<S, 2, true>(),
                (_, false) => self.all::<S, 0, false>(),
                (_, true) => self.all::<S, 0, true>(),
            }
        }
    }
}

impl Forward<'_> {
    /// `SIDE`: of a window for maxima, if known to the compiler, else 0.
    ///
    /// # Safety
    /// The slices have the lengths that `Pool::forward` gives them, and see [`Simd`].
    #[inline(always)]
    unsafe fn all<S: Simd, const SIDE: usize, const RELU: bool>(self) {
        let Self { pool, input, values, reading, output } = self;
        let size = pool.output(input);
        let channels = input.channels;
        let (rows, columns) = if SIDE > 0 { (SIDE, SIDE) } else { (pool.rows, pool.columns) };
        for line in 0..size.images * size.height {
            let (image, row) = (line / size.height, line % size.height);
            let first = (image * input.height + row * rows) * input.width * channels;
            for lane in (0..channels).step_by(S::LEN) {
                // SAFETY: windows inside the images, and lanes inside the channels, of all slices.
                unsafe {
                    let scale = S::load(reading.scale.as_ptr().add(lane));
                    let shift = S::load(reading.shift.as_ptr().add(lane));
                    for column in 0..size.width {
                        let window = values.as_ptr().add(first + column * columns * channels + lane);
                        let result = if SIDE > 0 || pool.kind == Kind::Maximum {
                            let mut largest = read::<S, RELU>(S::load(window), scale, shift);
                            for place in 1..rows * columns {
                                let at = (place / columns * input.width + place % columns) * channels;
                                let value = read::<S, RELU>(S::load(window.add(at)), scale, shift);
                                largest = S::max(largest, value);
                            }
                            largest
                        } else {
                            let mut chains = [S::zero(); 4];
                            for place in 0..rows * columns {
                                let at = (place / columns * input.width + place % columns) * channels;
                                let value = read::<S, RELU>(S::load(window.add(at)), scale, shift);
                                chains[place % 4] = S::add(chains[place % 4], value);
                            }
                            S::div(tree::<S>(chains), S::splat((rows * columns) as f32))
                        };
                        let at = (line * size.width + column) * channels + lane;
                        S::store(output.as_mut_ptr().add(at), result);
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    pool: Pool,
    input: Extent,
    values: &'a [f32],
    reading: Reading<'a>,
    centre: &'a [f32],
    gradients: &'a [f32],
    to: &'a mut [f32],
    sums: &'a mut Sums,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `Pool::backward` checked the lengths; the rest is the caller's promise.
        unsafe {
            match (self.pool, self.reading.relu) {
                (Pool { kind: Kind::Maximum, rows: 2, columns: 2 }, false) => self.all::<S, 2, false>(),
                (Pool { kind: Kind::Maximum, rows: 2, columns: 2 }, true) => self.all::<S, 2, true>(),
                (_, false) => self.all::<S, 0, false>(),
                (_, true) => self.all::<S, 0, true>(),
            }
        }
    }
}

/// The sums of one channel vector over an image, while its windows are visited.
struct Chains<S: Simd> {
    gradients: [S::V; 4],
    products: [S::V; 4],
}

impl Backward<'_> {
    /// `SIDE`: see [`Forward::all`].
    ///
    /// # Safety
    /// The slices have the lengths that `Pool::backward` gives them, and see [`Simd`].
    #[inline(always)]
    unsafe fn all<S: Simd, const SIDE: usize, const RELU: bool>(self) {
        let Self { pool, input, values, reading, centre, gradients, to, sums } = self;
        let size = pool.output(input);
        let channels = input.channels;
        let (rows, columns) = if SIDE > 0 { (SIDE, SIDE) } else { (pool.rows, pool.columns) };
        for image in 0..size.images {
            for lane in (0..channels).step_by(S::LEN) {
                let (mut sum, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
                // SAFETY: windows inside the images, and lanes inside the channels, of all slices; the arrays hold a
                // vector of any set.
                unsafe {
                    let scale = S::load(reading.scale.as_ptr().add(lane));
                    let shift = S::load(reading.shift.as_ptr().add(lane));
                    let centre = S::load(centre.as_ptr().add(lane));
                    let mut chains = Chains::<S> { gradients: [S::zero(); 4], products: [S::zero(); 4] };
                    for row in 0..size.height {
                        let first = (image * input.height + row * rows) * input.width * channels + lane;
                        let line = (image * size.height + row) * size.width * channels + lane;
                        for column in 0..size.width {
                            let at = line + column * channels;
                            let mut gradient = S::load(gradients.as_ptr().add(at));
                            let at = first + column * columns * channels;
                            let (from, to) = (values.as_ptr().add(at), to.as_mut_ptr().add(at));
                            // Two steps, of which the first finds the maximum.
                            let maximum = SIDE > 0 || pool.kind == Kind::Maximum;
                            let mut largest = read::<S, RELU>(S::load(from), scale, shift);
                            // 1 until the maximum was met.
                            let mut wanted = S::splat(1.0);
                            if maximum {
                                for place in 1..rows * columns {
                                    let at = (place / columns * input.width + place % columns) * channels;
                                    let value = read::<S, RELU>(S::load(from.add(at)), scale, shift);
                                    largest = S::max(largest, value);
                                }
                            } else {
                                gradient = S::div(gradient, S::splat((rows * columns) as f32));
                            }
                            for place in 0..rows * columns {
                                let at = (place / columns * input.width + place % columns) * channels;
                                let stored = S::load(from.add(at));
                                let value = read::<S, RELU>(stored, scale, shift);
                                let mut share = gradient;
                                if maximum {
                                    // The last takes it if no other did, also where the maximum is NaN.
                                    let last = place + 1 == rows * columns;
                                    let taken =
                                        if last { wanted } else { S::where_equal(value, largest, wanted) };
                                    wanted = S::sub(wanted, taken);
                                    share = S::where_positive(taken, gradient);
                                }
                                if RELU {
                                    share = S::where_positive(value, share);
                                }
                                S::store(to.add(at), share);
                                let chain = place % 4;
                                chains.gradients[chain] = S::add(chains.gradients[chain], share);
                                let off = S::sub(stored, centre);
                                chains.products[chain] = S::fma(share, off, chains.products[chain]);
                            }
                        }
                    }
                    S::store(sum.as_mut_ptr(), tree::<S>(chains.gradients));
                    S::store(products.as_mut_ptr(), tree::<S>(chains.products));
                }
                sums.add(lane, &sum[..S::LEN], &products[..S::LEN]);
            }
        }
    }
}

#[cfg(test)]
mod tests;
