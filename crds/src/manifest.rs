//! Manifests as files: what `kubectl apply` and the API server check before a job exists, for manifests that never meet them.

use crate::{CnnTrainingJob, GROUP, KIND, VERSION, Violation};
use serde_json::Value;
use snafu::{ResultExt, Snafu, ensure};

/// Why a manifest is not a CnnTrainingJob.
#[derive(Debug, Snafu)]
#[allow(missing_docs)]
pub enum Error {
    #[snafu(display("failed to read the manifest as YAML"))]
    Yaml { source: serde_saphyr::Error },
    #[snafu(display("failed to read the manifest: it is {found}, not {GROUP}/{VERSION} {KIND}"))]
    Kind { found: String },
    #[snafu(display("failed to read the manifest as a {KIND}"))]
    Shape { source: serde_path_to_error::Error<serde_json::Error> },
    #[snafu(display("failed to write the manifest as JSON"))]
    Encode { source: serde_json::Error },
    #[snafu(display("failed to read the manifest: {}", list(violations)))]
    Unknown { violations: Vec<Violation> },
}

fn list(violations: &[Violation]) -> String {
    violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Reads one manifest.
///
/// A field that the API does not have is an error and not ignored: a misspelt one would otherwise train with a default.
///
/// # Errors
/// When the text is not YAML, not a CnnTrainingJob, or has unknown fields.
pub fn parse(text: &str) -> Result<CnnTrainingJob, Error> {
    from_value(serde_saphyr::from_str(text).context(YamlSnafu)?)
}

/// Takes a manifest that was read already; otherwise as [`parse`].
///
/// # Errors
/// When the value is not a CnnTrainingJob, or has unknown fields.
pub fn from_value(value: Value) -> Result<CnnTrainingJob, Error> {
    let word = |key: &str| value.get(key).and_then(Value::as_str).unwrap_or("nothing").to_owned();
    let found = format!("{} {}", word("apiVersion"), word("kind"));
    ensure!(found == format!("{GROUP}/{VERSION} {KIND}"), KindSnafu { found });
    let job: CnnTrainingJob = serde_path_to_error::deserialize(value.clone()).context(ShapeSnafu)?;
    let known = serde_json::to_value(&job).context(EncodeSnafu)?;
    let violations = unknown_fields("", &value, &known);
    ensure!(violations.is_empty(), UnknownSnafu { violations });
    Ok(job)
}

/// Fields of `given` that did not survive reading and writing, so the types do not know them.
pub(crate) fn unknown_fields(path: &str, given: &Value, known: &Value) -> Vec<Violation> {
    match (given, known) {
        (Value::Object(given), Value::Object(known)) => given
            .iter()
            .filter(|(_, value)| !value.is_null())
            .flat_map(|(name, value)| {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                match known.get(name) {
                    Some(known) => unknown_fields(&path, value, known),
                    // An empty list or map may be written as nothing.
                    None if is_empty(value) => Vec::new(),
                    None => vec![Violation::new(path, "unknown field; check its spelling and its place")],
                }
            })
            .collect(),
        (Value::Array(given), Value::Array(known)) => given
            .iter()
            .zip(known)
            .enumerate()
            .flat_map(|(index, (given, known))| unknown_fields(&format!("{path}[{index}]"), given, known))
            .collect(),
        _ => Vec::new(),
    }
}

fn is_empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(serde_json::Map::is_empty)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
apiVersion: lockstep.dev/v1alpha1
kind: CnnTrainingJob
metadata: {name: minimal}
spec:
  model: {preset: TwoBlock}
  data: {training: {uri: file:///data/train}}
  checkpoint: {uri: file:///data/checkpoints}
";

    #[test]
    fn a_manifest_is_read() {
        let job = parse(MANIFEST).unwrap();
        assert_eq!(job.metadata.name.as_deref(), Some("minimal"));
        assert_eq!(job.spec.executors, 1);
    }

    #[test]
    fn a_misspelt_field_is_named() {
        let text = MANIFEST.replace("preset: TwoBlock", "preset: TwoBlock, initalWeights: {uri: x}");
        let Err(Error::Unknown { violations }) = parse(&text) else { panic!("accepted") };
        assert_eq!(violations[0].field, "spec.model.initalWeights");
    }

    #[test]
    fn a_field_given_twice_is_refused() {
        let text = format!("{MANIFEST}  executors: 2\n  executors: 3\n");
        assert!(matches!(parse(&text), Err(Error::Yaml { .. })));
    }

    #[test]
    fn another_kind_is_refused_by_name() {
        let error = parse(&MANIFEST.replace("CnnTrainingJob", "PyTorchJob")).unwrap_err();
        assert!(error.to_string().contains("lockstep.dev/v1alpha1 PyTorchJob"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_refused() {
        assert!(matches!(parse(&format!("{MANIFEST}  executors: many\n")), Err(Error::Shape { .. })));
    }
}
