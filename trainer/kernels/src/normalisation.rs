//! Batch normalisation: statistics, the affine map they make of it, and its way backward, fused with ReLU before and
//! after it and with the sums for the bias of the layer before.
//!
//! Sums over pixels run in four single-precision chains, combined as `(0 + 1) + (2 + 3)`; sums over images, and all that
//! is computed once a channel, are in double precision. No image's part depends on the others, and images are added in
//! order, so the bits do not depend on how images are cut into groups.
//!
//! Source of the formulas: S. Ioffe and C. Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing
//! Internal Covariate Shift", 2015, algorithm 1 and the gradients in section 3.

use crate::LANES;
use crate::activation::{Extent, Reading, check_layout, read};
use crate::convolution::Bordered;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;

/// Pixels whose mean is computed before their squares: they stay in the first-level cache in between.
const CHUNK: usize = 256;

/// Sums of a channel's values and of their squares over images, in double precision.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sums {
    /// Of the values, or of the gradients.
    pub values: Vec<f64>,
    /// Of the squares, or of the gradients' products with the deviation of the value.
    pub products: Vec<f64>,
}

impl Sums {
    /// Zeros for so many channels, padding included.
    pub fn zeros(channels: usize) -> Self {
        Self { values: vec![0.0; channels], products: vec![0.0; channels] }
    }

    /// Starts anew.
    pub fn clear(&mut self) {
        self.values.fill(0.0);
        self.products.fill(0.0);
    }

    pub(crate) fn check(&self, extent: &Extent) {
        assert!(self.values.len() >= extent.channels && self.products.len() >= extent.channels);
    }

    /// Adds vectors of one image.
    pub(crate) fn add(&mut self, lane: usize, values: &[f32], products: &[f32]) {
        let to = self.values[lane..].iter_mut().zip(&mut self.products[lane..]);
        for ((value, product), (&add_value, &add_product)) in to.zip(values.iter().zip(products)) {
            *value += f64::from(add_value);
            *product += f64::from(add_product);
        }
    }
}

/// Adds the sums of `values` (of size `extent`) and of their squares to `sums`.
///
/// An image's pixels are taken in chunks of 256. Of a chunk of `n`: `s`, the sum, in four chains by pixel index;
/// `m = s * (1 / n)`; `q`, the sum of `(value - m)^2`, in four chains of fused multiply-adds. Then in double precision
/// `values += s` and `products += q + m (2 s - n m)`, so that a mean far from 0 costs the variance no digits.
pub fn statistics(isa: Isa, extent: Extent, values: &[f32], sums: &mut Sums) {
    extent.check();
    sums.check(&extent);
    isa.run(Statistics { extent, values: &values[..extent.len()], sums });
}

struct Statistics<'a> {
    extent: Extent,
    values: &'a [f32],
    sums: &'a mut Sums,
}

/// `(0 + 1) + (2 + 3)`.
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(crate) unsafe fn tree<S: Simd>(chains: [S::V; 4]) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::add(S::add(chains[0], chains[1]), S::add(chains[2], chains[3])) }
}

/// Runs a block for every index below a count, in order, with its chain: the index modulo 4, a constant once unrolled.
/// A macro, since a closure might not be inlined into the instruction set's function.
macro_rules! in_chains {
    ($count:expr, |$index:ident, $chain:ident| $body:block) => {{
        let count = $count;
        let whole = count - count % 4;
        let mut start = 0;
        while start < whole {
            for $chain in 0..4_usize {
                let $index = start + $chain;
                $body
            }
            start += 4;
        }
        for $chain in 0..3_usize {
            let $index = whole + $chain;
            if $index < count {
                $body
            }
        }
    }};
}

impl Kernel for Statistics<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { extent, values, sums } = self;
        let channels = extent.channels;
        for image in 0..extent.images {
            for start in (0..extent.pixels()).step_by(CHUNK) {
                let count = CHUNK.min(extent.pixels() - start);
                for lane in (0..channels).step_by(S::LEN) {
                    let at = (image * extent.pixels() + start) * channels + lane;
                    // SAFETY: `count` pixels from here lie inside the image, and the lanes inside the channels.
                    unsafe { chunk::<S>(values.as_ptr().add(at), channels, count, lane, sums) };
                }
            }
        }
    }
}

