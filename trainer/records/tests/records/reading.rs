//! What is read never depends on what is kept, and what is kept never passes its bound.

use std::sync::Arc;

use lockstep_records::{
    Dataset, FeatureNames, Layout, RecordReader, Sample,
    order::{Batches, Shuffle, Split},
};

use crate::support::{SHAPE, example, image, made, of_records};

const BATCHES: Batches = Batches { global: 64, micro: 16 };

fn sample(number: u64) -> Sample {
    let (pixels, label) = image(number);
    Sample { label, pixels: pixels.into() }
}

/// Two epochs in the data order by several tasks at once, planned and unplanned, with no memory, too little and enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_tasks_read_the_same_samples_with_any_bound() {
    let made = made(&[300, 1, 0, 250, 449]);
    let split = Split::new(1000, 0.1, 3).unwrap();
    for (bound_bytes, planned) in
        [0, 1, 200, 3_000, 40_000, 1 << 20].into_iter().flat_map(|bound| [(bound, false), (bound, true)])
    {
        let dataset = Dataset::open(made.store.clone()).await.unwrap();
        let reader = Arc::new(RecordReader::new(dataset, FeatureNames::default(), bound_bytes));
        for epoch in 0..2 {
            let shuffle = Shuffle { block_records: 20, window_records: 200 };
            let order = split.epoch_order(1, epoch, shuffle, BATCHES);
            if planned {
                reader.expect(order.records(0..order.len()));
            }
            let ahead = planned.then(|| {
                let (reader, order) = (Arc::clone(&reader), order.clone());
                tokio::spawn(async move {
                    let portions = (0..order.len()).step_by(100).map(|at| order.records(at..at + 100));
                    reader.fetch(&portions.collect::<Vec<_>>()).await.unwrap();
                })
            });
            let tasks = (0..4).map(|task| {
                let (reader, order) = (Arc::clone(&reader), order.clone());
                tokio::spawn(async move {
                    for micro_batch in (task..order.len().div_ceil(16)).step_by(4) {
                        let records = order.records(micro_batch * 16..(micro_batch + 1) * 16);
                        let samples = reader.read(&records).await.unwrap();
                        let expected: Vec<_> = records.iter().map(|record| sample(*record)).collect();
                        assert_eq!(samples, expected);
                        assert!(reader.kept_bytes() <= bound_bytes);
                    }
                })
            });
            for task in tasks.collect::<Vec<_>>() {
                task.await.unwrap();
            }
            // Nobody asks any more, so a plan that does not fit would wait for ever.
            if let Some(ahead) = ahead {
                ahead.abort();
            }
        }
        let read = split.training_len() / 64 * 64;
        let all = (0..read).map(|record| reader.cost(record).unwrap()).sum::<u64>();
        assert!(bound_bytes < 2 * all || reader.kept_bytes() >= all, "everything fits and was read");
    }
}

/// A plan that fits is read in few requests; then the files are not asked again.
#[tokio::test]
async fn what_was_read_ahead_is_read_without_the_store() {
    let made = made(&[50, 70]);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    let reader = RecordReader::new(dataset, FeatureNames::default(), 1 << 20);
    let planned: Vec<u64> = (0..18).rev().map(|at| at * 7).collect();
    reader.expect(planned.iter().copied());
    reader.fetch(&[planned[..5].into(), planned[5..].into()]).await.unwrap();
    for file in ["00000.tfrecord", "00001.tfrecord"] {
        std::fs::remove_file(made.folder.path().join(file)).unwrap();
    }
    let samples = reader.read(&planned).await.unwrap();
    assert_eq!(samples, planned.iter().map(|record| sample(*record)).collect::<Vec<_>>());
    // They lay between others of the plan, and there was room.
    assert_eq!(reader.read(&[1, 2, 45]).await.unwrap().len(), 3);
    assert!(reader.read(&[52]).await.is_err(), "it was neither asked for nor between others");
}

/// Ten times as much as can be kept passes through, each portion once there is room for it.
#[tokio::test]
async fn a_plan_larger_than_the_bound_moves_on_as_records_are_read() {
    let made = made(&[600, 400]);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    let all: u64 = dataset.manifest().shards.iter().map(|shard| shard.bytes).sum::<u64>();
    let reader = RecordReader::new(dataset, FeatureNames::default(), all / 10);
    let order: Vec<u64> = (0..1000).map(|at| at * 7 % 1000).collect();
    let portions: Vec<_> = order.chunks(30).map(<[_]>::to_vec).collect();
    reader.expect(order.iter().copied());
    let ahead = reader.fetch(&portions);
    let reading = async {
        for records in order.chunks(10) {
            let expected: Vec<_> = records.iter().map(|record| sample(*record)).collect();
            assert_eq!(reader.read(records).await.unwrap(), expected);
            assert!(reader.kept_bytes() <= all / 10);
            tokio::task::yield_now().await;
        }
    };
    let (fetched, ()) = tokio::join!(ahead, reading);
    fetched.unwrap();
}

/// The request that a record was waiting for fails: whoever waits then asks for itself, and says what is wrong.
#[tokio::test]
async fn an_error_while_reading_ahead_is_reported_by_whoever_needs_the_record() {
    let made = made(&[50]);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    let reader = RecordReader::new(dataset, FeatureNames::default(), 1 << 20);
    let shard = made.folder.path().join("00000.tfrecord");
    std::fs::write(&shard, &std::fs::read(&shard).unwrap()[..200]).unwrap();
    reader.expect([3, 40]);
    let portions = [vec![3, 40]];
    let (ahead, read) = tokio::join!(reader.fetch(&portions), reader.read(&[40]));
    for error in [ahead.unwrap_err(), read.unwrap_err()] {
        assert!(error.to_string().contains("00000.tfrecord: it ends at byte 200"), "{error}");
    }
    assert_eq!(reader.kept_bytes(), 0);
}

/// Once everything is in memory the files are not asked again.
#[tokio::test]
async fn what_was_read_before_is_read_without_the_store() {
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
