//! Folders without a `dataset.json`, as others write them.

use std::io::Write;

use flate2::write::{GzEncoder, ZlibEncoder};
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use lockstep_analysis::{Analysis, Format, Options, Report, Split, finding::Kind};
use lockstep_records::{FeatureNames, example::Example};
use lockstep_storage::Store;

use crate::support::{SHAPE, ShardBytes, example, picture};

async fn report(folder: &std::path::Path, format: Format) -> Report {
    let store = Store::open(folder.to_str().unwrap()).unwrap();
    let split = Split::open("theirs", store, None, format).await.unwrap();
    Analysis::new(vec![split], false).run(&Options { threads: 2, progress: None }).await.unwrap().report()
}

#[tokio::test(flavor = "multi_thread")]
async fn png_images_of_several_sizes_are_read_under_other_names() {
    let folder = tempfile::tempdir().unwrap();
    let names = FeatureNames { image: "image/encoded".to_owned(), label: "image/class/label".to_owned() };
    let mut shard = ShardBytes::default();
    for number in 0..20u8 {
        let (width, height) = (4 + u32::from(number % 2), 3);
        let mut png = Vec::new();
        let pixels = vec![number; (width * height * 3) as usize];
        PngEncoder::new(&mut png).write_image(&pixels, width, height, ExtendedColorType::Rgb8).unwrap();
        shard.push(&Example::of_image(&names, png.into(), i64::from(number % 3)).to_bytes());
    }
    let broken =
        shard.push(&Example::of_image(&names, b"\x89PNG\r\n\x1a\nnot quite".to_vec().into(), 1).to_bytes());
    let other = shard.push(&example(&picture(1), 0));
    std::fs::write(folder.path().join("theirs.tfrecord-00000-of-00001"), &shard.bytes).unwrap();
    std::fs::write(folder.path().join("_SUCCESS"), b"").unwrap();
    let report = report(folder.path(), Format { features: names, ..Format::default() }).await;
    let split = &report.splits[0];
    let forms: Vec<_> = split.images.iter().map(|form| (form.encoding, form.width, form.records)).collect();
    assert_eq!(forms, [("png", 4, 10), ("png", 5, 10)]);
    let counts: Vec<_> = split.classes.iter().map(|class| class.records).collect();
    assert_eq!(counts, [7, 7, 6]);
    let told: Vec<_> = split.findings.listed.iter().map(|finding| (finding.kind, finding.offset)).collect();
    assert_eq!(told, [(Kind::ImageUndecodable, broken), (Kind::FeatureMissing, other)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn raw_images_need_their_size_and_say_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut shard = ShardBytes::default();
    for number in 0..5 {
        shard.push(&example(&picture(number), 1));
    }
    std::fs::write(folder.path().join("a.tfrecord"), &shard.bytes).unwrap();
    let without = report(folder.path(), Format::default()).await;
    assert_eq!((without.splits[0].records, without.splits[0].findings.total), (0, 5));
    assert!(without.splits[0].findings.listed[0].detail.contains("--shape"));
    let with = report(folder.path(), Format { shape: Some(SHAPE), ..Format::default() }).await;
    assert_eq!((with.splits[0].records, with.splits[0].findings.total), (5, 0));
}

/// As TensorFlow Datasets writes them, with files beside them that hold no records.
#[tokio::test(flavor = "multi_thread")]
async fn shards_of_two_data_sets_in_one_folder_are_told_apart_by_a_pattern() {
    let folder = tempfile::tempdir().unwrap();
    for (name, records) in [("x-train.tfrecord-00000-of-00001", 7), ("x-test.tfrecord-00000-of-00001", 3)] {
        let mut shard = ShardBytes::default();
        for number in 0..records {
            shard.push(&example(&picture(number), 1));
        }
        std::fs::write(folder.path().join(name), &shard.bytes).unwrap();
    }
    std::fs::write(folder.path().join("features.json"), b"{}").unwrap();
    let open = async |pattern| {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        Split::open("theirs", store, pattern, Format { shape: Some(SHAPE), ..Format::default() }).await
    };
    let error = open(None).await.unwrap_err();
    assert!(!error.is_retryable());
    let reason = std::error::Error::source(&error).unwrap().to_string();
    assert!(reason.contains("it holds shards of 2 data sets"), "{reason}");
    let analysis = Analysis::new(vec![open(Some("x-test*")).await.unwrap()], false);
    let report = analysis.run(&Options { threads: 2, progress: None }).await.unwrap().report();
    assert_eq!((report.splits[0].records, report.splits[0].findings.total), (3, 0));
}

/// Without an index nobody knows where the next record begins.
#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_length_without_an_index_says_how_much_was_not_read() {
    let folder = tempfile::tempdir().unwrap();
    let mut shard = ShardBytes::default();
    for number in 0..5 {
        shard.push(&example(&picture(number), 1));
    }
    let offset = shard.offsets[2];
    shard.bytes[offset as usize + 1] ^= 1;
    std::fs::write(folder.path().join("a.tfrecord"), &shard.bytes).unwrap();
    let report = report(folder.path(), Format { shape: Some(SHAPE), ..Format::default() }).await;
    let [finding] = &report.splits[0].findings.listed[..] else { panic!("{:?}", report.splits[0].findings) };
    assert_eq!((finding.kind, finding.offset), (Kind::LengthChecksum, offset));
    assert_eq!(finding.bytes, shard.bytes.len() as u64 - offset);
    assert_eq!(report.splits[0].records, 2);
}

/// As TensorFlow writes them with `compression_type`; one of them is cut.
#[tokio::test(flavor = "multi_thread")]
async fn compressed_shards_are_unpacked_and_a_cut_one_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut shard = ShardBytes::default();
    for number in 0..40 {
        shard.push(&example(&picture(number), 1));
    }
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&shard.bytes).unwrap();
    let gzip = gzip.finish().unwrap();
    let mut zlib = ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&shard.bytes).unwrap();
    let format = || Format { shape: Some(SHAPE), ..Format::default() };
    std::fs::write(folder.path().join("a.tfrecord.gz"), &gzip).unwrap();
    std::fs::write(folder.path().join("b.tfrecord"), zlib.finish().unwrap()).unwrap();
    let report = report(folder.path(), format()).await;
    assert_eq!((report.splits[0].records, report.splits[0].findings.total), (80, 0));
    assert_eq!((report.splits[0].duplicates.groups, report.splits[0].duplicates.records), (40, 40));
    assert_eq!(report.splits[0].layout.as_ref().unwrap().images, 80);

    std::fs::write(folder.path().join("a.tfrecord.gz"), &gzip[..gzip.len() / 2]).unwrap();
    let report = self::report(folder.path(), format()).await;
    let kinds: Vec<_> =
        report.splits[0].findings.kinds.iter().map(|kind| (kind.kind, kind.findings)).collect();
    assert!(kinds.contains(&(Kind::Compression, 1)), "{kinds:?}");
    assert!((40..80).contains(&report.splits[0].records), "{}", report.splits[0].records);
}