/// # Safety
/// `from` is valid for `count` vectors, `stride` values apart; and see [`Simd`].
#[inline(always)]
unsafe fn chunk<S: Simd>(from: *const f32, stride: usize, count: usize, lane: usize, sums: &mut Sums) {
    let (mut sum, mut mean, mut squares) = ([0.0_f32; LANES], [0.0_f32; LANES], [0.0_f32; LANES]);
    // SAFETY: the caller's promise; the arrays hold a vector of any set.
    unsafe {
        let mut chains = [S::zero(); 4];
        in_chains!(count, |pixel, chain| {
            chains[chain] = S::add(chains[chain], S::load(from.add(pixel * stride)));
        });
        let total = tree::<S>(chains);
        let middle = S::mul(total, S::splat(1.0 / count as f32));
        let mut chains = [S::zero(); 4];
        in_chains!(count, |pixel, chain| {
            let difference = S::sub(S::load(from.add(pixel * stride)), middle);
            chains[chain] = S::fma(difference, difference, chains[chain]);
        });
        S::store(sum.as_mut_ptr(), total);
        S::store(mean.as_mut_ptr(), middle);
        S::store(squares.as_mut_ptr(), tree::<S>(chains));
    }
    let count = count as f64;
    let to = sums.values[lane..].iter_mut().zip(&mut sums.products[lane..]).take(S::LEN);
    for (index, (value, product)) in to.enumerate() {
        let (sum, mean, squares) = (f64::from(sum[index]), f64::from(mean[index]), f64::from(squares[index]));
        *value += sum;
        *product += squares + mean * (2.0 * sum - count * mean);
    }
}

/// The batch norm of one layer as an affine map, and what its way backward needs. All vectors have the padded channels,
/// zeros in the padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Normalisation {
    /// gamma / deviation.
    pub scale: Vec<f32>,
    /// beta - mean * gamma / deviation.
    pub shift: Vec<f32>,
    /// The mean in single precision, about which products are summed backward.
    pub centre: Vec<f32>,
    mean: Vec<f64>,
    inverse_deviation: Vec<f64>,
}

impl Normalisation {
    /// Zeros for so many channels, padding included.
    pub fn zeros(channels: usize) -> Self {
        Self {
            scale: vec![0.0; channels],
            shift: vec![0.0; channels],
            centre: vec![0.0; channels],
            mean: vec![0.0; channels],
            inverse_deviation: vec![0.0; channels],
        }
    }

    /// From the sums over `count` values a channel; writes their means and biased variances, each rounded once.
    ///
    /// In double precision: `mean = values / count`, `variance = products / count - mean^2`, 0 where that is negative (a
    /// NaN stays). `gamma`, `beta`, `means`, `variances`: unpadded channels.
    #[allow(clippy::too_many_arguments, reason = "the operands of a kernel")]
    pub fn set_from_batch(
        &mut self,
        sums: &Sums,
        count: usize,
        epsilon: f64,
        gamma: &[f32],
        beta: &[f32],
        means: &mut [f32],
        variances: &mut [f32],
    ) {
        for channel in 0..gamma.len() {
            let mean = sums.values[channel] / count as f64;
            let difference = sums.products[channel] / count as f64 - mean * mean;
            // Not `max`, which would turn NaN into 0 and hide a divergence.
            let variance = if difference < 0.0 { 0.0 } else { difference };
            means[channel] = mean as f32;
            variances[channel] = variance as f32;
            self.set(channel, mean, variance, epsilon, gamma[channel], beta[channel]);
        }
    }

