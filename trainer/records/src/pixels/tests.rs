use ::png::{BitDepth, ColorType};
use jpeg_encoder::{ColorType as JpegColour, Encoder, SamplingFactor};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

use super::*;

const SHAPE: Shape = Shape { height: 3, width: 5, channels: 3 };

fn png_of(colour: ColorType, depth: BitDepth, width: u32, height: u32, bytes: &[u8]) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, width, height);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    if colour == ColorType::Indexed {
        encoder.set_palette(&[10, 20, 30, 40, 50, 60][..]);
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(bytes).unwrap();
    writer.finish().unwrap();
    file
}

fn jpeg_of(colour: JpegColour, width: u16, height: u16, bytes: &[u8], progressive: bool) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = Encoder::new(&mut file, 75);
    encoder.set_progressive(progressive);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.encode(bytes, width, height, colour).unwrap();
    file
}

fn format(encoding: Encoding, shape: Shape) -> ImageFormat {
    ImageFormat { encoding, layout: Layout::Hwc, shape }
}

fn message(error: Error) -> String {
    let error: Box<dyn std::error::Error> = error.into();
    std::iter::successors(Some(&*error), |error| error.source()).map(|error| format!("{error}; ")).collect()
}

/// Smooth, as pictures are, and no two channels alike.
fn picture(shape: Shape) -> Vec<u8> {
    let Shape { height, width, channels } = shape;
    let value = |y: u32, x: u32, c: u32| (y * 7 + x * 11 + c * 60 + (x * y) % 13) as u8;
    (0..height)
        .flat_map(|y| (0..width).flat_map(move |x| (0..channels).map(move |c| value(y, x, c))))
        .collect()
}

#[test]
fn raw_images_are_taken_as_they_are_and_planes_are_interleaved() {
    let hwc = picture(SHAPE);
    let borrowed = format(Encoding::Raw, SHAPE).decode(&hwc).unwrap();
    assert!(matches!(borrowed, Cow::Borrowed(pixels) if pixels == hwc));
    let chw: Vec<u8> = (0..3).flat_map(|channel| hwc.iter().copied().skip(channel).step_by(3)).collect();
    let planar = ImageFormat { encoding: Encoding::Raw, layout: Layout::Chw, shape: SHAPE };
    assert_eq!(planar.decode(&chw).unwrap(), hwc);
    let short = format(Encoding::Raw, SHAPE).decode(&hwc[1..]).unwrap_err();
    assert_eq!(short.to_string(), "failed to read an image: it has 44 bytes, 3x5x3 needs 45");
}

#[test]
fn a_grey_picture_fills_three_channels_and_a_coloured_one_is_no_grey_one() {
    let grey = Shape { channels: 1, ..SHAPE };
    let pixels = picture(grey);
    let expected: Vec<u8> = pixels.iter().flat_map(|value| [*value; 3]).collect();
    let png = png_of(ColorType::Grayscale, BitDepth::Eight, 5, 3, &pixels);
    assert_eq!(format(Encoding::Png, grey).decode(&png).unwrap(), pixels);
    assert_eq!(format(Encoding::Png, SHAPE).decode(&png).unwrap(), expected);
    let jpeg = jpeg_of(JpegColour::Luma, 5, 3, &pixels, false);
    let one = format(Encoding::Jpeg, grey).decode(&jpeg).unwrap().into_owned();
    let three = format(Encoding::Jpeg, SHAPE).decode(&jpeg).unwrap();
    assert_eq!(three, one.iter().flat_map(|value| [*value; 3]).collect::<Vec<_>>());
    let coloured = png_of(ColorType::Rgb, BitDepth::Eight, 5, 3, &picture(SHAPE));
    let error = format(Encoding::Png, grey).decode(&coloured).unwrap_err();
    assert_eq!(error.to_string(), "failed to read an image: it is 3x5x3, expected is 3x5x1");
}

#[test]
fn palettes_short_values_and_opaque_alpha_become_bytes() {
    let palette = png_of(ColorType::Indexed, BitDepth::One, 2, 1, &[0b0100_0000]);
    let shape = Shape { height: 1, width: 2, channels: 3 };
    assert_eq!(format(Encoding::Png, shape).decode(&palette).unwrap(), [10, 20, 30, 40, 50, 60].as_slice());
    let grey = Shape { channels: 1, ..shape };
    let two_bits = png_of(ColorType::Grayscale, BitDepth::Two, 2, 1, &[0b0111_0000]);
    assert_eq!(format(Encoding::Png, grey).decode(&two_bits).unwrap(), [85, 255].as_slice());
    let opaque = png_of(ColorType::Rgba, BitDepth::Eight, 2, 1, &[1, 2, 3, 255, 4, 5, 6, 255]);
    assert_eq!(format(Encoding::Png, shape).decode(&opaque).unwrap(), [1, 2, 3, 4, 5, 6].as_slice());
    let opaque = png_of(ColorType::GrayscaleAlpha, BitDepth::Eight, 2, 1, &[1, 255, 4, 255]);
    assert_eq!(format(Encoding::Png, shape).decode(&opaque).unwrap(), [1, 1, 1, 4, 4, 4].as_slice());
}

