//! Data sets of other makers, and of ours in other shards, written anew.

use std::{num::NonZeroUsize, path::Path};

use lockstep_records::{
    Compression, Dataset, FeatureNames, Layout, RecordReader, Sample, Shape,
    prepare::{self, Error, Options, RecordsOptions, ShardFolder, ShardFolders, Split, Summary},
};
use lockstep_storage::Store;

use crate::{
    foreign::{compressed, format, undescribed},
    support::{Made, image, made, of_records, of_shards},
};

const COUNTS: [u64; 3] = [70, 1, 130];

fn folders(made: &Made) -> ShardFolders {
    let train = ShardFolder { store: made.store.clone(), pattern: None };
    ShardFolders { train, validation: None, test: None }
}

fn described() -> RecordsOptions {
    RecordsOptions { format: Some(format()), ..RecordsOptions::default() }
}

fn options(threads: usize) -> Options {
    let number = NonZeroUsize::new;
    Options { shards: number(4), threads: number(threads), ..Options::default() }
}

async fn prepared(
    made: &Made,
    destination: &Path,
    records: &RecordsOptions,
    options: &Options,
) -> Result<Summary, Error> {
    let destination = Store::open(destination.to_str().unwrap()).unwrap();
    prepare::tfrecords(&folders(made), &destination, records, options).await
}

async fn samples(uri: &str) -> Vec<Sample> {
    let dataset = Dataset::open(Store::open(uri).unwrap()).await.unwrap();
    let all: Vec<u64> = (0..dataset.len()).collect();
    RecordReader::new(dataset, FeatureNames::default(), 1 << 30).read(&all).await.unwrap()
}

fn expected() -> Vec<Sample> {
    let sample = |(pixels, label): (Vec<u8>, u32)| Sample { label, pixels: pixels.into() };
    (0..COUNTS.iter().sum()).map(image).map(sample).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_written_anew_whatever_they_stood_in() {
    let target = tempfile::tempdir().unwrap();
    let sources = [
        (made(&COUNTS), RecordsOptions::default()),
        (undescribed(made(&COUNTS)), described()),
        (compressed(&COUNTS, Compression::Gzip), RecordsOptions::default()),
        (undescribed(compressed(&COUNTS, Compression::Zlib)), described()),
    ];
    let mut digest = None;
    for (number, (source, records)) in sources.iter().enumerate() {
        for threads in [1, 3] {
            let destination = target.path().join(format!("{number}-{threads}"));
            let summary = prepared(source, &destination, records, &options(threads)).await.unwrap();
            let [train] = &summary.splits[..] else { panic!("{summary:?}") };
            assert_eq!((train.shards, train.records), (4, 201));
            assert_eq!(samples(&train.uri).await, expected());
            assert_eq!(&train.digest, digest.get_or_insert_with(|| train.digest.clone()));
        }
    }
}

/// The same images in each part, whoever converts them.
#[tokio::test(flavor = "multi_thread")]
async fn records_can_be_split_by_class_on_any_number_of_threads() {
    let (target, source) = (tempfile::tempdir().unwrap(), made(&[100, 100]));
    let mut digests = None;
    for threads in [1, 2, 5] {
        let split = Split { shares: "train=0.8,test=0.2".parse().unwrap(), seed: 1 };
        let options = Options { split: Some(split), ..options(threads) };
        let destination = target.path().join(threads.to_string());
        let summary = prepared(&source, &destination, &RecordsOptions::default(), &options).await.unwrap();
        let sizes: Vec<_> = summary.splits.iter().map(|split| (&*split.name, split.records)).collect();
        assert_eq!(sizes, [("train", 160), ("test", 40)]);
        let test = samples(&summary.splits[1].uri).await;
        for class in 0..10 {
            assert_eq!(test.iter().filter(|sample| sample.label == class).count(), 4, "class {class}");
        }
        let found: Vec<_> = summary.splits.iter().map(|split| split.digest.clone()).collect();
        assert_eq!(&found, digests.get_or_insert_with(|| found.clone()));
    }
}

/// Of a described data set every bad record is named, at its place; what is of one portion with it is not.
#[tokio::test(flavor = "multi_thread")]
async fn every_record_that_cannot_be_read_is_named() {
    let source = made(&COUNTS);
    let dataset = Dataset::open(source.store.clone()).await.unwrap();
    let places = [3, 5, 150].map(|record| dataset.locate(record).unwrap());
    for place in &places {
        let file = source.folder.path().join(&dataset.manifest().shards[place.shard].name);
        let mut bytes = std::fs::read(&file).unwrap();
        bytes[place.bytes.start as usize + 40] ^= 1;
        std::fs::write(file, bytes).unwrap();
    }
    let target = tempfile::tempdir().unwrap();
    let error = prepared(&source, target.path(), &RecordsOptions::default(), &options(2)).await.unwrap_err();
    let message = error.to_string();
    assert!(message.starts_with("failed to take 3 images:"), "{message}");
    for (line, place) in message.lines().skip(1).zip(&places) {
        let shard = &dataset.manifest().shards[place.shard].name;
        assert!(line.contains(shard) && line.contains(&place.bytes.start.to_string()), "{line}");
    }
}

/// Smooth pictures in planes, said to be of pixels.
#[tokio::test(flavor = "multi_thread")]
async fn images_of_the_other_layout_are_refused_unless_that_is_allowed() {
    let shape = Shape { height: 16, width: 16, channels: 3 };
    let picture = |number: usize| -> Vec<u8> {
        let value = move |channel: usize, y: usize, x: usize| (40 * channel + 5 * y + 3 * x + number) as u8;
        let row = move |channel, y| (0..16).map(move |x| value(channel, y, x));
        (0..3).flat_map(|channel| (0..16).flat_map(move |y| row(channel, y))).collect()
    };
    let records: Vec<_> = (0..40).map(|number| crate::support::example(&picture(number), 0)).collect();
    let raw = of_records(&[records], Layout::Hwc);
    let shard = std::fs::read(raw.folder.path().join("00000.tfrecord")).unwrap();
    let source = of_shards(&[("00000.tfrecord".to_owned(), shard)], shape, Layout::Hwc);
    let target = tempfile::tempdir().unwrap();
    let refused =
        prepared(&source, target.path(), &RecordsOptions::default(), &options(1)).await.unwrap_err();
    assert!(refused.to_string().contains("CHW"), "{refused}");
    let allowed = RecordsOptions { allow_other_layout: true, ..RecordsOptions::default() };
    prepared(&source, target.path(), &allowed, &options(1)).await.unwrap();
}

#[tokio::test]
async fn what_does_not_describe_the_records_is_refused() {
    let source = made(&COUNTS);
    let target = tempfile::tempdir().unwrap();
    let destination = Store::open(target.path().to_str().unwrap()).unwrap();
    let mut sources = folders(&source);
    sources.train.pattern = Some("0000*".to_owned());
    let prepare = async |sources: &ShardFolders, records: &RecordsOptions| {
        prepare::tfrecords(sources, &destination, records, &options(1)).await.unwrap_err().to_string()
    };
    assert!(prepare(&sources, &RecordsOptions::default()).await.contains("pattern"));
    let other = of_shards(&[], Shape { height: 1, width: 1, channels: 1 }, Layout::Hwc);
    sources.train.pattern = None;
    sources.test = Some(ShardFolder { store: other.store.clone(), pattern: None });
    let error = prepare(&sources, &RecordsOptions::default()).await;
    assert!(error.contains(other.store.uri()), "{error}");
}