    /// From running means and variances, for evaluation. All slices: unpadded channels.
    pub fn set_from_running(
        &mut self,
        means: &[f32],
        variances: &[f32],
        epsilon: f64,
        gamma: &[f32],
        beta: &[f32],
    ) {
        for channel in 0..gamma.len() {
            let (mean, variance) = (f64::from(means[channel]), f64::from(variances[channel]));
            self.set(channel, mean, variance, epsilon, gamma[channel], beta[channel]);
        }
    }

    /// In double precision, rounded once: `scale = gamma / sqrt(variance + epsilon)`, `shift = beta - mean * scale`.
    fn set(&mut self, channel: usize, mean: f64, variance: f64, epsilon: f64, gamma: f32, beta: f32) {
        let inverse_deviation = 1.0 / (variance + epsilon).sqrt();
        let scale = f64::from(gamma) * inverse_deviation;
        self.scale[channel] = scale as f32;
        self.shift[channel] = (f64::from(beta) - mean * scale) as f32;
        self.centre[channel] = mean as f32;
        self.mean[channel] = mean;
        self.inverse_deviation[channel] = inverse_deviation;
    }

    /// As values are read by a layer after this one.
    pub fn reading(&self, relu: bool) -> Reading<'_> {
        Reading { scale: &self.scale, shift: &self.shift, relu }
    }

    /// The gradients of gamma and beta and what [`propagate`] needs, from the sums of [`backward_sums`] over `count`
    /// values a channel.
    ///
    /// In double precision, with `g` the gradient and `x^ = (x - mean) / deviation`: `gamma' = sum(g x^)`,
    /// `beta' = sum(g)`, and `x' = scale (g - beta' / count - x^ gamma' / count)`. Slices: unpadded channels.
    pub fn finish_backward(
        &self,
        sums: &Sums,
        count: usize,
        gamma: &[f32],
        gamma_gradient: &mut [f32],
        beta_gradient: &mut [f32],
        coefficients: &mut Coefficients,
    ) {
        for channel in 0..gamma.len() {
            let (mean, inverse_deviation) = (self.mean[channel], self.inverse_deviation[channel]);
            let off_centre = f64::from(self.centre[channel]) - mean;
            let sum = sums.values[channel];
            let along = inverse_deviation * (sums.products[channel] + off_centre * sum);
            gamma_gradient[channel] = along as f32;
            beta_gradient[channel] = sum as f32;
            let scale = f64::from(gamma[channel]) * inverse_deviation;
            let (mean_sum, mean_along) = (sum / count as f64, along / count as f64);
            coefficients.scale[channel] = scale as f32;
            coefficients.slope[channel] = (-scale * mean_along * inverse_deviation) as f32;
            coefficients.offset[channel] =
                (-scale * (mean_sum + mean_along * inverse_deviation * off_centre)) as f32;
        }
    }
}

/// Backward through batch norm: `scale * gradient + (slope * (value - centre) + offset)`. Padded channels, zeros in the
/// padding.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Coefficients {
    scale: Vec<f32>,
    slope: Vec<f32>,
    offset: Vec<f32>,
}

impl Coefficients {
    /// Zeros for so many channels, padding included.
    pub fn zeros(channels: usize) -> Self {
        Self { scale: vec![0.0; channels], slope: vec![0.0; channels], offset: vec![0.0; channels] }
    }
}

/// Adds the sums of the gradients at a batch norm's output, and of their products with `value - centre`, to `sums`.
///
/// `values`: what the batch norm read; `gradients`: of what was read from them as `reading` says: where that is not above
/// 0 after a ReLU, the gradient counts as 0. An image's sums run in four chains by pixel index.
pub fn backward_sums(
    isa: Isa,
    extent: Extent,
    values: &[f32],
    reading: Reading<'_>,
    centre: &[f32],
    gradients: &[f32],
    sums: &mut Sums,
) {
    reading.check(&extent);
    sums.check(&extent);
    assert!(centre.len() >= extent.channels);
    let (values, gradients) = (&values[..extent.len()], &gradients[..extent.len()]);
    isa.run(BackwardSums { extent, values, reading, centre, gradients, sums });
}

