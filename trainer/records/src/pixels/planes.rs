//! From planes, one a channel and one behind the other (CHW), to pixels that have their channels together (HWC).

/// Pixels that are put together at once: as many as a vector has bytes.
const PIXELS_AT_ONCE: usize = 16;

/// Fills `pixels`, which are as many values as `planes`.
pub(crate) fn interleave<T: Copy>(planes: &[T], channels: usize, pixels: &mut [T]) {
    let plane = (planes.len() / channels).max(1);
    let done = if channels == 3 { interleave_colours(planes, pixels) } else { 0 };
    for (channel, plane) in planes.chunks_exact(plane).take(channels).enumerate() {
        for (pixel, value) in pixels.chunks_exact_mut(channels).zip(plane).skip(done) {
            pixel[channel] = *value;
        }
    }
}

/// Red, green and blue by the processor's vectors: how many pixels were filled, all but the last few.
fn interleave_colours<T: Copy>(planes: &[T], pixels: &mut [T]) -> usize {
    let plane = planes.len() / 3;
    let colours = [0, 1, 2].map(|colour| &planes[colour * plane..][..plane]);
    let [red, green, blue] = colours.map(|colour| colour.as_chunks::<PIXELS_AT_ONCE>().0);
    let pixels = pixels.as_chunks_mut::<{ 3 * PIXELS_AT_ONCE }>().0;
    for (((pixels, red), green), blue) in pixels.iter_mut().zip(red).zip(green).zip(blue) {
        // Of known length and without a condition: so the compiler uses vectors.
        for at in 0..PIXELS_AT_ONCE {
            pixels[3 * at] = red[at];
            pixels[3 * at + 1] = green[at];
            pixels[3 * at + 2] = blue[at];
        }
    }
    red.len() * PIXELS_AT_ONCE
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_value_stands_where_its_pixel_and_channel_say(channels in 1usize..6, plane in 1usize..70, seed: u8) {
            let planes: Vec<u8> = (0..channels * plane).map(|at| (at * 31) as u8 ^ seed).collect();
            let expected: Vec<u8> =
                (0..planes.len()).map(|at| planes[at % channels * plane + at / channels]).collect();
            let mut pixels = vec![0; planes.len()];
            interleave(&planes, channels, &mut pixels);
            prop_assert_eq!(&pixels, &expected);
            let wide = |values: &[u8]| values.iter().map(|value| u16::from(*value) * 257).collect::<Vec<_>>();
            let mut pixels = vec![0; planes.len()];
            interleave(&wide(&planes), channels, &mut pixels);
            prop_assert_eq!(pixels, wide(&expected));
        }
    }
}
