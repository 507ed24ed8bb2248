//! Forward: lanes are images, so that weights are read as they lie, one broadcast a multiplication.

use super::{BLOCK, Dense};
use crate::LANES;
use crate::isa::Kernel;
use crate::simd::Simd;
use crate::transpose::transpose;

pub(super) struct Forward<'a> {
    pub(super) dense: Dense,
    pub(super) images: usize,
    pub(super) input: &'a [f32],
    pub(super) weights: &'a [f32],
    pub(super) bias: &'a [f32],
    pub(super) relu: bool,
    pub(super) output: &'a mut [f32],
    /// `[BLOCK features][LANES images]`.
    pub(super) transposed: &'a mut [f32],
    /// `[padded(outputs)][LANES images]`.
    pub(super) sums: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(mut self) {
        let Dense { inputs, outputs } = self.dense;
        let (input_stride, output_stride) = (self.dense.input_stride(), self.dense.output_stride());
        for first in (0..self.images).step_by(LANES) {
            let images = (self.images - first).min(LANES);
            for (sums, &bias) in self.sums.chunks_exact_mut(LANES).zip(self.bias) {
                sums.fill(bias);
            }
            self.sums[outputs * LANES..].fill(0.0);
            for start in (0..inputs).step_by(BLOCK) {
                let len = (inputs - start).min(BLOCK);
                let from = &self.input[first * input_stride + start..];
                // SAFETY: the CPU has `S`, as the caller vouches.
                unsafe {
                    transpose::<S>(images, len, from, input_stride, self.transposed, LANES);
                    self.block::<S>(start, len);
                }
            }
            if self.relu {
                for sums in self.sums.chunks_exact_mut(S::LEN) {
                    // SAFETY: one vector.
                    unsafe { S::store(sums.as_mut_ptr(), S::relu(S::load(sums.as_ptr()))) };
                }
            }
            let output = &mut self.output[first * output_stride..];
            // SAFETY: the CPU has `S`, as the caller vouches.
            unsafe { transpose::<S>(output_stride, images, self.sums, LANES, output, output_stride) };
        }
    }
}

impl Forward<'_> {
    /// Goes on with the chains of all outputs through features `start..start + len`, which lie transposed.
    #[inline(always)]
    unsafe fn block<S: Simd>(&mut self, start: usize, len: usize) {
        // SAFETY: `S` is the CPU's; a lane count divides LANES.
        unsafe {
            match S::LEN {
                16 => self.rows::<S, 1, 8>(start, len),
                8 => self.rows::<S, 2, 5>(start, len),
                _ => self.rows::<S, 4, 5>(start, len),
            }
        }
    }

    #[inline(always)]
    unsafe fn rows<S: Simd, const V: usize, const R: usize>(&mut self, start: usize, len: usize) {
        let outputs = self.dense.outputs;
        let mut row = 0;
        // SAFETY: `S` is the CPU's.
        unsafe {
            while row + R <= outputs {
                self.tile::<S, V, R>(row, start, len);
                row += R;
            }
            while row + 2 <= outputs {
                self.tile::<S, V, 2>(row, start, len);
                row += 2;
            }
            if row < outputs {
                self.tile::<S, V, 1>(row, start, len);
            }
        }
    }

    /// `R` outputs from `row` on, `V` vectors of images.
    #[inline(always)]
    unsafe fn tile<S: Simd, const V: usize, const R: usize>(&mut self, row: usize, start: usize, len: usize) {
        let inputs = self.dense.inputs;
        assert!(V * S::LEN == LANES && (row + R) * inputs <= self.weights.len() && start + len <= inputs);
        assert!(len * LANES <= self.transposed.len() && (row + R) * LANES <= self.sums.len());
        // SAFETY: all offsets lie within what the assertions state.
        unsafe {
            let sums = self.sums.as_mut_ptr().add(row * LANES);
            let weights = self.weights.as_ptr().add(row * inputs + start);
            let features = self.transposed.as_ptr();
            let mut chains = [[S::zero(); V]; R];
            for (r, chain) in chains.iter_mut().enumerate() {
                for (v, chain) in chain.iter_mut().enumerate() {
                    *chain = S::load(sums.add(r * LANES + v * S::LEN));
                }
            }
            for i in 0..len {
                let mut x = [S::zero(); V];
                for (v, x) in x.iter_mut().enumerate() {
                    *x = S::load(features.add(i * LANES + v * S::LEN));
                }
                for (r, chain) in chains.iter_mut().enumerate() {
                    let weight = S::splat(*weights.add(r * inputs + i));
                    for (chain, x) in chain.iter_mut().zip(x) {
                        *chain = S::fma(x, weight, *chain);
                    }
                }
            }
            for (r, chain) in chains.iter().enumerate() {
                for (v, chain) in chain.iter().enumerate() {
                    S::store(sums.add(r * LANES + v * S::LEN), *chain);
                }
            }
        }
    }
}
