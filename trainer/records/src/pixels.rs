//! An image as it stands in a record, and the pixels that training sees.
//!
//! Pure: the reader and `prepare` ask here. An encoded image has the same pixels on every processor: PNG is lossless, and JPEG
//! is decoded by one path of integer arithmetic (zune-jpeg without its vector code, which deny.toml sees to). An image is
//! measured before it is decoded, so that none takes more memory than its size allows.
//!
//! Sources: PNG (W3C, third edition), JPEG (ITU-T T.81).

use std::borrow::Cow;

use snafu::{ResultExt, Snafu, ensure};

use crate::{
    Layout, Shape,
    manifest::{Encoding, MAX_SIDE},
};

mod jpeg;
pub(crate) mod planes;
mod png;

/// How an image stands in its feature.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFormat {
    /// What its bytes are.
    pub encoding: Encoding,
    /// Order of the values where they are raw; an encoded image has no other than HWC.
    pub layout: Layout,
    /// Its size.
    pub shape: Shape,
}

/// Why bytes are not the image that was expected.
#[derive(Debug, Snafu)]
pub enum Error {
    /// Too few or too many raw bytes.
    #[snafu(display("failed to read an image: it has {found} bytes, {shape} needs {}", shape.bytes()))]
    Length {
        /// Bytes that are there.
        found: usize,
        /// Expected.
        shape: Shape,
    },
    /// An encoded image of another size.
    #[snafu(display("failed to read an image: it is {found}, expected is {wanted}"))]
    Size {
        /// As its header says.
        found: Shape,
        /// Expected.
        wanted: Shape,
    },
    /// An encoded image with sides that no image here has.
    #[snafu(display(
        "failed to read an image: {width} by {height} pixels are outside 1 to {MAX_SIDE} a side"
    ))]
    Sides {
        /// As its header says.
        width: u64,
        /// As its header says.
        height: u64,
    },
    /// Neither PNG nor JPEG.
    #[snafu(display(
        "failed to read an image: it begins with {first:02x?}, which neither PNG nor JPEG does"
    ))]
    Unknown {
        /// At most eight bytes.
        first: Vec<u8>,
    },
    /// A PNG where JPEG was expected, or the reverse.
    #[snafu(display("failed to read an image: it is a {found:?}, expected is a {wanted:?}"))]
    Encoding {
        /// By its first bytes.
        found: Encoding,
        /// Expected.
        wanted: Encoding,
    },
    /// A kind of image whose pixels are not one byte a value, grey or red, green and blue.
    #[snafu(display("failed to read an image: {what} cannot become {channels} bytes a pixel"))]
    Colour {
        /// What it has.
        what: String,
        /// Values wanted.
        channels: u32,
    },
    /// Damaged, or not a PNG.
    #[snafu(display("failed to decode a PNG"))]
    Png {
        /// The decoder's error.
        source: ::png::DecodingError,
    },
    /// A JPEG without its end.
    #[snafu(display("failed to decode a JPEG: it was cut, no end marker follows its last scan"))]
    Cut,
    /// A JPEG of a kind that the decoder doesn't get right.
    #[snafu(display("failed to decode a JPEG: {what}; save it as an ordinary one, baseline or progressive"))]
    Unusual {
        /// What it does that others do not.
        what: &'static str,
    },
    /// Damaged, or not a JPEG.
    #[snafu(display("failed to decode a JPEG"))]
    Jpeg {
        /// The decoder's error.
        source: zune_jpeg::errors::DecodeErrors,
    },
}

impl ImageFormat {
    /// One byte a value, row by row, the channels of a pixel together (HWC), whatever the record's form. A grey image fills
    /// three channels alike.
    pub fn decode<'a>(&self, image: &'a [u8]) -> Result<Cow<'a, [u8]>, Error> {
        let Self { encoding, layout, shape } = *self;
        match encoding {
            Encoding::Raw => {
                let found = image.len();
                ensure!(found == shape.bytes(), LengthSnafu { found, shape });
                Ok(match layout {
                    Layout::Hwc => Cow::Borrowed(image),
                    Layout::Chw => {
                        let mut pixels = vec![0; image.len()];
                        planes::interleave(image, shape.channels as usize, &mut pixels);
                        Cow::Owned(pixels)
                    }
                })
            }
            Encoding::Png | Encoding::Jpeg => {
                let found = encoding_of(image)?;
                ensure!(found == encoding, EncodingSnafu { found, wanted: encoding });
                decode(image, Some(shape)).map(|(_, pixels)| Cow::Owned(pixels))
            }
        }
    }
}

/// Encoding and size of an encoded image, from its header alone. Channels are those that [`decode_any`] gives.
pub fn encoded_header(image: &[u8]) -> Result<(Encoding, Shape), Error> {
    let encoding = encoding_of(image)?;
    let shape = match encoding {
        Encoding::Jpeg => jpeg::Header::read(image)?.shape(),
        _ => png::Header::read(image)?.shape(),
    };
    Ok((encoding, shape))
}

/// Size and HWC pixels of a PNG or JPEG of any size: one channel where it is grey, three where it is in colour.
pub fn decode_any(image: &[u8]) -> Result<(Shape, Vec<u8>), Error> {
    decode(image, None)
}

fn decode(image: &[u8], wanted: Option<Shape>) -> Result<(Shape, Vec<u8>), Error> {
    match encoding_of(image)? {
        Encoding::Jpeg => {
            let header = jpeg::Header::read(image)?;
            let shape = fitting(header.shape(), wanted)?;
            Ok((shape, header.decode(shape.channels)?))
        }
        _ => {
            let header = png::Header::read(image)?;
            let shape = fitting(header.shape(), wanted)?;
            Ok((shape, header.decode(shape.channels)?))
        }
    }
}

/// The size to decode to: what is wanted, if an image of size `found` can have it.
fn fitting(found: Shape, wanted: Option<Shape>) -> Result<Shape, Error> {
    let Some(wanted) = wanted else { return Ok(found) };
    ensure!((found.height, found.width) == (wanted.height, wanted.width), SizeSnafu { found, wanted });
    let fits = found.channels == wanted.channels || (found.channels, wanted.channels) == (1, 3);
    ensure!(fits, SizeSnafu { found, wanted });
    Ok(wanted)
}

fn encoding_of(image: &[u8]) -> Result<Encoding, Error> {
    if image.starts_with(&png::SIGNATURE) {
        return Ok(Encoding::Png);
    }
    ensure!(image.starts_with(&jpeg::START), UnknownSnafu { first: &image[..image.len().min(8)] });
    Ok(Encoding::Jpeg)
}

fn shape(width: u64, height: u64, channels: u32) -> Result<Shape, Error> {
    let sides = 1..=u64::from(MAX_SIDE);
    ensure!(sides.contains(&width) && sides.contains(&height), SidesSnafu { width, height });
    Ok(Shape { height: height as u32, width: width as u32, channels })
}

/// Three equal values for each.
fn rgb_of_grey(grey: &[u8]) -> Vec<u8> {
    grey.iter().flat_map(|value| [*value; 3]).collect()
}

#[cfg(test)]
mod tests;
