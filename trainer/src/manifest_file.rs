//! A job's manifest from a file, with changes from the command line: the way of `lockstep run` to a spec.

use std::path::{Path, PathBuf};

use lockstep_crds::{ResolvedJob, Violation, manifest, resolve};
use serde_json::{Map, Value};
use snafu::{ResultExt, Snafu, ensure};

/// Why there is no job to run.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    /// The file cannot be read.
    #[snafu(display("failed to read {}", path.display()))]
    Read { path: PathBuf, source: std::io::Error },
    /// The file is no YAML.
    #[snafu(display("failed to understand {}", path.display()))]
    Parse { path: PathBuf, source: serde_saphyr::Error },
    /// A change is not of the form `field.field=value`.
    #[snafu(display("failed to apply --set {change:?}: {reason}"))]
    Set { change: String, reason: &'static str },
    /// The file holds something else, or fields that do not exist.
    #[snafu(display("failed to use {}", path.display()))]
    Manifest { path: PathBuf, source: manifest::Error },
    /// The spec cannot run.
    #[snafu(display("failed to accept the spec in {}:{}", path.display(), list(violations)))]
    Invalid { path: PathBuf, violations: Vec<Violation> },
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(|violation| format!("\n  {violation}")).collect()
}

/// Fields that may hold a path of this machine instead of a URI.
const LOCATIONS: [&[&str]; 4] = [
    &["data", "training", "uri"],
    &["data", "test", "uri"],
    &["checkpoint", "uri"],
    &["tracking", "tensorBoard", "uri"],
];

/// Reads the manifest at `path`, applies `changes` (`training.epochs=3`) and then the number of executors, where it is given,
/// and resolves the spec.
///
/// Locations may be paths, relative to the working folder; they become `file://` URIs.
pub(crate) fn load(path: &Path, changes: &[String], executors: Option<u32>) -> Result<ResolvedJob, Error> {
    let text = std::fs::read_to_string(path).context(ReadSnafu { path })?;
    let mut value: Value = serde_saphyr::from_str(&text).context(ParseSnafu { path })?;
    for change in changes {
        set(&mut value["spec"], change)?;
    }
    if let Some(executors) = executors {
        set(&mut value["spec"], &format!("executors={executors}"))?;
    }
    for location in LOCATIONS {
        absolute_location(&mut value, location);
    }
    let job = manifest::from_value(value).context(ManifestSnafu { path })?;
    resolve(&job.spec).map_err(|violations| Error::Invalid { path: path.into(), violations })
}

/// Values are YAML: `3` is a number, `true` a flag, `[1, 2]` a list.
fn set(spec: &mut Value, change: &str) -> Result<(), Error> {
    let refuse = |reason| SetSnafu { change, reason };
    let Some((field, value)) = change.split_once('=') else {
        return refuse("write field.field=value").fail();
    };
    let Ok(value) = serde_saphyr::from_str::<Value>(value) else {
        return refuse("the value is not YAML").fail();
    };
    let mut place = spec;
    for name in field.trim_start_matches("spec.").split('.') {
        ensure!(!name.is_empty(), refuse("a field's name is empty"));
        if place.is_null() {
            *place = Value::Object(Map::new());
        }
        let Some(fields) = place.as_object_mut() else {
            return refuse("a field on the way is not an object").fail();
        };
        place = fields.entry(name).or_insert(Value::Null);
    }
    *place = value;
    Ok(())
}

fn absolute_location(manifest: &mut Value, location: &[&str]) {
    let pointer = format!("/spec/{}", location.join("/"));
    let Some(Value::String(uri)) = manifest.pointer_mut(&pointer) else { return };
    if !uri.contains("://")
        && let Ok(path) = std::path::absolute(&*uri)
    {
        *uri = format!("file://{}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
apiVersion: lockstep.dev/v1alpha1
kind: CnnTrainingJob
metadata: {name: x}
spec:
  model: {preset: TwoBlock}
  data: {training: {uri: file:///data/train}}
  checkpoint: {uri: file:///data/checkpoints}
";

    fn load_text(text: &str, changes: &[&str]) -> Result<ResolvedJob, Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("job.yaml");
        std::fs::write(&path, text).unwrap();
        load(&path, &changes.iter().map(|change| (*change).to_owned()).collect::<Vec<_>>(), None)
    }

    #[test]
    fn a_manifest_is_read_and_changed_field_by_field() {
        let changes = [
            "training.epochs=7",
            "spec.training.seed=5",
            "data.test.uri=there",
            "tracking.tensorBoard.uri=runs",
        ];
        let job = load_text(MANIFEST, &changes).unwrap();
        assert_eq!((job.result.training.epochs, job.result.training.seed), (7, 5));
        let here = std::env::current_dir().unwrap();
        assert_eq!(job.data.test_uri, Some(format!("file://{}/there", here.display())));
        assert_eq!(job.tracking.tensor_board_uri, Some(format!("file://{}/runs", here.display())));
    }

    #[test]
    fn what_cannot_run_is_refused_with_the_field_and_the_reason() {
        let refused =
            |text: &str, changes: &[&str]| crate::failure::chain(&load_text(text, changes).unwrap_err());
        assert!(refused(MANIFEST, &["training.epochs"]).contains("field.field=value"));
        assert!(
            refused(MANIFEST, &["training.epochs.x=1", "training.epochs=1", "training.epochs.x=1"])
                .contains("not an object")
        );
        assert!(refused(MANIFEST, &["training.globalBatchSize=33"]).contains("globalBatchSize"));
        assert!(refused(MANIFEST, &["training.epochs=many"]).contains("epochs"));
        assert!(
            refused(MANIFEST, &["training.epoch=1"]).contains("epoch"),
            "a misspelt field is no silent default"
        );
        assert!(refused(&MANIFEST.replace("CnnTrainingJob", "Job"), &[]).contains("v1alpha1 Job"));
        assert!(refused("{", &[]).contains("failed to understand"));
        assert!(refused(&MANIFEST.replace("file:///data/train", "hdfs://namenode"), &[]).contains("hdfs"));
    }
}
