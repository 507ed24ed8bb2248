//! IDX files: a magic number, the sizes of the dimensions (big endian), then one byte a value.
//!
//! Source: <http://yann.lecun.com/exdb/mnist/>, "File formats".

use std::{
    fs::File,
    io::{BufReader, Read},
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::MultiGzDecoder;
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Result,
    error::{
        FileSizeSnafu, FormatSnafu, LabelSnafu, LayoutSnafu, MissingFileSnafu, ReadSourceSnafu, UnpackSnafu,
    },
    source::{InMemory, Source, base_name, class_names, file_names},
};
use crate::Shape;

/// Prefixes of the files of each split; the second ones are EMNIST's.
const SPLITS: [(&str, [&str; 2]); 2] = [("train", ["train", "train"]), ("test", ["t10k", "test"])];
/// Values of a file are held in memory.
const MAX_BYTES: u64 = 8 << 30;

pub(super) fn open(path: &Path, classes: Option<&[String]>) -> Result<Source> {
    let names = file_names(path)?;
    let mut shape = None;
    let mut splits = Vec::new();
    for (split, prefixes) in SPLITS {
        let images = find(path, &names, &prefixes, "images")?;
        let labels = find(path, &names, &prefixes, "labels")?;
        let (images, labels) = match (images, labels) {
            (Some(images), Some(labels)) => (images, labels),
            (None, None) if split == "test" => continue,
            (None, _) => {
                return MissingFileSnafu { path, name: format!("{}-images-idx3-ubyte", prefixes[0]) }.fail();
            }
            (_, None) => {
                return MissingFileSnafu { path, name: format!("{}-labels-idx1-ubyte", prefixes[0]) }.fail();
            }
        };
        let (found, pixels) = read_images(&images)?;
        let (header_bytes, labels_read) = read_labels(&labels)?;
        let count = pixels.len() / found.bytes();
        ensure!(
            labels_read.len() == count,
            FormatSnafu {
                file: labels.display().to_string(),
                reason: format!("it has {} labels for {count} images", labels_read.len())
            }
        );
        let first = *shape.get_or_insert(found);
        ensure!(
            first == found,
            FormatSnafu {
                file: images.display().to_string(),
                reason: format!("its images are {found}, those of the training split {first}")
            }
        );
        splits.push((split, labels, header_bytes, InMemory { pixels, labels: labels_read }));
    }
    let highest = splits.iter().flat_map(|(.., images)| &images.labels).max();
    let highest = highest.with_context(|| LayoutSnafu { path, reason: "its files hold no image" })?;
    let classes = class_names(classes, u32::from(*highest));
    for (_, labels, header_bytes, images) in &splits {
        if let Some(at) = images.labels.iter().position(|label| usize::from(*label) >= classes.len()) {
            let (offset, label) = (header_bytes + at as u64, images.labels[at]);
            let file = labels.display().to_string();
            return LabelSnafu { file, offset, label, classes: classes.len() }.fail();
        }
    }
    Ok(Source {
        format: "idx",
        name: base_name(path),
        shape: shape.context(MissingFileSnafu { path, name: "train-images-idx3-ubyte" })?,
        classes,
        splits: splits.into_iter().map(|(split, _, _, images)| (split, Arc::new(images) as _)).collect(),
    })
}

/// The file of that kind. An unpacked one beside its `.gz` is the same file; two different ones are refused.
fn find(path: &Path, names: &[String], prefixes: &[&str], kind: &str) -> Result<Option<PathBuf>> {
    let is_kind = |name: &str| {
        let plain = name.strip_suffix(".gz").unwrap_or(name);
        let Some((stem, "ubyte")) = plain.rsplit_once('-') else { return false };
        let Some(stem) =
            stem.strip_suffix("idx1").or(stem.strip_suffix("idx3")).or(stem.strip_suffix("idx4"))
        else {
            return false;
        };
        let stem = stem.trim_end_matches(['-', '.']);
        prefixes.iter().any(|prefix| {
            let found = stem.strip_suffix(kind).and_then(|stem| stem.strip_suffix('-'));
            found.is_some_and(|stem| stem == *prefix || stem.ends_with(&format!("-{prefix}")))
        })
    };
    let found: Vec<_> = names.iter().filter(|name| is_kind(name)).collect();
    match found[..] {
        [] => Ok(None),
        [one] => Ok(Some(path.join(one))),
        [plain, packed] if *packed == format!("{plain}.gz") => Ok(Some(path.join(plain))),
        _ => LayoutSnafu { path, reason: format!("it has several files of {kind}: {found:?}") }.fail(),
    }
}

