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
    source::{Images, Source, base_name, read_at_most},
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
    let mut unpacked =
        if metadata.is_dir() { read_folder(path, contents)? } else { read_archive(path, contents)? };
    let mut take = |name: &'static str| unpacked.remove(name).context(MissingFileSnafu { path, name });
    let place = |name: &str| format!("{}: {name}", path.display());
    let classes = match contents.classes {
        Classes::Named(names) => names.iter().map(|name| (*name).to_owned()).collect(),
        Classes::Listed { file, count } => class_names(&place(file), &take(file)?, count)?,
    };
    let mut split = |Files { names, records }: Files| -> Result<Arc<Records>> {
        let format = contents.record;
        let checked = |name: &&'static str| {
            let bytes = take(name)?;
            format.check(&place(name), &bytes, records, classes.len())?;
            Ok(bytes)
        };
        let files = names.iter().map(checked).collect::<Result<_>>()?;
        Ok(Arc::new(Records { format, records_a_file: records as usize, files }))
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

/// Content of the files that are wanted and there.
type Unpacked = BTreeMap<String, Vec<u8>>;

fn read_folder(path: &Path, contents: &Contents) -> Result<Unpacked> {
    let below = path.join(contents.folder);
    let folder = if below.is_dir() { below } else { path.to_owned() };
    let read = |name: &str, most| -> Result<Option<Vec<u8>>> {
        let path = folder.join(name);
        let input = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            input => input.context(ReadSourceSnafu { path: &path })?,
        };
        let mut bytes = Vec::new();
        read_at_most(input, most, &mut bytes).context(ReadSourceSnafu { path: &path })?;
        Ok(Some(bytes))
    };
    std::thread::scope(|scope| {
        let start = |(name, most)| (name, scope.spawn(move || read(name, most)));
        let reading: Vec<_> = contents.files().map(start).collect();
        let mut unpacked = Unpacked::new();
        for (name, reading) in reading {
            let bytes = reading.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
            unpacked.extend(bytes.map(|bytes| (name.to_owned(), bytes)));
        }
        Ok(unpacked)
    })
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

    fn label(self, record: &[u8]) -> u8 {
        record[self.label]
    }

    /// Puts the three planes of a record together, pixel by pixel.
    fn interleave(self, record: &[u8], pixels: &mut [u8]) {
        let (red, rest) = record[self.labels..].split_at(PLANE_BYTES);
        let (green, blue) = rest.split_at(PLANE_BYTES);
        for (pixel, ((red, green), blue)) in pixels.chunks_exact_mut(3).zip(red.iter().zip(green).zip(blue)) {
            pixel.copy_from_slice(&[*red, *green, *blue]);
        }
    }

    /// That a file has so many records, and each a label of one of the `classes`.
    fn check(self, file: &str, bytes: &[u8], records: u64, classes: usize) -> Result<()> {
        let record_bytes = self.bytes() as u64;
        let (found, expected) = (bytes.len() as u64, records * record_bytes);
        let offset = found.min(expected) / record_bytes * record_bytes;
        ensure!(found == expected, FileSizeSnafu { file, found, expected, offset });
        let offsets = (self.label as u64..).step_by(self.bytes());
        for (record, offset) in bytes.chunks_exact(self.bytes()).zip(offsets) {
            let label = self.label(record);
            ensure!(usize::from(label) < classes, LabelSnafu { file, offset, label, classes });
        }
        Ok(())
    }
}

/// The records of one split, as they stand in their files.
struct Records {
    format: RecordFormat,
    records_a_file: usize,
    files: Vec<Vec<u8>>,
}

impl Records {
    fn record(&self, index: usize) -> &[u8] {
        let (file, place) = (index / self.records_a_file, index % self.records_a_file);
        &self.files[file][place * self.format.bytes()..][..self.format.bytes()]
    }
}

impl Images for Records {
    fn len(&self) -> usize {
        self.files.len() * self.records_a_file
    }

    fn labels(&self) -> Result<Vec<u32>> {
        Ok((0..self.len()).map(|index| self.format.label(self.record(index)).into()).collect())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        let record = self.record(index);
        self.format.interleave(record, pixels);
        Ok(self.format.label(record).into())
    }
}

#[cfg(test)]
mod tests;
