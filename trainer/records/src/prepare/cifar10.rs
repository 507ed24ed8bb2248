//! CIFAR-10's official binary version: six files of 10,000 records of a label and 3,072 bytes, channel by channel.
//!
//! Source: <https://www.cs.toronto.edu/~kriz/cifar.html>, "Binary version".

use std::{collections::BTreeMap, fs::File, io::Read, path::Path, sync::Arc};

use flate2::read::GzDecoder;
use snafu::{OptionExt, ResultExt, ensure};

use super::{
    Result,
    error::{FileSizeSnafu, LabelSnafu, MissingFileSnafu, ReadSourceSnafu, UnpackSnafu},
    source::{InMemory, Source, base_name, read_at_most},
};
use crate::Shape;

const SHAPE: Shape = Shape { height: 32, width: 32, channels: 3 };
const PLANE_BYTES: usize = 32 * 32;
const RECORD_BYTES: u64 = 1 + 3 * PLANE_BYTES as u64;
const CLASSES: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];
const FOLDER: &str = "cifar-10-batches-bin";
const TRAIN: [&str; 5] =
    ["data_batch_1.bin", "data_batch_2.bin", "data_batch_3.bin", "data_batch_4.bin", "data_batch_5.bin"];
const TEST: [&str; 1] = ["test_batch.bin"];

/// What an archive must hold.
pub(super) struct Contents {
    records_per_file: u64,
}

/// The published archive.
pub(super) const OFFICIAL: Contents = Contents { records_per_file: 10_000 };

pub(super) fn open(path: &Path, contents: &Contents) -> Result<Source> {
    let metadata = std::fs::metadata(path).context(ReadSourceSnafu { path })?;
    let files = if metadata.is_dir() { read_folder(path, contents)? } else { read_archive(path, contents)? };
    let split = |names: &[&str]| -> Result<Arc<InMemory>> {
        let mut images = InMemory { pixels: Vec::new(), labels: Vec::new() };
        for name in names {
            let bytes = files.get(*name).context(MissingFileSnafu { path, name: *name })?;
            add_file(&format!("{}: {name}", path.display()), bytes, contents, &mut images)?;
        }
        Ok(Arc::new(images))
    };
    Ok(Source {
        format: "cifar10",
        name: base_name(path),
        shape: SHAPE,
        classes: CLASSES.map(str::to_owned).to_vec(),
        splits: vec![("train", split(&TRAIN)?), ("test", split(&TEST)?)],
    })
}

impl Contents {
    fn file_bytes(&self) -> u64 {
        self.records_per_file * RECORD_BYTES
    }
}

fn wanted(name: &str) -> bool {
    TRAIN.contains(&name) || TEST.contains(&name)
}

type Files = BTreeMap<String, Vec<u8>>;

fn read_folder(path: &Path, contents: &Contents) -> Result<Files> {
    let below = path.join(FOLDER);
    let folder = if below.is_dir() { below } else { path.to_owned() };
    let mut files = Files::new();
    for name in TRAIN.iter().chain(&TEST) {
        let file = folder.join(name);
        match File::open(&file) {
            Ok(input) => {
                let mut bytes = Vec::new();
                read_at_most(input, contents.file_bytes(), &mut bytes)
                    .context(ReadSourceSnafu { path: &file })?;
                files.insert((*name).to_owned(), bytes);
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).context(ReadSourceSnafu { path: file }),
        }
    }
    Ok(files)
}

/// Reads the archive to its very end, since only there gzip's checksum stands.
fn read_archive(path: &Path, contents: &Contents) -> Result<Files> {
    let unpack = |within: &str, offset: u64| UnpackSnafu { path, within: within.to_owned(), offset };
    let file = File::open(path).context(ReadSourceSnafu { path })?;
    let mut archive = tar::Archive::new(GzDecoder::new(std::io::BufReader::new(file)));
    let mut files = Files::new();
    let mut place = 0;
    for entry in archive.entries().context(unpack("the archive", 0))? {
        let entry = entry.with_context(|_| unpack("the archive", place))?;
        place = entry.raw_file_position();
        let entry_path = entry.path().with_context(|_| unpack("the archive", place))?;
        let name = entry_path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !entry.header().entry_type().is_file() || !wanted(&name) {
            continue;
        }
        let mut bytes = Vec::new();
        let read = read_at_most(entry, contents.file_bytes(), &mut bytes);
        read.with_context(|_| unpack(&name, bytes.len() as u64))?;
        place += bytes.len() as u64;
        files.insert(name, bytes);
    }
    let mut rest = archive.into_inner();
    std::io::copy(&mut rest.by_ref(), &mut std::io::sink()).with_context(|_| unpack("the archive", place))?;
    Ok(files)
}

fn add_file(file: &str, bytes: &[u8], contents: &Contents, images: &mut InMemory) -> Result<()> {
    let (found, expected) = (bytes.len() as u64, contents.file_bytes());
    let offset = found.min(expected) / RECORD_BYTES * RECORD_BYTES;
    ensure!(found == expected, FileSizeSnafu { file, found, expected, offset });
    images.pixels.reserve(bytes.len());
    for (record, offset) in
        bytes.chunks_exact(RECORD_BYTES as usize).zip((0u64..).step_by(RECORD_BYTES as usize))
    {
        let (label, planes) = (record[0], &record[1..]);
        let classes = CLASSES.len();
        ensure!(usize::from(label) < classes, LabelSnafu { file, offset, label, classes });
        images.labels.push(label);
        for pixel in 0..PLANE_BYTES {
            let [red, green, blue] = [0, 1, 2].map(|plane| planes[plane * PLANE_BYTES + pixel]);
            images.pixels.extend_from_slice(&[red, green, blue]);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
