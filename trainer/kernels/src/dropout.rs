//! Dropout by given random numbers: forward on activations, backward on their gradients, which is the same rule.

use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::{LANES, padded};

/// Which values are zeroed, and by how much the others are scaled up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Values with a number below are zeroed.
    pub threshold: u16,
    /// The others are multiplied by this.
    pub scale: f32,
}

impl Dropout {
    /// `values[r][c] = numbers[r * channels + c] < threshold ? 0 : values[r][c] * scale`, in place.
    ///
    /// `values`: rows (pixels or images) of `padded(channels)` values; `numbers`: one a channel of each row, without
    /// gaps. A longer slice of numbers is allowed, a shorter one panics. Padding stays zero.
    pub fn apply(&self, isa: Isa, channels: usize, numbers: &[u16], values: &mut [f32]) {
        assert!(channels > 0 && values.len().is_multiple_of(padded(channels)), "rows of {channels} channels");
        let numbers = &numbers[..values.len() / padded(channels) * channels];
        isa.run(Apply { rule: *self, channels, numbers, values });
    }

    /// One vector of values: those with a number below the threshold are zero, the others scaled.
    ///
    /// # Safety
    /// The CPU has `S`; `numbers` is valid for [`Simd::LEN`] numbers.
    #[inline(always)]
    pub(crate) unsafe fn drop<S: Simd>(&self, numbers: *const u16, value: S::V) -> S::V {
        // SAFETY: as above.
        unsafe { S::unless_below(numbers, self.threshold, S::mul(value, S::splat(self.scale))) }
    }
}

struct Apply<'a> {
    rule: Dropout,
    channels: usize,
    numbers: &'a [u16],
    values: &'a mut [f32],
}

impl Kernel for Apply<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        let Self { rule, channels, numbers, values } = self;
        if channels.is_multiple_of(LANES) {
            // SAFETY: `S` is the CPU's.
            return unsafe { whole::<S>(rule, numbers, values) };
        }
        let vectors = channels / LANES * LANES;
        for (numbers, values) in numbers.chunks_exact(channels).zip(values.chunks_exact_mut(padded(channels)))
        {
            let (whole_numbers, rest_numbers) = numbers.split_at(vectors);
            let (whole_values, rest_values) = values.split_at_mut(vectors);
            // Lanes of padding get a number too: whether dropped or scaled, a zero stays one.
            let mut rest = [0; LANES];
            rest[..rest_numbers.len()].copy_from_slice(rest_numbers);
            // SAFETY: `S` is the CPU's.
            unsafe {
                whole::<S>(rule, whole_numbers, whole_values);
                whole::<S>(rule, &rest, rest_values);
            }
        }
    }
}

/// Values without gaps: whole vectors of them.
///
/// # Safety
/// The CPU has `S`.
#[inline(always)]
unsafe fn whole<S: Simd>(rule: Dropout, numbers: &[u16], values: &mut [f32]) {
    for (numbers, values) in numbers.chunks_exact(S::LEN).zip(values.chunks_exact_mut(S::LEN)) {
        // SAFETY: both slices are one vector long.
        unsafe { S::store(values.as_mut_ptr(), rule.drop::<S>(numbers.as_ptr(), S::load(values.as_ptr()))) };
    }
}
