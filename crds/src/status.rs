//! The status of a `CnnTrainingJob`, as the operator writes it.
//!
//! The operator's controller owns everything but `progress`, `best`, `checkpoint`, `result`, `view`, `recoveries` and `display`, which
//! follow the executors' reports and have a field manager of their own.
// KubeSchema derives a hidden public twin of each struct.
#![allow(unreachable_pub)]

use crate::schema::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What a `CnnTrainingJob` is doing and has reached.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CnnTrainingJobStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// The conditions in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub phase: Option<Phase>,
    /// Suspended, Started, Progressing, Complete and Failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// When the operator accepted the job.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub start_time: Option<Time>,
    /// When the job ended, well or not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "time")]
    pub completion_time: Option<Time>,
    /// Label selector of the executors' pods, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub selector: Option<String>,
    /// Executors that exist, for the scale subresource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replicas: Option<u32>,
    /// The executors in numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executors: Option<ExecutorCounts>,
    /// Number of the executors' current view.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub view: Option<u64>,
    /// How often training went on after executors were lost.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub recoveries: Option<u64>,
    /// How far training is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// The best evaluation so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// The newest committed checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointStatus>,
    /// What the job has yielded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<ResultStatus>,
    /// The same as text, for `kubectl get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display: Option<Display>,
}

fn time(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"type": "string", "format": "date-time"})
}

/// A job's conditions in one word.
#[derive(JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub enum Phase {
    /// The children are not there yet.
    Pending,
    /// Executors start, or find each other.
    Starting,
    /// Training.
    Running,
    /// Taken away by `runPolicy.suspend`.
    Suspended,
    /// Training goes on after executors were lost; replacements are on their way.
    Recovering,
    /// Training cannot go on as it is; the condition Progressing says why.
    Stalled,
    /// Done.
    Succeeded,
    /// Ended with an error; the condition Failed holds it.
    Failed,
}

impl Phase {
    /// Whether nothing will change any more.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed)
    }
}

/// The executors in numbers.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExecutorCounts {
    /// As many as the spec asks for.
    pub desired: u32,
    /// Pods that are ready.
    pub ready: u32,
    /// Members of the current view.
    pub joined: u32,
}

/// How far training is.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// Epochs that are complete.
    pub epoch: u64,
    /// Optimizer updates done.
    pub step: u64,
    /// Optimizer updates of the whole job.
    pub total_steps: u64,
    /// Share of the steps done, 0 to 100.
    pub percent: u32,
    /// Time to the end of training at this speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Images trained on per second by all executors together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// Mean training loss of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Learning rate of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Accuracy of the last evaluation, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
}

/// The best evaluation so far.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Best {
    /// The epoch after which it was reached.
    pub epoch: u64,
    /// Its accuracy, 0 to 1.
    pub validation_accuracy: f64,
    /// The checkpoint with its weights, if it was kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub checkpoint: Option<String>,
}

/// A committed checkpoint.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointStatus {
    /// The checkpoint's folder.
    #[schemars(length(max = 4096))]
    pub uri: String,
    /// Optimizer updates it holds.
    pub step: u64,
    /// When it was committed.
    #[schemars(length(max = 64))]
    pub time: String,
}

/// What a job has yielded.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ResultStatus {
    /// Accuracy on the test set, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Mean loss on the test set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// SHA-256 of the weights, hex.
    #[schemars(length(max = 64))]
    pub weights_sha256: String,
    /// The trained model.
    #[schemars(length(max = 4096))]
    pub model_uri: String,
    /// Optimizer updates done.
    pub steps: u64,
    /// Whether training ended early because the metric stopped improving.
    #[serde(default)]
    pub early_stopped: bool,
}

/// Text for `kubectl get`, whose columns cannot format.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Display {
    /// "37%".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub progress: Option<String>,
    /// "4/50".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub epoch: Option<String>,
    /// "71.3%", of the result, else of the last evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub accuracy: Option<String>,
    /// "1234".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub images_per_second: Option<String>,
    /// "0.8312".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub loss: Option<String>,
    /// "2/2": joined of desired.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub executors: Option<String>,
    /// "3m20s".
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub eta: Option<String>,
}
