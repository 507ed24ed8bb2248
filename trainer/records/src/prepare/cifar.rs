//! The official binary versions of CIFAR-10 and CIFAR-100: files of records of one or two labels and 3,072 bytes, channel by
//! channel.
//!
//! Source: <https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version".

use std::{
    collections::BTreeMap,
    fs::File,
    io::Read,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use flate2::read::GzDecoder;
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Cifar100Labels, Result,
    error::{FileSizeSnafu, FormatSnafu, LabelSnafu, MissingFileSnafu, ReadSourceSnafu, UnpackSnafu},
    refusals::Refusals,
    source::{Images, Source, base_name, read_at_most},
};
use crate::{Shape, pixels::planes::interleave};

const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };
const PLANE_BYTES: usize = 32 * 32;
/// Of a record.
const MOST_LABELS: usize = 2;
/// Of a file of class names: far more than a hundred of them take.
const MAX_NAMES_BYTES: u64 = 64 << 10;

/// What an archive must hold.
#[derive(Clone)]
pub(super) struct Contents {
    format: &'static str,
    folder: &'static str,
    train: Files,
    test: Files,
    record: RecordFormat,
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
    record: RecordFormat { labels: 1, label: 0 },
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
        record: RecordFormat { labels: 2, label },
        classes: Classes::Listed { file, count },
    }
}

pub(super) fn open(path: &Path, contents: &Contents) -> Result<Source> {
    let metadata = std::fs::metadata(path).context(ReadSourceSnafu { path })?;
    let mut found =
        if metadata.is_dir() { read_folder(path, contents)? } else { read_archive(path, contents)? };
    let mut take = |name: &'static str| found.remove(name).context(MissingFileSnafu { path, name });
    let place = |name: &str| format!("{}: {name}", path.display());
    let classes = match contents.classes {
        Classes::Named(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        Classes::Listed { file, count } => {
            class_names(&place(file), &take(file)?.read(MAX_NAMES_BYTES)?, count)?
        }
    };
    let mut split = |Files { names, records }: Files| -> Result<Arc<Records>> {
        let format = contents.record;
        let mut files = Vec::new();
        for name in names {
            let (place, content) = (place(name), take(name)?);
            format.check_size(&place, content.bytes(), records)?;
            files.push(RecordFile { place, content });
        }
        Ok(Arc::new(Records { format, records_a_file: records as usize, files, classes: classes.len() }))
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
    /// Files that are read, and the most bytes of each.
    fn files(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let records = [self.train, self.test].into_iter().flat_map(|Files { names, records }| {
            let bytes = records * self.record.bytes() as u64;
            names.iter().map(move |name| (*name, bytes))
        });
        let listed = match self.classes {
            Classes::Named(_) => None,
            Classes::Listed { file, .. } => Some((file, MAX_NAMES_BYTES)),
        };
        records.chain(listed)
    }
}

/// The files that are wanted and there.
type Found = BTreeMap<String, Content>;

/// Content of a file.
enum Content {
    /// From an archive.
    Unpacked(Vec<u8>),
    /// Where it lies, for reading what is wanted when it is wanted.
    Stored { file: File, path: PathBuf, bytes: u64 },
}

impl Content {
    fn open(path: PathBuf) -> Result<Option<Self>> {
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            file => file.context(ReadSourceSnafu { path: &path })?,
        };
        let bytes = file.metadata().context(ReadSourceSnafu { path: &path })?.len();
        Ok(Some(Self::Stored { file, path, bytes }))
    }

    fn bytes(&self) -> u64 {
        match self {
            Self::Unpacked(bytes) => bytes.len() as u64,
            Self::Stored { bytes, .. } => *bytes,
        }
    }

    /// At most so many bytes from the beginning.
    fn read(&self, most: u64) -> Result<Vec<u8>> {
        let mut bytes = vec![0; self.bytes().min(most) as usize];
        self.read_at(0, &mut bytes)?;
        Ok(bytes)
    }

    /// Fills `bytes` with what stands behind `offset`, which must be there.
    fn read_at(&self, offset: u64, bytes: &mut [u8]) -> Result<()> {
        match self {
            Self::Unpacked(content) => bytes.copy_from_slice(&content[offset as usize..][..bytes.len()]),
            Self::Stored { file, path, .. } => {
                file.read_exact_at(bytes, offset).context(ReadSourceSnafu { path })?;
            }
        }
        Ok(())
    }
}

fn read_folder(path: &Path, contents: &Contents) -> Result<Found> {
    let below = path.join(contents.folder);
    let folder = if below.is_dir() { below } else { path.to_owned() };
    let mut files = Found::new();
    for (name, _) in contents.files() {
        files.extend(Content::open(folder.join(name))?.map(|content| (name.to_owned(), content)));
    }
    Ok(files)
}

/// Reads the archive to its very end, since only there gzip's checksum stands.
fn read_archive(path: &Path, contents: &Contents) -> Result<Found> {
    let unpack = |within: &str, offset: u64| UnpackSnafu { path, within: within.to_owned(), offset };
    let file = File::open(path).context(ReadSourceSnafu { path })?;
    let mut archive = tar::Archive::new(GzDecoder::new(std::io::BufReader::new(file)));
    let mut found = Found::new();
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
        found.insert(name, Content::Unpacked(bytes));
    }
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest.by_ref(), &mut std::io::sink()).with_context(|_| unpack("the archive", place))?;
    Ok(found)
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

