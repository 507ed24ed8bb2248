//! Dropout's masks are counter-based: the mask of a layer is a pure function of (seed, step, position, layer).
//!
//! Value `i` of the activation, in memory order (image, row, column, channel; or image, feature), is zeroed where the
//! `i`-th 16-bit number of the layer's stream is below `rate * 2^16`.

use lockstep_rng::{Domain, Stream};

use crate::backend::RandomKey;

/// The rule of one dropout layer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Dropout {
    /// Numbers below are zeroed.
    pub threshold: u16,
    /// 1 / (share kept), of the share that the threshold really keeps.
    pub scale: f32,
    /// Number of the layer in the model, depth first: part of the stream's key.
    pub layer: u32,
}

impl Dropout {
    /// `rate` in [0, 1).
    pub fn new(rate: f64, layer: u32) -> Self {
        // A cast of a float saturates.
        let threshold = (rate * 65536.0).round() as u16;
        let scale = (65536.0 / (65536.0 - f64::from(threshold))) as f32;
        Self { threshold, scale, layer }
    }

    /// The layer's 16-bit numbers for one micro-batch.
    pub fn stream(&self, key: RandomKey) -> Stream {
        let place = u64::from(key.position) << 32 | u64::from(self.layer);
        Stream::new(key.seed, Domain::Dropout, key.step, place)
    }

    /// Zeroes `values` where their number is below the threshold, and scales the others up.
    pub fn apply(&self, numbers: &[u16], values: &mut [f32]) {
        for (value, &number) in values.iter_mut().zip(numbers) {
            *value = if number < self.threshold { 0.0 } else { *value * self.scale };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: RandomKey = RandomKey { seed: 42, step: 7, position: 3 };

    fn mask(dropout: &Dropout, key: RandomKey, len: usize) -> Vec<bool> {
        let mut numbers = vec![0; len];
        dropout.stream(key).fill_u16(&mut numbers);
        let mut values = vec![1.0; len];
        dropout.apply(&numbers, &mut values);
        values.iter().map(|&value| value == 0.0).collect()
    }

    /// The stream's key is part of every job's result.
    #[test]
    fn masks_are_pinned_by_golden_values() {
        let dropout = Dropout::new(0.25, 7);
        let bits = mask(&dropout, KEY, 64).iter().fold(0_u64, |bits, &zeroed| bits << 1 | u64::from(zeroed));
        assert_eq!(bits, GOLDEN, "{bits:#018x}");
    }
    const GOLDEN: u64 = 0x1200_0484_4100_12c1;

    #[test]
    fn the_share_zeroed_is_the_rate_and_the_mean_stays() {
        let len = 1 << 20;
        for rate in [0.0, 0.1, 0.25, 0.5, 0.9] {
            let dropout = Dropout::new(rate, 1);
            let zeroed = mask(&dropout, KEY, len).iter().filter(|&&zeroed| zeroed).count() as f64;
            // Five standard deviations of the binomial distribution, and the rounding of the rate to 2^-16.
            let bound = 5.0 * (rate * (1.0 - rate) / len as f64).sqrt() + 1.0 / 65536.0;
            assert!((zeroed / len as f64 - rate).abs() <= bound, "{rate}: {zeroed}");
            let kept = 1.0 - f64::from(dropout.threshold) / 65536.0;
            assert!((f64::from(dropout.scale) * kept - 1.0).abs() < 1e-7);
        }
    }

    /// Equal masks would correlate micro-batches, steps or layers.
    #[test]
    fn every_part_of_the_key_changes_the_mask() {
        let of = |seed, step, position, layer| {
            mask(&Dropout::new(0.5, layer), RandomKey { seed, step, position }, 256)
        };
        let masks = [of(1, 2, 3, 4), of(9, 2, 3, 4), of(1, 9, 3, 4), of(1, 2, 9, 4), of(1, 2, 3, 9)];
        for (index, mask) in masks.iter().enumerate() {
            assert!(masks[..index].iter().all(|other| other != mask), "{index}");
        }
        assert_eq!(of(1, 2, 3, 4), masks[0]);
    }

    #[test]
    fn a_zeroed_value_is_zero_even_where_it_was_not_finite() {
        let dropout = Dropout::new(0.5, 0);
        let mut values = [f32::NAN, f32::INFINITY, 2.0];
        dropout.apply(&[0, 0, 40_000], &mut values);
        assert_eq!(values, [0.0, 0.0, 4.0]);
    }
}
