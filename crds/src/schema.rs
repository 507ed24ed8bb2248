//! Schema pieces that `schemars` cannot derive: open Kubernetes objects, string maps, quantities and list-maps.
//!
//! Every piece is bounded: the API server budgets the cost of CEL rules by the largest object that the schema lets through.

use schemars::{Schema, SchemaGenerator, json_schema};

/// Longest URI that a spec may hold, in bytes.
pub(crate) const URI_MAX: u32 = 2048;
/// Largest number of items in a list of Kubernetes parts (volumes, tolerations, …).
pub(crate) const PARTS_MAX: u32 = 64;

/// A Kubernetes object that is checked by the API server when it creates the pod, not by this schema.
pub(crate) fn open_object(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true})
}

/// A bounded list of such objects.
pub(crate) fn open_objects(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": PARTS_MAX,
        "items": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    })
}

/// Labels, annotations and node selectors.
pub(crate) fn string_map(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": PARTS_MAX,
        "additionalProperties": {"type": "string", "maxLength": 4096},
    })
}

/// A Kubernetes quantity, as an integer or as a string with a suffix.
pub(crate) fn quantity(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "maxLength": 32,
    })
}

/// `metav1.Condition`, one of each type.
pub(crate) fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["type"],
        "items": {
            "type": "object",
            "required": ["type", "status", "lastTransitionTime", "reason", "message"],
            "properties": {
                "type": {"type": "string", "maxLength": 316},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
                "lastTransitionTime": {"type": "string", "format": "date-time"},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024},
                "message": {"type": "string", "maxLength": 32768},
            },
        },
    })
}