/// How a record stands in its file.
#[derive(Clone, Copy)]
struct RecordFormat {
    /// Labels before the pixels.
    labels: usize,
    /// Which of them is taken.
    label: usize,
}

impl RecordFormat {
    const fn bytes(self) -> usize {
        self.labels + 3 * PLANE_BYTES
    }

    /// That a file has so many records.
    fn check_size(self, file: &str, found: u64, records: u64) -> Result<()> {
        let record_bytes = self.bytes() as u64;
        let expected = records * record_bytes;
        let offset = found.min(expected) / record_bytes * record_bytes;
        ensure!(found == expected, FileSizeSnafu { file, found, expected, offset });
        Ok(())
    }

    /// Where the label that is taken stands, in bytes from the beginning of the file.
    const fn label_offset(self, record: usize) -> u64 {
        record as u64 * self.bytes() as u64 + self.label as u64
    }
}

struct RecordFile {
    /// As errors say it.
    place: String,
    content: Content,
}

/// The records of one split, as they stand in their files.
struct Records {
    format: RecordFormat,
    records_a_file: usize,
    files: Vec<RecordFile>,
    classes: usize,
}

impl Records {
    /// The file of an image, and which of its records.
    fn locate(&self, index: usize) -> (&RecordFile, usize) {
        (&self.files[index / self.records_a_file], index % self.records_a_file)
    }

    /// That the label of a record is one of the classes.
    fn check_label(
        &self,
        RecordFile { place: file, .. }: &RecordFile,
        record: usize,
        label: u8,
    ) -> Result<u32> {
        let (offset, classes) = (self.format.label_offset(record), self.classes);
        ensure!(usize::from(label) < classes, LabelSnafu { file, offset, label, classes });
        Ok(label.into())
    }

    fn label(&self, index: usize) -> Result<u32> {
        let (file, record) = self.locate(index);
        let mut label = [0];
        file.content.read_at(self.format.label_offset(record), &mut label)?;
        self.check_label(file, record, label[0])
    }
}

impl Images for Records {
    fn len(&self) -> usize {
        self.files.len() * self.records_a_file
    }

    fn labels(&self) -> Result<Vec<u32>> {
        let refusals = Refusals::default();
        let mut labels = Vec::with_capacity(self.len());
        for index in 0..self.len() {
            if refusals.is_full() {
                break;
            }
            match self.label(index) {
                Ok(label) => labels.push(label),
                Err(error) => refusals.add((0, index), error)?,
            }
        }
        refusals.into_result()?;
        Ok(labels)
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        let (file, record) = self.locate(index);
        let mut bytes = [0; MOST_LABELS + 3 * PLANE_BYTES];
        let bytes = &mut bytes[..self.format.bytes()];
        file.content.read_at((record * bytes.len()) as u64, bytes)?;
        let label = self.check_label(file, record, bytes[self.format.label])?;
        interleave(&bytes[self.format.labels..], 3, pixels);
        Ok(label)
    }
}

#[cfg(test)]
mod tests;
