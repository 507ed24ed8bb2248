//! TensorFlow, the real one, reads what we write and writes what we read.
//!
//! `LOCKSTEP_TENSORFLOW_ENV` names a Python environment with it: `scripts/python-env.sh tensorflow` makes one.

use std::{
    io::{Seek, Write},
    path::{Path, PathBuf},
    process::Command,
};

use flate2::write::{GzEncoder, ZlibEncoder};
use jpeg_encoder::SamplingFactor;
use lockstep_records::{
    Classes, Compression, Dataset, Encoding, FeatureNames, Format, Layout, RecordReader, Sample, Shape,
    example::Example,
    framing, manifest,
    pixels::ImageFormat,
    prepare::{self, Options},
};
use lockstep_storage::Store;
use serde_json::Value;
use sha2::{Digest, Sha256};

/// JPEG leaves the last bit of its arithmetic open: TensorFlow's decoder (libjpeg-turbo, `INTEGER_ACCURATE`) rounds otherwise.
const JPEG_TOLERANCE: u8 = 4;

/// The environment's interpreter, or `None` where there is none and that is allowed.
pub(crate) fn python() -> Option<PathBuf> {
    let Some(environment) = std::env::var_os("LOCKSTEP_TENSORFLOW_ENV") else {
        assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "CI must set LOCKSTEP_TENSORFLOW_ENV");
        eprintln!("skipped: LOCKSTEP_TENSORFLOW_ENV is not set (scripts/python-env.sh tensorflow)");
        return None;
    };
    Some(Path::new(&environment).join("bin/python"))
}

/// What the script prints for each of `tasks`, which are its arguments.
fn tensorflow(python: &Path, tasks: &[String]) -> Vec<Value> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/tfrecords.py");
    let mut lines = tempfile::tempfile().unwrap();
    lines.write_all(tasks.join("\n").as_bytes()).unwrap();
    lines.rewind().unwrap();
    let output = Command::new(python).arg(script).stdin(lines).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(printed.len(), tasks.len());
    printed
}

/// Arguments of the script.
fn task(mode: &str, folder: &Path, shape: Shape, options: &[&str]) -> String {
    format!("{mode} {} {shape} {}", folder.display(), options.join(" "))
}

/// A folder for shards, and where the script keeps the pixels in them.
fn folder() -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().unwrap();
    let kept = folder.path().join("pixels").display().to_string();
    (folder, kept)
}

pub(crate) async fn samples(dataset: Dataset, features: &FeatureNames) -> Vec<Sample> {
    let all: Vec<u64> = (0..dataset.len()).collect();
    RecordReader::new(dataset, features.clone(), 1 << 30).read(&all).await.unwrap()
}

/// What the script says of all records of a data set: their number and digests of labels and pixels.
pub(crate) fn seen(samples: &[Sample]) -> Value {
    let (mut labels, mut pixels) = (Sha256::new(), Sha256::new());
    for sample in samples {
        labels.update(i64::from(sample.label).to_le_bytes());
        pixels.update(&sample.pixels);
    }
    let digest = |digest: Sha256| hex::encode(digest.finalize());
    serde_json::json!({"records": samples.len(), "labels": digest(labels), "pixels": digest(pixels)})
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

    let theirs = &tensorflow(&python, &[task("read", &prepared.join("train"), shape, &[])])[0];
    assert_eq!(theirs["records"], count);
    let train = Dataset::open(destination.folder("train").unwrap()).await.unwrap();
    assert_eq!(*theirs, seen(&samples(train, &FeatureNames::default()).await));
}

/// A form in which TensorFlow's users keep images.
struct Form {
    encoding: Encoding,
    layout: Layout,
    compression: Option<Compression>,
    features: FeatureNames,
    options: Vec<&'static str>,
}

