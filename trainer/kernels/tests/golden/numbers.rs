//! The fixed numbers that the kernels compute on.

use std::fmt;

use lockstep_kernels::padded;

/// What numbers are like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Numbers {
    /// In [-1, 1).
    Ordinary,
    /// The same, some of them times 2^-70 or 2^-140, some of them zeros of both signs: products underflow.
    Tiny,
    /// Ordinary, with a few that overflow in products, infinities and NaN.
    Extreme,
}

impl fmt::Display for Numbers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ordinary => "ordinary",
            Self::Tiny => "tiny",
            Self::Extreme => "extreme",
        })
    }
}

impl Numbers {
    pub(crate) const KINDS: [Self; 3] = [Self::Ordinary, Self::Tiny, Self::Extreme];

    /// Random numbers, a function of the seed.
    pub(crate) fn values(self, seed: u64, len: usize) -> Vec<f32> {
        let mut bits = bits(seed);
        (0..len).map(|_| self.one(bits.next().unwrap_or_default())).collect()
    }

    /// Rows of `len` random numbers, each with zeros up to whole vectors.
    pub(crate) fn rows(self, seed: u64, rows: usize, len: usize) -> Vec<f32> {
        let mut padded_rows = vec![0.0; rows * padded(len)];
        for (row, values) in
            padded_rows.chunks_exact_mut(padded(len)).zip(self.values(seed, rows * len).chunks(len))
        {
            row[..len].copy_from_slice(values);
        }
        padded_rows
    }

    fn one(self, bits: u64) -> f32 {
        // 24 bits make the value, others choose what is special.
        let value = (bits >> 40) as f32 / 8_388_608.0 - 1.0;
        let choice = bits >> 8 & 0xff;
        match (self, choice) {
            (Self::Tiny, 0..32) => 0.0,
            (Self::Tiny, 32..64) => -0.0,
            (Self::Tiny, 64..128) => value * 2.0_f32.powi(-70),
            (Self::Tiny, 128..192) => value * 2.0_f32.powi(-70) * 2.0_f32.powi(-70),
            // Rare, or everything would be NaN.
            (Self::Extreme, 0..2) if bits >> 16 & 3 == 0 => {
                [f32::INFINITY, f32::NEG_INFINITY][bits as usize >> 18 & 1]
            }
            (Self::Extreme, 2) if bits >> 16 & 3 == 0 => f32::NAN,
            (Self::Extreme, 3..6) => value * 3e38,
            _ => value,
        }
    }
}

/// Random bits: the upper ones of a linear congruential generator (D. Knuth's MMIX), mixed.
pub(crate) fn bits(seed: u64) -> impl Iterator<Item = u64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state ^ state >> 29
    })
}
