//! Vectors of single-precision numbers, the same operations for every instruction set.
//!
//! Each operation works lane by lane and rounds as IEEE 754 says, once. What differs between CPUs at the edges is pinned
//! here: `relu` and `max` let NaN through; subnormal numbers are kept (nobody may set flush-to-zero).

/// One instruction set's vectors.
///
/// All methods are `#[inline(always)]` and unsafe for one common reason: the CPU must have the set's instructions, and
/// pointers must be valid for [`Simd::LEN`] values (no alignment is asked for).
#[allow(clippy::missing_safety_doc, reason = "said once for all above")]
pub(crate) trait Simd: Copy + 'static {
    /// A vector.
    type V: Copy;
    /// Its lanes: 16, 8 or 4; divides [`crate::LANES`].
    const LEN: usize;
    /// Vector registers: what a tile may use.
    const REGISTERS: usize;

    unsafe fn zero() -> Self::V;
    unsafe fn splat(value: f32) -> Self::V;
    unsafe fn load(from: *const f32) -> Self::V;
    unsafe fn store(to: *mut f32, value: Self::V);
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sqrt(a: Self::V) -> Self::V;
    /// `a * b + c`, rounded once.
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// `0 > a ? 0 : a`: NaN and -0 pass.
    unsafe fn relu(a: Self::V) -> Self::V;
    /// `b > a || b is NaN ? b : a`: the first of equal numbers; NaN wins.
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    /// `condition > 0 ? value : 0` (0 where the condition is NaN).
    unsafe fn where_positive(condition: Self::V, value: Self::V) -> Self::V;
    /// `a == b ? value : 0`.
    unsafe fn where_equal(a: Self::V, b: Self::V, value: Self::V) -> Self::V;
    /// `number < threshold ? 0 : value`, for [`Simd::LEN`] numbers.
    unsafe fn unless_below(numbers: *const u16, threshold: u16, value: Self::V) -> Self::V;
}

