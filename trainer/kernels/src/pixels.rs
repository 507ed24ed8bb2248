//! From bytes to the network's input.

/// Every byte as a share of 255: each one division.
static SHARES: [f32; 256] = {
    let mut shares = [0.0; 256];
    let mut byte = 0;
    while byte < 256 {
        shares[byte] = byte as f32 / 255.0;
        byte += 1;
    }
    shares
};

/// Writes one image's bytes / 255 (one division) where a kernel wants them.
///
/// `bytes`: rows of `columns` pixels of `channels`; `output` begins at the first pixel, the next pixel lies
/// `pixel_stride` values further, the next row `row_stride`. Nothing else is written.
///
/// # Panics
/// The last value would lie outside `output`, or the bytes are no whole rows.
pub fn normalise(
    bytes: &[u8],
    columns: usize,
    channels: usize,
    pixel_stride: usize,
    row_stride: usize,
    output: &mut [f32],
) {
    let row_bytes = columns * channels;
    assert!(row_bytes > 0 && bytes.len().is_multiple_of(row_bytes), "whole rows of {columns} x {channels}");
    assert!(
        channels <= pixel_stride && columns * pixel_stride <= row_stride,
        "pixels and rows do not overlap"
    );
    for (row, bytes) in bytes.chunks_exact(row_bytes).enumerate() {
        let output = &mut output[row * row_stride..];
        if pixel_stride == channels {
            share(bytes, &mut output[..row_bytes]);
            continue;
        }
        for (column, bytes) in bytes.chunks_exact(channels).enumerate() {
            share(bytes, &mut output[column * pixel_stride..][..channels]);
        }
    }
}

fn share(bytes: &[u8], output: &mut [f32]) {
    for (value, &byte) in output.iter_mut().zip(bytes) {
        *value = SHARES[usize::from(byte)];
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_byte_is_divided_by_255_and_nothing_else_is_written(
            (rows, columns, channels, more, border) in (1_usize..6, 1_usize..6, 1_usize..5, 0_usize..14, 0_usize..3),
            bytes in prop::collection::vec(any::<u8>(), 5 * 5 * 4),
        ) {
            let bytes = &bytes[..rows * columns * channels];
            let pixel_stride = channels + more;
            let row_stride = (columns + 2 * border) * pixel_stride;
            let first = (border * (columns + 2 * border) + border) * pixel_stride;
            let mut output = vec![-7.0; row_stride * (rows + 2 * border)];
            normalise(bytes, columns, channels, pixel_stride, row_stride, &mut output[first..]);
            let mut expected = vec![-7.0; output.len()];
            for (index, &byte) in bytes.iter().enumerate() {
                let (pixel, channel) = (index / channels, index % channels);
                let (row, column) = (pixel / columns, pixel % columns);
                expected[first + row * row_stride + column * pixel_stride + channel] = f32::from(byte) / 255.0;
            }
            prop_assert_eq!(output, expected);
        }
    }
}
