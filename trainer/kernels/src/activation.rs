//! What lies between two convolutions: how stored values are read, and copies with and without a border.
//!
//! An activation is stored once, before its batch norm; whoever reads it normalises on the way ([`Reading`]), so that a
//! normalised copy is never written only to be read once.

use crate::convolution::Bordered;
use crate::isa::{Isa, Kernel};
use crate::simd::Simd;
use crate::{LANES, padded};

/// The size of an activation in memory, `[images][height][width][channels]`.
///
/// Features are one image of height 1, with a pixel for every image of the micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Images.
    pub images: usize,
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels with their padding: a multiple of [`LANES`].
    pub channels: usize,
}

impl Extent {
    /// Pixels of one image.
    pub fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Values of one image.
    pub fn image_len(&self) -> usize {
        self.pixels() * self.channels
    }

    /// Values of all images.
    #[allow(clippy::len_without_is_empty, reason = "never empty")]
    pub fn len(&self) -> usize {
        self.images * self.image_len()
    }

    pub(crate) fn check(&self) {
        assert!(self.channels.is_multiple_of(LANES), "channels must be padded, found {}", self.channels);
    }

    /// The layout without a border.
    pub fn plain(&self) -> Bordered {
        let Self { height, width, channels, .. } = *self;
        Bordered { rows: height, columns: width, channel_stride: channels, top: 0, left: 0 }
    }
}

/// How stored values are read: `value * scale + shift`, rounded once, then ReLU if wanted.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// A factor for each channel; 0 (or 1) in padding lanes.
    pub scale: &'a [f32],
    /// A summand for each channel; 0 in padding lanes.
    pub shift: &'a [f32],
    /// Whether `max(x, 0)` follows; it lets NaN through.
    pub relu: bool,
}

impl Reading<'_> {
    pub(crate) fn check(&self, extent: &Extent) {
        extent.check();
        assert!(self.scale.len() >= extent.channels && self.shift.len() >= extent.channels);
    }
}

/// One vector read; see [`Reading`].
///
/// # Safety
/// See [`Simd`].
#[inline(always)]
pub(crate) unsafe fn read<S: Simd, const RELU: bool>(value: S::V, scale: S::V, shift: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        let value = S::fma(value, scale, shift);
        if RELU { S::relu(value) } else { value }
    }
}

/// Copies images into scratch images with a border, read as `reading` says: of each element one fused multiply-add, and
/// ReLU.
///
/// `values`: `extent`; `target`: as many images of `layout`, of which the pixels' values are written and nothing else.
/// Where the layout's channel stride is below `extent.channels` only so many channels are copied.
pub fn fill(
    isa: Isa,
    extent: Extent,
    values: &[f32],
    reading: Reading<'_>,
    layout: Bordered,
    target: &mut [f32],
) {
    reading.check(&extent);
    check_layout(&extent, &layout);
    let values = &values[..extent.len()];
    let target = &mut target[..extent.images * layout.len()];
    if layout.channel_stride >= extent.channels {
        isa.run(Fill { extent, values, reading, layout, target });
    } else {
        fill_few(extent, values, reading, layout, target);
    }
}

pub(crate) fn check_layout(extent: &Extent, layout: &Bordered) {
    assert!(layout.rows >= layout.top + extent.height && layout.columns >= layout.left + extent.width);
    assert!(padded(layout.channel_stride) >= extent.channels, "a layout for fewer channels");
}

/// Copies unpadded images, such as those of one to seven channels, into scratch images with a border.
///
/// `values`: `[images][height][width][channels]`; `target`: as many images of `layout`, whose channel stride is
/// `channels`.
pub fn fill_unpadded(
    (height, width, channels): (usize, usize, usize),
    values: &[f32],
    layout: Bordered,
    target: &mut [f32],
) {
    assert_eq!(layout.channel_stride, channels, "pixels must lie one after the other");
    let images = values.chunks_exact(height * width * channels).zip(target.chunks_exact_mut(layout.len()));
    for (values, target) in images {
        for (row, values) in values.chunks_exact(width * channels).enumerate() {
            target[layout.pixel(row, 0)..][..values.len()].copy_from_slice(values);
        }
    }
}

fn fill_few(extent: Extent, values: &[f32], reading: Reading<'_>, layout: Bordered, target: &mut [f32]) {
    let images = values.chunks_exact(extent.image_len()).zip(target.chunks_exact_mut(layout.len()));
    for (values, target) in images {
        for (index, pixel) in values.chunks_exact(extent.channels).enumerate() {
            let at = layout.pixel(index / extent.width, index % extent.width);
            for (channel, to) in target[at..][..layout.channel_stride].iter_mut().enumerate() {
                let value = pixel[channel].mul_add(reading.scale[channel], reading.shift[channel]);
                // As `Simd::relu`.
                *to = if reading.relu && 0.0 > value { 0.0 } else { value };
            }
        }
    }
}

struct Fill<'a> {
    extent: Extent,
    values: &'a [f32],
    reading: Reading<'a>,
    layout: Bordered,
    target: &'a mut [f32],
}

