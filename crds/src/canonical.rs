//! Canonical JSON: the same value gives the same bytes, whoever writes it.
//!
//! Keys are sorted, nothing is indented, absent options are left out. Floats stand as Rust's shortest text that reads back
//! to the same bits; a hash over a job must nevertheless hash the parsed bits, never this text.

use serde::Serialize;
use serde_json::Value;

/// `value` as canonical JSON.
///
/// # Errors
/// When `value` cannot be JSON at all: a map with keys that are no strings.
pub fn to_string<T: Serialize>(value: &T) -> serde_json::Result<String> {
    let mut value = serde_json::to_value(value)?;
    normalise(&mut value);
    serde_json::to_string(&value)
}

fn normalise(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, member| !member.is_null());
            map.sort_keys();
            map.values_mut().for_each(normalise);
        }
        Value::Array(items) => items.iter_mut().for_each(normalise),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn order_of_writing_and_absent_members_do_not_matter() {
        let one = json!({"b": [1, {"y": 0.1, "x": null}], "a": "ü"});
        let other = json!({"a": "ü", "c": null, "b": [1, {"y": 0.1}]});
        assert_eq!(to_string(&one).unwrap(), to_string(&other).unwrap());
        assert_eq!(to_string(&one).unwrap(), r#"{"a":"ü","b":[1,{"y":0.1}]}"#);
    }
}
