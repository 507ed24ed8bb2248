//! Backward: lanes are input features, so that weights and their gradient are read and written as they lie.

use super::Dense;
use crate::isa::Kernel;
use crate::simd::Simd;

/// Outputs whose weights are added at once to the gradients of the inputs: their rows stay in the cache while groups of
/// images go over them.
const OUTPUTS: usize = 16;

/// Backward to the data.
pub(super) struct Data<'a> {
    pub(super) dense: Dense,
    pub(super) images: usize,
    pub(super) gradient: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) input_gradient: &'a mut [f32],
}

impl Kernel for Data<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let Dense { inputs, outputs } = self.dense;
        for first in (0..outputs).step_by(OUTPUTS) {
            let len = (outputs - first).min(OUTPUTS);
            for feature in (0..inputs / S::LEN * S::LEN).step_by(S::LEN) {
                // SAFETY: `S` is the CPU's.
                unsafe {
                    match S::REGISTERS {
                        32 => self.images::<S, 16>(feature, first, len),
                        _ => self.images::<S, 8>(feature, first, len),
                    }
                }
            }
        }
        // What is left of the features fills no vector.
        for image in 0..self.images {
            let gradient = &self.gradient[image * self.dense.output_stride()..][..outputs];
            let row =
                &mut self.input_gradient[image * self.dense.input_stride()..][..self.dense.input_stride()];
            for feature in inputs / S::LEN * S::LEN..inputs {
                let weights = self.weights[feature..].iter().step_by(inputs);
                row[feature] = gradient.iter().zip(weights).fold(0.0, |sum, (&g, &w)| g.mul_add(w, sum));
            }
            row[inputs..].fill(0.0);
        }
    }
}

impl Data<'_> {
    #[inline(always)]
    unsafe fn images<S: Simd, const N: usize>(&mut self, feature: usize, first: usize, len: usize) {
        let mut image = 0;
        // SAFETY: `S` is the CPU's.
        unsafe {
            while image + N <= self.images {
                self.tile::<S, N>(image, feature, first, len);
                image += N;
            }
            while image + 4 <= self.images {
                self.tile::<S, 4>(image, feature, first, len);
                image += 4;
            }
            while image < self.images {
                self.tile::<S, 1>(image, feature, first, len);
                image += 1;
            }
        }
    }

    /// Goes on with the chains of a vector of features in `N` images through `len` outputs from `first`.
    #[inline(always)]
    unsafe fn tile<S: Simd, const N: usize>(
        &mut self,
        image: usize,
        feature: usize,
        first: usize,
        len: usize,
    ) {
        let inputs = self.dense.inputs;
        let (input_stride, output_stride) = (self.dense.input_stride(), self.dense.output_stride());
        assert!(image + N <= self.images && feature + S::LEN <= inputs && first + len <= self.dense.outputs);
        assert!(self.images * input_stride <= self.input_gradient.len());
        assert!(self.images * output_stride <= self.gradient.len());
        assert!(self.dense.outputs * inputs <= self.weights.len());
        // SAFETY: all offsets lie within what the assertions state.
        unsafe {
            let target = self.input_gradient.as_mut_ptr().add(image * input_stride + feature);
            let gradient = self.gradient.as_ptr().add(image * output_stride + first);
            let weights = self.weights.as_ptr().add(first * inputs + feature);
            let mut chains = [S::zero(); N];
            if first > 0 {
                for (n, chain) in chains.iter_mut().enumerate() {
                    *chain = S::load(target.add(n * input_stride));
                }
            }
            for o in 0..len {
                let weight = S::load(weights.add(o * inputs));
                for (n, chain) in chains.iter_mut().enumerate() {
                    *chain = S::fma(S::splat(*gradient.add(n * output_stride + o)), weight, *chain);
                }
            }
            for (n, chain) in chains.iter().enumerate() {
                S::store(target.add(n * input_stride), *chain);
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
