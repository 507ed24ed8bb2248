//! Backward: lanes are input features, so that weights and their gradient are read and written as they lie.

use super::Dense;
use crate::LANES;
use crate::isa::Kernel;
use crate::simd::Simd;

/// Outputs whose weights are added at once to the gradients of the inputs.
const OUTPUTS: usize = 32;

/// Features whose gradients are kept in the scratch: with 16 images, 32 KiB.
const FEATURES: usize = 512;

/// Weights of [`OUTPUTS`] outputs and [`LANES`] features, side by side: in a matrix as wide as a power of two the rows
/// would push each other out of the first-level cache.
type Tile = [[f32; LANES]; OUTPUTS];

/// Backward to the data.
pub(super) struct Data<'a> {
    pub(super) dense: Dense,
    pub(super) images: usize,
    pub(super) gradient: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) input_gradient: &'a mut [f32],
    /// `[FEATURES / LANES][LANES images][LANES features]`.
    pub(super) scratch: &'a mut [f32],
}

impl Kernel for Data<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        for first in (0..self.images).step_by(LANES) {
            let images = (self.images - first).min(LANES);
            for start in (0..self.dense.inputs).step_by(FEATURES) {
                let features = (self.dense.inputs - start).min(FEATURES);
                for output in (0..self.dense.outputs).step_by(OUTPUTS) {
                    for group in 0..features.div_ceil(LANES) {
                        // SAFETY: `S` is the CPU's.
                        unsafe { self.group::<S>(first, images, start, group, output) };
                    }
                }
                self.put(first, images, start, features);
            }
        }
    }
}

impl Data<'_> {
    /// Goes on with the chains of one group of features through the outputs from `output` on.
    #[inline(always)]
    unsafe fn group<S: Simd>(
        &mut self,
        first: usize,
        images: usize,
        start: usize,
        group: usize,
        output: usize,
    ) {
        let Dense { inputs, outputs } = self.dense;
        let output_stride = self.dense.output_stride();
        let (len, feature) = ((outputs - output).min(OUTPUTS), start + group * LANES);
        let lanes = (inputs - feature).min(LANES);
        let mut weights: Tile = [[0.0; LANES]; OUTPUTS];
        for (o, row) in weights[..len].iter_mut().enumerate() {
            let from = &self.weights[(output + o) * inputs + feature..];
            match from.first_chunk().filter(|_| lanes == LANES) {
                Some(whole) => *row = *whole,
                None => row[..lanes].copy_from_slice(&from[..lanes]),
            }
        }
        let gradient = &self.gradient[first * output_stride..(first + images) * output_stride];
        let sums = &mut self.scratch[group * LANES * LANES..][..images * LANES];
        if output == 0 {
            sums.fill(0.0);
        }
        // SAFETY: `S` is the CPU's; a lane count divides LANES.
        unsafe {
            match S::LEN {
                16 => images_of::<S, 1, 16>(&weights[..len], output, gradient, output_stride, sums),
                8 => images_of::<S, 2, 6>(&weights[..len], output, gradient, output_stride, sums),
                _ => images_of::<S, 4, 4>(&weights[..len], output, gradient, output_stride, sums),
            }
        }
    }

    /// Copies finished gradients from the scratch to where they belong, with zeros as padding.
    #[inline(always)]
    fn put(&mut self, first: usize, images: usize, start: usize, features: usize) {
        let stride = self.dense.input_stride();
        for image in 0..images {
            let row = &mut self.input_gradient[(first + image) * stride + start..];
            for (group, row) in row[..features.next_multiple_of(LANES)].chunks_exact_mut(LANES).enumerate() {
                row.copy_from_slice(&self.scratch[(group * LANES + image) * LANES..][..LANES]);
            }
            // The products of padding are zero only where the gradients are finite.
            row[features..features.next_multiple_of(LANES)].fill(0.0);
        }
    }
}