impl Form {
    /// Every encoding, layout and compression, and other names.
    fn all() -> Vec<Self> {
        let theirs =
            || FeatureNames { image: "image/encoded".to_owned(), label: "image/class/label".to_owned() };
        let form = |encoding, layout, compression, features: FeatureNames| {
            let mut options = match (encoding, layout) {
                (Encoding::Raw, Layout::Hwc) => vec![],
                (Encoding::Raw, Layout::Chw) => vec!["--layout", "CHW"],
                (Encoding::Png, _) => vec!["--encoding", "png"],
                (Encoding::Jpeg, _) => vec!["--encoding", "jpeg", "--pictures"],
            };
            options.extend(match compression {
                None => &[][..],
                Some(Compression::Gzip) => &["--compression", "GZIP"],
                Some(Compression::Zlib) => &["--compression", "ZLIB"],
            });
            if features != FeatureNames::default() {
                options.extend(["--image", "image/encoded", "--label", "image/class/label"]);
            }
            Self { encoding, layout, compression, features, options }
        };
        let ours = FeatureNames::default;
        vec![
            form(Encoding::Raw, Layout::Hwc, None, ours()),
            form(Encoding::Raw, Layout::Chw, None, theirs()),
            form(Encoding::Raw, Layout::Chw, Some(Compression::Zlib), ours()),
            form(Encoding::Png, Layout::Hwc, None, ours()),
            form(Encoding::Png, Layout::Hwc, Some(Compression::Gzip), theirs()),
            form(Encoding::Jpeg, Layout::Hwc, Some(Compression::Gzip), theirs()),
        ]
    }

    fn format(&self, shape: Shape) -> Format {
        let images = ImageFormat { encoding: self.encoding, layout: self.layout, shape };
        Format { images, classes: Classes::Count(10) }
    }
}

/// The data set in a folder without `dataset.json`, and the same one with it, which must be the same.
async fn with_and_without_manifest(folder: &Path, format: &Format) -> [Dataset; 2] {
    let store = Store::open(folder.to_str().unwrap()).unwrap();
    let bare = Dataset::open_as(store.clone(), None, format, 1 << 30).await.unwrap();
    store.create(manifest::FILE_NAME, bare.manifest().to_json().into()).await.unwrap();
    let described = Dataset::open_as(store, None, format, 1 << 30).await.unwrap();
    assert!(bare.is_scanned() && !described.is_scanned());
    assert_eq!(bare.digest(), described.digest());
    [bare, described]
}

/// In HWC, one after the other, as the script kept them.
fn largest_difference(samples: &[Sample], kept: &str) -> u8 {
    let theirs = std::fs::read(kept).unwrap();
    let ours: Vec<u8> = samples.iter().flat_map(|sample| sample.pixels.iter().copied()).collect();
    assert_eq!(ours.len(), theirs.len());
    ours.iter().zip(&theirs).map(|(ours, theirs)| ours.abs_diff(*theirs)).max().unwrap()
}

/// Every record of the script's is ours, whether there is a `dataset.json` or not.
async fn assert_same(form: &Form, shape: Shape, folder: &Path, kept: &str, theirs: &Value) {
    for dataset in with_and_without_manifest(folder, &form.format(shape)).await {
        for shard in &dataset.manifest().shards {
            assert_eq!(shard.compressed.map(|compressed| compressed.format), form.compression);
        }
        let samples = samples(dataset, &form.features).await;
        let ours = seen(&samples);
        assert_eq!((&theirs["records"], &theirs["labels"]), (&ours["records"], &ours["labels"]));
        let difference = largest_difference(&samples, kept);
        let tolerated = if form.encoding == Encoding::Jpeg { JPEG_TOLERANCE } else { 0 };
        assert!(difference <= tolerated, "{:?}: {difference}", form.options);
    }
}

#[tokio::test]
async fn we_read_what_tensorflow_writes_in_every_form() {
    let Some(python) = python() else { return };
    let shape = Shape { height: 17, width: 9, channels: 3 };
    let forms: Vec<_> = Form::all().into_iter().map(|form| (form, folder())).collect();
    let write = |(form, (folder, kept)): &(Form, (tempfile::TempDir, String))| {
        task("write", folder.path(), shape, &[&form.options[..], &["--pixels", kept]].concat())
    };
    let theirs = tensorflow(&python, &forms.iter().map(write).collect::<Vec<_>>());
    for ((form, (folder, kept)), theirs) in forms.iter().zip(&theirs) {
        assert_same(form, shape, folder.path(), kept, theirs).await;
    }
}

