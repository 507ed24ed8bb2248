//! The official binary versions of CIFAR-10 and CIFAR-100: files of records of one or two labels and 3,072 bytes, channel by
//! channel.
//!
//! Source: <https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version".

use std::{collections::BTreeMap, fs::File, io::Read, path::Path, sync::Arc};

use flate2::read::GzDecoder;
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Cifar100Labels, Result,
    error::{FileSizeSnafu, FormatSnafu, LabelSnafu, MissingFileSnafu, ReadSourceSnafu, UnpackSnafu},
    source::{InMemory, Source, base_name, read_at_most},
};
use crate::Shape;

const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };
const PLANE_BYTES: usize = 32 * 32;
/// Of a file of class names: far more than a hundred of them take.
const MAX_NAMES_BYTES: u64 = 64 << 10;

/// What an archive must hold.
#[derive(Clone)]
pub(super) struct Contents {
    format: &'static str,
    folder: &'static str,
    train: Files,
    test: Files,
    /// Labels before the pixels of a record, and which of them is taken.
    labels: u64,
    label: u64,
    classes: Classes,
}

/// Files of records; each holds as many.
#[derive(Clone, Copy)]
struct Files {
    names: &'static [&'static str],
    records: u64,
}

#[derive(Clone, Copy)]
enum Classes {
    Named(&'static [&'static str]),
    /// One a line in a file of the archive.
    Listed {
        file: &'static str,
        count: usize,
    },
}

/// The published `cifar-10-binary.tar.gz`.
pub(super) const CIFAR10: Contents = Contents {
    format: "cifar10",
    folder: "cifar-10-batches-bin",
    train: Files {
        names: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        records: 10_000,
    },
    test: Files { names: &["test_batch.bin"], records: 10_000 },
    labels: 1,
    label: 0,
    classes: Classes::Named(&[
        "airplane",
        "automobile",
        "bird",
        "cat",
        "deer",
        "dog",
        "frog",
        "horse",
        "ship",
        "truck",
    ]),
};

/// The published `cifar-100-binary.tar.gz`.
pub(super) const fn cifar100(labels: Cifar100Labels) -> Contents {
    let (label, file, count) = match labels {
        Cifar100Labels::Coarse => (0, "coarse_label_names.txt", 20),
        Cifar100Labels::Fine => (1, "fine_label_names.txt", 100),
    };
    Contents {
        format: "cifar100",
        folder: "cifar-100-binary",
        train: Files { names: &["train.bin"], records: 50_000 },
        test: Files { names: &["test.bin"], records: 10_000 },
        labels: 2,
        label,
        classes: Classes::Listed { file, count },
    }
}

