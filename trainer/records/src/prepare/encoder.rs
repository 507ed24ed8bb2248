//! From pixels to the bytes that stand in a record. The same pixels give the same bytes on every machine.

use std::{borrow::Cow, str::FromStr};

use jpeg_encoder::{ColorType as JpegColor, SamplingFactor};
use snafu::{ResultExt, ensure};

use super::{
    Result,
    error::{CheckImageSnafu, EncodeSnafu, EncodedChannelsSnafu},
};
use crate::{Layout, Shape, manifest::Encoding, pixels::ImageFormat};

/// How images stand in the records that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecordEncoding {
    /// One byte a value.
    #[default]
    Raw,
    /// PNG: smaller, the same pixels.
    Png,
    /// JPEG: smaller still, other pixels.
    Jpeg {
        /// 1 to 100, as libjpeg scales its tables. Below 90 colours have half the resolution in both directions (4:2:0).
        quality: u8,
    },
}

/// Quality of a JPEG when nothing else is asked for.
const DEFAULT_QUALITY: u8 = 90;
/// From this quality on colours keep the resolution of the brightness.
const FULL_COLOUR: u8 = 90;

impl FromStr for RecordEncoding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let jpeg = |quality: &str| {
            let quality = quality.parse().ok().filter(|quality| (1..=100).contains(quality))?;
            Some(Self::Jpeg { quality })
        };
        let encoding = match text {
            "raw" => Some(Self::Raw),
            "png" => Some(Self::Png),
            "jpeg" => Some(Self::Jpeg { quality: DEFAULT_QUALITY }),
            _ => text.strip_prefix("jpeg:").and_then(jpeg),
        };
        encoding.ok_or_else(|| "write raw, png, jpeg or jpeg:QUALITY with a quality of 1 to 100".to_owned())
    }
}

/// Encodes images of one size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Encoder {
    encoding: RecordEncoding,
    shape: Shape,
}

