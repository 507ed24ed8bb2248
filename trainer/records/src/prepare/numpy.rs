//! A folder of NumPy files: for each split an array of images and one of labels.
//!
//! Images are read from their places in the file when they are asked for, so that no array needs to fit into memory.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use snafu::{OptionExt, ensure};

use super::{
    Result,
    error::{FormatSnafu, LayoutSnafu, MissingFileSnafu},
    source::{Images, MAX_CLASSES, Source, base_name, class_names, file_names},
};
use arrays::{ImageArray, LabelArray};

mod arrays;

/// How arrays of images are understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumpyOptions {
    /// Order of the dimensions of arrays of four; none: as the only dimension of 1 or 3 says.
    pub layout: Option<BatchLayout>,
    /// Names of the classes; none means the numbers up to the highest label.
    pub classes: Option<Vec<String>>,
}

/// Order of the dimensions of an array of images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchLayout {
    /// Image, row, column, channel.
    Nhwc,
    /// Image, channel, row, column.
    Nchw,
}

const SPLITS: [&str; 3] = ["train", "validation", "test"];

pub(super) fn open(path: &Path, options: &NumpyOptions) -> Result<Source> {
    let mut files = find(path)?;
    let mut splits = Vec::new();
    for split in SPLITS {
        let arrays = (files.remove(&(split, Content::Images)), files.remove(&(split, Content::Labels)));
        let (images, labels) = match arrays {
            (Some(images), Some(labels)) => (images, labels),
            (None, None) if split != "train" => continue,
            (None, _) => return MissingFileSnafu { path, name: format!("x_{split}.npy") }.fail(),
            (_, None) => return MissingFileSnafu { path, name: format!("y_{split}.npy") }.fail(),
        };
        let images = ImageArray::open(images, options.layout)?;
        let labels = LabelArray::read(labels)?;
        let reason = || format!("it has {} labels for {} images", labels.values.len(), images.count);
        let file = labels.file();
        ensure!(labels.values.len() as u64 == images.count, FormatSnafu { file, reason: reason() });
        splits.push((split, images, labels));
    }
    let shape = splits[0].1.shape;
    for (_, images, _) in &splits {
        let (file, found) = (images.path.display().to_string(), images.shape);
        let reason = format!("its images are {found}, those of the training split {shape}");
        ensure!(found == shape, FormatSnafu { file, reason });
    }
    let highest = splits.iter().flat_map(|(_, _, labels)| &labels.values).max().copied();
    let highest = highest.with_context(|| LayoutSnafu { path, reason: "its files hold no image" })?;
    let classes = class_names(options.classes.as_deref(), highest.clamp(0, MAX_CLASSES as i64 - 1) as u32);
    let splits = splits.into_iter().map(|(split, images, labels)| {
        let labels = labels.of(classes.len())?;
        Ok((split, Arc::new(Labelled { images, labels }) as Arc<dyn Images>))
    });
    let splits = splits.collect::<Result<_>>()?;
    Ok(Source { format: "numpy", name: base_name(path), shape, classes, splits })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Content {
    Images,
    Labels,
}

/// The arrays of a folder by what their names say. Files that are no NumPy files are left alone.
fn find(path: &Path) -> Result<BTreeMap<(&'static str, Content), PathBuf>> {
    let mut files = BTreeMap::new();
    for name in file_names(path)? {
        let file = path.join(&name);
        let reason = "it is an archive of arrays: save each with numpy.save";
        ensure!(!name.ends_with(".npz"), LayoutSnafu { path: file, reason });
        let Some(stem) = name.strip_suffix(".npy") else { continue };
        let role = role(stem).with_context(|| LayoutSnafu {
            path: &file,
            reason: "its name does not say what it holds: x_train, y_train, x_test, y_test, or images and labels",
        })?;
        if let Some(other) = files.insert(role, file) {
            let reason = format!("{name} holds the same by its name");
            return LayoutSnafu { path: other, reason }.fail();
        }
    }
    Ok(files)
}

/// `x` or `images`, `y` or `labels`, and before or behind it the split; without one it is the training split.
fn role(stem: &str) -> Option<(&'static str, Content)> {
    let stem = stem.to_ascii_lowercase().replace('-', "_");
    let content = |word: &str| match word {
        "x" | "images" => Some(Content::Images),
        "y" | "labels" => Some(Content::Labels),
        _ => None,
    };
    let split = |word: &str| SPLITS.into_iter().find(|split| *split == word);
    match stem.split_once('_') {
        None => Some(("train", content(&stem)?)),
        Some((first, second)) => match content(first) {
            Some(content) => Some((split(second)?, content)),
            None => Some((split(first)?, content(second)?)),
        },
    }
}

struct Labelled {
    images: ImageArray,
    labels: Vec<u32>,
}

impl Images for Labelled {
    fn len(&self) -> usize {
        self.labels.len()
    }

    fn labels(&self) -> Result<Vec<u32>> {
        Ok(self.labels.clone())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        self.images.read(index, pixels)?;
        Ok(self.labels[index])
    }
}

#[cfg(test)]
mod tests;
