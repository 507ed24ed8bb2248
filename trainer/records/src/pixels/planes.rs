//! From planes, one a channel and one behind the other (CHW), to pixels that have their channels together (HWC).

/// Fills `pixels`, which are as many values as `planes`.
pub(crate) fn interleave<T: Copy>(planes: &[T], channels: usize, pixels: &mut [T]) {
    let plane = (planes.len() / channels).max(1);
    for (channel, plane) in planes.chunks_exact(plane).take(channels).enumerate() {
        for (pixel, value) in pixels.chunks_exact_mut(channels).zip(plane) {
            pixel[channel] = *value;
        }
    }
}

/// The same; red, green and blue in a fourth of the time.
pub(crate) fn interleave_bytes(planes: &[u8], channels: usize, pixels: &mut [u8]) {
    let plane = planes.len() / channels;
    if channels != 3 || !plane.is_multiple_of(4) {
        return interleave(planes, channels, pixels);
    }
    let (red, rest) = planes.split_at(plane);
    let (green, blue) = rest.split_at(plane);
    let planes = red.as_chunks::<4>().0.iter().zip(green.as_chunks::<4>().0).zip(blue.as_chunks::<4>().0);
    let word = |bytes: [u32; 4]| (bytes[0] | bytes[1] << 8 | bytes[2] << 16 | bytes[3] << 24).to_le_bytes();
    // Four pixels are twelve bytes, which are three words.
    for (pixels, ((red, green), blue)) in pixels.as_chunks_mut::<12>().0.iter_mut().zip(planes) {
        let [r, g, b] = [red, green, blue].map(|values| values.map(u32::from));
        pixels[..4].copy_from_slice(&word([r[0], g[0], b[0], r[1]]));
        pixels[4..8].copy_from_slice(&word([g[1], b[1], r[2], g[2]]));
        pixels[8..].copy_from_slice(&word([b[2], r[3], g[3], b[3]]));
    }
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
            let (mut pixels, mut bytes) = (vec![0; planes.len()], vec![0; planes.len()]);
            interleave(&planes, channels, &mut pixels);
            interleave_bytes(&planes, channels, &mut bytes);
            prop_assert_eq!(&pixels, &expected);
            prop_assert_eq!(&bytes, &expected);
        }
    }
}
