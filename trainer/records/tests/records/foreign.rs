//! Data sets that nobody described, and compressed ones: read like those that `prepare` writes, or refused with a reason.

use std::{fs, io::Write};

use flate2::write::{GzEncoder, ZlibEncoder};
use lockstep_records::{
    Classes, Compression, Dataset, Encoding, Error, FeatureNames, Format, Layout, RecordReader, Result,
    Sample, Shape, framing,
    layout_check::Verdict,
    manifest::{self, Compressed, Manifest},
    pixels::ImageFormat,
};
use lockstep_storage::Store;

use crate::support::{CLASSES, Made, SHAPE, example, image, made, of_records};

const LIMIT: u64 = 1 << 20;

pub(crate) fn format() -> Format {
    let names = (0..CLASSES).map(|class| format!("class {class}")).collect();
    let images = ImageFormat { encoding: Encoding::Raw, layout: Layout::Hwc, shape: SHAPE };
    Format { images, classes: Classes::Names(names) }
}

async fn open(made: &Made) -> Result<Dataset> {
    Dataset::open_as(made.store.clone(), None, &format(), LIMIT).await
}

async fn read_all(dataset: Dataset, bound: u64) -> Result<Vec<Sample>> {
    let all: Vec<u64> = (0..dataset.len()).collect();
    RecordReader::new(dataset, FeatureNames::default(), bound).read(&all).await
}

fn compress(content: &[u8], compression: Compression) -> Vec<u8> {
    let level = flate2::Compression::fast();
    match compression {
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
        Compression::Zlib => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(content).unwrap();
            encoder.finish().unwrap()
        }
    }
}

/// Compresses the shards of a data set where they lie; its manifest says so.
pub(crate) fn compressed(counts: &[u64], compression: Compression) -> Made {
    let made = made(counts);
    let path = made.folder.path().join(manifest::FILE_NAME);
    let mut manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
    for shard in &mut manifest.shards {
        let file = made.folder.path().join(&shard.name);
        let packed = compress(&fs::read(&file).unwrap(), compression);
        shard.compressed = Some(Compressed { format: compression, bytes: packed.len() as u64 });
        fs::write(file, packed).unwrap();
    }
    fs::write(path, manifest.to_json()).unwrap();
    made
}

pub(crate) fn undescribed(made: Made) -> Made {
    fs::remove_file(made.folder.path().join(manifest::FILE_NAME)).unwrap();
    made
}

#[tokio::test]
async fn an_undescribed_data_set_is_the_same_as_a_described_one() {
    let whole = made(&[7, 0, 12]);
    let described = Dataset::open(whole.store.clone()).await.unwrap();
    let samples = read_all(described.clone(), LIMIT).await.unwrap();
    let bare = undescribed(whole);
    fs::write(bare.folder.path().join("_SUCCESS"), b"").unwrap();
    fs::create_dir(bare.folder.path().join("more")).unwrap();
    fs::write(bare.folder.path().join("more/x.tfrecord"), b"no records").unwrap();
    let found = open(&bare).await.unwrap();
    assert!(found.is_scanned() && !described.is_scanned());
    assert_eq!(found.digest(), described.digest());
    assert_eq!(found.manifest().shards, described.manifest().shards);
    assert_eq!(read_all(found, LIMIT).await.unwrap(), samples);
}

#[tokio::test]
async fn compressed_shards_have_the_same_records_and_the_same_digest() {
    let plain = made(&[7, 0, 12]);
    let plain = Dataset::open(plain.store.clone()).await.map(|set| (set.digest().to_owned(), plain)).unwrap();
    for compression in [Compression::Gzip, Compression::Zlib] {
        let made = compressed(&[7, 0, 12], compression);
        let described = Dataset::open(made.store.clone()).await.unwrap();
        let bare = undescribed(made);
        let scanned = open(&bare).await.unwrap();
        assert_eq!(scanned.manifest().shards, described.manifest().shards);
        for dataset in [described, scanned] {
            assert_eq!(dataset.digest(), plain.0);
            // With exactly as much memory as the shards take, and with plenty.
            for bound in [dataset.unpacked_bytes(), LIMIT] {
                let samples = read_all(dataset.clone(), bound).await.unwrap();
                for (number, sample) in samples.iter().enumerate() {
                    let (pixels, label) = image(number as u64);
                    assert_eq!((&sample.pixels[..], sample.label), (&pixels[..], label));
                }
            }
        }
    }
}