impl Encoder {
    /// # Errors
    /// Images of other than 1 or 3 channels are neither PNG nor JPEG.
    pub(super) fn new(encoding: RecordEncoding, shape: Shape) -> Result<Self> {
        let suitable = encoding == RecordEncoding::Raw || matches!(shape.channels, 1 | 3);
        ensure!(suitable, EncodedChannelsSnafu { shape });
        Ok(Self { encoding, shape })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn is_raw(&self) -> bool {
        self.encoding == RecordEncoding::Raw
    }

    /// As the manifest says it.
    pub(super) fn encoding(&self) -> Encoding {
        match self.encoding {
            RecordEncoding::Raw => Encoding::Raw,
            RecordEncoding::Png => Encoding::Png,
            RecordEncoding::Jpeg { .. } => Encoding::Jpeg,
        }
    }

    /// The bytes for a record.
    pub(super) fn encode(&self, pixels: &[u8]) -> Result<Vec<u8>> {
        match self.encoding {
            RecordEncoding::Raw => Ok(pixels.to_vec()),
            RecordEncoding::Png => self.png(pixels),
            RecordEncoding::Jpeg { quality } => self.jpeg(pixels, quality),
        }
    }

    /// The pixels that readers of such a record see.
    pub(super) fn decode<'a>(&self, image: &'a [u8]) -> Result<Cow<'a, [u8]>> {
        let format = ImageFormat { encoding: self.encoding(), layout: Layout::Hwc, shape: self.shape };
        format.decode(image).context(CheckImageSnafu { shape: self.shape })
    }

    fn png(&self, pixels: &[u8]) -> Result<Vec<u8>> {
        let Shape { height, width, channels } = self.shape;
        let mut image = Vec::new();
        let mut encoder = png::Encoder::new(&mut image, width, height);
        encoder.set_color(if channels == 1 { png::ColorType::Grayscale } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        // The others' bytes depend on what the processor can do.
        encoder.set_compression(png::Compression::Fast);
        let written = encoder.write_header().and_then(|mut writer| {
            writer.write_image_data(pixels)?;
            writer.finish()
        });
        written.map_err(boxed).context(EncodeSnafu { shape: self.shape })?;
        Ok(image)
    }

    fn jpeg(&self, pixels: &[u8], quality: u8) -> Result<Vec<u8>> {
        let Shape { height, width, channels } = self.shape;
        let mut image = Vec::new();
        let mut encoder = jpeg_encoder::Encoder::new(&mut image, quality);
        let full = quality >= FULL_COLOUR;
        encoder.set_sampling_factor(if full { SamplingFactor::R_4_4_4 } else { SamplingFactor::R_4_2_0 });
        let color = if channels == 1 { JpegColor::Luma } else { JpegColor::Rgb };
        // A manifest's longest side is below 2^16.
        let encoded = encoder.encode(pixels, width as u16, height as u16, color);
        encoded.map_err(boxed).context(EncodeSnafu { shape: self.shape })?;
        Ok(image)
    }
}

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> Box<dyn std::error::Error + Send + Sync> {
    Box::new(error)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;

    const QUALITY: RecordEncoding = RecordEncoding::Jpeg { quality: 75 };

    fn smooth(Shape { height, width, channels }: Shape) -> Vec<u8> {
        let value = |y: u32, x: u32, c: u32| (y * 5 + x * 3 + c * 40) as u8 / 2;
        let row = |y| (0..width).flat_map(move |x| (0..channels).map(move |c| value(y, x, c)));
        (0..height).flat_map(row).collect()
    }

    #[test]
    fn encodings_are_read() {
        for (text, encoding) in [
            ("raw", RecordEncoding::Raw),
            ("png", RecordEncoding::Png),
            ("jpeg", RecordEncoding::Jpeg { quality: 90 }),
            ("jpeg:75", QUALITY),
        ] {
            assert_eq!(text.parse(), Ok(encoding));
        }
        for text in ["", "gif", "jpeg:", "jpeg:0", "jpeg:101", "jpeg75", "png:9"] {
            assert!(text.parse::<RecordEncoding>().is_err(), "{text}");
        }
    }

    #[test]
    fn four_channels_are_raw_only() {
        let shape = Shape { height: 2, width: 2, channels: 4 };
        assert!(Encoder::new(RecordEncoding::Raw, shape).is_ok());
        for encoding in [RecordEncoding::Png, QUALITY] {
            assert!(Encoder::new(encoding, shape).unwrap_err().to_string().contains("2x2x4"));
        }
    }

    #[test]
    fn a_jpeg_is_close_and_closer_with_a_higher_quality() {
        for channels in [1, 3] {
            let shape = Shape { height: 24, width: 40, channels };
            let pixels = smooth(shape);
            let error = |quality| {
                let encoder = Encoder::new(RecordEncoding::Jpeg { quality }, shape).unwrap();
                let image = encoder.encode(&pixels).unwrap();
                let decoded = encoder.decode(&image).unwrap();
                decoded.iter().zip(&pixels).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>() as f64
                    / pixels.len() as f64
            };
            let (low, high) = (error(30), error(98));
            assert!(high < 1.0 && high < low && low < 8.0, "{channels} channels: {high}, {low}");
        }
    }

    /// A data set's digest covers the encoded bytes: other bytes of the same pixels would be another data set.
    #[test]
    fn encoded_bytes_are_pinned_by_golden_hashes() {
        let shape = Shape { height: 24, width: 40, channels: 3 };
        let found = [RecordEncoding::Png, QUALITY, RecordEncoding::Jpeg { quality: 95 }].map(|encoding| {
            let image = Encoder::new(encoding, shape).unwrap().encode(&smooth(shape)).unwrap();
            hex::encode(&Sha256::digest(image)[..8])
        });
        assert_eq!(found, ["7221bfd6c78daa8c", "5bba16a44e63b84d", "5c5a5571d26cd4f2"]);
    }

    proptest! {
        #[test]
        fn raw_and_png_keep_every_value(
            (height, width) in (1_u32..12, 1_u32..12), colour: bool, seed: u8,
        ) {
            let shape = Shape { height, width, channels: if colour { 3 } else { 1 } };
            let pixels: Vec<u8> = (0..shape.bytes()).map(|at| (at * at) as u8 ^ seed).collect();
            for encoding in [RecordEncoding::Raw, RecordEncoding::Png] {
                let encoder = Encoder::new(encoding, shape).unwrap();
                let image = encoder.encode(&pixels).unwrap();
                prop_assert_eq!(&*encoder.decode(&image).unwrap(), &pixels[..]);
            }
        }
    }
}
