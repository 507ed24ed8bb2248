//! From a record's data to its image and class, or to what is wrong with it.

use std::{borrow::Cow, error::Error};

use bytes::Bytes;
use lockstep_records::{
    Layout, Shape, chain, example,
    manifest::Encoding,
    pixels::{self, ImageFormat},
};

use crate::{finding::Kind, split::Format};

/// An intact record's content.
#[derive(Debug)]
pub(crate) struct Image<'a> {
    pub(crate) label: u32,
    pub(crate) encoding: Encoding,
    pub(crate) shape: Shape,
    /// Row by row, the channels of a pixel together.
    pub(crate) pixels: Cow<'a, [u8]>,
}

/// Why a record's content is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    pub(crate) detail: String,
}

/// A record's features, which hold the image for as long as they live.
#[derive(Debug)]
pub(crate) struct Features {
    label: u32,
    image: Bytes,
}

impl Features {
    pub(crate) fn of(data: Bytes, format: &Format) -> Result<Self, Problem> {
        let values = example::image_and_label(data, &format.features);
        let (image, label) = values.map_err(|error| problem(Kind::of_example(&error), &error))?;
        let limit = format.label_limit();
        match u32::try_from(label) {
            Ok(label) if label < limit => Ok(Self { label, image }),
            _ => Err(Problem {
                kind: Kind::LabelOutOfRange,
                detail: format!("the label is {label}, not one of 0..{limit}"),
            }),
        }
    }

    /// The image as it is stored.
    pub(crate) fn stored(&self) -> &Bytes {
        &self.image
    }

    /// What the image is stored as.
    pub(crate) fn encoding(&self, format: &Format) -> Option<Encoding> {
        self.form(format).ok().map(|form| form.encoding)
    }

    pub(crate) fn image(&self, format: &Format) -> Result<Image<'_>, Problem> {
        let form = self.form(format)?;
        let pixels = form.decode(&self.image).map_err(|error| problem(kind(&error), &error))?;
        Ok(Image { label: self.label, encoding: form.encoding, shape: form.shape, pixels })
    }

    /// How the image should be decoded.
    fn form(&self, format: &Format) -> Result<ImageFormat, Problem> {
        let Format { encoding, layout, shape, features: _, classes: _ } = format;
        if let (Some(encoding), Some(shape)) = (*encoding, *shape) {
            return Ok(ImageFormat { encoding, layout: *layout, shape });
        }
        match (pixels::encoded_header(&self.image), *shape) {
            (Ok((encoding, found)), wanted) => {
                Ok(ImageFormat { encoding, layout: Layout::Hwc, shape: wanted.unwrap_or(found) })
            }
            (Err(pixels::Error::Unknown { .. }), Some(shape)) => {
                Ok(ImageFormat { encoding: Encoding::Raw, layout: *layout, shape })
            }
            (Err(pixels::Error::Unknown { .. }), None) => Err(Problem {
                kind: Kind::ImageUndecodable,
                detail: "the image is neither PNG nor JPEG; of raw images say their size (--shape)"
                    .to_owned(),
            }),
            (Err(error), _) => Err(problem(kind(&error), &error)),
        }
    }
}

fn kind(error: &pixels::Error) -> Kind {
    match error {
        pixels::Error::Length { .. } | pixels::Error::Size { .. } | pixels::Error::Sides { .. } => {
            Kind::ImageSize
        }
        pixels::Error::Unknown { .. }
        | pixels::Error::Encoding { .. }
        | pixels::Error::Colour { .. }
        | pixels::Error::Cut
        | pixels::Error::Unusual { .. }
        | pixels::Error::Png { .. }
        | pixels::Error::Jpeg { .. } => Kind::ImageUndecodable,
    }
}

fn problem(kind: Kind, error: &dyn Error) -> Problem {
    Problem { kind, detail: chain(error) }
}