struct BackwardSums<'a> {
    extent: Extent,
    values: &'a [f32],
    reading: Reading<'a>,
    centre: &'a [f32],
    gradients: &'a [f32],
    sums: &'a mut Sums,
}

impl Kernel for BackwardSums<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `backward_sums` checked the lengths; the rest is the caller's promise.
        unsafe { if self.reading.relu { self.add::<S, true>() } else { self.add::<S, false>() } }
    }
}

impl BackwardSums<'_> {
    /// # Safety
    /// The slices have the lengths that `backward_sums` gives them, and see [`Simd`].
    #[inline(always)]
    unsafe fn add<S: Simd, const RELU: bool>(self) {
        let Self { extent, values, reading, centre, gradients, sums } = self;
        let channels = extent.channels;
        for image in 0..extent.images {
            for lane in (0..channels).step_by(S::LEN) {
                let (mut sum, mut products) = ([0.0_f32; LANES], [0.0_f32; LANES]);
                // SAFETY: all pixels and lanes lie inside the slices; the arrays hold a vector of any set.
                unsafe {
                    let (scale, shift) = (
                        S::load(reading.scale.as_ptr().add(lane)),
                        S::load(reading.shift.as_ptr().add(lane)),
                    );
                    let centre = S::load(centre.as_ptr().add(lane));
                    let values = values.as_ptr().add(image * extent.image_len() + lane);
                    let gradients = gradients.as_ptr().add(image * extent.image_len() + lane);
                    let (mut ones, mut twos) = ([S::zero(); 4], [S::zero(); 4]);
                    in_chains!(extent.pixels(), |pixel, chain| {
                        let value = S::load(values.add(pixel * channels));
                        let mut gradient = S::load(gradients.add(pixel * channels));
                        if RELU {
                            gradient = S::where_positive(read::<S, false>(value, scale, shift), gradient);
                        }
                        ones[chain] = S::add(ones[chain], gradient);
                        twos[chain] = S::fma(gradient, S::sub(value, centre), twos[chain]);
                    });
                    S::store(sum.as_mut_ptr(), tree::<S>(ones));
                    S::store(products.as_mut_ptr(), tree::<S>(twos));
                }
                sums.add(lane, &sum[..S::LEN], &products[..S::LEN]);
            }
        }
    }
}

/// What the gradient passes on its way from a unit's output to the output of its convolution or dense layer.
#[derive(Clone, Copy, Debug)]
pub enum Through<'a> {
    /// Nothing.
    Nothing,
    /// A ReLU whose output is the stored value.
    Relu,
    /// A batch norm, perhaps between two ReLUs.
    Normalisation {
        /// Of the batch norm.
        normalisation: &'a Normalisation,
        /// From its sums.
        coefficients: &'a Coefficients,
        /// Whether the stored value is the output of a ReLU.
        relu_before: bool,
        /// Whether a ReLU follows.
        relu_after: bool,
    },
}

/// Writes the gradient of what a convolution or dense layer gave into scratch images with a border, and adds its sums,
/// the gradient of the bias, to `bias`.
///
/// `values`: as stored by the layer; `gradients`: at the output of what [`Through`] names; `target`: as many images of
/// `layout`, of which the pixels' values are written and nothing else. Of each element: where a ReLU follows, 0 unless
/// the value it got is above 0; `scale * gradient + (slope * (value - centre) + offset)` in two fused multiply-adds; 0
/// unless the stored value is above 0. An image's sums run in four chains by column.
#[allow(clippy::too_many_arguments, reason = "the operands of a kernel")]
pub fn propagate(
    isa: Isa,
    extent: Extent,
    values: &[f32],
    gradients: &[f32],
    through: Through<'_>,
    layout: Bordered,
    target: &mut [f32],
    bias: &mut [f64],
) {
    extent.check();
    check_layout(&extent, &layout);
    assert!(layout.channel_stride >= extent.channels && bias.len() >= extent.channels);
    if let Through::Normalisation { normalisation, coefficients, .. } = through {
        let lens = [normalisation.scale.len(), normalisation.centre.len(), coefficients.scale.len()];
        assert!(lens.iter().all(|&len| len >= extent.channels));
    }
    let (values, gradients) = (&values[..extent.len()], &gradients[..extent.len()]);
    let target = &mut target[..extent.images * layout.len()];
    isa.run(Propagate { extent, values, gradients, through, layout, target, bias });
}

