//! How a job is operated: elasticity, checkpoints, tracking, storage access and the run policy. None of it determines the result.

use crate::schema::URI_MAX;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How executors come and go.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Elastic {
    /// Training pauses below this number of executors. Default 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1024))]
    pub min_executors: Option<u32>,
    /// How long the start waits for all executors before it goes on with `minExecutors`. Default 60.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 86_400))]
    pub join_grace_seconds: Option<u32>,
    /// Silence after which an executor counts as lost. Default 5.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3600))]
    pub heartbeat_timeout_seconds: Option<u32>,
    /// How long the first start may take before the job fails. Default 600.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 86_400))]
    pub start_timeout_seconds: Option<u32>,
    /// See [`Assignment`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assignment: Option<Assignment>,
}

/// How the micro-batches of a step are shared among the executors. Default Measured.
#[derive(JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum Assignment {
    /// By how fast each executor was in the steps before: a slow one gets fewer.
    #[default]
    Measured,
    /// The same number for each, as far as it goes.
    Even,
}

/// Where and how often checkpoints are committed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The folder below which the job keeps its checkpoints, for example file:///data/checkpoints.
    #[schemars(length(min = 1, max = URI_MAX))]
    #[x_kube(validation = Rule::new("self.startsWith('file:///') || self.startsWith('hdfs://') || self.startsWith('s3://')").message("uri must start with file:///, hdfs:// or s3://"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z0-9]+://[^/]*@')").message("uri must not hold user names or passwords; use storage for credentials"))]
    pub uri: String,
    /// Steps between checkpoints; one is always committed at the end. Default 500.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100_000_000))]
    pub every_steps: Option<u32>,
    /// How many of the newest checkpoints are kept. Default 3.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep: Option<u32>,
    /// Whether the checkpoint with the best validation accuracy is kept too. Default: yes if there is validation data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_best: Option<bool>,
}

/// Where progress is reported besides the status.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Tracking {
    /// TensorBoard event files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor_board: Option<TensorBoard>,
    /// An MLflow server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<Mlflow>,
}

/// TensorBoard event files.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TensorBoard {
    /// The folder below which the job writes its event files: what `tensorboard --logdir` takes.
    #[schemars(length(min = 1, max = URI_MAX))]
    #[x_kube(validation = Rule::new("self.startsWith('file:///') || self.startsWith('hdfs://') || self.startsWith('s3://')").message("uri must start with file:///, hdfs:// or s3://"))]
    #[x_kube(validation = Rule::new("!self.matches('^[a-z0-9]+://[^/]*@')").message("uri must not hold user names or passwords; use storage for credentials"))]
    pub uri: String,
}

/// An MLflow server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Mlflow {
    /// The server's address.
    #[schemars(length(min = 1, max = URI_MAX))]
    pub tracking_uri: String,
    /// The experiment's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub experiment: Option<String>,
    /// Registers the result as a new version of this model.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub registered_model: Option<String>,
    /// A Secret with the server's credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credentials_secret_ref: Option<NameRef>,
}

/// Credentials and configuration of remote storage.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// A ConfigMap with core-site.xml and hdfs-site.xml.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hadoop_config_map_ref: Option<NameRef>,
    /// The user name in HDFS.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub user: Option<String>,
    /// A Secret with a Kerberos keytab or ticket cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kerberos_secret_ref: Option<NameRef>,
    /// A Secret with S3 credentials.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s3_secret_ref: Option<NameRef>,
}

/// The name of an object in the job's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NameRef {
    /// The object's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// Suspension, deadlines, retries and clean-up.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunPolicy {
    /// Whether the executors are taken away after a checkpoint; set to false, the job goes on at the same step. Default false.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// How long the job may run in one piece before it fails; suspension starts the count anew. Default: for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 315_360_000))]
    pub active_deadline_seconds: Option<u32>,
    /// How often one executor's pod may crash before the executor is given up; evictions and deletions do not count. Default 10.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 1_000_000))]
    pub backoff_limit_per_executor: Option<u32>,
    /// How long after its end the CnnTrainingJob is deleted, with its pods and their logs; files in storage stay. Default: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(max = 315_360_000))]
    pub ttl_seconds_after_finished: Option<u32>,
}
