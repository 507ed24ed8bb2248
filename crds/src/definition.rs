//! The CustomResourceDefinition, generated from the types: what the chart installs.

use crate::CnnTrainingJob;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Map, Value};
use snafu::{ResultExt, Snafu};

/// Formats that the API server knows; it warns about all others.
const FORMATS: [&str; 6] = ["int32", "int64", "float", "double", "date-time", "byte"];

/// Why the definition could not be printed.
#[derive(Debug, Snafu)]
#[allow(missing_docs)]
pub enum Error {
    #[snafu(display("failed to turn the definition of {resource} into JSON"))]
    Encode { resource: &'static str, source: serde_json::Error },
    #[snafu(display("failed to write the definition of {resource} as YAML"))]
    Write { resource: &'static str, source: serde_saphyr::ser::Error },
}

const RESOURCE: &str = "CnnTrainingJob";

/// The definition of `CnnTrainingJob`.
///
/// # Errors
/// [`Error::Encode`] when the derived schema is not one that Kubernetes can hold.
pub fn crd() -> Result<CustomResourceDefinition, Error> {
    let mut value =
        serde_json::to_value(CnnTrainingJob::crd()).context(EncodeSnafu { resource: RESOURCE })?;
    tidy(&mut value);
    serde_json::from_value(value).context(EncodeSnafu { resource: RESOURCE })
}

/// The definition as the YAML file that is kept in the chart.
///
/// # Errors
/// When the definition cannot be generated or written.
pub fn yaml() -> Result<String, Error> {
    let body = serde_saphyr::to_string(&crd()?).context(WriteSnafu { resource: RESOURCE })?;
    Ok(format!("# Generated from crds/src by `make generate`; do not edit.\n{body}"))
}

/// Brings what `schemars` derives into the form that the API server takes without warnings.
///
/// - Formats of Rust integers mean nothing to Kubernetes; the bounds beside them do.
/// - `nullable` goes: without it the API server drops a null, as Rust's `Option` does, and `has()` in CEL rules means "set".
/// - Line breaks of doc comments are not those of a description.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if is_schema(map) {
                map.remove("nullable");
                if map.get("format").and_then(Value::as_str).is_some_and(|format| !FORMATS.contains(&format))
                {
                    map.remove("format");
                }
                if let Some(Value::String(text)) = map.get_mut("description") {
                    *text =
                        text.split("\n\n").map(|part| part.replace('\n', " ")).collect::<Vec<_>>().join("\n");
                }
            }
            map.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Whether `map` is a schema and not, say, a `properties` map with a property called "format".
fn is_schema(map: &Map<String, Value>) -> bool {
    map.get("type").is_some_and(Value::is_string) || map.contains_key("x-kubernetes-int-or-string")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schema() -> Value {
        let value = serde_json::to_value(crd().unwrap()).unwrap();
        value["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
    }

    /// Visits every schema below `value` with its path.
    fn visit(path: &str, value: &Value, see: &mut dyn FnMut(&str, &Map<String, Value>)) {
        let Value::Object(map) = value else { panic!("{path} is not a schema: {value}") };
        see(path, map);
        if let Some(Value::Object(properties)) = map.get("properties") {
            for (name, property) in properties {
                visit(&format!("{path}.{name}"), property, see);
            }
        }
        if let Some(items) = map.get("items") {
            visit(&format!("{path}[]"), items, see);
        }
        if let Some(values @ Value::Object(_)) = map.get("additionalProperties") {
            visit(&format!("{path}{{}}"), values, see);
        }
    }

    /// The API server refuses a CRD whose schema is not structural, and says so only when it is installed.
    #[test]
    fn the_schema_is_structural() {
        visit("", &schema(), &mut |path, map| {
            let open = map.contains_key("x-kubernetes-int-or-string");
            assert!(open || map.get("type").is_some_and(Value::is_string), "{path} has no type: {map:?}");
            for word in ["oneOf", "allOf", "not", "$ref", "nullable", "definitions"] {
                assert!(!map.contains_key(word), "{path} uses {word}");
            }
            assert!(open || !map.contains_key("anyOf"), "{path} uses anyOf");
            assert_ne!(
                map.get("additionalProperties"),
                Some(&Value::Bool(false)),
                "{path} forbids additional properties"
            );
            if let Some(format) = map.get("format").and_then(Value::as_str) {
                assert!(
                    FORMATS.contains(&format),
                    "{path} has the format {format}, which Kubernetes does not know"
                );
            }
        });
    }

    /// An unbounded part of the spec makes the estimated cost of the CEL rules unbounded, and the API server refuses the CRD.
    #[test]
    fn everything_in_the_spec_is_bounded() {
        visit("spec", &schema()["properties"]["spec"].clone(), &mut |path, map| match map
            .get("type")
            .and_then(Value::as_str)
        {
            Some("string") => assert!(
                map.contains_key("maxLength") || map.contains_key("enum"),
                "{path} is a string without a maximum length"
            ),
            Some("array") => assert!(map.contains_key("maxItems"), "{path} is a list without a maximum"),
            Some("integer" | "number") => {
                assert!(map.contains_key("maximum"), "{path} is a number without a maximum")
            }
            Some("object") if map.contains_key("additionalProperties") => {
                assert!(map.contains_key("maxProperties"), "{path} is a map without a maximum");
            }
            _ => {}
        });
    }

    /// A field with a schema of its own is required unless serde has a default for it, whatever its Rust type.
    #[test]
    fn only_what_has_no_default_is_required() {
        let schema = schema();
        let required = |pointer: &str| schema.pointer(pointer).unwrap().get("required").cloned();
        let [spec, status] = ["/properties/spec", "/properties/status"];
        assert_eq!(required(spec), Some(serde_json::json!(["checkpoint", "data", "model"])));
        assert_eq!(required(status), None);
        assert_eq!(required("/properties/spec/properties/executorTemplate"), None);
        assert_eq!(required("/properties/spec/properties/data"), Some(serde_json::json!(["training"])));
        assert_eq!(required("/properties/spec/properties/training"), None);
    }

    #[test]
    fn every_field_is_described() {
        visit("", &schema(), &mut |path, map| {
            let inner = path.is_empty()
                || path.ends_with("[]")
                || path.ends_with("{}")
                || path.contains("conditions");
            assert!(
                inner || path == ".metadata" || map.contains_key("description"),
                "{path} has no description"
            );
        });
    }

    /// Larger ones do not fit into the annotation of `kubectl apply`.
    #[test]
    fn the_file_is_smaller_than_256_kib() {
        let bytes = yaml().unwrap().len();
        assert!(bytes < 256 << 10, "{bytes} bytes");
    }
}
