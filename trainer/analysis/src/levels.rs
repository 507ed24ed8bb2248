//! What is measured of every image: how bright it is, how much it varies, which values it has.
//!
//! All in integers. A level is a value of a pixel, 0 to 255.

use serde::{Deserialize, Serialize};

use crate::histogram::Histogram;

/// Values of a byte.
pub(crate) const LEVELS: usize = 256;
/// Deviations of levels: at most half their range.
const DEVIATIONS: usize = 129;
const PERCENTS: usize = 101;
/// Pixels whose sums of squares fit into 32 bits, which is what vector units add fast.
const PIXELS_PER_SUM: usize = 4096;

/// One table for every channel, two by turns: neighbouring pixels are often equal, and a processor that counts one value
/// twice in a row waits for itself.
type Tables = [[u64; LEVELS]; 2];

/// Distributions over the images of a split.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Levels {
    /// Images by their mean luma, rounded.
    pub brightness: Histogram,
    /// Images by the deviation of their luma, rounded.
    pub contrast: Histogram,
    /// Images by their least value.
    pub darkest: Histogram,
    /// Images by their greatest value.
    pub brightest: Histogram,
    /// Images by how much of them is 0 or 255, in whole percents.
    pub saturated: Histogram,
}

impl Default for Levels {
    fn default() -> Self {
        let levels = || Histogram::new(LEVELS);
        Self {
            brightness: levels(),
            contrast: Histogram::new(DEVIATIONS),
            darkest: levels(),
            brightest: levels(),
            saturated: Histogram::new(PERCENTS),
        }
    }
}

impl Levels {
    pub(crate) fn add(&mut self, pixels: &[u8], channels: usize) {
        let (brightness, contrast) = brightness_and_contrast(pixels, channels);
        self.brightness.add(brightness);
        self.contrast.add(contrast);
        let (least, greatest) = pixels
            .iter()
            .fold((u8::MAX, 0), |(least, greatest), value| (least.min(*value), greatest.max(*value)));
        self.darkest.add(least.into());
        self.brightest.add(greatest.into());
        self.saturated.add(100 * saturated_values(pixels) / pixels.len());
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        let Self { brightness, contrast, darkest, brightest, saturated } = other;
        self.brightness.merge(brightness);
        self.contrast.merge(contrast);
        self.darkest.merge(darkest);
        self.brightest.merge(brightest);
        self.saturated.merge(saturated);
    }
}

fn saturated_values(pixels: &[u8]) -> usize {
    // Sums of a byte each, as vector units like them.
    let count = |part: &[u8]| part.iter().map(|value| u8::from(matches!(value, 0 | 255))).sum::<u8>();
    pixels.chunks(128).map(|part| usize::from(count(part))).sum()
}

/// Mean and population deviation of the luma, each rounded to a level.
///
/// Luma as ITU-R BT.601 has it, in 256ths: (77 R + 150 G + 29 B + 128) / 256 of the first three channels, the first one of
/// fewer.
fn brightness_and_contrast(pixels: &[u8], channels: usize) -> (usize, usize) {
    let (sum, squares) = match channels {
        1 => sums::<1>(pixels),
        3 => sums::<3>(pixels),
        4 => sums::<4>(pixels),
        _ => add_up(pixels.chunks_exact(channels).map(luma)),
    };
    let count = (pixels.len() / channels) as u64;
    let spread = u128::from(count) * u128::from(squares) - u128::from(sum) * u128::from(sum);
    let contrast = ((4 * spread).isqrt() + u128::from(count)) / (2 * u128::from(count));
    (((sum + count / 2) / count) as usize, contrast as usize)
}

fn sums<const C: usize>(pixels: &[u8]) -> (u64, u64) {
    let (pixels, _) = pixels.as_chunks::<C>();
    let parts = pixels.chunks(PIXELS_PER_SUM).map(|part| {
        part.iter()
            .map(|pixel| luma(pixel))
            .fold((0u32, 0u32), |(sum, squares), luma| (sum + luma, squares + luma * luma))
    });
    parts.fold((0, 0), |(sum, squares), part| (sum + u64::from(part.0), squares + u64::from(part.1)))
}

fn add_up(lumas: impl Iterator<Item = u32>) -> (u64, u64) {
    lumas.map(u64::from).fold((0, 0), |(sum, squares), luma| (sum + luma, squares + luma * luma))
}

