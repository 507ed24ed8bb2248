//! What the operator and the executor pods share: ports, paths, names, exit codes and the report.
//!
//! The operator writes these into the pod template and reads [`ExecutorReport`]s; the executor reads its job from
//! [`JOB_FILE`], serves its report on [`STATUS_PORT`] and leaves the last one as the pod's termination message.

use serde::{Deserialize, Serialize};

/// The executors' WebSocket endpoint (mTLS).
pub const PEER_PORT: u16 = 7600;
/// HTTPS with mTLS: `GET /report` answers an [`ExecutorReport`] as JSON.
pub const STATUS_PORT: u16 = 7601;
/// Plain HTTP: `/healthz`, `/readyz` (200 iff member of the view, or finished) and `/metrics`.
pub const HEALTH_PORT: u16 = 7602;
/// Path of [`STATUS_PORT`]'s report.
pub const REPORT_PATH: &str = "/report";

/// The resolved spec, mounted from the job's ConfigMap.
pub const JOB_FILE: &str = "/etc/lockstep/job/job.json";
/// The key of [`JOB_FILE`] in the ConfigMap.
pub const JOB_KEY: &str = "job.json";
/// The folder with [`TLS_CA`], [`TLS_CERT`] and [`TLS_KEY`], mounted from the job's Secret.
pub const TLS_DIR: &str = "/etc/lockstep/tls";
/// Certificate of the job's authority, in [`TLS_DIR`].
pub const TLS_CA: &str = "ca.crt";
/// The job's certificate, in [`TLS_DIR`].
pub const TLS_CERT: &str = "tls.crt";
/// The key of the job's certificate, in [`TLS_DIR`].
pub const TLS_KEY: &str = "tls.key";
/// The DNS name in the job's certificate, which every peer uses as TLS server name.
pub const TLS_SERVER_NAME: &str = "lockstep-executor";
/// The folder with `core-site.xml` and `hdfs-site.xml`, mounted from `storage.hadoopConfigMapRef`.
pub const HADOOP_DIR: &str = "/etc/lockstep/hadoop";
/// Names [`HADOOP_DIR`], as Hadoop's own clients have it.
pub const ENV_HADOOP_CONF_DIR: &str = "HADOOP_CONF_DIR";
/// The folder with `principal` and `keytab` or `ccache`, mounted from `storage.kerberosSecretRef`.
pub const KERBEROS_DIR: &str = "/etc/lockstep/kerberos";
/// Names [`KERBEROS_DIR`].
pub const ENV_KERBEROS_DIR: &str = "LOCKSTEP_KERBEROS_DIR";
/// Where Kerberos finds its realms: the Secret's own file, else the image's.
pub const KRB5_CONFIG: &str = "/etc/lockstep/kerberos/krb5.conf:/etc/krb5.conf";
/// Names [`KRB5_CONFIG`] (MIT Kerberos, kerberos(7)).
pub const ENV_KRB5_CONFIG: &str = "KRB5_CONFIG";
/// Scratch space of a pod: an emptyDir, the only writable folder besides the user's volumes.
pub const SCRATCH_DIR: &str = "/tmp";
/// Where Kubernetes reads the termination message.
pub const TERMINATION_LOG: &str = "/dev/termination-log";
/// Most bytes of a termination message that Kubernetes keeps.
pub const TERMINATION_MAX_BYTES: usize = 4096;

/// The container of an executor pod that runs [`CONTAINER_ARGS`].
pub const CONTAINER: &str = "executor";
/// Arguments of the image's entry point `lockstep`.
pub const CONTAINER_ARGS: [&str; 1] = ["executor"];
/// Name of the CnnTrainingJob.
pub const ENV_JOB_NAME: &str = "LOCKSTEP_JOB_NAME";
/// Uid of the CnnTrainingJob: peers of another job with the same name are refused by it.
pub const ENV_JOB_UID: &str = "LOCKSTEP_JOB_UID";
/// Namespace of the CnnTrainingJob.
pub const ENV_NAMESPACE: &str = "LOCKSTEP_NAMESPACE";
/// The executor's index, set by Kubernetes in the pods of an Indexed Job.
pub const ENV_INDEX: &str = "JOB_COMPLETION_INDEX";

/// The name under which the other executors of `job` reach the executor `index`.
pub fn peer_host(job: &str, index: u32) -> String {
    format!("{job}-{index}.{job}")
}

/// Exit codes of an executor; the child Job's `podFailurePolicy` reads them.
pub mod exit_code {
    /// The job is done: RESULT.json was read back.
    pub const DONE: u8 = 0;
    /// Something failed that may work when tried again.
    pub const RETRYABLE: u8 = 1;
    /// Wrong arguments: permanent.
    pub const USAGE: u8 = 2;
    /// The data breaks the format, or the spec's promise about it: permanent.
    pub const DATA: u8 = 65;
    /// Training diverged: permanent, because every retry computes the same bits.
    pub const DIVERGED: u8 = 70;
    /// sysexits' own word for "try again".
    pub const TEMPFAIL: u8 = 75;
    /// The spec cannot run: permanent.
    pub const CONFIG: u8 = 78;
    /// Left on SIGTERM with the work unfinished.
    pub const TERMINATED: u8 = 143;
}

