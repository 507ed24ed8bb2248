//! The linear maps of Winograd's F(4, 3): four outputs of a filter with three weights by six multiplications.
//!
//! Input d, weights g and output y are polynomials that are evaluated at the points 0, `A`, -`A`, `B`, -`B` and infinity
//! (Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks"; the points, as Barabasz et al., "Error Analysis
//! and Improving the Accuracy of Winograd Convolution", chosen for a small error). In two dimensions each map is applied
//! to the columns, then to the rows.

use crate::simd::Simd;

/// Values of an input, a transformed input, weights or output.
pub(super) const POINTS: usize = 6;
/// Outputs of a tile.
pub(super) const OUTPUTS: usize = 4;
/// Weights of a filter.
pub(super) const WEIGHTS: usize = 3;

// Their squares and the product of these are exact. Of the pairs tried these and 3/4 and 3/2 erred least.
const A: f32 = std::f32::consts::FRAC_1_SQRT_2;
const B: f32 = std::f32::consts::SQRT_2;
const A2: f32 = 0.5;
const B2: f32 = 2.0;
const A3: f32 = A2 * A;
const B3: f32 = B2 * B;
/// What makes the weights' map the inverse of the others: one over the product of a point's distances to the others (1 for
/// the point 0).
const SCALE_A: f32 = -2.0 / 3.0;
const SCALE_B: f32 = 1.0 / 6.0;

/// `B^T d`: the input at the points.
///
/// # Safety
/// The CPU has `S`'s instructions; so for every function here.
#[inline(always)]
pub(super) unsafe fn input<S: Simd>(d: [S::V; POINTS]) -> [S::V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let fma = |factor: f32, value, addend| S::fma(S::splat(factor), value, addend);
        let (even_a, odd_a) = (fma(-B2, d[2], d[4]), fma(-B2, d[1], d[3]));
        let (even_b, odd_b) = (fma(-A2, d[2], d[4]), fma(-A2, d[1], d[3]));
        [
            S::add(d[0], fma(-(A2 + B2), d[2], d[4])),
            fma(A, odd_a, even_a),
            fma(-A, odd_a, even_a),
            fma(B, odd_b, even_b),
            fma(-B, odd_b, even_b),
            S::add(d[1], fma(-(A2 + B2), d[3], d[5])),
        ]
    }
}

/// `G g`: the weights at the points.
#[inline(always)]
pub(super) unsafe fn weights<S: Simd>(g: [S::V; WEIGHTS]) -> [S::V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let times = |factor: f32, value| S::mul(S::splat(factor), value);
        let (even_a, odd_a) = (S::fma(S::splat(A2), g[2], g[0]), times(A, g[1]));
        let (even_b, odd_b) = (S::fma(S::splat(B2), g[2], g[0]), times(B, g[1]));
        [
            g[0],
            times(SCALE_A, S::add(even_a, odd_a)),
            times(SCALE_A, S::sub(even_a, odd_a)),
            times(SCALE_B, S::add(even_b, odd_b)),
            times(SCALE_B, S::sub(even_b, odd_b)),
            g[2],
        ]
    }
}

/// `A^T m`: the output from the products at the points.
#[inline(always)]
pub(super) unsafe fn output<S: Simd>(m: [S::V; POINTS]) -> [S::V; OUTPUTS] {
    // SAFETY: the caller's.
    unsafe {
        let times = |factor: f32, value| S::mul(S::splat(factor), value);
        let fma = |factor: f32, value, addend| S::fma(S::splat(factor), value, addend);
        let (even_a, odd_a) = (S::add(m[1], m[2]), S::sub(m[1], m[2]));
        let (even_b, odd_b) = (S::add(m[3], m[4]), S::sub(m[3], m[4]));
        [
            S::add(S::add(m[0], even_a), even_b),
            fma(B, odd_b, times(A, odd_a)),
            fma(B2, even_b, times(A2, even_a)),
            fma(B3, odd_b, fma(A3, odd_a, m[5])),
        ]
    }
}

/// `A y`: the transpose of [`output`], for the gradient of the output.
#[inline(always)]
pub(super) unsafe fn output_gradient<S: Simd>(y: [S::V; OUTPUTS]) -> [S::V; POINTS] {
    // SAFETY: the caller's.
    unsafe {
        let times = |factor: f32, value| S::mul(S::splat(factor), value);
        let fma = |factor: f32, value, addend| S::fma(S::splat(factor), value, addend);
        let (even_a, odd_a) = (fma(A2, y[2], y[0]), fma(A3, y[3], times(A, y[1])));
        let (even_b, odd_b) = (fma(B2, y[2], y[0]), fma(B3, y[3], times(B, y[1])));
        [
            y[0],
            S::add(even_a, odd_a),
            S::sub(even_a, odd_a),
            S::add(even_b, odd_b),
            S::sub(even_b, odd_b),
            y[3],
        ]
    }
}

/// `G^T u`: the transpose of [`weights`], for the gradient of the weights.
#[inline(always)]
pub(super) unsafe fn weights_gradient<S: Simd>(u: [S::V; POINTS]) -> [S::V; WEIGHTS] {
    // SAFETY: the caller's.
    unsafe {
        let times = |factor: f32, value| S::mul(S::splat(factor), value);
        let fma = |factor: f32, value, addend| S::fma(S::splat(factor), value, addend);
        let (even_a, odd_a) = (times(SCALE_A, S::add(u[1], u[2])), times(SCALE_A, S::sub(u[1], u[2])));
        let (even_b, odd_b) = (times(SCALE_B, S::add(u[3], u[4])), times(SCALE_B, S::sub(u[3], u[4])));
        [
            S::add(S::add(u[0], even_a), even_b),
            fma(B, odd_b, times(A, odd_a)),
            fma(B2, even_b, fma(A2, even_a, u[5])),
        ]
    }
}
