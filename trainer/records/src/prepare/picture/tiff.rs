//! TIFF (revision 6.0): black and white, or grey and RGB of 8 or 16 bits, each with or without alpha, in strips, tiles or planes;
//! not compressed, or by Deflate, LZW, PackBits or fax.
//!
//! By the crate `tiff` itself: `image` would bring it with a JPEG decoder whose vector code then serves every record.

use std::io::Cursor;

use image::{
    DynamicImage, ImageBuffer, ImageError, ImageFormat, ImageResult, Pixel,
    error::{DecodingError, UnsupportedError, UnsupportedErrorKind},
    metadata::Orientation,
};
use tiff::{
    ColorType, TiffError, TiffResult,
    decoder::{Decoder, DecodingResult, Limits},
    tags::Tag,
};

use super::MAX_BYTES;
use crate::{manifest::MAX_SIDE, pixels::planes::interleave};

/// The first image as it is stored, and how it is to be turned.
pub(super) fn decode(file: &[u8]) -> ImageResult<(DynamicImage, Orientation)> {
    let damaged = |error| ImageError::Decoding(DecodingError::new(ImageFormat::Tiff.into(), error));
    let stored = Stored::read(file).map_err(damaged)?;
    let orientation = stored.orientation;
    let image = stored.image().ok_or_else(|| {
        let what = "it has neither grey nor RGB values of 8 or 16 bits; save it as an ordinary image";
        let kind = UnsupportedErrorKind::GenericFeature(what.to_owned());
        ImageError::Unsupported(UnsupportedError::from_format_and_kind(ImageFormat::Tiff.into(), kind))
    })?;
    Ok((image, orientation))
}

struct Stored {
    width: u32,
    height: u32,
    colour: ColorType,
    orientation: Orientation,
    /// How many the values stand in, one behind the other; one where the values of a pixel stand together.
    planes: usize,
    values: DecodingResult,
}

impl Stored {
    fn read(file: &[u8]) -> TiffResult<Self> {
        let mut decoder = Decoder::new(Cursor::new(file))?.with_limits(limits());
        let (width, height) = decoder.dimensions()?;
        if width.max(height) > MAX_SIDE {
            return Err(TiffError::LimitsExceeded);
        }
        let colour = decoder.colortype()?;
        let turned = decoder.find_tag_unsigned::<u8>(Tag::Orientation)?.and_then(Orientation::from_exif);
        let mut values = DecodingResult::U8(Vec::new());
        let layout = decoder.read_image_to_buffer(&mut values)?;
        // Of planes that are too large together the decoder reads the first.
        if values.as_buffer(0).byte_len() < layout.complete_len {
            return Err(TiffError::LimitsExceeded);
        }
        let orientation = turned.unwrap_or(Orientation::NoTransforms);
        Ok(Self { width, height, colour, orientation, planes: layout.planes, values })
    }

    /// `None` where it has other values than pictures here have.
    fn image(self) -> Option<DynamicImage> {
        let Self { width, height, colour, orientation: _, planes, values } = self;
        let size = (width, height);
        match (colour, values) {
            (ColorType::Gray(1), DecodingResult::U8(bits)) => {
                buffer(size, black_and_white(&bits, width)).map(DynamicImage::ImageLuma8)
            }
            (_, DecodingResult::U8(values)) => {
                let values = interleaved(values, planes);
                match colour {
                    ColorType::Gray(8) => buffer(size, values).map(DynamicImage::ImageLuma8),
                    ColorType::GrayA(8) => buffer(size, values).map(DynamicImage::ImageLumaA8),
                    ColorType::RGB(8) => buffer(size, values).map(DynamicImage::ImageRgb8),
                    ColorType::RGBA(8) => buffer(size, values).map(DynamicImage::ImageRgba8),
                    _ => None,
                }
            }
            (_, DecodingResult::U16(values)) => {
                let values = interleaved(values, planes);
                match colour {
                    ColorType::Gray(16) => buffer(size, values).map(DynamicImage::ImageLuma16),
                    ColorType::GrayA(16) => buffer(size, values).map(DynamicImage::ImageLumaA16),
                    ColorType::RGB(16) => buffer(size, values).map(DynamicImage::ImageRgb16),
                    ColorType::RGBA(16) => buffer(size, values).map(DynamicImage::ImageRgba16),
                    _ => None,
                }
            }
            _ => None,
        }
    }
}

fn buffer<P: Pixel>(
    (width, height): (u32, u32),
    values: Vec<P::Subpixel>,
) -> Option<ImageBuffer<P, Vec<P::Subpixel>>> {
    let needed = width as usize * height as usize * usize::from(P::CHANNEL_COUNT);
    (values.len() == needed).then(|| ImageBuffer::from_raw(width, height, values)).flatten()
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.decoding_buffer_size = MAX_BYTES as usize;
    limits.intermediate_buffer_size = MAX_BYTES as usize;
    limits
}

/// A bit a pixel, each row from a byte of its own, as 0 and 255.
fn black_and_white(bits: &[u8], width: u32) -> Vec<u8> {
    let row = |bits: &[u8]| {
        let values = bits.iter().flat_map(|byte| (0..8).rev().map(move |bit| 255 * (byte >> bit & 1)));
        values.take(width as usize).collect::<Vec<_>>()
    };
    bits.chunks_exact(width.div_ceil(8) as usize).flat_map(row).collect()
}

fn interleaved<T: Copy>(values: Vec<T>, planes: usize) -> Vec<T> {
    if planes < 2 {
        return values;
    }
    let mut pixels = values.clone();
    interleave(&values, planes, &mut pixels);
    pixels
}

#[cfg(test)]
mod tests;