/// Goes on with the chains in `sums`, `[images][LANES features]`.
#[inline(always)]
unsafe fn images_of<S: Simd, const V: usize, const N: usize>(
    weights: &[[f32; LANES]],
    output: usize,
    gradient: &[f32],
    stride: usize,
    sums: &mut [f32],
) {
    let images = sums.len() / LANES;
    let mut image = 0;
    // SAFETY: `S` is the CPU's.
    unsafe {
        while image + N <= images {
            data_tile::<S, V, N>(
                weights,
                output,
                &gradient[image * stride..],
                stride,
                &mut sums[image * LANES..],
            );
            image += N;
        }
        while image + 4 <= images {
            data_tile::<S, V, 4>(
                weights,
                output,
                &gradient[image * stride..],
                stride,
                &mut sums[image * LANES..],
            );
            image += 4;
        }
        while image < images {
            data_tile::<S, V, 1>(
                weights,
                output,
                &gradient[image * stride..],
                stride,
                &mut sums[image * LANES..],
            );
            image += 1;
        }
    }
}

/// `N` images, `V` vectors of features.
#[inline(always)]
unsafe fn data_tile<S: Simd, const V: usize, const N: usize>(
    weights: &[[f32; LANES]],
    output: usize,
    gradient: &[f32],
    stride: usize,
    sums: &mut [f32],
) {
    assert!(V * S::LEN == LANES && sums.len() >= N * LANES);
    assert!(gradient.len() >= N * stride && output + weights.len() <= stride);
    // SAFETY: all offsets lie within what the assertions state.
    unsafe {
        let sums = sums.as_mut_ptr();
        let gradient = gradient.as_ptr().add(output);
        let mut chains = [[S::zero(); V]; N];
        for (n, chain) in chains.iter_mut().enumerate() {
            for (v, chain) in chain.iter_mut().enumerate() {
                *chain = S::load(sums.add(n * LANES + v * S::LEN));
            }
        }
        for (o, weights) in weights.iter().enumerate() {
            let mut w = [S::zero(); V];
            for (v, w) in w.iter_mut().enumerate() {
                *w = S::load(weights.as_ptr().add(v * S::LEN));
            }
            for (n, chain) in chains.iter_mut().enumerate() {
                let gradient = S::splat(*gradient.add(n * stride + o));
                for (chain, w) in chain.iter_mut().zip(w) {
                    *chain = S::fma(gradient, w, *chain);
                }
            }
        }
        for (n, chain) in chains.iter().enumerate() {
            for (v, chain) in chain.iter().enumerate() {
                S::store(sums.add(n * LANES + v * S::LEN), *chain);
            }
        }
    }
}

/// Backward to the weights and the bias.
pub(super) struct Weights<'a> {
    pub(super) dense: Dense,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) gradient: &'a [f32],
    pub(super) weights_gradient: &'a mut [f32],
    pub(super) bias_gradient: &'a mut [f32],
    /// At least a panel: [`IMAGES`] rows of two of the widest vectors.
    pub(super) scratch: &'a mut [f32],
}

/// Images whose inputs are copied together into a panel.
const IMAGES: usize = 16;

impl Kernel for Weights<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let Dense { inputs, outputs } = self.dense;
        let (input_stride, output_stride) = (self.dense.input_stride(), self.dense.output_stride());
        // SAFETY: `S` is the CPU's.
        unsafe {
            match (S::LEN, S::REGISTERS) {
                (16, _) => self.panels::<S, 2, 8>(),
                (8, _) => self.panels::<S, 2, 6>(),
                _ => self.panels::<S, 4, 6>(),
            }
        }
        for output in 0..outputs {
            let gradients = || self.gradient[output..].iter().step_by(output_stride);
            for feature in inputs / S::LEN * S::LEN..inputs {
                let features = self.input[feature..].iter().step_by(input_stride);
                let sum = gradients().zip(features).fold(0.0, |sum, (&g, &x)| g.mul_add(x, sum));
                self.weights_gradient[output * inputs + feature] = sum;
            }
        }
        self.bias_gradient.fill(0.0);
        for gradient in self.gradient.chunks_exact(output_stride) {
            for (sum, value) in self.bias_gradient.iter_mut().zip(gradient) {
                *sum += value;
            }
        }
    }
}

