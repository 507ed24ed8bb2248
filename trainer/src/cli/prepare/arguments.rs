//! The command line of `lockstep prepare`.

use std::{num::NonZeroUsize, path::PathBuf};

use lockstep_records::{
    self as records, Encoding, FeatureNames, Format, Shape,
    pixels::ImageFormat,
    prepare::{BatchLayout, Cifar100Labels, Fit, ImageOptions, RecordEncoding, RecordsOptions, Shares},
};

/// As many as a data set can have.
const MAX_CLASSES: usize = 65_536;

/// Writes DST/train, and DST/validation and DST/test where there are such; refuses to overwrite what is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(super) source: Source,
    /// Shards of each split.
    #[arg(long, global = true)]
    pub(super) shards: Option<NonZeroUsize>,
    /// Threads that convert; all cores by default. The bytes written do not depend on it.
    #[arg(long, global = true)]
    pub(super) threads: Option<NonZeroUsize>,
    /// Divide the training images, each class alike: train=0.8,validation=0.1,test=0.1. A test split that the source has
    /// stays as it is.
    #[arg(long, global = true, value_name = "SHARES")]
    pub(super) split: Option<Shares>,
    /// With --split: chooses the images of each part.
    #[arg(long, global = true, default_value_t = 42)]
    pub(super) seed: u64,
    /// How images stand in the records: raw, png, jpeg or jpeg:QUALITY.
    #[arg(long, global = true, default_value = "raw")]
    pub(super) encoding: RecordEncoding,
    /// Print one JSON object.
    #[arg(long, global = true)]
    pub(super) json: bool,
}

#[derive(Debug, clap::Subcommand)]
pub(super) enum Source {
    /// CIFAR-10's binary archive, cifar-10-binary.tar.gz, or the folder that it extracts to.
    Cifar10(Locations),
    /// CIFAR-100's binary archive, cifar-100-binary.tar.gz, or the folder that it extracts to.
    Cifar100 {
        #[command(flatten)]
        locations: Locations,
        /// Which of an image's two labels: one of 100 classes, or one of 20 superclasses.
        #[arg(long, value_enum, default_value = "fine")]
        labels: Labels,
    },
    /// A folder with one folder of images a class, or train/, validation/ (or val/) and test/ with those.
    ImageFolder {
        #[command(flatten)]
        locations: Locations,
        #[command(flatten)]
        images: Images,
    },
    /// A folder of IDX files as MNIST and its relatives have them, plain or .gz.
    Idx {
        #[command(flatten)]
        locations: Locations,
        #[command(flatten)]
        classes: Classes,
    },
    /// A folder of NumPy files: x_train.npy and y_train.npy, also …_validation and …_test.
    Numpy {
        #[command(flatten)]
        locations: Locations,
        /// Order of the dimensions where it is not clear which are the channels.
        #[arg(long, value_enum)]
        layout: Option<Layout>,
        #[command(flatten)]
        classes: Classes,
    },
    /// TFRecords that TensorFlow or somebody else wrote, compressed or not, with or without a dataset.json.
    Tfrecords(Records),
}

#[derive(Debug, clap::Args)]
pub(super) struct Locations {
    /// The file or folder to read.
    #[arg(value_name = "SRC")]
    pub(super) source: PathBuf,
    /// The folder to write: a path, or a URI of file://, hdfs:// or s3://.
    #[arg(value_name = "DST")]
    pub(super) destination: String,
}

