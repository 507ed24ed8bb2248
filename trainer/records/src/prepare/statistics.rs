//! Mean and deviation of each channel, in integers until the last step, so that no order of adding matters.

use crate::Shape;

/// Values that are added side by side, as a processor's vectors do.
const LANES: usize = 16;
/// The sum of so many bytes fits into 16 bits.
const MAX_ADDED: usize = 256;

/// Sums over pixels, by channel.
#[derive(Clone, Debug)]
pub(super) struct Statistics {
    pixels: u64,
    sums: Vec<u64>,
    /// A square is below 2^16, so 2^48 pixels fit.
    squares: Vec<u64>,
}

impl Statistics {
    pub(super) fn new(shape: Shape) -> Self {
        let zeros = vec![0; shape.channels as usize];
        Self { pixels: 0, sums: zeros.clone(), squares: zeros }
    }

    /// Adds an image, the channels of a pixel together.
    pub(super) fn add(&mut self, image: &[u8]) {
        let channels = self.sums.len();
        self.pixels += (image.len() / channels) as u64;
        // A lane of every so many values is of one channel.
        let stride = channels * LANES;
        for part in image.chunks(stride * MAX_ADDED) {
            for first in (0..stride).step_by(LANES) {
                let (sums, squares) = lanes(part, first, stride);
                for (lane, (sum, square)) in sums.into_iter().zip(squares).enumerate() {
                    let channel = (first + lane) % channels;
                    self.sums[channel] += u64::from(sum);
                    self.squares[channel] += u64::from(square);
                }
            }
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.pixels += other.pixels;
        self.sums.iter_mut().zip(&other.sums).for_each(|(sum, other)| *sum += other);
        self.squares.iter_mut().zip(&other.squares).for_each(|(square, other)| *square += other);
    }

    /// Means and (population) standard deviations.
    pub(super) fn finish(&self) -> (Vec<f64>, Vec<f64>) {
        let pixels = self.pixels.max(1);
        let channel = |(sum, square): (&u64, &u64)| {
            let mean = *sum as f64 / pixels as f64;
            // n * sum of squares - (sum)^2 is exact in 128 bits and never negative.
            let spread = u128::from(pixels) * u128::from(*square) - u128::from(*sum) * u128::from(*sum);
            (mean, (spread as f64).sqrt() / pixels as f64)
        };
        self.sums.iter().zip(&self.squares).map(channel).unzip()
    }
}

/// Sums and sums of squares of the values that begin at `first`, every `stride`.
fn lanes(values: &[u8], first: usize, stride: usize) -> ([u16; LANES], [u32; LANES]) {
    let (mut sums, mut squares) = ([0; LANES], [0; LANES]);
    let mut add = |lane: usize, value: u8| {
        let value = u16::from(value);
        sums[lane] += value;
        squares[lane] += u32::from(value * value);
    };
    let mut place = first;
    while let Some(values) = values.get(place..).and_then(|rest| rest.first_chunk::<LANES>()) {
        (0..LANES).for_each(|lane| add(lane, values[lane]));
        place += stride;
    }
    let rest = values.get(place..).unwrap_or_default();
    rest.iter().enumerate().for_each(|(lane, value)| add(lane, *value));
    (sums, squares)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn mean_and_deviation_are_those_of_the_values_however_they_are_split() {
        let shape = Shape { height: 2, width: 2, channels: 2 };
        let images = [[1, 10, 2, 10, 3, 10, 4, 10], [5, 250, 6, 250, 7, 250, 8, 250]];
        let mut whole = Statistics::new(shape);
        images.iter().for_each(|image| whole.add(image));
        let (mean, deviation) = whole.finish();
        assert_eq!(mean, [4.5, 130.0]);
        assert_eq!(deviation, [5.25f64.sqrt(), 120.0]);

        let mut merged = Statistics::new(shape);
        for image in images.iter().rev() {
            let mut part = Statistics::new(shape);
            part.add(image);
            merged.merge(&part);
        }
        assert_eq!(merged.finish(), (mean, deviation));
        assert_eq!(Statistics::new(shape).finish(), (vec![0.0; 2], vec![0.0; 2]));
    }

    #[test]
    fn no_sum_overflows_however_bright_and_large_an_image_is() {
        let shape = Shape { height: 2048, width: 1024, channels: 1 };
        let mut statistics = Statistics::new(shape);
        statistics.add(&vec![255; shape.bytes()]);
        assert_eq!(statistics.finish(), (vec![255.0], vec![0.0]));
    }

    proptest! {
        #[test]
        fn sums_are_those_of_the_values_one_by_one(
            channels in 1u32..5, values in prop::collection::vec(any::<u8>(), 0..40_000),
        ) {
            let shape = Shape { height: 1, width: 1, channels };
            let whole = &values[..values.len() / channels as usize * channels as usize];
            let mut statistics = Statistics::new(shape);
            statistics.add(whole);
            for channel in 0..channels as usize {
                let values = || whole.iter().skip(channel).step_by(channels as usize).map(|value| u64::from(*value));
                prop_assert_eq!(statistics.sums[channel], values().sum::<u64>());
                prop_assert_eq!(statistics.squares[channel], values().map(|value| value * value).sum::<u64>());
            }
        }
    }
}