/// What an executor is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ExecutorPhase {
    /// Reads its spec, its data set's manifest and the newest checkpoint.
    #[default]
    Starting,
    /// Looks for the other executors, or catches up with them.
    Joining,
    /// Takes part in training steps.
    Training,
    /// Takes part in an evaluation.
    Evaluating,
    /// Commits the final checkpoint or the result.
    Saving,
    /// Has fewer than `minExecutors` in reach; `message` says so.
    Paused,
    /// The job's RESULT.json is written.
    Finished,
    /// Ended with a permanent error; `message` holds it.
    Failed,
}

/// One executor's answer to the operator, and its last words.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecutorReport {
    /// The executor's index.
    pub index: u32,
    /// Random id of this start of the executor.
    pub incarnation: u64,
    /// What it is doing.
    pub phase: ExecutorPhase,
    /// Whether it is a member of `view`.
    pub joined: bool,
    /// The newest view it knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewReport>,
    /// How often the executors went on after losing one, counted since this executor first joined.
    pub recoveries: u64,
    /// Optimizer updates done.
    pub step: u64,
    /// Optimizer updates of the whole job, 0 while unknown.
    pub total_steps: u64,
    /// Passes over the data that are complete.
    pub epoch: u64,
    /// Passes over the data of the whole job.
    pub epochs: u64,
    /// Images trained on per second by all executors together.
    pub images_per_second: f64,
    /// Time in which a computing thread of this executor had to wait for its data, since it started.
    pub data_wait_seconds: f64,
    /// Time to the end of training at this speed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eta_seconds: Option<u64>,
    /// Mean training loss of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<f64>,
    /// Learning rate of the last step.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub learning_rate: Option<f64>,
    /// Accuracy of the last evaluation, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_accuracy: Option<f64>,
    /// The best evaluation so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub best: Option<BestReport>,
    /// The newest committed checkpoint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<CheckpointReport>,
    /// Whether training ended before its last epoch because the metric stopped improving.
    pub early_stopped: bool,
    /// The job's result, once it is in storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<JobResult>,
    /// Why the executor waits, or its last words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// What storage refuses at present; it is tried again for as long as the job lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_trouble: Option<StorageTrouble>,
}

/// What storage refuses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StorageTrouble {
    /// What has to happen for it to end.
    pub kind: StorageTroubleKind,
    /// What was being done to which object, what the store said, and the remedy.
    pub message: String,
}

/// What has to happen for a trouble with storage to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StorageTroubleKind {
    /// Somebody frees space or raises a quota.
    Full,
    /// The store answers again.
    Unavailable,
}

/// A view of the executors.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ViewReport {
    /// Grows with every view.
    pub number: u64,
    /// Indices of the members, ascending.
    pub members: Vec<u32>,
}

/// The best evaluation of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BestReport {
    /// The epoch after which it was reached.
    pub epoch: u64,
    /// Its accuracy, 0 to 1.
    pub validation_accuracy: f64,
    /// The checkpoint that holds its weights, if it was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpoint: Option<String>,
}

/// A committed checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CheckpointReport {
    /// The checkpoint's folder.
    pub uri: String,
    /// Optimizer updates it holds.
    pub step: u64,
    /// When it was committed, RFC 3339.
    pub time: String,
}

/// The result of a job, as RESULT.json has it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct JobResult {
    /// Accuracy on the test set, 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_accuracy: Option<f64>,
    /// Mean loss on the test set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub test_loss: Option<f64>,
    /// SHA-256 over parameters and running statistics, hex: equal for every way the job may have run.
    pub weights_sha256: String,
    /// `model.safetensors` of the result.
    pub model_uri: String,
    /// Optimizer updates done.
    pub steps: u64,
}

impl ExecutorReport {
    /// The report as a pod's termination message: JSON of at most [`TERMINATION_MAX_BYTES`] bytes.
    ///
    /// Kubernetes cuts longer messages, which would break the JSON; so `message`, the only part without a bound,
    /// is shortened here until the whole fits.
    pub fn termination_message(&self) -> String {
        let mut report = self.clone();
        loop {
            let text = serde_json::to_string(&report).expect("a report is plain data with string keys");
            let excess = text.len().saturating_sub(TERMINATION_MAX_BYTES);
            let Some(message) = report.message.as_mut().filter(|message| excess > 0 && !message.is_empty())
            else {
                return text;
            };
            // A character takes one to six bytes as JSON: cutting a sixth of the excess at a time never cuts too much.
            let keep = message.trim_end_matches('…').chars().count().saturating_sub(excess.div_ceil(6));
            *message = message.chars().take(keep).collect::<String>();
            if keep > 0 {
                message.push('…');
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_report_is_read_from_an_empty_object() {
        let report: ExecutorReport = serde_json::from_str("{}").unwrap();
        assert_eq!(report, ExecutorReport::default());
    }

    #[test]
    fn a_termination_message_fits_and_stays_readable_whatever_the_last_words() {
        for words in ["x".repeat(10_000), "\u{1}".repeat(9_000), "ä€".repeat(5_000), "short".into()] {
            let report = ExecutorReport { index: 3, message: Some(words.clone()), ..Default::default() };
            let text = report.termination_message();
            assert!(text.len() <= TERMINATION_MAX_BYTES, "{} bytes", text.len());
            let read: ExecutorReport = serde_json::from_str(&text).unwrap();
            let kept = read.message.unwrap();
            assert!(words.starts_with(kept.trim_end_matches('…')), "the beginning is kept");
            assert!(kept.len() > 3);
        }
    }
}