#[test]
fn what_cannot_be_said_in_bytes_is_refused() {
    let shape = Shape { height: 1, width: 1, channels: 3 };
    let glass = png_of(ColorType::Rgba, BitDepth::Eight, 1, 1, &[1, 2, 3, 254]);
    let deep = png_of(ColorType::Rgb, BitDepth::Sixteen, 1, 1, &[0; 6]);
    let printed = jpeg_of(JpegColour::Cmyk, 1, 1, &[1, 2, 3, 4], false);
    let cases = [
        (Encoding::Png, glass, "a transparent image"),
        (Encoding::Png, deep, "16 bits a value"),
        (Encoding::Jpeg, printed, "CMYK"),
    ];
    for (encoding, file, reason) in cases {
        let error = message(format(encoding, shape).decode(&file).unwrap_err());
        assert!(error.contains(reason), "{error}");
    }
}

#[test]
fn another_format_or_size_is_named() {
    let png = png_of(ColorType::Rgb, BitDepth::Eight, 5, 3, &picture(SHAPE));
    let error = format(Encoding::Jpeg, SHAPE).decode(&png).unwrap_err();
    assert_eq!(error.to_string(), "failed to read an image: it is a Png, expected is a Jpeg");
    let wide = Shape { width: 6, ..SHAPE };
    let error = format(Encoding::Png, wide).decode(&png).unwrap_err();
    assert_eq!(error.to_string(), "failed to read an image: it is 3x5x3, expected is 3x6x3");
    assert!(matches!(format(Encoding::Png, SHAPE).decode(b"GIF89a"), Err(Error::Unknown { .. })));
    assert!(matches!(encoded_header(b""), Err(Error::Unknown { .. })));
    assert_eq!(encoded_header(&png).unwrap(), (Encoding::Png, SHAPE));
}

#[test]
fn a_header_that_promises_a_huge_image_takes_no_memory() {
    let mut png = png_of(ColorType::Grayscale, BitDepth::Eight, 1, 1, &[0]);
    png[16..24].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]);
    let mut crc = crc_of_header(&png[12..29]);
    png[29..33].swap_with_slice(&mut crc);
    let error = decode_any(&png).unwrap_err();
    assert!(matches!(error, Error::Sides { width: 0x7fff_ffff, .. }), "{error:?}");
    let mut jpeg = jpeg_of(JpegColour::Rgb, 5, 3, &picture(SHAPE), false);
    let frame = jpeg.windows(2).position(|marker| marker == [0xff, 0xc0]).unwrap();
    jpeg[frame + 5..frame + 9].copy_from_slice(&[0xff; 4]);
    assert!(decode_any(&jpeg).is_err());
}

/// CRC-32 of the PNG specification, annex D, bit by bit.
fn crc_of_header(bytes: &[u8]) -> [u8; 4] {
    let step = |crc: u32| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    let byte = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc));
    (!bytes.iter().fold(u32::MAX, byte)).to_be_bytes()
}

#[test]
fn a_file_that_was_cut_is_refused_wherever_it_was_cut() {
    let shape = Shape { height: 40, width: 40, channels: 3 };
    let pixels = picture(shape);
    let png = png_of(ColorType::Rgb, BitDepth::Eight, 40, 40, &pixels);
    for length in 0..png.len() {
        assert!(format(Encoding::Png, shape).decode(&png[..length]).is_err(), "PNG cut to {length} bytes");
    }
    for progressive in [false, true] {
        let jpeg = jpeg_of(JpegColour::Rgb, 40, 40, &pixels, progressive);
        for length in 0..jpeg.len() {
            let cut = format(Encoding::Jpeg, shape).decode(&jpeg[..length]);
            assert!(cut.is_err(), "JPEG ({progressive}) of {} cut to {length} bytes", jpeg.len());
        }
    }
}

/// The same on every processor: these were computed once, and hold everywhere.
#[test]
fn jpegs_have_the_same_pixels_on_every_processor() {
    let shape = Shape { height: 67, width: 93, channels: 3 };
    let mut hash = Sha256::new();
    for progressive in [false, true] {
        let jpeg = jpeg_of(JpegColour::Rgb, 93, 67, &picture(shape), progressive);
        hash.update(Sha256::digest(&jpeg));
        hash.update(format(Encoding::Jpeg, shape).decode(&jpeg).unwrap());
    }
    assert_eq!(
        hex::encode(hash.finalize()),
        "e0eee7794d0bfc3f210690c77dc7a61ce955eef7102cd4014f2b300f02f4a881"
    );
}

