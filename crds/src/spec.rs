//! The spec of a `CnnTrainingJob`, as users write it.
//!
//! Everything optional stays `None` here; [`crate::resolve()`] decides every default. The exception is `executors`: its default
//! stands in the schema, because the scale subresource reads the field. CEL rules refuse at `kubectl apply` what can be seen
//! there; `resolve` checks the same rules again for manifests that never meet an API server.
// KubeSchema derives a hidden public twin of each struct.
#![allow(unreachable_pub)]

mod data;
mod model;
mod operation;
mod template;
mod training;

pub use data::*;
pub use model::*;
pub use operation::*;
pub use template::*;
pub use training::*;

use crate::{
    resolve::defaults::{EXECUTORS, GLOBAL_BATCH_SIZE, MICRO_BATCH_SIZE, MIN_EXECUTORS, VALIDATION_FRACTION},
    status::CnnTrainingJobStatus,
};
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// Most executors of a job.
pub const EXECUTORS_MAX: u32 = 1024;
/// Longest name of a job: pods are called `<name>-<index>-<five characters>` and must stay DNS labels.
pub const NAME_MAX: usize = 57;

/// Training of one convolutional neural network by elastic executors, with bit-identical results on any number of them.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Deserialize, Serialize)]
#[kube(
    group = "lockstep.dev",
    version = "v1alpha1",
    kind = "CnnTrainingJob",
    plural = "cnntrainingjobs",
    singular = "cnntrainingjob",
    shortname = "cnnjob",
    shortname = "ctj",
    category = "all",
    namespaced,
    status = "CnnTrainingJobStatus",
    derive = "PartialEq",
    doc = "Training of one convolutional neural network by elastic executors, with bit-identical results on any number of them.",
    scale(
        spec_replicas_path = ".spec.executors",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase"),
    printcolumn(name = "Progress", type_ = "string", json_path = ".status.display.progress"),
    printcolumn(name = "Epoch", type_ = "string", json_path = ".status.display.epoch"),
    printcolumn(name = "Accuracy", type_ = "string", json_path = ".status.display.accuracy"),
    printcolumn(name = "Img/s", type_ = "string", json_path = ".status.display.imagesPerSecond"),
    printcolumn(name = "Executors", type_ = "string", json_path = ".status.display.executors"),
    printcolumn(name = "ETA", type_ = "string", json_path = ".status.display.eta", priority = 1),
    printcolumn(name = "Loss", type_ = "string", json_path = ".status.display.loss", priority = 1),
    printcolumn(name = "Recoveries", type_ = "integer", json_path = ".status.recoveries", priority = 1),
    printcolumn(name = "Checkpoint", type_ = "string", json_path = ".status.checkpoint.uri", priority = 1),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new(format!("self.metadata.name.size() <= {NAME_MAX} && self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')"))
        .message("metadata.name must be a DNS label of at most 57 characters that starts with a letter: pods and a Service are named after it")
)]
#[serde(rename_all = "camelCase")]
// Comparing optional members by `self.?x == oldSelf.?x` would be shorter, but the API server takes its cost for unbounded.
#[x_kube(
    validation = Rule::new("self.executors >= 1")
        .message("executors: 0 does not stop a job; set runPolicy.suspend: true instead").field_path(".executors"),
    validation = Rule::new(format!("self.executors >= self.?elastic.?minExecutors.orValue({MIN_EXECUTORS})"))
        .message("elastic.minExecutors must not be greater than executors; lower it or add executors").field_path(".executors"),
    validation = Rule::new(format!("self.executors * self.?training.?microBatchSize.orValue({MICRO_BATCH_SIZE}) <= self.?training.?globalBatchSize.orValue({GLOBAL_BATCH_SIZE})"))
        .message("executors must not be more than the micro-batches of a global batch (training.globalBatchSize / training.microBatchSize); lower executors or training.microBatchSize").field_path(".executors"),
    validation = Rule::new(format!("!has(self.training) || !has(self.training.earlyStopping) || has(self.data.validation) && has(self.data.validation.uri) || double(self.data.?validation.?fraction.orValue({VALIDATION_FRACTION:?})) > 0.0"))
        .message("training.earlyStopping needs validation data; set data.validation"),
    validation = Rule::new("self.model == oldSelf.model")
        .message("model cannot change after creation; create a new job with model.initialWeights"),
    validation = Rule::new("self.data == oldSelf.data")
        .message("data cannot change after creation; create a new job"),
    validation = Rule::new("self.checkpoint == oldSelf.checkpoint")
        .message("checkpoint cannot change after creation; create a new job"),
    validation = Rule::new("has(self.training) == has(oldSelf.training) && (!has(self.training) || self.training == oldSelf.training)")
        .message("training cannot change after creation; create a new job with model.initialWeights"),
    validation = Rule::new("has(self.threadsPerExecutor) == has(oldSelf.threadsPerExecutor) && (!has(self.threadsPerExecutor) || self.threadsPerExecutor == oldSelf.threadsPerExecutor)")
        .message("threadsPerExecutor cannot change after creation; create a new job with the same checkpoint.uri, which resumes the run"),
    validation = Rule::new("has(self.tracking) == has(oldSelf.tracking) && (!has(self.tracking) || self.tracking == oldSelf.tracking)")
        .message("tracking cannot change after creation; create a new job"),
    validation = Rule::new("has(self.storage) == has(oldSelf.storage) && (!has(self.storage) || self.storage == oldSelf.storage)")
        .message("storage cannot change after creation; create a new job with the same checkpoint.uri, which resumes the run"),
    validation = Rule::new("has(self.executorTemplate) == has(oldSelf.executorTemplate) && (!has(self.executorTemplate) || self.executorTemplate == oldSelf.executorTemplate)")
        .message("executorTemplate cannot change after creation; create a new job with the same checkpoint.uri, which resumes the run"),
    validation = Rule::new("self.?runPolicy.?backoffLimitPerExecutor == oldSelf.?runPolicy.?backoffLimitPerExecutor")
        .message("runPolicy.backoffLimitPerExecutor cannot change after creation")
)]
pub struct CnnTrainingJobSpec {
    /// How many executors train together; `kubectl scale` changes it while the job runs. Never changes the result.
    #[serde(default = "default_executors")]
    #[schemars(range(max = 1024))]
    pub executors: u32,
    /// Worker threads of each executor. Default: the whole CPUs of its CPU limit, else of its request, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 256))]
    pub threads_per_executor: Option<u32>,
    /// How executors come and go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elastic: Option<Elastic>,
    /// The network.
    pub model: Model,
    /// The data sets.
    pub data: Data,
    /// How the network is trained.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// Where and how often checkpoints are committed.
    pub checkpoint: Checkpoint,
    /// Where progress is reported besides the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tracking: Option<Tracking>,
    /// Credentials and configuration of remote storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage: Option<Storage>,
    /// Suspension, deadlines, retries and clean-up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub run_policy: Option<RunPolicy>,
    /// How the executors' pods look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub executor_template: Option<ExecutorTemplate>,
}

fn default_executors() -> u32 {
    EXECUTORS
}
