//! What a manifest leaves out.

use lockstep_crds::{ResolvedJob, resolved::ResultSpec};
use serde_json::json;

use crate::accepted;

#[test]
fn the_shortest_manifest_resolves_to_the_documented_defaults() {
    let job = accepted(json!({}));
    let expected = json!({
        "executors": 1,
        "threadsPerExecutor": 1,
        "elastic": {"minExecutors": 1, "joinGraceSeconds": 60, "heartbeatTimeoutSeconds": 5, "startTimeoutSeconds": 600, "assignment": "Measured"},
        "result": {
            "model": {"preset": "TwoBlock"},
            "training": {
                "epochs": 10, "globalBatchSize": 128, "microBatchSize": 16, "seed": 42,
                "optimizer": {"Adam": {"learningRate": 0.001, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-7}},
                "schedule": "Constant", "warmupSteps": 0, "labelSmoothing": 0.0,
                "kernels": "Native", "precision": "Float32",
            },
            "data": {
                "imageFeature": "image", "labelFeature": "label", "validationFraction": 0.1,
                "blockRecords": 256, "windowRecords": 65536,
            },
        },
        "data": {"trainingUri": "file:///data/train", "cacheBytes": 536_870_912},
        "checkpoint": {"uri": "file:///data/checkpoints", "everySteps": 500, "keep": 3, "keepBest": true},
    });
    assert_eq!(serde_json::to_value(&job).unwrap(), expected);
}

/// The descriptions that `kubectl explain` shows must not drift from the defaults in code.
#[test]
fn documented_defaults_are_the_real_ones() {
    let job = accepted(json!({}));
    let schema = serde_json::to_value(lockstep_crds::definition::crd().unwrap()).unwrap();
    let spec = &schema["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let says = |path: &str, value: &dyn ToString| {
        let pointer = path.split('.').map(|name| format!("/properties/{name}")).collect::<String>();
        let text =
            spec.pointer(&pointer).unwrap_or_else(|| panic!("{path}"))["description"].as_str().unwrap();
        assert!(
            text.contains(&format!("Default {}.", value.to_string())),
            "{path}: {text:?} is not {}",
            value.to_string()
        );
    };
    let ResolvedJob { elastic, result: ResultSpec { training, data, .. }, checkpoint, .. } = &job;
    says("elastic.minExecutors", &elastic.min_executors);
    says("elastic.joinGraceSeconds", &elastic.join_grace_seconds);
    says("elastic.heartbeatTimeoutSeconds", &elastic.heartbeat_timeout_seconds);
    says("elastic.startTimeoutSeconds", &elastic.start_timeout_seconds);
    says("elastic.assignment", &format!("{:?}", elastic.assignment));
    says("training.numerics.kernels", &format!("{:?}", training.kernels));
    says("training.numerics.precision", &format!("{:?}", training.precision));
    says("training.epochs", &training.epochs);
    says("training.globalBatchSize", &training.global_batch_size);
    says("training.microBatchSize", &training.micro_batch_size);
    says("training.seed", &training.seed);
    says("training.labelSmoothing", &training.label_smoothing);
    says("data.shuffle.blockRecords", &data.block_records);
    says("data.shuffle.windowRecords", &data.window_records);
    says("checkpoint.everySteps", &checkpoint.every_steps);
    says("checkpoint.keep", &checkpoint.keep);
    says("runPolicy.backoffLimitPerExecutor", &lockstep_crds::resolve::defaults::BACKOFF_LIMIT_PER_EXECUTOR);
    says(
        "executorTemplate.terminationGracePeriodSeconds",
        &lockstep_crds::resolve::defaults::TERMINATION_GRACE_PERIOD_SECONDS,
    );
    assert_eq!(spec.pointer("/properties/executors/default"), Some(&json!(job.executors)));
}