proptest! {
    #[test]
    fn a_png_gives_back_what_was_written(height in 1u32..20, width in 1u32..20, seed: u8) {
        let shape = Shape { height, width, channels: 3 };
        let pixels: Vec<u8> = picture(shape).iter().map(|value| value ^ seed).collect();
        let file = png_of(ColorType::Rgb, BitDepth::Eight, width, height, &pixels);
        prop_assert_eq!(decode_any(&file).unwrap(), (shape, pixels));
    }

    #[test]
    fn a_jpeg_is_close_to_what_was_written(height in 8u32..40, width in 8u32..40, progressive: bool) {
        let shape = Shape { height, width, channels: 3 };
        let flat: Vec<u8> = [90, 120, 200].repeat((height * width) as usize);
        let file = jpeg_of(JpegColour::Rgb, width as u16, height as u16, &flat, progressive);
        let (found, pixels) = decode_any(&file).unwrap();
        prop_assert_eq!(found, shape);
        prop_assert!(pixels.iter().zip(&flat).all(|(a, b)| a.abs_diff(*b) < 8));
    }

    #[test]
    fn damaged_files_never_panic(place: prop::sample::Index, value: u8, cut: prop::sample::Index, jpeg: bool, progressive: bool) {
        let shape = Shape { height: 17, width: 23, channels: 3 };
        let mut file = match jpeg {
            true => jpeg_of(JpegColour::Rgb, 23, 17, &picture(shape), progressive),
            false => png_of(ColorType::Rgb, BitDepth::Eight, 23, 17, &picture(shape)),
        };
        let place = place.index(file.len());
        file[place] = value;
        let cut = cut.index(file.len());
        let _ = (decode_any(&file), decode_any(&file[..cut]), encoded_header(&file[..cut]));
    }
}

/// Of each component in the frame header: its name, how finely it is sampled, its table.
fn with_components(jpeg: &[u8], components: &[[u8; 3]]) -> Vec<u8> {
    let frame = jpeg.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    let mut jpeg = jpeg.to_vec();
    jpeg[frame + 10..][..3 * components.len()].copy_from_slice(components.as_flattened());
    jpeg
}

#[test]
fn the_only_component_of_a_grey_jpeg_may_claim_any_sampling() {
    let shape = Shape { height: 19, width: 37, channels: 1 };
    let usual = jpeg_of(JpegColour::Luma, 37, 19, &picture(shape), false);
    let pixels = format(Encoding::Jpeg, shape).decode(&usual).unwrap();
    for sampling in [0x12, 0x21, 0x22, 0x41, 0x42] {
        let claiming = with_components(&usual, &[[0, sampling, 0]]);
        assert_eq!(format(Encoding::Jpeg, shape).decode(&claiming).unwrap(), pixels, "{sampling:x}");
    }
}

/// Found by fuzzing: on the first of them the decoder panics.
#[test]
fn a_jpeg_sampled_as_no_encoder_does_is_an_error() {
    let shape = Shape { height: 12, width: 18, channels: 3 };
    let usual = jpeg_of(JpegColour::Rgb, 18, 12, &picture(shape), false);
    assert_eq!(with_components(&usual, &[[0, 0x22, 0], [1, 0x11, 1], [2, 0x11, 1]]), usual);
    let unusual = [
        [[1, 0x11, 0], [1, 0x24, 1], [2, 0x11, 1]],
        [[0, 0x11, 0], [1, 0x22, 1], [2, 0x22, 1]],
        [[0, 0x22, 0], [1, 0x11, 1], [2, 0x12, 1]],
        [[0, 0x22, 0], [1, 0x21, 1], [2, 0x21, 1]],
        [[0, 0x14, 0], [1, 0x11, 1], [2, 0x11, 1]],
    ];
    for components in unusual {
        let error = format(Encoding::Jpeg, shape).decode(&with_components(&usual, &components)).unwrap_err();
        // Where the decoder sees for itself that something is wrong, it says what.
        assert!(matches!(error, Error::Unusual { .. } | Error::Jpeg { .. }), "{components:x?}: {error:?}");
    }
}

/// Of 4:2:0 the decoder gives other pixels, and says nothing.
#[test]
fn a_baseline_jpeg_with_its_colours_in_scans_of_their_own_is_an_error() {
    let shape = Shape { height: 40, width: 56, channels: 3 };
    let mut scans = Vec::new();
    let mut encoder = Encoder::new(&mut scans, 90);
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder.set_optimized_huffman_tables(true);
    encoder.encode(&picture(shape), 56, 40, JpegColour::Rgb).unwrap();
    let error = message(format(Encoding::Jpeg, shape).decode(&scans).unwrap_err());
    assert!(error.contains("in a scan of its own") && error.contains("progressive"), "{error}");
}

#[test]
fn a_jpeg_with_two_frames_is_an_error() {
    let shape = Shape { height: 12, width: 18, channels: 3 };
    let jpeg = jpeg_of(JpegColour::Rgb, 18, 12, &picture(shape), false);
    let frame = jpeg.windows(2).position(|bytes| bytes == [0xff, 0xc0]).unwrap();
    let segment = &jpeg[frame..frame + 19];
    let twice = [&jpeg[..frame], segment, &jpeg[frame..]].concat();
    assert!(format(Encoding::Jpeg, shape).decode(&twice).is_err());
}