#[tokio::test]
async fn reading_ahead_and_single_reads_of_compressed_shards_agree() {
    let made = compressed(&[40, 40, 40], Compression::Gzip);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    for room in [0, 10_000, LIMIT] {
        let bound = dataset.unpacked_bytes() + room;
        let reader = RecordReader::new(dataset.clone(), FeatureNames::default(), bound);
        let order: Vec<u64> = (0..120).map(|at| at * 7 % 120).collect();
        reader.expect(order.iter().copied());
        let portions = [order[..60].to_vec(), order[60..].to_vec()];
        let read = async {
            for records in order.chunks(10) {
                let samples = reader.read(records).await.unwrap();
                let labels: Vec<_> = samples.iter().map(|sample| sample.label).collect();
                assert_eq!(labels, records.iter().map(|record| image(*record).1).collect::<Vec<_>>());
                assert!(reader.kept_bytes() <= room);
            }
        };
        let fetch = async {
            if room > 0 {
                reader.fetch(&portions).await.unwrap();
            }
        };
        tokio::join!(fetch, read);
    }
}

#[tokio::test]
async fn compressed_shards_that_do_not_fit_are_refused_with_the_remedy() {
    let made = compressed(&[7, 12], Compression::Gzip);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    let short = dataset.unpacked_bytes() - 1;
    let read = read_all(dataset, short).await.unwrap_err();
    let bare = undescribed(made);
    let scanned = Dataset::open_as(bare.store.clone(), None, &format(), short).await.unwrap_err();
    for error in [read, scanned] {
        assert!(matches!(error, Error::CompressedSize { .. }) && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().contains("raise data.cacheSize"), "{error}");
    }
}

/// The bound holds whatever a shard pretends to be; the memory in use is checked by the decoder's own tests.
#[tokio::test]
async fn a_decompression_bomb_is_refused_at_the_bound() {
    let made = undescribed(made(&[1]));
    let mut bomb = Vec::new();
    framing::append(&vec![0; 16 << 20], &mut bomb);
    fs::write(made.folder.path().join("00000.tfrecord"), compress(&bomb, Compression::Gzip)).unwrap();
    let error = open(&made).await.unwrap_err();
    assert!(matches!(error, Error::CompressedSize { limit: LIMIT, .. }), "{error:?}");
}

#[tokio::test]
async fn a_shard_that_holds_more_or_less_than_its_manifest_says_is_refused() {
    for records in [3, 5] {
        let wrong = compressed(&[records], Compression::Gzip);
        let file = fs::read(wrong.folder.path().join("00000.tfrecord")).unwrap();
        let made = compressed(&[4], Compression::Gzip);
        let path = made.folder.path().join(manifest::FILE_NAME);
        let mut manifest = Manifest::parse(&fs::read(&path).unwrap()).unwrap();
        manifest.shards[0].compressed =
            Some(Compressed { format: Compression::Gzip, bytes: file.len() as u64 });
        fs::write(&path, manifest.to_json()).unwrap();
        fs::write(made.folder.path().join("00000.tfrecord"), file).unwrap();
        let error = read_all(Dataset::open(made.store.clone()).await.unwrap(), LIMIT).await.unwrap_err();
        assert!(matches!(error, Error::UnpackedSize { .. }) && !error.is_retryable(), "{error:?}");
    }
}

#[tokio::test]
async fn a_compressed_shard_cut_anywhere_is_reported_by_its_name() {
    for compression in [Compression::Gzip, Compression::Zlib] {
        let made = undescribed(compressed(&[1, 2], compression));
        let path = made.folder.path().join("00001.tfrecord");
        let whole = fs::read(&path).unwrap();
        for end in (3..whole.len()).step_by(7) {
            fs::write(&path, &whole[..end]).unwrap();
            let error = open(&made).await.unwrap_err();
            assert!(error.to_string().contains("00001.tfrecord"), "{error}");
            assert!(
                matches!(error, Error::Unpack { .. } | Error::Frame { .. }) && !error.is_retryable(),
                "{error:?}"
            );
        }
    }
}

#[tokio::test]
async fn damage_is_found_when_an_undescribed_data_set_is_opened() {
    let bare = undescribed(made(&[2, 3]));
    let path = bare.folder.path().join("00001.tfrecord");
    let whole = fs::read(&path).unwrap();
    let record = whole.len() / 3;
    let mut flipped = whole.clone();
    flipped[record + 50] ^= 1;
    for (damaged, offset) in [(flipped, record), (whole[..whole.len() - 1].to_vec(), 2 * record)] {
        fs::write(&path, damaged).unwrap();
        let error = open(&bare).await.unwrap_err();
        assert!(matches!(&error, Error::Frame { .. }) && !error.is_retryable(), "{error:?}");
        assert!(error.to_string().ends_with(&format!("/00001.tfrecord at byte {offset}")), "{error}");
    }
}

