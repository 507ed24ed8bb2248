//! Damage of every kind is reported with the shard's file and the byte offset, and is permanent.

use lockstep_records::{
    Dataset, Error, FeatureNames, Layout, RecordReader, Result, Sample,
    example::{self, Example},
    pixels,
};

use crate::support::{CLASSES, Made, SHAPE, example, image, made, of_records};

async fn reader(made: &Made, cache_bytes: u64) -> Result<RecordReader> {
    let dataset = Dataset::open(made.store.clone()).await?;
    Ok(RecordReader::new(dataset, FeatureNames::default(), cache_bytes))
}

async fn read_all(made: &Made, cache_bytes: u64) -> Result<Vec<Sample>> {
    let reader = reader(made, cache_bytes).await?;
    let all: Vec<u64> = (0..reader.dataset().len()).collect();
    reader.read(&all).await
}

/// The only error of a data set whose record in the middle is this one, with and without a cache.
async fn refusal_of(data: Vec<u8>) -> Error {
    let good = |number| {
        let (pixels, label) = image(number);
        example(&pixels, label.into())
    };
    let offset = good(0).len() as u64 + 16;
    let made = of_records(&[vec![good(0)], vec![good(0), data, good(0)]], Layout::Hwc);
    let error = read_all(&made, 0).await.unwrap_err();
    let cached = read_all(&made, 1 << 20).await.unwrap_err();
    assert_eq!(error.to_string(), cached.to_string());
    assert!(!error.is_retryable());
    let place = format!("{}/00001.tfrecord at byte {offset}", made.store.uri());
    assert!(error.to_string().contains(&place), "{error}");
    error
}

#[tokio::test]
async fn every_flipped_bit_of_a_shard_is_reported_at_its_record() {
    let made = made(&[2, 3]);
    let path = made.folder.path().join("00001.tfrecord");
    let whole = std::fs::read(&path).unwrap();
    let reader = reader(&made, 0).await.unwrap();
    let record_bytes = whole.len() / 3;
    for bit in 0..whole.len() * 8 {
        let mut damaged = whole.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(&path, &damaged).unwrap();
        let hit = (bit / 8 / record_bytes) as u64;
        for record in 0..3 {
            let read = reader.read(&[2 + record]).await;
            if record != hit {
                assert_eq!(read.unwrap()[0].label, image(2 + record).1, "bit {bit}");
                continue;
            }
            match read.unwrap_err() {
                Error::Frame { shard, offset, .. } => {
                    assert_eq!(shard, format!("{}/00001.tfrecord", made.store.uri()));
                    assert_eq!(offset, hit * record_bytes as u64, "bit {bit}");
                }
                other => panic!("bit {bit}: {other}"),
            }
        }
    }
}

#[tokio::test]
async fn a_shard_cut_anywhere_is_reported_whether_before_or_after_opening() {
    let made = made(&[1, 3]);
    let path = made.folder.path().join("00001.tfrecord");
    let whole = std::fs::read(&path).unwrap();
    let readers = [reader(&made, 0).await.unwrap(), reader(&made, 1 << 20).await.unwrap()];
    for end in 0..whole.len() {
        std::fs::write(&path, &whole[..end]).unwrap();
        let after = [readers[0].read(&[3]).await, readers[1].read(&[3]).await];
        for result in after.into_iter().chain([read_all(&made, 0).await]) {
            let error = result.unwrap_err();
            assert!(matches!(error, Error::ShardSize { .. }), "cut at {end}: {error}");
            assert!(!error.is_retryable());
            let place = format!("{}/00001.tfrecord: it ends at byte {end},", made.store.uri());
            assert!(error.to_string().contains(&place), "{error}");
        }
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(readers[1].read(&[3]).await.unwrap()[0].label, image(3).1);
}

#[tokio::test]
async fn a_label_that_is_no_class_is_reported() {
    for wrong in [i64::from(CLASSES), -1, i64::MAX, i64::MIN, 1 << 32] {
        let error = refusal_of(example(&image(0).0, wrong)).await;
        assert!(matches!(error, Error::Label { label, classes: 10, .. } if label == wrong), "{error:?}");
    }
}

#[tokio::test]
async fn an_image_of_another_size_is_reported() {
    for bytes in [0, SHAPE.bytes() - 1, SHAPE.bytes() + 1, 3 * SHAPE.bytes()] {
        let error = refusal_of(example(&vec![0; bytes], 0)).await;
        assert!(
            matches!(error, Error::Image { source: pixels::Error::Length { found, .. }, .. } if found == bytes),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn a_record_that_is_no_example_or_lacks_a_feature_is_reported() {
    let error = refusal_of(b"\xff\xff not protocol buffers".to_vec()).await;
    assert!(matches!(error, Error::Example { source: example::Error::Decode { .. }, .. }), "{error:?}");
    let other = FeatureNames { image: "image_raw".to_owned(), label: "label".to_owned() };
    let error = refusal_of(Example::of_image(&other, image(0).0.into(), 0).to_bytes()).await;
    assert!(matches!(error, Error::Example { source: example::Error::Missing { .. }, .. }), "{error:?}");
    let swapped = FeatureNames { image: "label".to_owned(), label: "image".to_owned() };
    let error = refusal_of(Example::of_image(&swapped, image(0).0.into(), 0).to_bytes()).await;
    assert!(matches!(error, Error::Example { source: example::Error::Type { .. }, .. }), "{error:?}");
    let error = refusal_of(Vec::new()).await;
    assert!(matches!(error, Error::Example { source: example::Error::Missing { .. }, .. }), "{error:?}");
}

#[tokio::test]
async fn a_folder_that_is_no_whole_data_set_is_not_opened() {
    let open = async |made: &Made| Dataset::open(made.store.clone()).await.map(|_| ()).unwrap_err();
    let whole = made(&[2, 2]);
    std::fs::remove_file(whole.folder.path().join("00000.tfrecord")).unwrap();
    assert!(matches!(open(&whole).await, Error::MissingShard { shard, .. } if shard == "00000.tfrecord"));

    let whole = made(&[2, 2]);
    let manifest = whole.folder.path().join("dataset.json");
    let json = std::fs::read_to_string(&manifest).unwrap();
    std::fs::write(&manifest, json.replace("class 3", "class X")).unwrap();
    assert!(matches!(open(&whole).await, Error::Manifest { .. }), "the digest must see a renamed class");
    std::fs::remove_file(&manifest).unwrap();
    let error = open(&whole).await;
    assert!(matches!(error, Error::NoManifest { .. }) && !error.is_retryable());
    assert!(error.to_string().contains(whole.store.uri()));
}

#[tokio::test]
async fn a_record_that_is_not_there_is_the_callers_error() {
    let made = made(&[2, 0, 3]);
    let reader = reader(&made, 1 << 20).await.unwrap();
    for record in [5, u64::MAX] {
        let error = reader.read(&[record]).await.unwrap_err();
        assert!(matches!(error, Error::NoSuchRecord { records: 5, .. }), "{error:?}");
    }
    assert_eq!(reader.read(&[4, 2]).await.unwrap()[1].label, image(2).1);
}
