//! Same bytes for any number of threads; nothing overwritten; nothing half-written taken for whole.

use std::{num::NonZeroUsize, sync::Mutex};

use bytes::Bytes;

use super::*;
use crate::{
    Dataset, Encoding, FeatureNames, RecordReader,
    prepare::{Error, Progress, ProgressCallback, RecordEncoding},
};

/// `len` images of 2x2x3, each byte a function of its place; reading image `broken` and its multiples fails.
struct Made {
    len: usize,
    broken: Option<usize>,
}

impl Images for Made {
    fn len(&self) -> usize {
        self.len
    }

    fn labels(&self) -> Result<Vec<u32>> {
        Ok((0..self.len as u32).map(|index| index % 3).collect())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        if self.broken.is_some_and(|broken| index > 0 && index.is_multiple_of(broken)) {
            return Err(Error::Image { path: format!("image {index}").into(), reason: "broken".to_owned() });
        }
        pixels.iter_mut().enumerate().for_each(|(at, value)| *value = (index * 31 + at * 7) as u8);
        Ok((index % 3) as u32)
    }
}

fn source(train: usize, test: usize, broken: Option<usize>) -> Source {
    Source {
        format: "made",
        name: "up".to_owned(),
        shape: Shape { height: 2, width: 2, channels: 3 },
        classes: ["a", "b", "c"].map(str::to_owned).to_vec(),
        splits: vec![
            ("train", Arc::new(Made { len: train, broken }) as _),
            ("test", Arc::new(Made { len: test, broken: None }) as _),
        ],
    }
}

fn options(shards: usize, threads: usize) -> Options {
    let (shards, threads) = (NonZeroUsize::new(shards), NonZeroUsize::new(threads));
    Options { shards, threads, ..Options::default() }
}

fn target() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().join("out").to_str().unwrap()).unwrap();
    (folder, store)
}

async fn contents(store: &Store) -> Vec<(String, Bytes)> {
    let mut contents = Vec::new();
    for entry in store.list("").await.unwrap() {
        contents.push((entry.path.clone(), store.get(&entry.path).await.unwrap()));
    }
    contents
}

#[tokio::test]
async fn the_same_source_gives_the_same_bytes_for_any_number_of_threads() {
    let mut first = None;
    for threads in [1, 2, 7] {
        let (_folder, store) = target();
        let summary = write(source(1000, 5, None), &store, &options(0, threads)).await.unwrap();
        assert_eq!(summary.splits.iter().map(|split| split.shards).collect::<Vec<_>>(), [8, 5]);
        let found = contents(&store).await;
        assert_eq!(found.len(), 8 + 5 + 2);
        assert_eq!(&found, first.get_or_insert(found.clone()));
    }
}

#[tokio::test]
async fn what_was_written_is_read_back_record_by_record() {
    let (_folder, store) = target();
    let summary = write(source(100, 3, None), &store, &options(7, 2)).await.unwrap();
    let dataset = Dataset::open(store.folder("train").unwrap()).await.unwrap();
    assert_eq!(dataset.digest(), summary.splits[0].digest);
    assert_eq!(dataset.manifest().shards[6].name, "train-00006-of-00007.tfrecord");
    let reader = RecordReader::new(dataset, FeatureNames::default(), 1000);
    let samples = reader.read(&(0..100).collect::<Vec<_>>()).await.unwrap();
    let made = Made { len: 100, broken: None };
    let mut statistics = Statistics::new(summary.shape);
    for (index, sample) in samples.iter().enumerate() {
        let mut pixels = [0; 12];
        assert_eq!(sample.label, made.read(index, &mut pixels).unwrap());
        assert_eq!(sample.pixels, pixels[..]);
        statistics.add(&pixels);
    }
    assert_eq!(reader.dataset().manifest().channel_mean, statistics.finish().0);
}

/// Whatever the encoding, the statistics are those of what readers see.
#[tokio::test]
async fn encoded_records_are_read_back_with_the_statistics_of_their_pixels() {
    for (encoding, stored) in
        [(RecordEncoding::Png, Encoding::Png), (RecordEncoding::Jpeg { quality: 80 }, Encoding::Jpeg)]
    {
        let (_folder, store) = target();
        let options = Options { encoding, ..options(3, 2) };
        let summary = write(source(40, 3, None), &store, &options).await.unwrap();
        let dataset = Dataset::open(store.folder("train").unwrap()).await.unwrap();
        assert_eq!(dataset.manifest().encoding, stored);
        let mut statistics = Statistics::new(summary.shape);
        let reader = RecordReader::new(dataset, FeatureNames::default(), 0);
        let samples = reader.read(&(0..40).collect::<Vec<_>>()).await.unwrap();
        let mut same = true;
        for (index, sample) in samples.iter().enumerate() {
            let mut pixels = [0; 12];
            assert_eq!(sample.label, Made { len: 40, broken: None }.read(index, &mut pixels).unwrap());
            same &= sample.pixels == pixels[..];
            statistics.add(&sample.pixels);
        }
        assert_eq!(same, stored == Encoding::Png);
        let manifest = reader.dataset().manifest();
        assert_eq!((manifest.channel_mean.clone(), manifest.channel_deviation.clone()), statistics.finish());
    }
}

