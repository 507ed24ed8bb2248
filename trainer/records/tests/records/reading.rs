//! What is read never depends on the cache, and the cache never passes its bound.

use std::sync::Arc;

use lockstep_records::{
    Dataset, FeatureNames, Layout, RecordReader, Sample,
    order::{Shuffle, Split},
};

use crate::support::{SHAPE, example, image, made, of_records};

fn sample(number: u64) -> Sample {
    let (pixels, label) = image(number);
    Sample { label, pixels: pixels.into() }
}

/// Two epochs in the data order by several tasks at once, with no cache, too little and enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_read_the_same_samples_with_any_cache() {
    let made = made(&[300, 1, 0, 250, 449]);
    let split = Split::new(1000, 0.1, 3).unwrap();
    for cache_bytes in [0, 1, 200, 3_000, 40_000, 1 << 20] {
        let dataset = Dataset::open(made.store.clone()).await.unwrap();
        let reader = Arc::new(RecordReader::new(dataset, FeatureNames::default(), cache_bytes));
        for epoch in 0..2 {
            let order = split.epoch_order(1, epoch, Shuffle { block_records: 20, window_records: 200 });
            let tasks = (0..4).map(|task| {
                let (reader, order) = (Arc::clone(&reader), order.clone());
                tokio::spawn(async move {
                    for micro_batch in (task..order.len().div_ceil(16)).step_by(4) {
                        let records = order.records(micro_batch * 16..(micro_batch + 1) * 16);
                        let samples = reader.read(&records).await.unwrap();
                        let expected: Vec<_> = records.iter().map(|record| sample(*record)).collect();
                        assert_eq!(samples, expected);
                        assert!(reader.cached_bytes() <= cache_bytes);
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
        }
        let all: u64 = reader.dataset().manifest().shards.iter().map(|shard| shard.bytes).sum();
        assert!(reader.cached_bytes() <= cache_bytes.min(all));
        assert!(cache_bytes < all || reader.cached_bytes() == all, "everything fits and was touched");
    }
}

/// Once everything is in memory the files are not asked again.
#[tokio::test]
async fn what_is_cached_is_read_without_the_store() {
    let made = made(&[50]);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    let reader = RecordReader::new(dataset, FeatureNames::default(), 1 << 20);
    let all: Vec<u64> = (0..50).rev().collect();
    let first = reader.read(&all).await.unwrap();
    std::fs::remove_file(made.folder.path().join("00000.tfrecord")).unwrap();
    assert_eq!(reader.read(&all).await.unwrap(), first);
}

#[tokio::test]
async fn planar_records_come_out_with_the_channels_of_a_pixel_together() {
    let (interleaved, _) = image(5);
    let planes = (0..3).flat_map(|channel| interleaved[channel..].iter().step_by(3));
    let planar: Vec<u8> = planes.copied().collect();
    assert_ne!(planar, interleaved);
    let made = of_records(&[vec![example(&planar, 1)]], Layout::Chw);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    assert_eq!(dataset.shape(), SHAPE);
    let reader = RecordReader::new(dataset, FeatureNames::default(), 0);
    assert_eq!(reader.read(&[0]).await.unwrap()[0].pixels, interleaved);
}