pub(super) fn open(path: &Path, contents: &Contents) -> Result<Source> {
    let metadata = std::fs::metadata(path).context(ReadSourceSnafu { path })?;
    let unpacked =
        if metadata.is_dir() { read_folder(path, contents)? } else { read_archive(path, contents)? };
    let find = |name: &'static str| unpacked.get(name).context(MissingFileSnafu { path, name });
    let place = |name: &str| format!("{}: {name}", path.display());
    let classes = match contents.classes {
        Classes::Named(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        Classes::Listed { file, count } => class_names(&place(file), find(file)?, count)?,
    };
    let split = |files: Files| -> Result<Arc<InMemory>> {
        let mut images = InMemory { pixels: Vec::new(), labels: Vec::new() };
        for name in files.names {
            let file = RecordFile { place: place(name), bytes: find(name)?, records: files.records };
            file.append(contents, classes.len(), &mut images)?;
        }
        Ok(Arc::new(images))
    };
    Ok(Source {
        format: contents.format,
        name: base_name(path),
        shape: SHAPE,
        splits: vec![("train", split(contents.train)?), ("test", split(contents.test)?)],
        classes,
    })
}

impl Contents {
    const fn record_bytes(&self) -> u64 {
        self.labels + 3 * PLANE_BYTES as u64
    }

    /// Files that are read, and the most bytes of each.
    fn files(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let records = [self.train, self.test].into_iter().flat_map(|Files { names, records }| {
            let bytes = records * self.record_bytes();
            names.iter().map(move |name| (*name, bytes))
        });
        let listed = match self.classes {
            Classes::Named(_) => None,
            Classes::Listed { file, .. } => Some((file, MAX_NAMES_BYTES)),
        };
        records.chain(listed)
    }
}

/// Content of the files that are wanted and there.
type Unpacked = BTreeMap<String, Vec<u8>>;

fn read_folder(path: &Path, contents: &Contents) -> Result<Unpacked> {
    let below = path.join(contents.folder);
    let folder = if below.is_dir() { below } else { path.to_owned() };
    let mut unpacked = Unpacked::new();
    for (name, most) in contents.files() {
        let file = folder.join(name);
        match File::open(&file) {
            Ok(input) => {
                let mut bytes = Vec::new();
                read_at_most(input, most, &mut bytes).context(ReadSourceSnafu { path: &file })?;
                unpacked.insert(name.to_owned(), bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(ReadSourceSnafu { path: file }),
        }
    }
    Ok(unpacked)
}

/// Reads the archive to its very end, since only there gzip's checksum stands.
fn read_archive(path: &Path, contents: &Contents) -> Result<Unpacked> {
    let unpack = |within: &str, offset: u64| UnpackSnafu { path, within: within.to_owned(), offset };
    let file = File::open(path).context(ReadSourceSnafu { path })?;
    let mut archive = tar::Archive::new(GzDecoder::new(std::io::BufReader::new(file)));
    let mut unpacked = Unpacked::new();
    let mut place = 0;
    for entry in archive.entries().context(unpack("the archive", 0))? {
        let entry = entry.with_context(|_| unpack("the archive", place))?;
        place = entry.raw_file_position();
        let entry_path = entry.path().with_context(|_| unpack("the archive", place))?;
        let name = entry_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let most = contents.files().find(|(wanted, _)| *wanted == name).map(|(_, most)| most);
        let Some(most) = most.filter(|_| entry.header().entry_type().is_file()) else { continue };
        let mut bytes = Vec::new();
        let read = read_at_most(entry, most, &mut bytes);
        read.with_context(|_| unpack(&name, bytes.len() as u64))?;
        place += bytes.len() as u64;
        unpacked.insert(name, bytes);
    }
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest.by_ref(), &mut std::io::sink()).with_context(|_| unpack("the archive", place))?;
    Ok(unpacked)
}

fn class_names(place: &str, bytes: &[u8], count: usize) -> Result<Vec<String>> {
    let refuse = |reason: String| FormatSnafu { file: place, reason };
    let text = std::str::from_utf8(bytes).ok().with_context(|| refuse("it is no text".to_owned()))?;
    let names: Vec<_> = text.lines().map(str::trim).filter(|name| !name.is_empty()).collect();
    ensure!(names.len() == count, refuse(format!("it has {} names of classes, not {count}", names.len())));
    let different: std::collections::BTreeSet<_> = names.iter().collect();
    ensure!(different.len() == count, refuse("it names a class twice".to_owned()));
    Ok(names.into_iter().map(str::to_owned).collect())
}

/// A file of records and where it is.
struct RecordFile<'a> {
    place: String,
    bytes: &'a [u8],
    records: u64,
}

impl RecordFile<'_> {
    fn append(&self, contents: &Contents, classes: usize, images: &mut InMemory) -> Result<()> {
        let Self { place: file, bytes, records } = self;
        let record_bytes = contents.record_bytes();
        let (found, expected) = (bytes.len() as u64, records * record_bytes);
        let offset = found.min(expected) / record_bytes * record_bytes;
        ensure!(found == expected, FileSizeSnafu { file, found, expected, offset });
        images.pixels.reserve(bytes.len());
        let records = bytes.chunks_exact(record_bytes as usize);
        for (record, offset) in records.zip((contents.label..).step_by(record_bytes as usize)) {
            let (labels, planes) = record.split_at(contents.labels as usize);
            let label = labels[contents.label as usize];
            ensure!(usize::from(label) < classes, LabelSnafu { file, offset, label, classes });
            images.labels.push(label);
            for pixel in 0..PLANE_BYTES {
                let [red, green, blue] = [0, 1, 2].map(|plane| planes[plane * PLANE_BYTES + pixel]);
                images.pixels.extend_from_slice(&[red, green, blue]);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
