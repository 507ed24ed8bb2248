//! The figures are those of NumPy over the same bytes: CIFAR-10, recompressed.
//!
//! `LOCKSTEP_CIFAR10_JPEG` names its extracted folder, `LOCKSTEP_TENSORFLOW_ENV` a Python environment with NumPy and
//! TensorFlow, which reads the records: `scripts/python-env.sh tensorflow` makes one.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use lockstep_analysis::{
    Analysis, Format, Split,
    report::{Distribution, SplitReport},
};
use lockstep_records::{
    Shape,
    prepare::{self, ImageOptions, Options},
};
use lockstep_storage::Store;
use serde_json::Value;

use crate::support::analyse;

/// What is needed, or `None` where it is not there and that is allowed.
fn environment() -> Option<(PathBuf, PathBuf)> {
    let of = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let found = of("LOCKSTEP_CIFAR10_JPEG").zip(of("LOCKSTEP_TENSORFLOW_ENV"));
    if found.is_none() {
        eprintln!("skipped: LOCKSTEP_CIFAR10_JPEG or LOCKSTEP_TENSORFLOW_ENV is not set");
    }
    found
}

/// What the script prints.
fn python(environment: &Path, arguments: &[&str]) -> Vec<u8> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/image_statistics.py");
    let output = Command::new(environment.join("bin/python")).arg(script).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn numpy(environment: &Path, folder: &Path) -> Value {
    serde_json::from_slice(&python(environment, &[folder.to_str().unwrap(), "32x32x3"])).unwrap()
}

/// Both compute in double precision, in another order.
fn assert_close(found: f64, expected: &Value, tolerance: f64) {
    let expected = expected.as_f64().unwrap();
    assert!((found - expected).abs() < tolerance, "{found} is not {expected}");
}

fn assert_same(values: &Distribution, expected: &Value) {
    assert_eq!(serde_json::to_value(&values.histogram).unwrap(), expected["histogram"]);
    assert_close(values.mean, &expected["mean"], 1e-9);
    assert_close(values.deviation, &expected["deviation"], 1e-9);
}

fn assert_split(split: &SplitReport, expected: &Value, each: u64) {
    assert!(split.classes.iter().all(|class| class.records == each), "{:?}", split.classes);
    let counts: Vec<_> = split.classes.iter().map(|class| class.records).collect();
    assert_eq!(serde_json::to_value(counts).unwrap(), expected["classes"]);
    for (channel, expected) in split.channels.iter().zip(expected["channels"].as_array().unwrap()) {
        assert_same(&channel.values, expected);
    }
    let distributions = [
        ("brightness", &split.brightness),
        ("contrast", &split.contrast),
        ("darkest", &split.darkest),
        ("brightest", &split.brightest),
        ("saturated", &split.saturated),
    ];
    for (name, values) in distributions {
        assert_same(values, &expected[name]);
    }
    assert_eq!(split.findings.total, 0);
    assert_eq!(split.duplicates.records, expected["duplicates"].as_u64().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_real_images_are_those_of_numpy() {
    let Some((images, environment)) = environment() else { return };
    let folder = tempfile::tempdir().unwrap();
    let destination = Store::open(folder.path().to_str().unwrap()).unwrap();
    prepare::image_folder(&images, &destination, &ImageOptions::default(), &Options::default())
        .await
        .unwrap();
    let report = analyse(folder.path(), &["train", "test"]).await.report();
    for (split, each) in report.splits.iter().zip([5000, 1000]) {
        assert_split(split, &numpy(&environment, &folder.path().join(&split.name)), each);
    }
    // The decoder used here rounds colours another way than libjpeg.
    assert_figures(&report.splits[0], 0.4);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_images_that_tensorflow_decoded_are_those_of_numpy() {
    let Some((images, environment)) = environment() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (images, packed) = (images.join("train"), folder.path().to_str().unwrap());
    python(&environment, &["pack", images.to_str().unwrap(), packed]);
    let shape = Some(Shape { height: 32, width: 32, channels: 3 });
    let format = Format { shape, ..Format::default() };
    let split = Split::open("train", Store::open(packed).unwrap(), None, format).await.unwrap();
    let options = lockstep_analysis::Options { threads: 3, progress: None };
    let report = Analysis::new(vec![split], false).run(&options).await.unwrap().report();
    assert_split(&report.splits[0], &numpy(&environment, folder.path()), 5000);
    assert_figures(&report.splits[0], 0.005);
}

/// Means and deviations of CIFAR-10's training images (JPEG q75), as NumPy finds them in libjpeg's pixels.
fn assert_figures(train: &SplitReport, tolerance: f64) {
    let figures = [(125.27, 62.53), (122.93, 61.91), (113.86, 66.46)];
    for (channel, (mean, deviation)) in train.channels.iter().zip(figures) {
        let found = (channel.values.mean, channel.values.deviation);
        let is_close = (found.0 - mean).abs() < tolerance && (found.1 - deviation).abs() < tolerance;
        assert!(is_close, "{found:?} is not {mean}, {deviation}");
    }
}
