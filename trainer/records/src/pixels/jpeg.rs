//! JPEG, by the crate `zune-jpeg`: grey, or YCbCr and RGB as RGB. Damage is an error, as far as the format shows it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use snafu::OptionExt as _;
use zune_core::{bytestream::ZCursor, colorspace::ColorSpace, options::DecoderOptions};
use zune_jpeg::JpegDecoder;

use super::{
    ColourSnafu, CutSnafu, Error, JpegSnafu, ResultExt as _, UnusualSnafu, ensure, rgb_of_grey, shape,
};
use crate::{Shape, manifest::MAX_SIDE};

mod headers;

pub(super) const START: [u8; 3] = [0xff, 0xd8, 0xff];
const START_OF_SCAN: [u8; 2] = [0xff, 0xda];
const END: [u8; 2] = [0xff, 0xd9];

/// An image whose header was read and whose pixels were not.
pub(super) struct Header<'a> {
    decoder: JpegDecoder<ZCursor<&'a [u8]>>,
    image: &'a [u8],
    shape: Shape,
}

impl<'a> Header<'a> {
    pub(super) fn read(image: &'a [u8]) -> Result<Self, Error> {
        let options = DecoderOptions::default()
            .set_strict_mode(true)
            .set_max_width(MAX_SIDE as usize)
            .set_max_height(MAX_SIDE as usize);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(image), options);
        decoder.decode_headers().context(JpegSnafu)?;
        let colours = match decoder.input_colorspace() {
            Some(ColorSpace::Luma) => ColorSpace::Luma,
            Some(ColorSpace::YCbCr | ColorSpace::RGB) => ColorSpace::RGB,
            other => {
                let what = other.map_or("no colour space".to_owned(), |other| format!("a JPEG in {other:?}"));
                return ColourSnafu { what, channels: 3u32 }.fail();
            }
        };
        decoder.set_options(options.jpeg_set_out_colorspace(colours));
        let (width, height) = decoder.dimensions().unwrap_or_default();
        let shape = shape(width as u64, height as u64, colours.num_components() as u32)?;
        Ok(Self { decoder, image, shape })
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    pub(super) fn decode(mut self, channels: u32) -> Result<Vec<u8>, Error> {
        ensure!(has_end(self.image), CutSnafu);
        headers::check(self.image)?;
        // It should not panic on any image; if it does, that image is one more that cannot be decoded.
        let decoded = catch_unwind(AssertUnwindSafe(|| self.decoder.decode()));
        let pixels =
            decoded.ok().context(UnusualSnafu { what: "the decoder gave it up" })?.context(JpegSnafu)?;
        Ok(if self.shape.channels == 1 && channels == 3 { rgb_of_grey(&pixels) } else { pixels })
    }
}

/// The decoder forgives an image that ends in its last rows. Neither marker occurs in a scan's data, and a preview inside the file
/// has both before the image's own.
fn has_end(image: &[u8]) -> bool {
    let last = |marker| image.windows(2).rposition(|bytes| bytes == marker);
    last(END) > last(START_OF_SCAN)
}
