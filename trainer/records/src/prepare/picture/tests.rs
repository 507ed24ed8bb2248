//! Files of every kind that a picture can come in.

use ::tiff::encoder::{Compression, TiffEncoder, colortype, colortype::ColorType as TiffColour};
use image::{
    ExtendedColorType, Frame, ImageBuffer, ImageEncoder, Luma, LumaA, Rgba, RgbaImage,
    codecs::{gif::GifEncoder, png::PngEncoder, webp::WebPEncoder},
};
use jpeg_encoder::{ColorType, Encoder};
use proptest::prelude::*;

use super::*;
use crate::prepare::Error;

fn read_with(file: &[u8], background: Option<[u8; 3]>) -> Result<Picture> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("picture");
    std::fs::write(&path, file).unwrap();
    Picture::read(&path, background)
}

fn read(file: &[u8]) -> Picture {
    read_with(file, None).unwrap()
}

fn png(pixels: &[u8], (width, height): (u32, u32), color: ExtendedColorType) -> Vec<u8> {
    let mut file = Vec::new();
    PngEncoder::new(&mut file).write_image(pixels, width, height, color).unwrap();
    file
}

fn tiff_of<C: TiffColour>(
    pixels: &[C::Inner],
    (width, height): (u32, u32),
    compression: Compression,
) -> Vec<u8>
where
    [C::Inner]: ::tiff::encoder::TiffValue,
{
    let mut file = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut file).unwrap().with_compression(compression);
    encoder.write_image::<C>(width, height, pixels).unwrap();
    file.into_inner()
}

/// A TIFF header's worth of EXIF that says how the camera was held.
fn exif(orientation: u8) -> Vec<u8> {
    let mut exif = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend_from_slice(&[orientation, 0, 0, 0, 0, 0, 0, 0]);
    exif
}

/// Red, green and blue of 2 rows and 3 columns.
const CORNERS: [u8; 18] = [10, 0, 0, 20, 0, 0, 30, 0, 0, 40, 0, 0, 50, 0, 0, 60, 0, 0];

fn reds(picture: &Picture) -> Vec<u8> {
    picture.pixels.as_chunks::<3>().0.iter().map(|pixel| pixel[0]).collect()
}

#[test]
fn every_format_gives_the_same_picture() {
    let image = RgbImage::from_raw(3, 2, CORNERS.to_vec()).unwrap();
    let written = |format| {
        let mut file = Cursor::new(Vec::new());
        image.write_to(&mut file, format).unwrap();
        (format!("{format:?}"), file.into_inner())
    };
    use Compression::{Deflate, Lzw, Packbits, Uncompressed};
    let compressions = [
        ("none", Uncompressed),
        ("LZW", Lzw),
        ("Deflate", Deflate(Default::default())),
        ("PackBits", Packbits),
    ];
    let tiffs = compressions.map(|(name, compression)| {
        (format!("TIFF, {name}"), tiff_of::<colortype::RGB8>(&CORNERS, (3, 2), compression))
    });
    let others = [ImageFormat::Png, ImageFormat::Bmp, ImageFormat::WebP].map(written);
    for (format, file) in others.into_iter().chain(tiffs) {
        let picture = read(&file);
        assert_eq!(picture.shape, Shape { height: 2, width: 3, channels: 3 }, "{format}");
        assert_eq!(picture.pixels, CORNERS, "{format}");
    }
}

/// The eight ways of EXIF 2.3, 4.6.4 A: where the stored first row and first column are.
#[test]
fn a_picture_is_turned_upright() {
    let expected: [(u8, &[u8], Size); 8] = [
        (1, &[10, 20, 30, 40, 50, 60], (3, 2)),
        (2, &[30, 20, 10, 60, 50, 40], (3, 2)),
        (3, &[60, 50, 40, 30, 20, 10], (3, 2)),
        (4, &[40, 50, 60, 10, 20, 30], (3, 2)),
        (5, &[10, 40, 20, 50, 30, 60], (2, 3)),
        (6, &[40, 10, 50, 20, 60, 30], (2, 3)),
        (7, &[60, 30, 50, 20, 40, 10], (2, 3)),
        (8, &[30, 60, 20, 50, 10, 40], (2, 3)),
    ];
    for (orientation, reds_upright, (width, height)) in expected {
        let mut file = Vec::new();
        let mut encoder = PngEncoder::new(&mut file);
        encoder.set_exif_metadata(exif(orientation)).unwrap();
        encoder.write_image(&CORNERS, 3, 2, ExtendedColorType::Rgb8).unwrap();
        let picture = read(&file);
        assert_eq!((picture.shape.width, picture.shape.height), (width, height), "orientation {orientation}");
        assert_eq!(reds(&picture), reds_upright, "orientation {orientation}");
    }
}
type Size = (u32, u32);

