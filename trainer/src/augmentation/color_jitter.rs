//! Random changes of brightness, contrast and saturation, each towards black, the mean grey or the pixel's own grey, or away
//! from it.
//!
//! Source: torchvision's `ColorJitter` without hue, as it is on Pillow's images (`ImageEnhance`, `Image.blend`): a random
//! factor for each and a random order. All in integers: factors are whole multiples of 2^-16, and a value is rounded to the
//! nearest where Pillow cuts it off.

use lockstep_crds::resolved::ResolvedColorJitter;
use lockstep_rng::Stream;

/// Channels of the images that have a grey.
pub(super) const CHANNELS: [usize; 2] = [1, 3];

const ONE: i64 = 1 << 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Brightness,
    Contrast,
    Saturation,
}

/// All operations in the order of their doing, each with its factor in units of 2^-16, at most 2.
pub(super) type Adjustments = [(Operation, i64); 3];

/// Draws the factors of brightness, contrast and saturation, then their order.
pub(super) fn draw(rule: ResolvedColorJitter, stream: &mut Stream) -> Adjustments {
    let ResolvedColorJitter { brightness, contrast, saturation } = rule;
    let mut factor = |strength: f64| {
        // The product is exact: a strength is at most 1.
        let spread = (strength * ONE as f64).round() as i64;
        ONE - spread + stream.below(2 * spread as u64 + 1) as i64
    };
    let mut adjustments = [
        (Operation::Brightness, factor(brightness)),
        (Operation::Contrast, factor(contrast)),
        (Operation::Saturation, factor(saturation)),
    ];
    stream.shuffle(&mut adjustments);
    adjustments
}

/// Changes an image (row, column, channel) of 1 or 3 channels in place.
pub(super) fn apply(adjustments: &Adjustments, channels: usize, pixels: &mut [u8]) {
    for (operation, factor) in *adjustments {
        match operation {
            _ if factor == ONE => {}
            Operation::Brightness => blend_all(pixels, 0, factor),
            Operation::Contrast => blend_all(pixels, mean_grey(pixels, channels), factor),
            Operation::Saturation => {
                // A grey pixel is its own grey.
                for pixel in pixels.as_chunks_mut::<3>().0.iter_mut().filter(|_| channels == 3) {
                    let grey = grey(*pixel);
                    *pixel = pixel.map(|value| blend(value, grey, factor));
                }
            }
        }
    }
}

fn blend_all(pixels: &mut [u8], towards: u8, factor: i64) {
    let mut table = [0; 256];
    for (value, blended) in (0..=255).zip(&mut table) {
        *blended = blend(value, towards, factor);
    }
    pixels.iter_mut().for_each(|value| *value = table[usize::from(*value)]);
}

/// `factor * value + (1 - factor) * towards`, rounded and held within a byte.
fn blend(value: u8, towards: u8, factor: i64) -> u8 {
    let blended = factor * i64::from(value) + (ONE - factor) * i64::from(towards);
    ((blended + ONE / 2) >> 16).clamp(0, 255) as u8
}

/// The mean of all pixels' greys, rounded.
fn mean_grey(pixels: &[u8], channels: usize) -> u8 {
    let sum: u64 = match channels {
        3 => pixels.as_chunks::<3>().0.iter().map(|pixel| u64::from(grey(*pixel))).sum(),
        _ => pixels.iter().map(|value| u64::from(*value)).sum(),
    };
    let count = (pixels.len() / channels).max(1) as u64;
    ((2 * sum + count) / (2 * count)) as u8
}

/// ITU-R BT.601 luma in units of 2^-16, rounded, as Pillow converts colour to grey (`libImaging/Convert.c`).
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests;
