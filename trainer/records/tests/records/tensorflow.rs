//! TensorFlow, the real one, reads what we write and writes what we read.
//!
//! `LOCKSTEP_TENSORFLOW_ENV` names a Python environment with it: `scripts/python-env.sh tensorflow` makes one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lockstep_records::{
    Dataset, FeatureNames, Layout, RecordReader, Shape,
    prepare::{self, Options},
};
use lockstep_storage::Store;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::support::of_shards;

/// The environment's interpreter, or `None` where there is none and that is allowed.
fn python() -> Option<PathBuf> {
    let Some(environment) = std::env::var_os("LOCKSTEP_TENSORFLOW_ENV") else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must set LOCKSTEP_TENSORFLOW_ENV");
        eprintln!("skipped: LOCKSTEP_TENSORFLOW_ENV is not set (scripts/python-env.sh tensorflow)");
        return None;
    };
    Some(Path::new(&environment).join("bin/python"))
}

fn tensorflow(python: &Path, mode: &str, folder: &Path, shape: Shape) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/tfrecords.py");
    let output =
        Command::new(python).args([script, mode]).arg(folder).arg(shape.to_string()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// What the script says of all records of a data set: their number and digests of labels and pixels.
async fn ours(store: Store) -> Value {
    let dataset = Dataset::open(store).await.unwrap();
    let all: Vec<u64> = (0..dataset.len()).collect();
    let reader = RecordReader::new(dataset, FeatureNames::default(), 1 << 30);
    let (mut labels, mut pixels) = (Sha256::new(), Sha256::new());
    for sample in reader.read(&all).await.unwrap() {
        labels.update(i64::from(sample.label).to_le_bytes());
        pixels.update(&sample.pixels);
    }
    let digest = |digest: Sha256| hex::encode(digest.finalize());
    serde_json::json!({"records": all.len(), "labels": digest(labels), "pixels": digest(pixels)})
}

#[tokio::test]
async fn tensorflow_reads_our_shards() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (count, shape) = (5000u32, Shape { height: 28, width: 28, channels: 1 });
    let idx = |dims: &[u32], values: Vec<u8>| {
        let sizes = dims.iter().flat_map(|size| size.to_be_bytes());
        [0, 0, 8, dims.len() as u8].into_iter().chain(sizes).chain(values).collect::<Vec<u8>>()
    };
    let noise = (0..count * 784).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let labels = (0..count).map(|at| (at * at % 10) as u8).collect();
    std::fs::write(folder.path().join("train-images-idx3-ubyte"), idx(&[count, 28, 28], noise)).unwrap();
    std::fs::write(folder.path().join("train-labels-idx1-ubyte"), idx(&[count], labels)).unwrap();
    let prepared = folder.path().join("prepared");
    let destination = Store::open(prepared.to_str().unwrap()).unwrap();
    prepare::idx(folder.path(), &destination, None, &Options::default()).await.unwrap();

    let train = prepared.join("train");
    let theirs = tensorflow(&python, "read", &train, shape);
    assert_eq!(theirs["records"], count);
    assert_eq!(theirs, ours(destination.folder("train").unwrap()).await);
}

#[tokio::test]
async fn we_read_tensorflows_shards() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let shape = Shape { height: 17, width: 9, channels: 3 };
    let theirs = tensorflow(&python, "write", folder.path(), shape);
    let mut shards: Vec<_> = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .map(|path| (path.file_name().unwrap().to_str().unwrap().to_owned(), std::fs::read(path).unwrap()))
        .collect();
    shards.sort();
    assert_eq!((shards.len(), &theirs["records"]), (3, &300.into()));
    let made = of_shards(&shards, shape, Layout::Hwc);
    assert_eq!(theirs, ours(made.store.clone()).await);
}