fn read_images(path: &Path) -> Result<(Shape, Vec<u8>)> {
    let (dims, values) = read(path)?;
    let shape = match dims[..] {
        [_, height, width] => Shape { height, width, channels: 1 },
        [_, height, width, channels] => Shape { height, width, channels },
        _ => return refuse(path, format!("it has {} dimensions, images have 3 or 4", dims.len())),
    };
    if shape.bytes() == 0 {
        return refuse(path, format!("its images are {shape}"));
    }
    Ok((shape, values))
}

fn read_labels(path: &Path) -> Result<(u64, Vec<u8>)> {
    let (dims, values) = read(path)?;
    if dims.len() != 1 {
        return refuse(path, format!("it has {} dimensions, labels have 1", dims.len()));
    }
    Ok((4 + 4 * dims.len() as u64, values))
}

fn refuse<T>(path: &Path, reason: String) -> Result<T> {
    FormatSnafu { file: path.display().to_string(), reason }.fail()
}

/// Sizes of the dimensions and all values, exactly as many as those say.
fn read(path: &Path) -> Result<(Vec<u32>, Vec<u8>)> {
    let file = BufReader::new(File::open(path).context(ReadSourceSnafu { path })?);
    let packed = path.extension().is_some_and(|extension| extension == "gz");
    let mut input: Box<dyn Read> = if packed { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut take = |bytes: u64, offset: u64| {
        let mut buffer = Vec::new();
        let read = input.by_ref().take(bytes).read_to_end(&mut buffer);
        let context = |_: &mut _| UnpackSnafu {
            path,
            within: "its content".to_owned(),
            offset: offset + buffer.len() as u64,
        };
        read.map(|_| ()).with_context(context)?;
        Ok(buffer)
    };
    let expect = |found: u64, expected: u64, offset: u64| {
        let file = path.display().to_string();
        if found == expected { Ok(()) } else { FileSizeSnafu { file, found, expected, offset }.fail() }
    };

    let magic = take(4, 0)?;
    expect(magic.len() as u64, 4, 0)?;
    let dimensions = match magic[..] {
        [0, 0, 8, dimensions @ 1..=4] => dimensions,
        [0, 0, 8, _] | [0, 0, 9..=14, _] => {
            return refuse(
                path,
                format!("its magic number {} is not of bytes in 1 to 4 dimensions", hex::encode(magic)),
            );
        }
        _ => return refuse(path, "it does not begin as an IDX file does".to_owned()),
    };
    let header = take(4 * u64::from(dimensions), 4)?;
    let header_bytes = 4 + 4 * u64::from(dimensions);
    expect(4 + header.len() as u64, header_bytes, 0)?;
    let dims: Vec<u32> = header.as_chunks::<4>().0.iter().map(|size| u32::from_be_bytes(*size)).collect();
    // One image or label, then all; a file of none may have any sizes behind the first.
    let one = dims[1..].iter().try_fold(1u64, |product, size| product.checked_mul(u64::from(*size)));
    let values = one.and_then(|one| one.checked_mul(dims[0].into()));
    let (Some(one), Some(values)) = (one, values.filter(|values| *values <= MAX_BYTES)) else {
        return refuse(path, format!("its dimensions {dims:?} are too large"));
    };
    let bytes = take(values.saturating_add(1), header_bytes)?;
    let whole = (bytes.len() as u64).min(values) / one.max(1) * one;
    expect(header_bytes + bytes.len() as u64, header_bytes + values, header_bytes + whole)?;
    Ok((dims, bytes))
}

#[cfg(test)]
mod tests;
