//! What identifies a result: the hash of everything that determines it and of nothing else.
//!
//! Used by the executor to refuse peers of another job, and by the checkpoints to name the run's folder.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// Images in a micro-batch of an evaluation; the last one of a data set may be shorter.
///
/// Part of what every backend's numerics version stands for: sums of losses are grouped by it.
pub(crate) const EVALUATION_MICRO_BATCH: usize = 100;

/// SHA-256 over everything that determines the result: `inputs` (the job's model, training and data without
/// locations and cache sizes), the digests of its data sets in order, the backend's numerics version, and the rules of the
/// data order.
pub(crate) fn result_hash(inputs: &Value, dataset_digests: &[&str], numerics_version: &str) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update(b"lockstep result\0");
    hash_text(&mut hasher, numerics_version);
    hash_text(&mut hasher, lockstep_records::order::VERSION);
    hasher.update((dataset_digests.len() as u64).to_le_bytes());
    for digest in dataset_digests {
        hash_text(&mut hasher, digest);
    }
    hash_value(&mut hasher, inputs);
    hasher.finalize().into()
}

/// Name of the folder that holds a run's checkpoints: 16 hex digits of the hash of the result hash and the
/// numeric fingerprint, so that CPUs with other bits never share one.
pub(crate) fn run_name(result_hash: &[u8; 32], fingerprint: &[u8; 32]) -> String {
    let digest = Sha256::new().chain_update(result_hash).chain_update(fingerprint).finalize();
    hex::encode(&digest[..8])
}

fn hash_text(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u64).to_le_bytes());
    hasher.update(text);
}

/// Tags every value by its kind; numbers count as f64 bits, so that `1` and `1.0` are one number, and keys
/// are sorted, so that neither spelling nor order of a manifest matters.
fn hash_value(hasher: &mut Sha256, value: &Value) {
    match value {
        Value::Null => hasher.update(b"n"),
        Value::Bool(flag) => hasher.update(if *flag { b"t" } else { b"f" }),
        Value::Number(number) => match number.as_u64() {
            // Seeds use all 64 bits, which an f64 cannot hold.
            Some(whole) if whole > 1 << 53 => {
                hasher.update(b"u");
                hasher.update(whole.to_le_bytes());
            }
            _ => {
                hasher.update(b"d");
                hasher.update(number.as_f64().unwrap_or(f64::NAN).to_bits().to_le_bytes());
            }
        },
        Value::String(text) => {
            hasher.update(b"s");
            hash_text(hasher, text);
        }
        Value::Array(items) => {
            hasher.update(b"a");
            hasher.update((items.len() as u64).to_le_bytes());
            items.iter().for_each(|item| hash_value(hasher, item));
        }
        Value::Object(fields) => {
            hasher.update(b"o");
            hasher.update((fields.len() as u64).to_le_bytes());
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by_key(|(name, _)| *name);
            for (name, field) in sorted {
                hash_text(hasher, name);
                hash_value(hasher, field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spelling_and_order_of_a_manifest_do_not_change_the_result_hash() {
        let one = json!({"epochs": 1, "rate": 0.5, "layers": [1, 2]});
        let other: Value = serde_json::from_str(r#"{"layers":[1.0,2],"rate":5e-1,"epochs":1}"#).unwrap();
        assert_eq!(result_hash(&one, &["d"], "n/1"), result_hash(&other, &["d"], "n/1"));
    }

    #[test]
    fn every_input_changes_the_result_hash() {
        let base =
            json!({"epochs": 1, "seed": u64::MAX, "rate": 0.1, "name": "a", "flag": true, "list": [1, 2]});
        let hash = result_hash(&base, &["d"], "n/1");
        assert_ne!(hash, result_hash(&base, &["e"], "n/1"));
        assert_ne!(hash, result_hash(&base, &["d", ""], "n/1"));
        assert_ne!(hash, result_hash(&base, &["d"], "n/2"));
        for (field, value) in [
            ("epochs", json!(2)),
            ("seed", json!(u64::MAX - 1)),
            ("rate", json!(0.1 + f64::EPSILON)),
            ("name", json!("b")),
            ("flag", json!(false)),
            ("list", json!([2, 1])),
            ("extra", Value::Null),
        ] {
            let mut changed = base.clone();
            changed[field] = value;
            assert_ne!(hash, result_hash(&changed, &["d"], "n/1"), "{field}");
        }
    }

    #[test]
    fn runs_are_named_by_sixteen_hex_digits() {
        let name = run_name(&[1; 32], &[2; 32]);
        assert_eq!(name.len(), 16);
        assert_ne!(name, run_name(&[1; 32], &[3; 32]));
    }
}