#[inline]
fn luma(pixel: &[u8]) -> u32 {
    match *pixel {
        [red, green, blue, ..] => {
            (77 * u32::from(red) + 150 * u32::from(green) + 29 * u32::from(blue) + 128) >> 8
        }
        [grey, ..] => grey.into(),
        [] => 0,
    }
}

/// How often each channel has each value.
#[derive(Clone, Debug, Default)]
pub(crate) struct ChannelCounts {
    tables: Vec<Tables>,
}

impl ChannelCounts {
    /// Counts all values of an image, the channels of a pixel together.
    pub(crate) fn add(&mut self, pixels: &[u8], channels: usize) {
        if self.tables.len() < channels {
            self.tables.resize(channels, [[0; LEVELS]; 2]);
        }
        match channels {
            1 => self.count::<1>(pixels),
            3 => self.count::<3>(pixels),
            4 => self.count::<4>(pixels),
            _ => {
                for pixel in pixels.chunks_exact(channels) {
                    self.tables
                        .iter_mut()
                        .zip(pixel)
                        .for_each(|(tables, value)| tables[0][usize::from(*value)] += 1);
                }
            }
        }
    }

    fn count<const C: usize>(&mut self, pixels: &[u8]) {
        let Some(tables) = self.tables.first_chunk_mut::<C>() else { return };
        let (pixels, _) = pixels.as_chunks::<C>();
        let (pairs, last) = pixels.as_chunks::<2>();
        for [first, second] in pairs {
            for channel in 0..C {
                tables[channel][0][usize::from(first[channel])] += 1;
                tables[channel][1][usize::from(second[channel])] += 1;
            }
        }
        for pixel in last {
            for channel in 0..C {
                tables[channel][0][usize::from(pixel[channel])] += 1;
            }
        }
    }

    /// One histogram a channel.
    pub(crate) fn histograms(&self) -> Vec<Histogram> {
        let of = |[first, second]: &Tables| {
            let mut histogram = Histogram::new(LEVELS);
            histogram.add_counts(first);
            histogram.add_counts(second);
            histogram
        };
        self.tables.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn black_and_white_have_the_greatest_contrast_and_are_all_saturated() {
        let mut levels = Levels::default();
        levels.add(&[0, 0, 0, 255, 255, 255], 3);
        let only = |histogram: &Histogram| (histogram.total(), histogram.minimum());
        assert_eq!(only(&levels.brightness), (1, Some(128)));
        assert_eq!(only(&levels.contrast), (1, Some(128)));
        assert_eq!(only(&levels.darkest), (1, Some(0)));
        assert_eq!(only(&levels.brightest), (1, Some(255)));
        assert_eq!(only(&levels.saturated), (1, Some(100)));
    }

    proptest! {
        /// The fast ways for common numbers of channels count as the plain one does.
        #[test]
        fn every_value_is_counted_in_its_channel(
            values in prop::collection::vec(any::<u8>(), 12..600), channels in 1usize..7,
        ) {
            let pixels = &values[..values.len() / channels * channels];
            let mut counts = ChannelCounts::default();
            counts.add(pixels, channels);
            for (channel, histogram) in counts.histograms().iter().enumerate() {
                let mut plain = Histogram::new(LEVELS);
                pixels.iter().skip(channel).step_by(channels).for_each(|value| plain.add(usize::from(*value)));
                prop_assert_eq!(histogram, &plain);
            }
            let lumas: Vec<f64> = pixels.chunks(channels).map(|pixel| luma(pixel).into()).collect();
            let mean = lumas.iter().sum::<f64>() / lumas.len() as f64;
            let spread = lumas.iter().map(|luma| (luma - mean).powi(2)).sum::<f64>() / lumas.len() as f64;
            let (brightness, contrast) = brightness_and_contrast(pixels, channels);
            prop_assert!((brightness as f64 - mean).abs() <= 0.5 + 1e-9);
            prop_assert!((contrast as f64 - spread.sqrt()).abs() <= 0.5 + 1e-6);
            let saturated = pixels.iter().filter(|value| [0, 255].contains(*value)).count();
            prop_assert_eq!(saturated_values(pixels), saturated);
        }
    }
}
