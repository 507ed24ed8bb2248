//! CIFAR-10 in both forms that people have it in, at its real size.

use std::{io::Write, path::Path, sync::Arc};

use flate2::{Compression, write::GzEncoder};
use lockstep_records::{
    Dataset, FeatureNames, RecordReader,
    prepare::{self, ImageOptions, Options, Progress},
};
use lockstep_storage::Store;

/// An archive of the official layout and size, made up: the label of record `i` is `i % 10`.
fn write_archive(path: &Path) {
    let packer = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::fast());
    let mut tar = tar::Builder::new(packer);
    for file in 0..6u8 {
        let mut bytes = Vec::with_capacity(10_000 * 3073);
        for record in 0..10_000u32 {
            bytes.push((record % 10) as u8);
            bytes.extend([record as u8, file, 255].iter().flat_map(|value| [*value; 1024]));
        }
        let name =
            if file < 5 { format!("data_batch_{}.bin", file + 1) } else { "test_batch.bin".to_owned() };
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        tar.append_data(&mut header, format!("cifar-10-batches-bin/{name}"), &bytes[..]).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap().flush().unwrap();
}

#[tokio::test]
async fn an_archive_of_the_official_size_becomes_two_data_sets() {
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("cifar-10-binary.tar.gz");
    write_archive(&archive);
    let destination = Store::open(folder.path().join("out").to_str().unwrap()).unwrap();
    let last = Arc::new(std::sync::Mutex::new(None));
    let sink = Arc::clone(&last);
    let progress = Arc::new(move |progress: Progress| {
        let mut last = sink.lock().unwrap();
        *last = (*last).max(Some(progress.done));
    });
    let options = Options { progress: Some(progress), ..Options::default() };
    let summary = prepare::cifar10(&archive, &destination, &options).await.unwrap();
    assert_eq!(*last.lock().unwrap(), Some(60_000));
    let counts: Vec<_> =
        summary.splits.iter().map(|split| (&*split.name, split.records, split.shards)).collect();
    assert_eq!(counts, [("train", 50_000, 8), ("test", 10_000, 8)]);

    let train = Dataset::open(Store::open(&summary.splits[0].uri).unwrap()).await.unwrap();
    assert_eq!(train.classes()[9], "truck");
    assert_eq!(train.manifest().source.name, "cifar-10-binary.tar.gz");
    let reader = RecordReader::new(train, FeatureNames::default(), 0);
    let samples = reader.read(&[0, 12_345, 49_999]).await.unwrap();
    for (sample, (label, pixel)) in
        samples.iter().zip([(0, [0, 0, 255]), (5, [41, 1, 255]), (9, [15, 4, 255])])
    {
        assert_eq!(sample.label, label);
        assert!(sample.pixels.len() == 3072 && sample.pixels.chunks(3).all(|found| found == pixel));
    }

    let again = prepare::cifar10(&archive, &destination, &Options::default()).await.unwrap_err();
    assert!(matches!(again, prepare::Error::Prepared { .. }), "{again:?}");
    let bytes = std::fs::read(&archive).unwrap();
    std::fs::write(&archive, &bytes[..bytes.len() / 2]).unwrap();
    let destination = Store::open(folder.path().join("cut").to_str().unwrap()).unwrap();
    let cut = prepare::cifar10(&archive, &destination, &Options::default()).await.unwrap_err();
    assert!(cut.to_string().contains("cifar-10-binary.tar.gz"), "{cut}");
    assert!(destination.list("").await.unwrap().is_empty());
}

/// The real images, recompressed. NumPy over Pillow's (libjpeg's) pixels finds the means and deviations below; the
/// decoder used here rounds chroma another way, which moves a channel's mean by up to 0.35 of 255 levels.
#[tokio::test(flavor = "multi_thread")]
async fn real_images_have_the_statistics_that_numpy_finds() {
    let Some(source) = std::env::var_os("LOCKSTEP_CIFAR10_JPEG") else {
        eprintln!("skipped: LOCKSTEP_CIFAR10_JPEG does not name the extracted folder of CIFAR-10 (JPEG q75)");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let destination = Store::open(folder.path().to_str().unwrap()).unwrap();
    let images = ImageOptions::default();
    let summary =
        prepare::image_folder(Path::new(&source), &destination, &images, &Options::default()).await.unwrap();
    assert_eq!(summary.shape.to_string(), "32x32x3");
    let train = Dataset::open(destination.folder("train").unwrap()).await.unwrap();
    let close = |found: &[f64], expected: [f64; 3], tolerance: f64| {
        let worst = found.iter().zip(expected).map(|(f, e)| (f - e).abs()).fold(0.0, f64::max);
        assert!(found.len() == 3 && worst < tolerance, "{found:?} is not {expected:?}");
    };
    let manifest = train.manifest().clone();
    close(&manifest.channel_mean, [125.27, 122.93, 113.86], 0.4);
    close(&manifest.channel_deviation, [62.53, 61.91, 66.46], 0.4);
    assert_eq!(train.classes().first().map(String::as_str), Some("airplane"));
    for (split, each) in [("train", 5000), ("test", 1000)] {
        let dataset = Dataset::open(destination.folder(split).unwrap()).await.unwrap();
        let all: Vec<u64> = (0..dataset.len()).collect();
        let reader = RecordReader::new(dataset, FeatureNames::default(), 512 << 20);
        let mut counts = [0; 10];
        let (mut sums, mut squares) = ([0.0; 3], [0.0; 3]);
        for sample in reader.read(&all).await.unwrap() {
            counts[sample.label as usize] += 1;
            for (at, value) in sample.pixels.iter().enumerate() {
                sums[at % 3] += f64::from(*value);
                squares[at % 3] += f64::from(*value) * f64::from(*value);
            }
        }
        if split == "train" {
            let pixels = 50_000.0 * 1024.0;
            let mean = sums.map(|sum| sum / pixels);
            let deviation = [0, 1, 2].map(|c| (squares[c] / pixels - mean[c] * mean[c]).sqrt());
            close(&manifest.channel_mean, mean, 1e-9);
            close(&manifest.channel_deviation, deviation, 1e-9);
        }
        assert_eq!(counts, [each; 10]);
    }
}