#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::Simd;
    use std::arch::x86_64::*;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx512;

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2;

    // SAFETY of every block below: what `Simd` asks of its callers.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Simd for Avx512 {
        type V = __m512;
        const LEN: usize = 16;
        const REGISTERS: usize = 32;

        #[inline(always)]
        unsafe fn zero() -> __m512 {
            unsafe { _mm512_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> __m512 {
            unsafe { _mm512_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m512 {
            unsafe { _mm512_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m512) {
            unsafe { _mm512_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m512, b: __m512) -> __m512 {
            unsafe { _mm512_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: __m512) -> __m512 {
            unsafe { _mm512_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m512, b: __m512, c: __m512) -> __m512 {
            unsafe { _mm512_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn relu(a: __m512) -> __m512 {
            // The instruction gives its second operand where they are equal or one is NaN.
            unsafe { _mm512_max_ps(_mm512_setzero_ps(), a) }
        }
        #[inline(always)]
        unsafe fn max(a: __m512, b: __m512) -> __m512 {
            unsafe {
                let take =
                    _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(b, a) & !_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
                _mm512_mask_mov_ps(a, take, b)
            }
        }
        #[inline(always)]
        unsafe fn where_positive(condition: __m512, value: __m512) -> __m512 {
            unsafe {
                let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(condition, _mm512_setzero_ps());
                _mm512_maskz_mov_ps(positive, value)
            }
        }
        #[inline(always)]
        unsafe fn where_equal(a: __m512, b: __m512, value: __m512) -> __m512 {
            unsafe { _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b), value) }
        }
        #[inline(always)]
        unsafe fn unless_below(numbers: *const u16, threshold: u16, value: __m512) -> __m512 {
            unsafe {
                let numbers = _mm256_loadu_si256(numbers.cast());
                let kept = _mm256_cmpge_epu16_mask(numbers, _mm256_set1_epi16(threshold as i16));
                _mm512_maskz_mov_ps(kept, value)
            }
        }
    }

    // SAFETY of every block below: what `Simd` asks of its callers.
    #[allow(clippy::undocumented_unsafe_blocks)]
    impl Simd for Avx2 {
        type V = __m256;
        const LEN: usize = 8;
        const REGISTERS: usize = 16;

        #[inline(always)]
        unsafe fn zero() -> __m256 {
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        unsafe fn splat(value: f32) -> __m256 {
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        unsafe fn load(from: *const f32) -> __m256 {
            unsafe { _mm256_loadu_ps(from) }
        }
        #[inline(always)]
        unsafe fn store(to: *mut f32, value: __m256) {
            unsafe { _mm256_storeu_ps(to, value) }
        }
        #[inline(always)]
        unsafe fn add(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sub(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn mul(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn div(a: __m256, b: __m256) -> __m256 {
            unsafe { _mm256_div_ps(a, b) }
        }
        #[inline(always)]
        unsafe fn sqrt(a: __m256) -> __m256 {
            unsafe { _mm256_sqrt_ps(a) }
        }
        #[inline(always)]
        unsafe fn fma(a: __m256, b: __m256, c: __m256) -> __m256 {
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        unsafe fn relu(a: __m256) -> __m256 {
            // The instruction gives its second operand where they are equal or one is NaN.
            unsafe { _mm256_max_ps(_mm256_setzero_ps(), a) }
        }
        #[inline(always)]
        unsafe fn max(a: __m256, b: __m256) -> __m256 {
            unsafe {
                let keep =
                    _mm256_or_ps(_mm256_cmp_ps::<_CMP_LE_OQ>(b, a), _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a));
                _mm256_blendv_ps(b, a, keep)
            }
        }
        #[inline(always)]
        unsafe fn where_positive(condition: __m256, value: __m256) -> __m256 {
            unsafe {
                let positive = _mm256_cmp_ps::<_CMP_GT_OQ>(condition, _mm256_setzero_ps());
                _mm256_and_ps(positive, value)
            }
        }
        #[inline(always)]
        unsafe fn where_equal(a: __m256, b: __m256, value: __m256) -> __m256 {
            unsafe { _mm256_and_ps(_mm256_cmp_ps::<_CMP_EQ_OQ>(a, b), value) }
        }
        #[inline(always)]
        unsafe fn unless_below(numbers: *const u16, threshold: u16, value: __m256) -> __m256 {
            unsafe {
                let numbers = _mm256_cvtepu16_epi32(_mm_loadu_si128(numbers.cast()));
                let below = _mm256_cmpgt_epi32(_mm256_set1_epi32(i32::from(threshold)), numbers);
                _mm256_andnot_ps(_mm256_castsi256_ps(below), value)
            }
        }
    }
}

/// Four lanes of Rust's own arithmetic, which compilers make vectors of where the CPU has them.
#[derive(Clone, Copy)]
pub(crate) struct Portable;

#[inline(always)]
fn each(function: impl Fn(usize) -> f32) -> [f32; 4] {
    [function(0), function(1), function(2), function(3)]
}

// SAFETY of every block below: what `Simd` asks of its callers.
#[allow(clippy::undocumented_unsafe_blocks)]
impl Simd for Portable {
    type V = [f32; 4];
    const LEN: usize = 4;
    const REGISTERS: usize = 32;

    #[inline(always)]
    unsafe fn zero() -> [f32; 4] {
        [0.0; 4]
    }
    #[inline(always)]
    unsafe fn splat(value: f32) -> [f32; 4] {
        [value; 4]
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> [f32; 4] {
        unsafe { from.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(to: *mut f32, value: [f32; 4]) {
        unsafe { to.cast::<[f32; 4]>().write_unaligned(value) }
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn sqrt(a: [f32; 4]) -> [f32; 4] {
        each(|i| a[i].sqrt())
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        each(|i| a[i].mul_add(b[i], c[i]))
    }
    #[inline(always)]
    unsafe fn relu(a: [f32; 4]) -> [f32; 4] {
        each(|i| if 0.0 > a[i] { 0.0 } else { a[i] })
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if b[i] <= a[i] || a[i].is_nan() { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn where_positive(condition: [f32; 4], value: [f32; 4]) -> [f32; 4] {
        each(|i| if condition[i] > 0.0 { value[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn where_equal(a: [f32; 4], b: [f32; 4], value: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] == b[i] { value[i] } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn unless_below(numbers: *const u16, threshold: u16, value: [f32; 4]) -> [f32; 4] {
        let numbers = unsafe { numbers.cast::<[u16; 4]>().read_unaligned() };
        each(|i| if numbers[i] < threshold { 0.0 } else { value[i] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Isa;
    use crate::isa::Kernel;

    const SPECIAL: [f32; 10] = [
        0.0,
        -0.0,
        1.0,
        -1.5,
        f32::NAN,
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::MIN_POSITIVE / 3.0,
        f32::MAX,
        -3.0e-39,
    ];

    const NUMBERS: [u16; 16] =
        [0, 1, 2, 39_999, 40_000, 40_001, 65_534, 65_535, 32_767, 32_768, 7, 0, 65_535, 3, 50_000, 20_000];

    /// All operations on 16 pairs.
    struct All {
        a: [f32; 16],
        b: [f32; 16],
    }

    impl Kernel for All {
        type Output = Vec<[f32; 16]>;
        #[inline(always)]
        unsafe fn run<S: Simd>(self) -> Self::Output {
            let mut results = vec![[0.0; 16]; 13];
            for at in (0..16).step_by(S::LEN) {
                // SAFETY: within the arrays, whose length every set's length divides.
                unsafe {
                    let (a, b) = (S::load(self.a.as_ptr().add(at)), S::load(self.b.as_ptr().add(at)));
                    let values = [
                        S::add(a, b),
                        S::sub(a, b),
                        S::mul(a, b),
                        S::div(a, b),
                        S::sqrt(a),
                        S::fma(a, b, S::splat(0.1)),
                        S::relu(a),
                        S::max(a, b),
                        S::where_positive(a, b),
                        S::where_equal(a, b, S::splat(2.0)),
                        S::unless_below(NUMBERS.as_ptr().add(at), 0, a),
                        S::unless_below(NUMBERS.as_ptr().add(at), 40_000, a),
                        S::unless_below(NUMBERS.as_ptr().add(at), u16::MAX, a),
                    ];
                    for (result, value) in results.iter_mut().zip(values) {
                        S::store(result.as_mut_ptr().add(at), value);
                    }
                }
            }
            results
        }
    }

    fn bits(value: f32) -> u32 {
        if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() }
    }

    #[test]
    fn every_operation_gives_the_same_bits_in_every_set_on_special_numbers() {
        for shift in 0..SPECIAL.len() {
            let a = std::array::from_fn(|i| SPECIAL[i % SPECIAL.len()]);
            let b = std::array::from_fn(|i| SPECIAL[(i + shift) % SPECIAL.len()]);
            let expected = Isa::PORTABLE.run(All { a, b });
            for isa in Isa::available() {
                let found = isa.run(All { a, b });
                for (operation, (found, expected)) in found.iter().zip(&expected).enumerate() {
                    assert_eq!(
                        found.map(bits),
                        expected.map(bits),
                        "{isa}, operation {operation}: {a:?} {b:?}"
                    );
                }
            }
        }
    }
}