/// A source is repaired once: every bad image is named, and nothing of the split that holds them is a data set.
#[tokio::test]
async fn all_images_that_cannot_be_taken_are_named() {
    for threads in [1, 3] {
        let (_folder, store) = target();
        let error = write(source(100, 5, Some(30)), &store, &options(4, threads)).await.unwrap_err();
        let message = error.to_string();
        let places = ["image 30:", "image 60:", "image 90:"].map(|name| message.find(name));
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{message}");
        assert!(message.starts_with("failed to take 3 images"), "{message}");
        assert!(!store.list("").await.unwrap().iter().any(|entry| entry.path.ends_with("dataset.json")));
    }
    let (_folder, store) = target();
    let error = write(source(1000, 5, Some(1)), &store, &options(4, 2)).await.unwrap_err().to_string();
    assert!(error.contains("perhaps more") && error.lines().count() < 60, "{error}");
}

#[tokio::test]
async fn progress_is_told_and_ends_at_the_total() {
    let (_folder, store) = target();
    let told = Arc::new(Mutex::new(Vec::new()));
    let sink = Arc::clone(&told);
    let progress: ProgressCallback = Arc::new(move |progress| sink.lock().unwrap().push(progress));
    let options = Options { progress: Some(progress), ..options(2, 2) };
    write(source(1000, 20, None), &store, &options).await.unwrap();
    let told = told.lock().unwrap();
    assert_eq!(told.len(), 4);
    assert!(told.contains(&Progress { done: 1020, total: 1020 }));
}

#[tokio::test]
async fn a_prepared_data_set_is_not_overwritten() {
    let (_folder, store) = target();
    write(source(50, 5, None), &store, &options(2, 2)).await.unwrap();
    let before = contents(&store).await;
    for other in [source(50, 5, None), source(60, 5, None)] {
        let error = write(other, &store, &options(3, 2)).await.unwrap_err();
        assert!(matches!(error, Error::Prepared { .. }), "{error:?}");
    }
    assert_eq!(contents(&store).await, before);
}

#[tokio::test]
async fn other_peoples_files_are_left_alone() {
    for path in ["notes.txt", "train/other.tfrecord", "train/train-00000-of-00009.tfrecord", "dataset.json"] {
        let (_folder, store) = target();
        store.put(path, Bytes::from_static(b"mine")).await.unwrap();
        let error = write(source(50, 5, None), &store, &options(2, 2)).await.unwrap_err();
        assert!(matches!(&error, Error::NotEmpty { path: found, .. } if found == path), "{error:?}");
        assert_eq!(contents(&store).await, [(path.to_owned(), Bytes::from_static(b"mine"))]);
    }
}

/// Wherever a preparation dies, what it leaves is no data set, and running it again completes it to the same bytes.
#[tokio::test]
async fn an_interrupted_preparation_is_no_data_set_and_is_taken_up() {
    let (_folder, store) = target();
    write(source(50, 5, None), &store, &options(3, 1)).await.unwrap();
    let whole = contents(&store).await;

    let (_folder, store) = target();
    let error = write(source(50, 5, Some(40)), &store, &options(3, 1)).await.unwrap_err();
    assert!(error.to_string().contains("image 40"));
    assert_eq!(store.list("").await.unwrap().len(), 2, "two shards of three");
    let opened = Dataset::open(store.folder("train").unwrap()).await;
    assert!(matches!(opened, Err(crate::Error::NoManifest { .. })), "{opened:?}");
    write(source(50, 5, None), &store, &options(3, 1)).await.unwrap();
    assert_eq!(contents(&store).await, whole);

    // Between the two manifests.
    store.delete("test/dataset.json").await.unwrap();
    write(source(50, 5, None), &store, &options(3, 1)).await.unwrap();
    assert_eq!(contents(&store).await, whole);

    // A rest of something else under the same name is not replaced.
    store.delete("train/dataset.json").await.unwrap();
    store.put("train/train-00001-of-00003.tfrecord", Bytes::from_static(b"else")).await.unwrap();
    let error = write(source(50, 5, None), &store, &options(3, 1)).await.unwrap_err();
    assert!(matches!(&error, Error::Store { source, .. } if source.is_conflict()), "{error:?}");
}

#[test]
fn shards_are_even_and_many_enough() {
    let shape = Shape { height: 256, width: 256, channels: 3 };
    for (images, shards, expected) in [(10, 0, 8), (3, 0, 3), (100_000, 0, 147), (10, 4, 4), (0, 0, 1)] {
        let plan = plan(images, shape, "train", &options(shards, 1));
        assert_eq!(plan.len(), expected);
        let sizes: Vec<_> = plan.iter().map(|(_, range)| range.len()).collect();
        assert_eq!(sizes.iter().sum::<usize>(), images);
        assert!(sizes.iter().max().unwrap() - sizes.iter().min().unwrap() <= 1);
        assert!(plan.is_sorted_by_key(|(name, range)| (name, range.start)));
    }
}
