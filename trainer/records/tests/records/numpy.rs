//! Arrays as NumPy itself writes them, in every form that is read and some that are not.

use std::process::Command;

use lockstep_records::{
    Dataset, FeatureNames,
    prepare::{self, BatchLayout, NumpyOptions, Options},
};
use lockstep_storage::Store;
use serde_json::Value;

use crate::tensorflow::{python, samples, seen};

#[tokio::test]
async fn numpys_files_are_read_or_refused_by_name() {
    let Some(python) = python() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/numpy_files.py");
    let output = Command::new(python).arg(script).arg(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let cases: serde_json::Map<String, Value> = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(cases.len(), 15);
    for (case, mut expected) in cases {
        let destination = folder.path().join(format!("{case} prepared"));
        let destination = Store::open(destination.to_str().unwrap()).unwrap();
        let layout = match expected["layout"].as_str() {
            Some("nhwc") => Some(BatchLayout::Nhwc),
            Some("nchw") => Some(BatchLayout::Nchw),
            _ => None,
        };
        let numpy = NumpyOptions { layout, classes: None };
        let source = folder.path().join(&case);
        let prepared = prepare::numpy(&source, &destination, &numpy, &Options::default()).await;
        if expected.is_null() {
            let error = prepared.unwrap_err().to_string();
            assert!(error.contains("_train.npy"), "{case}: {error}");
            continue;
        }
        prepared.unwrap();
        expected.as_object_mut().unwrap().remove("layout");
        let dataset = Dataset::open(destination.folder("train").unwrap()).await.unwrap();
        assert_eq!(seen(&samples(dataset, &FeatureNames::default()).await), expected, "{case}");
    }
}