impl Kernel for Fill<'_> {
    type Output = ();

    #[inline(always)]
    unsafe fn run<S: Simd>(self) {
        // SAFETY: `fill` checked the lengths; the rest is the caller's promise.
        unsafe { if self.reading.relu { self.copy::<S, true>() } else { self.copy::<S, false>() } }
    }
}

impl Fill<'_> {
    /// # Safety
    /// The slices have the lengths that `fill` gives them, and see [`Simd`].
    #[inline(always)]
    unsafe fn copy<S: Simd, const RELU: bool>(self) {
        let Self { extent, values, reading, layout, target } = self;
        let stride = layout.channel_stride;
        for image in 0..extent.images {
            for row in 0..extent.height {
                let from = (image * extent.height + row) * extent.width * extent.channels;
                let to = image * layout.len() + layout.pixel(row, 0);
                for lane in (0..extent.channels).step_by(S::LEN) {
                    // SAFETY: pixels inside the images, and lanes inside the channels, of both slices.
                    unsafe {
                        let scale = S::load(reading.scale.as_ptr().add(lane));
                        let shift = S::load(reading.shift.as_ptr().add(lane));
                        let from = values.as_ptr().add(from + lane);
                        let to = target.as_mut_ptr().add(to + lane);
                        for column in 0..extent.width {
                            let value = S::load(from.add(column * extent.channels));
                            S::store(to.add(column * stride), read::<S, RELU>(value, scale, shift));
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Bits, with one NaN for all: payload and sign are the processor's.
    pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
        let of = |value: &f32| if value.is_nan() { 0x7fc0_0000 } else { value.to_bits() };
        values.iter().map(of).collect()
    }

    /// An extent and its unpadded channels: small odd sizes.
    pub(crate) fn extents() -> impl Strategy<Value = (Extent, usize)> {
        (1_usize..4, 1_usize..8, 1_usize..8, 1_usize..40).prop_map(|(images, height, width, channels)| {
            (Extent { images, height, width, channels: padded(channels) }, channels)
        })
    }

    /// Values in [-2, 2) by seed, with zeros in the padding lanes; now and then one that is special.
    pub(crate) fn values(seed: u64, len: usize, padded: usize, channels: usize, special: bool) -> Vec<f32> {
        let mut state = seed.wrapping_mul(2).wrapping_add(1);
        (0..len)
            .map(|index| {
                state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
                let number = (state >> 40) as f32 / (1 << 22) as f32 - 2.0;
                match (index % padded < channels, special, state >> 58) {
                    (false, _, _) => 0.0,
                    (true, true, 0) => f32::NAN,
                    (true, true, 1) => f32::INFINITY,
                    (true, true, 2) => f32::NEG_INFINITY,
                    (true, _, 3) => -0.0,
                    _ => number,
                }
            })
            .collect()
    }

    proptest! {
        #[test]
        fn filling_computes_each_pixel_and_leaves_the_border_alone(
            (extent, channels) in extents(), seed in 0_u64..1000, relu: bool, border in 0_usize..3, few: bool,
        ) {
            let stored = values(seed, extent.len(), extent.channels, channels, true);
            let scale = values(seed + 1, extent.channels, extent.channels, channels, false);
            let shift = values(seed + 2, extent.channels, extent.channels, channels, false);
            let reading = Reading { scale: &scale, shift: &shift, relu };
            let layout = Bordered {
                rows: extent.height + 2 * border,
                columns: extent.width + border + 1,
                channel_stride: if few && channels < LANES { channels } else { extent.channels },
                top: border,
                left: border,
            };
            for isa in Isa::available() {
                let mut found = vec![-7.0; extent.images * layout.len()];
                fill(isa, extent, &stored, reading, layout, &mut found);
                let mut expected = vec![-7.0; found.len()];
                for image in 0..extent.images {
                    for pixel in 0..extent.pixels() {
                        for channel in 0..layout.channel_stride {
                            let value = stored[(image * extent.pixels() + pixel) * extent.channels + channel];
                            let value = value.mul_add(scale[channel], shift[channel]);
                            let at = layout.pixel(pixel / extent.width, pixel % extent.width);
                            expected[image * layout.len() + at + channel] =
                                if relu && value < 0.0 { 0.0 } else { value };
                        }
                    }
                }
                prop_assert_eq!(bits(&found), bits(&expected), "{}", isa);
            }
        }
    }

    #[test]
    fn unpadded_rows_land_inside_the_border() {
        let layout = Bordered { rows: 4, columns: 5, channel_stride: 3, top: 1, left: 1 };
        let values: Vec<f32> = (0..2 * 2 * 3 * 3).map(|value| value as f32).collect();
        let mut target = vec![-1.0; 2 * layout.len()];
        fill_unpadded((2, 3, 3), &values, layout, &mut target);
        assert_eq!(target[layout.pixel(1, 0)..][..9], values[9..18]);
        assert_eq!(target[layout.len() + layout.pixel(0, 0)..][..9], values[18..27]);
        assert_eq!(target.iter().filter(|&&value| value == -1.0).count(), target.len() - values.len());
    }
}
