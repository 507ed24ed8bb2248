//! Manifests in, violations out: one test per rule.

#![allow(clippy::unwrap_used)]

mod data;
mod defaults;
mod executors;
mod model;
mod storage;
mod training;

use lockstep_crds::{
    CnnTrainingJobSpec, ResolvedJob, Violation, canonical, resolve,
    resolved::{ResolvedLayer, ResolvedModel},
};
use serde_json::{Value, json};

/// The shortest manifest: the three things that have no default.
fn shortest() -> Value {
    json!({
        "model": {"preset": "TwoBlock"},
        "data": {"training": {"uri": "file:///data/train"}},
        "checkpoint": {"uri": "file:///data/checkpoints"},
    })
}

/// `shortest` with the members of `changes` merged in (null removes).
fn with(changes: &Value) -> CnnTrainingJobSpec {
    fn merge(into: &mut Value, changes: &Value) {
        match (into, changes) {
            (Value::Object(into), Value::Object(changes)) => {
                for (key, change) in changes {
                    if change.is_null() {
                        into.remove(key);
                    } else {
                        merge(into.entry(key.clone()).or_insert(json!({})), change);
                    }
                }
            }
            (into, changes) => *into = changes.clone(),
        }
    }
    let mut spec = shortest();
    merge(&mut spec, changes);
    serde_json::from_value(spec).unwrap()
}

fn accepted(changes: Value) -> ResolvedJob {
    resolve(&with(&changes)).unwrap_or_else(|violations| panic!("{changes} is refused: {violations:?}"))
}

/// Exactly one violation, of `field`, that says `word`.
fn refused(changes: Value, field: &str, word: &str) {
    let violations = resolve(&with(&changes)).err().unwrap_or_else(|| panic!("{changes} is accepted"));
    let [Violation { field: found, message }] = violations.as_slice() else {
        panic!("{changes} should break one rule: {violations:?}")
    };
    assert_eq!(found, field, "{message}");
    assert!(message.contains(word), "{message:?} does not say {word:?}");
}

#[test]
fn a_resolved_job_survives_its_own_json() {
    let job = accepted(json!({
        "executors": 2,
        "training": {"earlyStopping": {"patience": 5}, "schedule": {"type": "Cosine", "warmupSteps": 10}},
        "model": {"preset": null, "layers": [
            {"type": "Conv2D", "conv2D": {"filters": 8, "kernelSize": 3}}, {"type": "ReLU"}, {"type": "BatchNorm"},
            {"type": "MaxPool2D"}, {"type": "Dropout", "dropout": {"rate": 0.25}},
            {"type": "Residual", "residual": {"layers": [
                {"type": "Conv2D", "conv2D": {"filters": 8, "kernelSize": 1}}, {"type": "BatchNorm"}, {"type": "ReLU"},
            ]}},
            {"type": "AveragePool2D"}, {"type": "GlobalAveragePool2D"},
            {"type": "Dense", "dense": {"units": 10}},
        ]},
    }));
    let text = canonical::to_string(&job).unwrap();
    assert_eq!(serde_json::from_str::<ResolvedJob>(&text).unwrap(), job);
    let ResolvedModel::Layers(layers) = &job.result.model else { panic!("{:?}", job.result.model) };
    assert_eq!(layers[0], ResolvedLayer::Conv2D { filters: 8, kernel_size: 3 });
    assert_eq!(layers[2], ResolvedLayer::BatchNorm { momentum: 0.99, epsilon: 0.001 });
    assert_eq!(layers[3], ResolvedLayer::MaxPool2D { size: 2 });
    let inside = vec![
        ResolvedLayer::Conv2D { filters: 8, kernel_size: 1 },
        ResolvedLayer::BatchNorm { momentum: 0.99, epsilon: 0.001 },
        ResolvedLayer::ReLU,
    ];
    assert_eq!(layers[5], ResolvedLayer::Residual { layers: inside });
    assert_eq!(layers[6], ResolvedLayer::AveragePool2D { size: 2 });
    assert_eq!(layers[7], ResolvedLayer::GlobalAveragePool2D);
}

/// A job that is scaled, moved or given other limits must find its own checkpoints.
#[test]
fn what_does_not_determine_the_result_stays_out_of_it() {
    let base = accepted(json!({}));
    for change in [
        json!({"executors": 4}),
        json!({"threadsPerExecutor": 3}),
        json!({"elastic": {"joinGraceSeconds": 1}}),
        json!({"data": {"training": {"uri": "file:///elsewhere"}, "cacheSize": "64Mi"}}),
        json!({"data": {"test": {"uri": "file:///test"}}}),
        json!({"checkpoint": {"uri": "file:///other", "everySteps": 7, "keep": 9, "keepBest": false}}),
        json!({"tracking": {"tensorBoard": {"uri": "file:///runs"}}}),
        json!({"runPolicy": {"suspend": true, "ttlSecondsAfterFinished": 5}}),
        json!({"executorTemplate": {"image": "x", "env": [{"name": "A", "value": "b"}]}}),
    ] {
        assert_eq!(accepted(change.clone()).result, base.result, "{change}");
    }
    for change in [
        json!({"training": {"epochs": 11}}),
        json!({"training": {"seed": 1}}),
        json!({"training": {"microBatchSize": 32}}),
        json!({"training": {"labelSmoothing": 0.1}}),
        json!({"training": {"earlyStopping": {"patience": 5}}}),
        json!({"data": {"shuffle": {"blockRecords": 1}}}),
        json!({"data": {"validation": {"fraction": 0.2}}}),
    ] {
        assert_ne!(accepted(change.clone()).result, base.result, "{change}");
    }
}

/// Nothing in a spec is ever ignored: what this version cannot do is refused by name.
#[test]
fn what_is_not_built_yet_is_refused_by_name() {
    for (changes, field) in [
        (json!({"model": {"initialWeights": {"uri": "file:///w"}}}), "model.initialWeights"),
        (json!({"training": {"numerics": {"precision": "BFloat16"}}}), "training.numerics.precision"),
        (json!({"tracking": {"mlflow": {"trackingUri": "http://m"}}}), "tracking.mlflow"),
    ] {
        refused(changes, field, "not built yet");
    }
}

#[test]
fn all_broken_rules_are_reported_at_once_in_order() {
    let violations =
        resolve(&with(&json!({"executors": 0, "training": {"epochs": 0, "globalBatchSize": 100}})))
            .unwrap_err();
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["executors", "training.epochs", "training.globalBatchSize"]);
}