#[derive(Debug, clap::Args)]
pub(super) struct Images {
    /// Scale every image to this size; without it all must have one.
    #[arg(long, value_name = "WIDTHxHEIGHT", value_parser = parse_size)]
    pub(super) resize: Option<(u32, u32)>,
    /// With --resize, of images of other proportions: stretch them, cover the size and cut off what stands out on both
    /// sides, or contain them whole in the background.
    #[arg(long, value_enum, default_value = "stretch", requires = "resize")]
    pub(super) fit: FitName,
    /// 1 for grey, 3 for colour; what the first image is by default.
    #[arg(long)]
    pub(super) channels: Option<u32>,
    /// Colour under transparent images, which are refused otherwise: black, white or RRGGBB in hex.
    #[arg(long, value_name = "COLOUR", value_parser = parse_colour)]
    pub(super) background: Option<[u8; 3]>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Classes {
    /// Names of the classes in the order of the labels; numbers by default.
    #[arg(long, value_delimiter = ',')]
    pub(super) classes: Option<Vec<String>>,
}

#[derive(Debug, clap::Args)]
pub(super) struct Records {
    /// The folder of the shards to train on, a path or a URI; its last part may be a pattern, in which * stands for any
    /// characters.
    #[arg(value_name = "SRC")]
    pub(super) train: String,
    /// The folder to write: a path, or a URI of file://, hdfs:// or s3://.
    #[arg(value_name = "DST")]
    pub(super) destination: String,
    /// The shards to validate with.
    #[arg(long, value_name = "SRC")]
    pub(super) validation: Option<String>,
    /// The shards to test with.
    #[arg(long, value_name = "SRC")]
    pub(super) test: Option<String>,
    /// Size of every image; needed where there is no dataset.json.
    #[arg(long, value_name = "HEIGHTxWIDTHxCHANNELS", value_parser = parse_shape, requires = "classes")]
    pub(super) shape: Option<Shape>,
    /// Names of the classes in the order of the labels, or their number.
    #[arg(long, value_name = "NAMES|NUMBER", value_parser = parse_classes, requires = "shape")]
    pub(super) classes: Option<records::Classes>,
    /// How images stand in the records that are read.
    #[arg(long, value_enum, default_value = "raw", requires = "shape")]
    pub(super) stored: Stored,
    /// Order of the values of raw images that are read.
    #[arg(long, value_enum, default_value = "HWC", ignore_case = true, requires = "shape")]
    pub(super) layout: ImageLayout,
    /// Feature with the image.
    #[arg(long, default_value = "image")]
    pub(super) image_feature: String,
    /// Feature with the label.
    #[arg(long, default_value = "label")]
    pub(super) label_feature: String,
    /// Take images that clearly look like those of the other layout.
    #[arg(long)]
    pub(super) allow_other_layout: bool,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Stored {
    Raw,
    Png,
    Jpeg,
}

/// As a job's `data.format.layout` names them.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(in crate::cli) enum ImageLayout {
    #[value(name = "HWC")]
    Hwc,
    #[value(name = "CHW")]
    Chw,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Labels {
    Fine,
    Coarse,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum Layout {
    Nhwc,
    Nchw,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(super) enum FitName {
    Stretch,
    Cover,
    Contain,
}

impl From<Labels> for Cifar100Labels {
    fn from(labels: Labels) -> Self {
        match labels {
            Labels::Fine => Self::Fine,
            Labels::Coarse => Self::Coarse,
        }
    }
}

impl From<ImageLayout> for records::Layout {
    fn from(layout: ImageLayout) -> Self {
        match layout {
            ImageLayout::Hwc => Self::Hwc,
            ImageLayout::Chw => Self::Chw,
        }
    }
}

impl From<Layout> for BatchLayout {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::Nhwc => Self::Nhwc,
            Layout::Nchw => Self::Nchw,
        }
    }
}

impl From<Images> for ImageOptions {
    fn from(Images { resize, fit, channels, background }: Images) -> Self {
        let fit = match fit {
            FitName::Stretch => Fit::Stretch,
            FitName::Cover => Fit::Cover,
            FitName::Contain => Fit::Contain,
        };
        Self { resize, fit, channels, background }
    }
}

impl Records {
    /// How the records are understood.
    pub(super) fn options(&self) -> RecordsOptions {
        let encoding = match self.stored {
            Stored::Raw => Encoding::Raw,
            Stored::Png => Encoding::Png,
            Stored::Jpeg => Encoding::Jpeg,
        };
        let layout = self.layout.into();
        let format = self.shape.zip(self.classes.clone()).map(|(shape, classes)| {
            let images = ImageFormat { encoding, layout, shape };
            Format { images, classes }
        });
        RecordsOptions {
            format,
            features: FeatureNames { image: self.image_feature.clone(), label: self.label_feature.clone() },
            allow_other_layout: self.allow_other_layout,
        }
    }
}

fn parse_shape(text: &str) -> Result<Shape, String> {
    shape_within(text, 4096)
}

/// `HEIGHTxWIDTHxCHANNELS`, with sides of at most `longest` pixels.
pub(in crate::cli) fn shape_within(text: &str, longest: u32) -> Result<Shape, String> {
    let numbers: Option<Vec<u32>> = text.split('x').map(|number| number.parse().ok()).collect();
    let sides = 1..=longest;
    match numbers.as_deref() {
        Some(&[height, width, channels @ 1..=16]) if sides.contains(&height) && sides.contains(&width) => {
            Ok(Shape { height, width, channels })
        }
        _ => Err(format!("write HEIGHTxWIDTHxCHANNELS: sides of 1 to {longest}, 1 to 16 channels")),
    }
}

/// Names with commas between them, or their number.
pub(in crate::cli) fn parse_classes(text: &str) -> Result<records::Classes, String> {
    match text.parse() {
        Ok(count @ 2..=MAX_CLASSES) => Ok(records::Classes::Count(count)),
        Ok(_) => Err(format!("write 2 to {MAX_CLASSES}, or names")),
        Err(_) => Ok(records::Classes::Names(text.split(',').map(str::to_owned).collect())),
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parse = |side: &str| side.parse().ok().filter(|side| (1..=4096).contains(side));
    let sides = text.split_once('x').and_then(|(width, height)| Some((parse(width)?, parse(height)?)));
    sides.ok_or_else(|| "write WIDTHxHEIGHT, each 1 to 4096".to_owned())
}

fn parse_colour(text: &str) -> Result<[u8; 3], String> {
    let mut colour = [0; 3];
    match text {
        "black" => Ok(colour),
        "white" => Ok([255; 3]),
        _ => match hex::decode_to_slice(text.strip_prefix('#').unwrap_or(text), &mut colour) {
            Ok(()) => Ok(colour),
            Err(_) => Err("write black, white or six hex digits".to_owned()),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_colours_are_read_or_explained() {
        assert_eq!(parse_size("64x48"), Ok((64, 48)));
        for text in ["64", "64x", "0x4", "4097x4", "axb"] {
            assert!(parse_size(text).unwrap_err().contains("WIDTHxHEIGHT"), "{text}");
        }
        assert_eq!(parse_shape("32x16x3"), Ok(Shape { height: 32, width: 16, channels: 3 }));
        for text in ["32x32", "0x32x3", "32x32x17", "32x32x3x1", "axbxc"] {
            assert!(parse_shape(text).unwrap_err().contains("CHANNELS"), "{text}");
        }
        assert_eq!(parse_classes("10"), Ok(records::Classes::Count(10)));
        assert_eq!(parse_classes("cat,dog"), Ok(records::Classes::Names(vec!["cat".into(), "dog".into()])));
        for text in ["0", "1", "65537"] {
            assert!(parse_classes(text).is_err(), "{text}");
        }
        assert_eq!(parse_colour("white"), Ok([255; 3]));
        assert_eq!(parse_colour("#0a0B0c"), Ok([10, 11, 12]));
        for text in ["red", "0a0b", "0a0b0g"] {
            assert!(parse_colour(text).unwrap_err().contains("hex"), "{text}");
        }
    }
}