struct Propagate<'a> {
    extent: Extent,
    values: &'a [f32],
    gradients: &'a [f32],
    through: Through<'a>,
    layout: Bordered,
    target: &'a mut [f32],
    bias: &'a mut [f64],
}

impl Kernel for Propagate<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `propagate` checked the lengths; the rest is the caller's promise.
        unsafe {
            match self.through {
                Through::Nothing => self.all::<S, false, false, false>(),
                Through::Relu => self.all::<S, false, true, false>(),
                Through::Normalisation { relu_before: false, relu_after: false, .. } => {
                    self.all::<S, true, false, false>();
                }
                Through::Normalisation { relu_before: true, relu_after: false, .. } => {
                    self.all::<S, true, true, false>();
                }
                Through::Normalisation { relu_before: false, relu_after: true, .. } => {
                    self.all::<S, true, false, true>();
                }
                Through::Normalisation { relu_before: true, relu_after: true, .. } => {
                    self.all::<S, true, true, true>();
                }
            }
        }
    }
}

impl Propagate<'_> {
    /// # Safety
    /// The slices have the lengths that `propagate` gives them, and see [`Simd`].
    #[inline(always)]
    unsafe fn all<S: Simd, const NORM: bool, const BEFORE: bool, const AFTER: bool>(self) {
        let Self { extent, values, gradients, through, layout, target, bias } = self;
        let zeros = [0.0_f32; LANES];
        for image in 0..extent.images {
            for lane in (0..extent.channels).step_by(S::LEN) {
                let constants = match through {
                    Through::Normalisation { normalisation, coefficients, .. } => {
                        let vectors = [
                            &normalisation.scale,
                            &normalisation.shift,
                            &normalisation.centre,
                            &coefficients.scale,
                            &coefficients.slope,
                            &coefficients.offset,
                        ];
                        vectors.map(|vector| vector[lane..].as_ptr())
                    }
                    Through::Nothing | Through::Relu => [zeros.as_ptr(); 6],
                };
                let mut sum = [0.0_f32; LANES];
                // SAFETY: all pixels and lanes lie inside the slices; the arrays hold a vector of any set.
                unsafe {
                    let [scale, shift, centre, factor, slope, offset] = constants;
                    let (scale, shift, centre) = (S::load(scale), S::load(shift), S::load(centre));
                    let (factor, slope, offset) = (S::load(factor), S::load(slope), S::load(offset));
                    let mut chains = [S::zero(); 4];
                    for row in 0..extent.height {
                        let from = (image * extent.height + row) * extent.width * extent.channels + lane;
                        let (values, gradients) = (values.as_ptr().add(from), gradients.as_ptr().add(from));
                        let to = image * layout.len() + layout.pixel(row, 0) + lane;
                        let to = target.as_mut_ptr().add(to);
                        in_chains!(extent.width, |column, chain| {
                            let value = S::load(values.add(column * extent.channels));
                            let mut gradient = S::load(gradients.add(column * extent.channels));
                            if AFTER {
                                gradient = S::where_positive(read::<S, false>(value, scale, shift), gradient);
                            }
                            if NORM {
                                let rest = S::fma(slope, S::sub(value, centre), offset);
                                gradient = S::fma(factor, gradient, rest);
                            }
                            if BEFORE {
                                gradient = S::where_positive(value, gradient);
                            }
                            S::store(to.add(column * layout.channel_stride), gradient);
                            chains[chain] = S::add(chains[chain], gradient);
                        });
                    }
                    S::store(sum.as_mut_ptr(), tree::<S>(chains));
                }
                for (total, &sum) in bias[lane..].iter_mut().zip(&sum[..S::LEN]) {
                    *total += f64::from(sum);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
