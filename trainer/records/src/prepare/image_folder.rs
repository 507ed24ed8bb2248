//! A folder of images for each class, as people keep them and as PyTorch's `ImageFolder` reads them.
//!
//! Nothing is skipped in silence: a file that is no image, an image of another size, a transparent one, are errors.
//! Records are not sorted by class but in one fixed random order, so that every shard holds every class.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use image::{
    DynamicImage, GrayImage, ImageError, ImageFormat, ImageReader, RgbImage, error::DecodingError,
    imageops::FilterType,
};
use lockstep_rng::{Domain, Stream};
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Result,
    error::{DecodeSnafu, ImageSizeSnafu, ImageSnafu, LayoutSnafu, ReadSourceSnafu},
    source::{Images, Source, base_name},
};
use crate::{Shape, pixels};

/// How images become records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Columns and rows that every image is resized to, its proportions not kept; none means that all images must
    /// have the first one's size.
    pub resize: Option<(u32, u32)>,
    /// 1 for grey, 3 for colour; none means what the first image is. Grey images can become colour ones, but not
    /// the other way round unless 1 is asked for.
    pub channels: Option<u32>,
}

pub(super) fn open(path: &Path, options: &ImageOptions) -> Result<Source> {
    if let Some(channels) = options.channels {
        let reason = || format!("images of {channels} channels are not offered: choose 1 or 3");
        ensure!(matches!(channels, 1 | 3), LayoutSnafu { path, reason: reason() });
    }
    let below = folders(path)?;
    let names: Vec<&str> = below.keys().map(String::as_str).collect();
    let splits = match names[..] {
        ["train"] | ["test", "train"] => {
            let mut splits = vec![("train", path.join("train"))];
            splits.extend(below.get("test").map(|test| ("test", test.clone())));
            splits
        }
        _ if names.contains(&"train") => {
            let reason = format!("beside train there may be test and nothing else: {names:?}");
            return LayoutSnafu { path, reason }.fail();
        }
        _ => vec![("train", path.to_owned())],
    };

    let mut classes: Vec<String> = Vec::new();
    let mut files = Vec::new();
    for (split, folder) in splits {
        let by_class = folders(&folder)?;
        if split == "train" {
            classes = by_class.keys().cloned().collect();
            let reason = "it must hold a folder of images for each class";
            ensure!(!classes.is_empty(), LayoutSnafu { path: folder, reason });
        }
        let mut images = Vec::new();
        for (class, folder) in by_class {
            let label = classes.binary_search(&class).ok().with_context(|| LayoutSnafu {
                path: &folder,
                reason: "the training split has no such class",
            })?;
            let found = image_files(&folder)?;
            ensure!(!found.is_empty(), LayoutSnafu { path: folder, reason: "it holds no image" });
            images.extend(found.into_iter().map(|path| (path, label as u32)));
        }
        ensure!(!images.is_empty(), LayoutSnafu { path: folder, reason: "it holds no class" });
        files.push((split, images));
    }

    let (first, _) = &files[0].1[0];
    let image = decode(first)?;
    let (width, height) = options.resize.unwrap_or((image.width(), image.height()));
    let reason = "it has no pixels, or is asked to have none";
    ensure!(width > 0 && height > 0, ImageSnafu { path: first, reason });
    let channels = options.channels.unwrap_or(if image.color().has_color() { 3 } else { 1 });
    let shape = Shape { height, width, channels };
    let splits = files.into_iter().map(|(split, mut files)| {
        Stream::new(0, Domain::Preparation, 0, 0).shuffle(&mut files);
        let images = Folder { files, shape, options: options.clone() };
        (split, Arc::new(images) as Arc<dyn Images>)
    });
    Ok(Source { format: "image-folder", name: base_name(path), shape, classes, splits: splits.collect() })
}

struct Folder {
    files: Vec<(PathBuf, u32)>,
    shape: Shape,
    options: ImageOptions,
}

impl Images for Folder {
    fn len(&self) -> usize {
        self.files.len()
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        let (path, label) = &self.files[index];
        let mut image = decode(path)?;
        let Shape { height, width, channels } = self.shape;
        let (found_width, found_height) = (image.width(), image.height());
        if (found_width, found_height) != (width, height) {
            ensure!(
                self.options.resize.is_some(),
                ImageSizeSnafu { path, found_width, found_height, width, height }
            );
            // Bilinear with antialiasing: additions and multiplications only, so the same on every machine.
            image = image.resize_exact(width, height, FilterType::Triangle);
        }
        if channels == 1 {
            let allowed = self.options.channels.is_some() || !image.color().has_color();
            let reason = "it is in colour and the first image is grey (ask for 1 or 3 channels)";
            ensure!(allowed, ImageSnafu { path, reason });
            pixels.copy_from_slice(&image.into_luma8());
        } else {
            pixels.copy_from_slice(&image.into_rgb8());
        }
        Ok(*label)
    }
}

/// Decodes by content, not by name, within the decoder's limits of memory.
fn decode(path: &Path) -> Result<DynamicImage> {
    let reader = ImageReader::open(path).context(ReadSourceSnafu { path })?;
    let reader = reader.with_guessed_format().context(ReadSourceSnafu { path })?;
    let image = match reader.format() {
        Some(ImageFormat::Jpeg) => decode_jpeg(path)?,
        _ => reader.decode().context(DecodeSnafu { path })?,
    };
    let opaque = !image.color().has_alpha() || image.to_rgba8().pixels().all(|pixel| pixel.0[3] == 255);
    ensure!(opaque, ImageSnafu { path, reason: "it is transparent in places, which a record cannot say" });
    Ok(image)
}

/// As a record's JPEG is decoded: the same on every processor, and not at all where it is damaged.
fn decode_jpeg(path: &Path) -> Result<DynamicImage> {
    let file = std::fs::read(path).context(ReadSourceSnafu { path })?;
    let damaged = |error| ImageError::Decoding(DecodingError::new(ImageFormat::Jpeg.into(), error));
    let (Shape { height, width, channels }, pixels) =
        pixels::decode_any(&file).map_err(damaged).context(DecodeSnafu { path })?;
    let image = match channels {
        1 => GrayImage::from_raw(width, height, pixels).map(DynamicImage::from),
        _ => RgbImage::from_raw(width, height, pixels).map(DynamicImage::from),
    };
    Ok(image.expect("there are as many pixels as the size says"))
}

/// The folders in a folder by name, sorted; nothing else may be in it.
fn folders(path: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut folders = BTreeMap::new();
    for (name, path) in entries(path)? {
        let reason = "it is no folder; images stand one folder further down, in that of their class";
        ensure!(path.is_dir(), LayoutSnafu { path, reason });
        folders.insert(name, path);
    }
    Ok(folders)
}

fn image_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = entries(folder)?;
    for path in entries.values() {
        ensure!(!path.is_dir(), LayoutSnafu { path, reason: "a class's folder holds images, no folders" });
    }
    Ok(entries.into_values().collect())
}

/// What is in a folder, sorted by name; names that begin with a dot are the system's own.
fn entries(path: &Path) -> Result<BTreeMap<String, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(path).context(ReadSourceSnafu { path })? {
        let entry = entry.context(ReadSourceSnafu { path })?;
        let name = entry.file_name().into_string();
        let reason = "its name is not Unicode";
        let name = name.ok().with_context(|| LayoutSnafu { path: entry.path(), reason })?;
        if !name.starts_with('.') {
            found.insert(name, entry.path());
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
