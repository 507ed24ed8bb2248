//! Jobs, pods and settings for tests.

use crate::{
    controller::{
        build::{self, Resources},
        validate::validate,
    },
    settings::Settings,
};
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use lockstep_crds::CnnTrainingJob;
use serde_json::{Value, json};
use std::time::Duration;

/// The settings of an operator in the namespace lockstep-system.
pub(crate) fn settings() -> Settings {
    Settings {
        trainer_image: Some("registry/trainer:1".to_owned()),
        trainer_libtorch_image: Some("registry/trainer-libtorch:1".to_owned()),
        watch_namespace: None,
        namespace: Some("lockstep-system".to_owned()),
        name: None,
        leader_election: true,
        progress_interval: Duration::from_secs(10),
        report_timeout: Duration::from_secs(2),
        listen: ([127, 0, 0, 1], 0).into(),
        concurrency: 1,
    }
}

/// The job training/cifar10 with `changes` merged into its spec.
pub(crate) fn job(changes: Value) -> CnnTrainingJob {
    let mut spec = json!({
        "model": {"preset": "TwoBlock"},
        "data": {"training": {"uri": "file:///data/train"}},
        "checkpoint": {"uri": "file:///data/checkpoints"},
        "executorTemplate": {
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "cifar10"}}],
            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        },
    });
    merge(&mut spec, changes);
    serde_json::from_value(json!({
        "apiVersion": "lockstep.dev/v1alpha1",
        "kind": "CnnTrainingJob",
        "metadata": {"name": "cifar10", "namespace": "training", "uid": "uid-1", "generation": 1},
        "spec": spec,
    }))
    .unwrap()
}

fn merge(into: &mut Value, changes: Value) {
    match (into, changes) {
        (Value::Object(into), Value::Object(changes)) => {
            for (key, change) in changes {
                merge(into.entry(key).or_insert(Value::Null), change);
            }
        }
        (into, changes) => *into = changes,
    }
}

/// The children of [`job`].
pub(crate) fn resources(changes: Value) -> Resources {
    let settings = settings();
    build::build(&validate(&job(changes), &settings).unwrap(), &settings).unwrap()
}

/// An executor's pod with the given status.
pub(crate) fn pod(index: u32, status: Value) -> Pod {
    serde_json::from_value(json!({
        "metadata": {
            "name": format!("cifar10-{index}-abcde"),
            "labels": {"batch.kubernetes.io/job-completion-index": index.to_string()},
        },
        "status": status,
    }))
    .unwrap()
}

/// A ready pod.
pub(crate) fn ready_pod(index: u32) -> Pod {
    pod(
        index,
        json!({
            "phase": "Running",
            "podIP": format!("10.0.0.{}", index + 1),
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "executor", "ready": true, "restartCount": 0, "image": "i", "imageID": "i", "state": {"running": {}}}],
        }),
    )
}

/// A pod whose executor ended with `code` and left `message`.
pub(crate) fn ended_pod(index: u32, code: i32, reason: &str, message: &str) -> Pod {
    pod(
        index,
        json!({
            "phase": if code == 0 { "Succeeded" } else { "Failed" },
            "containerStatuses": [{
                "name": "executor", "ready": false, "restartCount": 0, "image": "i", "imageID": "i",
                "state": {"terminated": {
                    "exitCode": code, "reason": reason, "message": message, "finishedAt": "2026-01-01T00:10:00Z",
                }},
            }],
        }),
    )
}

/// A moment: `seconds` after 2026-01-01T00:00:00Z.
pub(crate) fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_767_225_600 + seconds).unwrap()
}