#[test]
fn a_photograph_is_turned_upright_too() {
    // Left half black, right half white.
    let pixels: Vec<u8> = (0..16 * 16 * 3).map(|at| if at / 3 % 16 < 8 { 0 } else { 255 }).collect();
    let photograph = |orientation: u8| {
        let mut file = Vec::new();
        let mut encoder = Encoder::new(&mut file, 90);
        encoder.add_app_segment(1, [&b"Exif\0\0"[..], &exif(orientation)].concat()).unwrap();
        encoder.encode(&pixels, 16, 16, ColorType::Rgb).unwrap();
        read(&file).pixels
    };
    let at = |pixels: &[u8], row: usize, column: usize| pixels[(row * 16 + column) * 3] > 128;
    let upright = photograph(1);
    assert!(!at(&upright, 1, 1) && !at(&upright, 14, 1) && at(&upright, 1, 14) && at(&upright, 14, 14));
    // Turned clockwise, left is up.
    let turned = photograph(6);
    assert!(!at(&turned, 1, 1) && at(&turned, 14, 1) && !at(&turned, 1, 14) && at(&turned, 14, 14));
    // A number that EXIF does not have says nothing.
    assert_eq!(photograph(9), upright);
}

#[test]
fn values_of_16_bits_become_the_nearest_of_8() {
    let grey = [0_u16, 128, 129, 257 * 100 + 128, 257 * 100 + 129, u16::MAX];
    let image = ImageBuffer::<Luma<u16>, _>::from_raw(6, 1, grey.to_vec()).unwrap();
    let mut png = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut png, ImageFormat::Png).unwrap();
    for file in [png.into_inner(), tiff_of::<colortype::Gray16>(&grey, (6, 1), Compression::Lzw)] {
        let picture = read(&file);
        assert_eq!((picture.shape.channels, &picture.pixels[..]), (1, &[0, 0, 1, 100, 101, 255][..]));
    }
    let glass = ImageBuffer::<Rgba<u16>, _>::from_pixel(1, 1, Rgba([65535, 0, 257, 32896]));
    let mut file = Cursor::new(Vec::new());
    DynamicImage::from(glass).write_to(&mut file, ImageFormat::Png).unwrap();
    let file = file.into_inner();
    assert_eq!(read_with(&file, Some([0, 0, 0])).unwrap().pixels, [128, 0, 1]);
}

#[test]
fn floating_point_values_are_refused() {
    let file = tiff_of::<colortype::RGB32Float>(&[0.5; 3], (1, 1), Compression::Uncompressed);
    let error = read_with(&file, None).unwrap_err();
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("8 or 16 bits"), "{reason}");
}

#[test]
fn a_transparent_picture_lies_on_the_background_or_is_refused() {
    let file = png(&[200, 100, 0, 0, 200, 100, 0, 51, 200, 100, 0, 255], (3, 1), ExtendedColorType::Rgba8);
    let error = read_with(&file, None).unwrap_err().to_string();
    assert!(error.contains("transparent") && error.contains("background"), "{error}");
    let white = read_with(&file, Some([255, 255, 255])).unwrap();
    assert_eq!(white.pixels, [255, 255, 255, 244, 224, 204, 200, 100, 0]);

    let grey = png(&[100, 0, 100, 255], (2, 1), ExtendedColorType::La8);
    let on_grey = read_with(&grey, Some([7; 3])).unwrap();
    assert_eq!((on_grey.shape.channels, &on_grey.pixels[..]), (1, &[7, 100][..]));
    let on_red = read_with(&grey, Some([9, 0, 0])).unwrap();
    assert_eq!((on_red.shape.channels, &on_red.pixels[..]), (3, &[9, 0, 0, 100, 100, 100][..]));

    let opaque = png(&[1, 2, 3, 255], (1, 1), ExtendedColorType::Rgba8);
    assert_eq!(read(&opaque).pixels, [1, 2, 3]);
    let opaque = ImageBuffer::<LumaA<u8>, _>::from_pixel(1, 1, LumaA([5, 255]));
    assert_eq!(read(&png(opaque.as_raw(), (1, 1), ExtendedColorType::La8)).shape.channels, 1);
}