/// The standard leaves the inverse transform's last bit and the interpolation of colour open. TensorFlow's default until 2.15
/// is the transform that trades accuracy for speed.
#[tokio::test]
async fn jpegs_differ_from_tensorflows_by_no_more_than_the_standard_leaves_open() {
    let Some(python) = python() else { return };
    let shape = Shape { height: 32, width: 32, channels: 3 };
    let cases = [
        (&["--dct", "INTEGER_ACCURATE"][..], JPEG_TOLERANCE),
        (&["--dct", "INTEGER_FAST"], 10),
        (&["--dct", "INTEGER_ACCURATE", "--subsampled"], 10),
    ];
    let cases = cases.map(|(options, tolerated)| (options, tolerated, folder()));
    let write = |(options, _, (folder, kept)): &(&[&str], u8, (tempfile::TempDir, String))| {
        let form = ["--encoding", "jpeg", "--pictures", "--pixels", kept];
        task("write", folder.path(), shape, &[options, &form[..]].concat())
    };
    tensorflow(&python, &cases.each_ref().map(write));
    let images = ImageFormat { encoding: Encoding::Jpeg, layout: Layout::Hwc, shape };
    let format = Format { images, classes: Classes::Count(10) };
    for (options, tolerated, (folder, kept)) in cases {
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let dataset = Dataset::open_as(store, None, &format, 0).await.unwrap();
        let difference = largest_difference(&samples(dataset, &FeatureNames::default()).await, &kept);
        println!("{options:?}: pixels differ by {difference} at most");
        assert!(difference <= tolerated, "{options:?}: {difference}");
    }
}

/// An image of diagonal waves, raw and in HWC.
fn wave(number: u32, shape: Shape) -> Vec<u8> {
    let Shape { height, width, channels } = shape;
    let places = (0..height * width * channels)
        .map(|at| (at / channels / width, at / channels % width, at % channels));
    let value = |(row, column, channel): (u32, u32, u32)| {
        let phase = f64::from(row + 2 * column) / 5.0 + f64::from(number) + f64::from(channel) * 1.3;
        (127.0 + 120.0 * phase.sin()) as u8
    };
    places.map(value).collect()
}

fn encode(pixels: &[u8], shape: Shape, form: &Form) -> Vec<u8> {
    let (width, height) = (shape.width, shape.height);
    match (form.encoding, form.layout) {
        (Encoding::Raw, Layout::Hwc) => pixels.to_vec(),
        (Encoding::Raw, Layout::Chw) => {
            (0..3).flat_map(|channel| pixels.iter().skip(channel).step_by(3).copied()).collect()
        }
        (Encoding::Png, _) => {
            let mut file = Vec::new();
            let mut encoder = png::Encoder::new(&mut file, width, height);
            encoder.set_color(png::ColorType::Rgb);
            encoder.write_header().unwrap().write_image_data(pixels).unwrap();
            file
        }
        (Encoding::Jpeg, _) => {
            let mut file = Vec::new();
            let encoder = jpeg_encoder::Encoder::new(&mut file, 90);
            encoder.encode(pixels, width as u16, height as u16, jpeg_encoder::ColorType::Rgb).unwrap();
            file
        }
    }
}

/// Sampling, progressive or not, and how many minimum coded units stand between restart markers.
type Coding = (SamplingFactor, bool, Option<u16>);

/// Every kind of JPEG that is not refused, but baseline 4:1:1: the encoder would put each colour in a scan of its own.
fn codings() -> Vec<Coding> {
    use SamplingFactor::{F_1_1, F_1_2, F_2_1, F_2_2, F_4_1};
    let baseline = [F_1_1, F_1_2, F_2_1, F_2_2].map(|sampling| (sampling, false));
    let progressive = [F_1_1, F_1_2, F_2_1, F_2_2, F_4_1].map(|sampling| (sampling, true));
    let all = baseline.into_iter().chain(progressive);
    all.flat_map(|(sampling, progressive)| [None, Some(3)].map(|restart| (sampling, progressive, restart)))
        .collect()
}