impl Weights<'_> {
    /// All features that fill vectors: `V` vectors at once, the rest one by one.
    #[inline(always)]
    unsafe fn panels<S: Simd, const V: usize, const R: usize>(&mut self) {
        let whole = self.dense.inputs / S::LEN * S::LEN;
        for first in (0..self.images).step_by(IMAGES) {
            let mut feature = 0;
            // SAFETY: `S` is the CPU's.
            unsafe {
                while feature + V * S::LEN <= whole {
                    self.panel::<S, V, R>(feature, first);
                    feature += V * S::LEN;
                }
                while feature < whole {
                    self.panel::<S, 1, R>(feature, first);
                    feature += S::LEN;
                }
            }
        }
    }

    /// Copies `V` vectors of features of a group of images, whose rows are too far apart for the first-level cache, and
    /// goes on with the chains of all outputs.
    #[inline(always)]
    unsafe fn panel<S: Simd, const V: usize, const R: usize>(&mut self, feature: usize, first: usize) {
        let images = (self.images - first).min(IMAGES);
        let outputs = self.dense.outputs;
        for image in 0..images {
            let row = &self.input[(first + image) * self.dense.input_stride() + feature..][..V * S::LEN];
            self.scratch[image * V * S::LEN..][..V * S::LEN].copy_from_slice(row);
        }
        let mut output = 0;
        // SAFETY: `S` is the CPU's.
        unsafe {
            while output + R <= outputs {
                self.tile::<S, V, R>(output, feature, first, images);
                output += R;
            }
            while output + 2 <= outputs {
                self.tile::<S, V, 2>(output, feature, first, images);
                output += 2;
            }
            if output < outputs {
                self.tile::<S, V, 1>(output, feature, first, images);
            }
        }
    }

    /// Goes on with the chains of `R` outputs and `V` vectors of features through `len` images from `first`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize, const R: usize>(
        &mut self,
        output: usize,
        feature: usize,
        first: usize,
        len: usize,
    ) {
        let Dense { inputs, outputs } = self.dense;
        let output_stride = self.dense.output_stride();
        assert!(output + R <= outputs && feature + V * S::LEN <= inputs && first + len <= self.images);
        assert!(outputs * inputs <= self.weights_gradient.len() && len * V * S::LEN <= self.scratch.len());
        assert!(self.images * output_stride <= self.gradient.len());
        // SAFETY: all offsets lie within what the assertions state.
        unsafe {
            let target = self.weights_gradient.as_mut_ptr().add(output * inputs + feature);
            let gradient = self.gradient.as_ptr().add(first * output_stride + output);
            let panel = self.scratch.as_ptr();
            let mut chains = [[S::zero(); V]; R];
            if first > 0 {
                for (r, chain) in chains.iter_mut().enumerate() {
                    for (v, chain) in chain.iter_mut().enumerate() {
                        *chain = S::load(target.add(r * inputs + v * S::LEN));
                    }
                }
            }
            for n in 0..len {
                let mut x = [S::zero(); V];
                for (v, x) in x.iter_mut().enumerate() {
                    *x = S::load(panel.add((n * V + v) * S::LEN));
                }
                for (r, chain) in chains.iter_mut().enumerate() {
                    let gradient = S::splat(*gradient.add(n * output_stride + r));
                    for (chain, x) in chain.iter_mut().zip(x) {
                        *chain = S::fma(gradient, x, *chain);
                    }
                }
            }
            for (r, chain) in chains.iter().enumerate() {
                for (v, chain) in chain.iter().enumerate() {
                    S::store(target.add(r * inputs + v * S::LEN), *chain);
                }
            }
        }
    }
}
