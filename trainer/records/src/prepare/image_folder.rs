//! A folder of images for each class, as people keep them and as PyTorch's `ImageFolder` reads them.
//!
//! Nothing is skipped in silence: a file that is no image, an image of another size, a transparent one, are errors.
//! What one file becomes is decided in `picture` and `fit`.
//! Records are not sorted by class but in one fixed random order, so that every shard holds every class.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use lockstep_rng::{Domain, Stream};
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Result,
    error::{ImageSizeSnafu, ImageSnafu, LayoutSnafu, ReadSourceSnafu},
    fit::Fit,
    picture::Picture,
    refusals::MOST_REFUSALS,
    source::{Images, Source, base_name},
};
use crate::Shape;

/// How images become records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImageOptions {
    /// Columns and rows that every image is resized to; none means that all images must have the first one's size.
    pub resize: Option<(u32, u32)>,
    /// What becomes of their proportions.
    pub fit: Fit,
    /// 1 for grey, 3 for colour; none means what the first image is. Grey images can become colour ones, but not
    /// the other way round unless 1 is asked for.
    pub channels: Option<u32>,
    /// Red, green and blue of what transparent images lie on and of what [`Fit::Contain`] leaves free. None: transparent
    /// images are refused, and the rest is black.
    pub background: Option<[u8; 3]>,
}

pub(super) fn open(path: &Path, options: &ImageOptions) -> Result<Source> {
    if let Some(channels) = options.channels {
        let reason = || format!("images of {channels} channels are not offered: choose 1 or 3");
        ensure!(matches!(channels, 1 | 3), LayoutSnafu { path, reason: reason() });
    }
    let splits = splits(path)?;
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

    let shape = shape(&files[0].1, options)?;
    let splits = files.into_iter().map(|(split, mut files)| {
        Stream::new(0, Domain::Preparation, 0, 0).shuffle(&mut files);
        let images = Folder { files, shape, options: options.clone() };
        (split, Arc::new(images) as Arc<dyn Images>)
    });
    Ok(Source { format: "image-folder", name: base_name(path), shape, classes, splits: splits.collect() })
}

/// Folders by the split that they hold: the folder itself, or `train` in it and what is beside that.
fn splits(path: &Path) -> Result<Vec<(&'static str, PathBuf)>> {
    let mut below = folders(path)?;
    let Some(train) = below.remove("train") else { return Ok(vec![("train", path.to_owned())]) };
    let mut splits = vec![("train", train)];
    for (names, split) in [(&["validation", "val"][..], "validation"), (&["test"], "test")] {
        let found = names.iter().find_map(|name| below.remove(*name));
        splits.extend(found.map(|folder| (split, folder)));
    }
    let reason = || {
        format!("beside train there may be validation (or val) and test, nothing else: {:?}", below.keys())
    };
    ensure!(below.is_empty(), LayoutSnafu { path, reason: reason() });
    Ok(splits)
}

/// Of the first image that can be read; who cannot is reported with all others.
fn shape(files: &[(PathBuf, u32)], options: &ImageOptions) -> Result<Shape> {
    let (first, others) = files.split_first().expect("a split without images was refused");
    let read = |(path, _): &(PathBuf, u32)| picture(path, options);
    let others = others.iter().take(MOST_REFUSALS);
    let first = read(first).or_else(|refusal| others.map(read).find_map(Result::ok).ok_or(refusal))?;
    Ok(Shape { channels: options.channels.unwrap_or(first.shape.channels), ..first.shape })
}

/// A file's picture, in the size that is asked for.
fn picture(path: &Path, options: &ImageOptions) -> Result<Picture> {
    let ImageOptions { resize, fit, channels: _, background } = *options;
    let picture = Picture::read(path, background)?;
    Ok(match resize {
        Some(size) => picture.resized(size, fit, background),
        None => picture,
    })
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

    fn labels(&self) -> Result<Vec<u32>> {
        Ok(self.files.iter().map(|(_, label)| *label).collect())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        let (path, label) = &self.files[index];
        let picture = picture(path, &self.options)?;
        let Shape { height, width, channels } = self.shape;
        let Shape { height: found_height, width: found_width, channels: found_channels } = picture.shape;
        let same = (found_width, found_height) == (width, height);
        ensure!(same, ImageSizeSnafu { path, found_width, found_height, width, height });
        let allowed = self.options.channels.is_some() || found_channels <= channels;
        let reason = "it is in colour and the first image is grey (ask for 1 or 3 channels)";
        ensure!(allowed, ImageSnafu { path, reason });
        pixels.copy_from_slice(&picture.with_channels(channels).pixels);
        Ok(*label)
    }
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
