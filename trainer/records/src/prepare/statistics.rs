//! Mean and deviation of each channel, in integers until the last step, so that no order of adding matters.

use crate::Shape;

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
        for (channel, (sum, square)) in self.sums.iter_mut().zip(&mut self.squares).enumerate() {
            let values = image[channel..].iter().step_by(channels);
            let add = |(sum, square), value: &u8| {
                let value = u64::from(*value);
                (sum + value, square + value * value)
            };
            (*sum, *square) = values.fold((*sum, *square), add);
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

#[cfg(test)]
mod tests {
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
}
