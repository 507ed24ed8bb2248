//! Counter-based randomness: the one source of chance in a job (data order, validation split, initial weights,
//! dropout, augmentation). Read by `records` and `nn`.
//!
//! A [`Stream`] is a pure function of `(seed, domain, a, b)`: no process, thread or history enters it, so whichever
//! executor computes a thing draws the same numbers for it. Underneath is ChaCha8 with these four as its 256-bit key,
//! so two streams never overlap. Everything above the raw words (bounded integers, floats, shuffles) is code of this
//! crate and pinned by golden vectors: a changed draw is a changed result of every job.
#![cfg_attr(test, allow(clippy::unwrap_used))]

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng as _, SeedableRng as _};

/// What a stream is used for; part of its key, so uses never share numbers.
///
/// The values are part of every job's result: they may be added to, never changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u64)]
pub enum Domain {
    /// Order of the training records: `a` = epoch, `b` = window (or the blocks' own stream).
    DataOrder = 1,
    /// Which records are held out for validation.
    Validation = 2,
    /// Initial weights: `a` = layer, `b` = tensor within the layer.
    Initialisation = 3,
    /// Dropout masks: `a` = step, `b` = micro-batch and layer.
    Dropout = 4,
    /// Augmentation: `a` = epoch, `b` = position in the epoch's order.
    Augmentation = 5,
    /// Order in which `prepare` writes records that its source holds sorted by class.
    Preparation = 6,
    /// Faults of `lockstep chaos`, which enter no result.
    Chaos = 7,
}

/// A stream of uniform bits, keyed by `(seed, domain, a, b)`.
#[derive(Clone, Debug)]
pub struct Stream {
    chacha: ChaCha8Rng,
}

/// Bytes drawn at once by the bulk methods: large enough for the vector paths, small enough for the stack.
const BULK_BYTES: usize = 4096;

impl Stream {
    /// The stream at its first word.
    pub fn new(seed: u64, domain: Domain, a: u64, b: u64) -> Self {
        let mut key = [0; 32];
        for (part, value) in key.chunks_exact_mut(8).zip([seed, domain as u64, a, b]) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        Self { chacha: ChaCha8Rng::from_seed(key) }
    }

    /// The next word the stream will give, counted from 0 in 32-bit words.
    pub fn word_position(&self) -> u64 {
        // A stream has 2^68 words; nothing here draws more than 2^64.
        self.chacha.get_word_pos() as u64
    }

    /// Goes to any 32-bit word of the stream in constant time.
    pub fn seek(&mut self, word_position: u64) {
        self.chacha.set_word_pos(u128::from(word_position));
    }

    /// The next 32-bit word.
    pub fn next_u32(&mut self) -> u32 {
        self.chacha.next_u32()
    }

    /// The next two words, the first one low.
    pub fn next_u64(&mut self) -> u64 {
        let low = u64::from(self.chacha.next_u32());
        low | u64::from(self.chacha.next_u32()) << 32
    }

    /// Uniform in `0..n`, without bias; takes two words, and two more with a probability below `n / 2^64`.
    ///
    /// # Panics
    /// When `n` is 0: there is no such number.
    ///
    /// Source: D. Lemire, "Fast Random Integer Generation in an Interval", 2019, algorithm 5 with L = 64.
    pub fn below(&mut self, n: u64) -> u64 {
        assert!(n > 0, "no number is below 0");
        let mut product = u128::from(self.next_u64()) * u128::from(n);
        if (product as u64) < n {
            let threshold = n.wrapping_neg() % n;
            while (product as u64) < threshold {
                product = u128::from(self.next_u64()) * u128::from(n);
            }
        }
        (product >> 64) as u64
    }

    /// Uniform in `[0, 1)`: one of the 2^24 multiples of 2^-24, from the upper bits of one word.
    pub fn unit_f32(&mut self) -> f32 {
        // Both factors are exact in f32, and so is the product.
        (self.next_u32() >> 8) as f32 * (1.0 / 16_777_216.0)
    }

    /// Uniform in `[low, high)` up to rounding: `low + (high - low) * unit`, each operation rounded once in f32.
    pub fn uniform_f32(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.unit_f32()
    }

    /// Fills `values` with uniform words: the same as `next_u32` for each.
    pub fn fill_u32(&mut self, values: &mut [u32]) {
        let mut bytes = [0; BULK_BYTES];
        for values in values.chunks_mut(BULK_BYTES / 4) {
            let bytes = &mut bytes[..values.len() * 4];
            self.chacha.fill_bytes(bytes);
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *value = u32::from_le_bytes(*bytes);
            }
        }
    }

    /// Fills `values` with uniform 16-bit numbers, two from each word, the lower half first.
    /// An odd last one leaves the upper half of its word unused.
    pub fn fill_u16(&mut self, values: &mut [u16]) {
        let mut bytes = [0; BULK_BYTES];
        for values in values.chunks_mut(BULK_BYTES / 2) {
            let bytes = &mut bytes[..values.len().next_multiple_of(2) * 2];
            self.chacha.fill_bytes(bytes);
            for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<2>().0) {
                *value = u16::from_le_bytes(*bytes);
            }
        }
    }

    /// Puts `values` in a uniformly random order (Fisher-Yates from the end, one [`below`](Self::below) a value).
    pub fn shuffle<T>(&mut self, values: &mut [T]) {
        for last in (1..values.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            values.swap(last, other);
        }
    }
}

#[cfg(test)]
mod tests;
