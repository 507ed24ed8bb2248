//! From an image file to a picture: its first frame, upright, eight bits a value, grey or red, green and blue, opaque.
//!
//! Everything is a fixed sequence of integer operations, so that a file becomes the same bytes on every machine.

use std::{
    fs::File,
    io::{Cursor, Read},
    path::Path,
};

use image::{
    DynamicImage, GrayImage, ImageDecoder, ImageError, ImageFormat, ImageReader, ImageResult, Limits,
    RgbImage, error::DecodingError, metadata::Orientation,
};
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Result,
    error::{DecodeSnafu, ImageSnafu, ReadSourceSnafu},
};
use crate::{Shape, manifest::MAX_SIDE, pixels};

mod tiff;

/// Of one file, and of what a decoder may take for it.
const MAX_BYTES: u64 = 512 << 20;

/// Pixels row by row, the channels of a pixel together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Picture {
    pub(super) shape: Shape,
    pub(super) pixels: Vec<u8>,
}

impl Picture {
    /// Reads a file by its content, not by its name. Where it is transparent `background` shows; without one it is refused.
    pub(super) fn read(path: &Path, background: Option<[u8; 3]>) -> Result<Self> {
        let file = read_file(path)?;
        let (mut image, orientation) = decode(path, &file)?;
        image.apply_orientation(orientation);
        let (width, height) = (image.width(), image.height());
        let values = eight_bits(image).with_context(|| ImageSnafu {
            path,
            reason: "its values are neither 8 nor 16 bits wide; save it as an ordinary image",
        })?;
        let (channels, pixels) = opaque(values, background).with_context(|| ImageSnafu {
            path,
            reason: "it is transparent in places, which a record cannot say; choose a background",
        })?;
        Ok(Self { shape: Shape { height, width, channels }, pixels })
    }

    /// Grey if `channels` is 1, else in colour.
    pub(super) fn with_channels(self, channels: u32) -> Self {
        let Self { shape, pixels } = self;
        let pixels = match (shape.channels, channels) {
            (1, 3) => pixels.iter().flat_map(|value| [*value; 3]).collect(),
            (3, 1) => pixels.as_chunks::<3>().0.iter().map(|pixel| grey(*pixel)).collect(),
            _ => pixels,
        };
        Self { shape: Shape { channels, ..shape }, pixels }
    }
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let mut file = Vec::new();
    let input = File::open(path).context(ReadSourceSnafu { path })?;
    input.take(MAX_BYTES + 1).read_to_end(&mut file).context(ReadSourceSnafu { path })?;
    let reason = || format!("it has more than {} MiB", MAX_BYTES >> 20);
    ensure!(file.len() as u64 <= MAX_BYTES, ImageSnafu { path, reason: reason() });
    Ok(file)
}

/// The first frame as it is stored, and how the camera was held by the file's EXIF; upright where it says nothing.
fn decode(path: &Path, file: &[u8]) -> Result<(DynamicImage, Orientation)> {
    let decoded = image::guess_format(file).and_then(|format| match format {
        // As a record's JPEG is decoded: the same on every processor, and not at all where it is damaged.
        ImageFormat::Jpeg => jpeg(file),
        ImageFormat::Tiff => tiff::decode(file),
        format => {
            let mut limits = limits();
            let mut reader = ImageReader::with_format(Cursor::new(file), format);
            reader.limits(limits.clone());
            let mut decoder = reader.into_decoder()?;
            // `ImageReader::decode` would count the pixels too, but not say how they are turned.
            limits.reserve(decoder.total_bytes())?;
            decoder.set_limits(limits)?;
            let orientation = decoder.orientation()?;
            Ok((DynamicImage::from_decoder(decoder)?, orientation))
        }
    });
    decoded.context(DecodeSnafu { path })
}

fn jpeg(file: &[u8]) -> ImageResult<(DynamicImage, Orientation)> {
    let damaged = |error| ImageError::Decoding(DecodingError::new(ImageFormat::Jpeg.into(), error));
    let (Shape { height, width, channels }, pixels) = pixels::decode_any(file).map_err(damaged)?;
    let image = match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    let mut decoder = zune_jpeg::JpegDecoder::new(zune_core::bytestream::ZCursor::new(file));
    // What cannot be read was refused when it was decoded.
    let exif = decoder.decode_headers().ok().and_then(|()| decoder.exif());
    let orientation = exif.and_then(|exif| Orientation::from_exif_chunk(exif));
    let image = image.expect("there are as many pixels as the size says");
    Ok((image, orientation.unwrap_or(Orientation::NoTransforms)))
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    limits
}

/// Values of one byte each.
struct Values {
    /// Of a pixel: grey, grey and alpha, red, green and blue, or those and alpha.
    channels: usize,
    values: Vec<u8>,
}

/// Of 16 bits the nearest of 8: `v / 257`, rounded.
fn eight_bits(image: DynamicImage) -> Option<Values> {
    let narrow =
        |values: Vec<u16>| values.into_iter().map(|value| ((u32::from(value) + 128) / 257) as u8).collect();
    let (channels, values) = match image {
        DynamicImage::ImageLuma8(image) => (1, image.into_raw()),
        DynamicImage::ImageLumaA8(image) => (2, image.into_raw()),
        DynamicImage::ImageRgb8(image) => (3, image.into_raw()),
        DynamicImage::ImageRgba8(image) => (4, image.into_raw()),
        DynamicImage::ImageLuma16(image) => (1, narrow(image.into_raw())),
        DynamicImage::ImageLumaA16(image) => (2, narrow(image.into_raw())),
        DynamicImage::ImageRgb16(image) => (3, narrow(image.into_raw())),
        DynamicImage::ImageRgba16(image) => (4, narrow(image.into_raw())),
        _ => return None,
    };
    Some(Values { channels, values })
}

/// Channels and pixels without alpha: laid over the background, or all opaque. A grey picture over a background in colour
/// is in colour.
fn opaque(image: Values, background: Option<[u8; 3]>) -> Option<(u32, Vec<u8>)> {
    let Values { channels, values } = image;
    if channels % 2 == 1 {
        return Some((channels as u32, values));
    }
    let colours = channels - 1;
    if values.chunks_exact(channels).all(|pixel| pixel[colours] == u8::MAX) {
        let pixels = values.chunks_exact(channels).flat_map(|pixel| &pixel[..colours]);
        return Some((colours as u32, pixels.copied().collect()));
    }
    let background = background?;
    let is_grey = colours == 1 && background == [background[0]; 3];
    let shown = if is_grey { 1 } else { 3 };
    let pixels = values.chunks_exact(channels).flat_map(|pixel| {
        // Of a grey picture every colour is the grey.
        let over = move |place: usize| over(pixel[place.min(colours - 1)], background[place], pixel[colours]);
        (0..shown).map(over)
    });
    Some((shown as u32, pixels.collect()))
}

/// `value` laid over `background`: the nearest byte.
fn over(value: u8, background: u8, alpha: u8) -> u8 {
    let [value, background, alpha] = [value, background, alpha].map(u32::from);
    ((alpha * value + (255 - alpha) * background + 127) / 255) as u8
}

/// ITU-R BT.601 luma in units of 2^-16, rounded, as Pillow converts colour to grey (`libImaging/Convert.c`).
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    let [red, green, blue] = [red, green, blue].map(u32::from);
    ((19_595 * red + 38_470 * green + 7_471 * blue + 0x8000) >> 16) as u8
}

#[cfg(test)]
mod tests;