fn jpeg(pixels: &[u8], shape: Shape, (sampling, progressive, restart): Coding) -> Vec<u8> {
    let mut file = Vec::new();
    let mut encoder = jpeg_encoder::Encoder::new(&mut file, 90);
    encoder.set_sampling_factor(sampling);
    encoder.set_progressive(progressive);
    if let Some(units) = restart {
        encoder.set_restart_interval(units);
    }
    encoder.encode(pixels, shape.width as u16, shape.height as u16, jpeg_encoder::ColorType::Rgb).unwrap();
    file
}

/// Sizes that end with, within and one behind a block. At the edge of a size of even numbers that ends within one, interpolation
/// of colours is left open.
#[tokio::test]
async fn every_kind_of_jpeg_is_decoded_as_tensorflow_does() {
    let Some(python) = python() else { return };
    let shapes =
        [(64, 32), (33, 45), (17, 97), (1, 1)].map(|(height, width)| Shape { height, width, channels: 3 });
    let cases = shapes.map(|shape| (shape, folder()));
    let read = |(shape, (folder, kept)): &(Shape, (tempfile::TempDir, String))| {
        let mut shard = Vec::new();
        for (number, coding) in (0..).zip(codings()) {
            let image = jpeg(&wave(number, *shape), *shape, coding).into();
            let example = Example::of_image(&FeatureNames::default(), image, i64::from(number % 10));
            framing::append(&example.to_bytes(), &mut shard);
        }
        std::fs::write(folder.path().join("ours.tfrecord"), shard).unwrap();
        task("read", folder.path(), *shape, &["--encoding", "jpeg", "--pixels", kept])
    };
    tensorflow(&python, &cases.each_ref().map(read));
    for (shape, (folder, kept)) in cases {
        let images = ImageFormat { encoding: Encoding::Jpeg, layout: Layout::Hwc, shape };
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let format = Format { images, classes: Classes::Count(10) };
        let dataset = Dataset::open_as(store, None, &format, 0).await.unwrap();
        let theirs = std::fs::read(&kept).unwrap();
        let samples = samples(dataset, &FeatureNames::default()).await;
        assert_eq!(samples.len(), codings().len());
        for ((coding, ours), theirs) in codings().iter().zip(&samples).zip(theirs.chunks_exact(shape.bytes()))
        {
            let difference =
                ours.pixels.iter().zip(theirs).map(|(ours, theirs)| ours.abs_diff(*theirs)).max();
            assert!(difference <= Some(JPEG_TOLERANCE), "{coding:?} of {shape}: {difference:?}");
        }
    }
}

fn compress(shard: &[u8], compression: Option<Compression>) -> Vec<u8> {
    let level = flate2::Compression::default();
    match compression {
        None => shard.to_vec(),
        Some(Compression::Gzip) => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(shard).unwrap();
            encoder.finish().unwrap()
        }
        Some(Compression::Zlib) => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(shard).unwrap();
            encoder.finish().unwrap()
        }
    }
}

#[tokio::test]
async fn tensorflow_reads_what_we_write_in_every_form() {
    let Some(python) = python() else { return };
    let shape = Shape { height: 17, width: 9, channels: 3 };
    let forms: Vec<_> = Form::all().into_iter().map(|form| (form, folder())).collect();
    let write = |(form, (folder, kept)): &(Form, (tempfile::TempDir, String))| {
        let mut shard = Vec::new();
        for number in 0..50 {
            let image = encode(&wave(number, shape), shape, form).into();
            let example = Example::of_image(&form.features, image, i64::from(number % 10));
            framing::append(&example.to_bytes(), &mut shard);
        }
        std::fs::write(folder.path().join("ours.tfrecord"), compress(&shard, form.compression)).unwrap();
        task("read", folder.path(), shape, &[&form.options[..], &["--pixels", kept]].concat())
    };
    let theirs = tensorflow(&python, &forms.iter().map(write).collect::<Vec<_>>());
    for ((form, (folder, kept)), theirs) in forms.iter().zip(&theirs) {
        assert_same(form, shape, folder.path(), kept, theirs).await;
    }
}
