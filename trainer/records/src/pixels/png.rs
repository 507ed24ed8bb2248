//! PNG, by the crate `png`: eight bits a value after palettes and shorter values were expanded; nothing transparent.

use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, Limits, Transformations};

use super::{ColourSnafu, Error, PngSnafu, ResultExt as _, ensure, rgb_of_grey, shape};
use crate::Shape;

pub(super) const SIGNATURE: [u8; 8] = *b"\x89PNG\r\n\x1a\n";
/// Beyond the pixels: rows, inflating, and chunks that nobody reads.
const WORK_BYTES: usize = 16 << 20;

/// An image whose header was read and whose pixels were not.
pub(super) struct Header<'a> {
    image: &'a [u8],
    shape: Shape,
}

impl<'a> Header<'a> {
    pub(super) fn read(image: &'a [u8]) -> Result<Self, Error> {
        let mut decoder = Decoder::new(Cursor::new(image));
        let info = decoder.read_header_info().context(PngSnafu)?;
        let channels = match info.color_type {
            ColorType::Grayscale | ColorType::GrayscaleAlpha => 1,
            ColorType::Rgb | ColorType::Rgba | ColorType::Indexed => 3,
        };
        let shape = shape(info.width.into(), info.height.into(), channels)?;
        let what = "16 bits a value";
        ensure!(info.bit_depth != BitDepth::Sixteen, ColourSnafu { what, channels });
        Ok(Self { image, shape })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn decode(self, channels: u32) -> Result<Vec<u8>, Error> {
        let limits = Limits { bytes: 4 * self.shape.bytes() + WORK_BYTES };
        let mut decoder = Decoder::new_with_limits(Cursor::new(self.image), limits);
        decoder.set_transformations(Transformations::EXPAND);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let mut reader = decoder.read_info().context(PngSnafu)?;
        let samples = reader.output_color_type().0.samples();
        let mut pixels = vec![0; self.shape.bytes() / self.shape.channels as usize * samples];
        reader.next_frame(&mut pixels).context(PngSnafu)?;
        // A file that was cut behind its last pixel is damaged too.
        reader.finish().context(PngSnafu)?;
        let opaque = without_alpha(pixels, samples, channels)?;
        let grey = samples <= 2;
        Ok(if grey && channels == 3 { rgb_of_grey(&opaque) } else { opaque })
    }
}

/// Values of alpha say nothing where all are 255, and cannot become pixels where they are not.
fn without_alpha(pixels: Vec<u8>, samples: usize, channels: u32) -> Result<Vec<u8>, Error> {
    if samples % 2 == 1 {
        return Ok(pixels);
    }
    let values = samples - 1;
    let opaque = pixels.chunks_exact(samples).all(|pixel| pixel[values] == u8::MAX);
    ensure!(opaque, ColourSnafu { what: "a transparent image", channels });
    Ok(pixels.chunks_exact(samples).flat_map(|pixel| &pixel[..values]).copied().collect())
}