#[test]
fn of_a_moving_picture_the_first_frame_is_taken() {
    let mut file = Vec::new();
    let frame = |red| Frame::new(RgbaImage::from_pixel(2, 2, Rgba([red, 0, 0, 255])));
    GifEncoder::new(&mut file).encode_frames([frame(200), frame(50)]).unwrap();
    let picture = read(&file);
    assert_eq!((picture.shape.channels, reds(&picture)), (3, vec![200; 4]));
}

#[test]
fn a_palette_becomes_its_colours() {
    let mut file = Vec::new();
    let mut encoder = ::png::Encoder::new(&mut file, 2, 1);
    encoder.set_color(::png::ColorType::Indexed);
    encoder.set_depth(::png::BitDepth::One);
    encoder.set_palette(&[10, 20, 30, 40, 50, 60][..]);
    encoder.write_header().unwrap().write_image_data(&[0b0100_0000]).unwrap();
    assert_eq!(read(&file).pixels, [10, 20, 30, 40, 50, 60]);
}

#[test]
fn grey_is_pillows() {
    let colour =
        Picture { shape: Shape { height: 1, width: 2, channels: 3 }, pixels: vec![10, 100, 200, 9, 9, 9] };
    let grey = colour.clone().with_channels(1);
    assert_eq!((grey.shape.channels, &grey.pixels[..]), (1, &[84, 9][..]));
    assert_eq!(grey.with_channels(3).pixels, [84, 84, 84, 9, 9, 9]);
    assert_eq!(colour.clone().with_channels(3), colour);
}

#[test]
fn a_picture_larger_than_any_record_is_refused_before_it_is_decoded() {
    let mut bmp = Cursor::new(Vec::new());
    RgbImage::new(1, 1).write_to(&mut bmp, ImageFormat::Bmp).unwrap();
    let mut bmp = bmp.into_inner();
    // Of 16,000 each side is a record's, but not both: 768 MB.
    for side in [60_000_u32, 16_000] {
        bmp[18..22].copy_from_slice(&side.to_le_bytes());
        bmp[22..26].copy_from_slice(&side.to_le_bytes());
        let error = read_with(&bmp, None).unwrap_err();
        let is_limit = matches!(&error, Error::Decode { source: ImageError::Limits(_), .. });
        assert!(is_limit, "{side}: {error:?}");
    }
}

proptest! {
    #[test]
    fn laying_over_is_the_nearest_value(value: u8, background: u8, alpha: u8) {
        let exact = (f64::from(alpha) * f64::from(value) + f64::from(255 - alpha) * f64::from(background)) / 255.0;
        prop_assert!((f64::from(over(value, background, alpha)) - exact).abs() <= 0.5);
    }

    #[test]
    fn a_damaged_file_never_panics(at: prop::sample::Index, byte: u8, cut: prop::sample::Index, lossless: bool) {
        let mut file = Vec::new();
        if lossless {
            WebPEncoder::new_lossless(&mut file).write_image(&CORNERS, 3, 2, ExtendedColorType::Rgb8).unwrap();
        } else {
            file = tiff_of::<colortype::RGB8>(&CORNERS, (3, 2), Compression::Uncompressed);
        }
        let at = at.index(file.len());
        file[at] = byte;
        file.truncate(cut.index(file.len()) + 1);
        let _ = read_with(&file, Some([0; 3]));
    }
}