#[tokio::test]
async fn a_format_that_contradicts_the_manifest_is_refused_by_its_field() {
    type Change = fn(&mut Format);
    let changes: [(&str, Change); 5] = [
        ("shape", |format| format.images.shape = Shape { height: 5, width: 4, channels: 3 }),
        ("encoding", |format| format.images.encoding = Encoding::Png),
        ("layout", |format| format.images.layout = Layout::Chw),
        ("classes", |format| format.classes = Classes::Count(11)),
        ("classNames", |format| format.classes = Classes::Names(vec!["cat".to_owned()])),
    ];
    let made = made(&[2]);
    for (wrong, change) in changes {
        let mut format = format();
        change(&mut format);
        let error = Dataset::open_as(made.store.clone(), None, &format, LIMIT).await.unwrap_err();
        assert!(matches!(error, Error::Disagreement { field, .. } if field == wrong), "{error:?}");
    }
    let counted = Format { classes: Classes::Count(CLASSES as usize), ..format() };
    let opened = Dataset::open_as(made.store.clone(), None, &counted, LIMIT).await.unwrap();
    assert_eq!(opened.classes()[3], "class 3");
}

#[tokio::test]
async fn a_pattern_names_the_shards_and_classes_without_names_have_numbers() {
    let made = made(&[2, 3, 4]);
    let counted = Format { classes: Classes::Count(CLASSES as usize), ..format() };
    let opened = Dataset::open_as(made.store.clone(), Some("0000[12].*"), &counted, LIMIT).await;
    assert!(matches!(opened, Err(Error::NoShards { .. })), "only * is special");
    let opened = Dataset::open_as(made.store.clone(), Some("*2.tf*"), &counted, LIMIT).await.unwrap();
    assert_eq!((opened.len(), opened.classes()[9].as_str(), opened.is_scanned()), (4, "9", true));
    let samples = read_all(opened, LIMIT).await.unwrap();
    assert_eq!(samples[0].label, image(5).1);
}

#[tokio::test]
async fn a_folder_without_shards_is_no_data_set() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("notes.txt"), b"x").unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let error = Dataset::open_as(store, None, &format(), LIMIT).await.unwrap_err();
    assert!(matches!(error, Error::NoShards { files: 1, .. }) && !error.is_retryable(), "{error:?}");
}

/// Diagonal waves of another phase for each image and channel.
fn wave(number: usize, shape: Shape, layout: Layout) -> Vec<u8> {
    let Shape { height, width, channels } = shape;
    let value = |row: u32, column: u32, channel: u32| {
        let phase = f64::from(row + 2 * column) / 9.0 + number as f64 + f64::from(channel) * 1.3;
        (127.0 + 120.0 * phase.sin()) as u8
    };
    let mut image = Vec::new();
    match layout {
        Layout::Hwc => (0..height).for_each(|row| {
            (0..width)
                .for_each(|column| image.extend((0..channels).map(|channel| value(row, column, channel))));
        }),
        Layout::Chw => (0..channels).for_each(|channel| {
            (0..height).for_each(|row| image.extend((0..width).map(|column| value(row, column, channel))));
        }),
    }
    image
}

#[tokio::test]
async fn a_reader_judges_the_layout_from_records_all_over_the_data_set() {
    let shape = Shape { height: 24, width: 20, channels: 3 };
    for stored in [Layout::Hwc, Layout::Chw] {
        let records =
            |shard: usize| (0..200).map(|at| example(&wave(shard * 200 + at, shape, stored), 0)).collect();
        for declared in [Layout::Hwc, Layout::Chw] {
            let bare = undescribed(of_records(&[records(0), records(1), records(2)], stored));
            let images = ImageFormat { encoding: Encoding::Raw, layout: declared, shape };
            let format = Format { images, classes: Classes::Count(CLASSES as usize) };
            let dataset = Dataset::open_as(bare.store.clone(), None, &format, LIMIT).await.unwrap();
            let reader = RecordReader::new(dataset, FeatureNames::default(), 0);
            let finding = reader.check_layout().await.unwrap().unwrap();
            let expected = if declared == stored { Verdict::Agrees } else { Verdict::Contradicts };
            assert_eq!(
                (finding.verdict, finding.images),
                (expected, 256),
                "{stored} as {declared}: {finding}"
            );
        }
    }
}

#[tokio::test]
async fn of_compressed_shards_one_is_unpacked_to_judge_the_layout() {
    let made = compressed(&[0, 40, 40], Compression::Gzip);
    let dataset = Dataset::open(made.store.clone()).await.unwrap();
    let last = made.folder.path().join(&dataset.manifest().shards[2].name);
    fs::write(&last, vec![0; fs::metadata(&last).unwrap().len() as usize]).unwrap();
    let reader = RecordReader::new(dataset.clone(), FeatureNames::default(), dataset.unpacked_bytes());
    assert!(reader.read(&[79]).await.is_err());
    assert_eq!(reader.check_layout().await.unwrap().unwrap().images, 40);
}
