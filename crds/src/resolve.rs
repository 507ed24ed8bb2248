//! From a spec to a [`ResolvedJob`]: the one place where defaults are decided and rules are checked.
//!
//! All violations are collected, so that a user repairs a manifest once. What the API has but this version cannot do yet is
//! refused here by name: nothing in a spec is ever ignored.

mod data;
pub mod defaults;
mod model;
pub mod pod_parts;
mod training;
mod uri;

use crate::{
    quantity::Quantity,
    resolved::{
        ResolvedCheckpoint, ResolvedData, ResolvedElastic, ResolvedJob, ResolvedStorage, ResolvedTracking,
        ResultSpec,
    },
    spec::{Checkpoint, CnnTrainingJobSpec, EXECUTORS_MAX, Elastic, Mlflow, Storage, TensorBoard, Tracking},
};
use defaults::*;
use std::fmt;

/// A rule that a spec breaks.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Violation {
    /// The field as a path from the spec: `training.globalBatchSize`.
    pub field: String,
    /// What is wrong, and the remedy.
    pub message: String,
}

impl Violation {
    /// A violation of `field`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.message)
    }
}

/// Collects violations.
#[derive(Default)]
pub(crate) struct Report(Vec<Violation>);

impl Report {
    pub(crate) fn add(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.0.push(Violation::new(field, message));
    }

    pub(crate) fn extend(&mut self, violations: Vec<Violation>) {
        self.0.extend(violations);
    }

    /// `value` if it lies in the range, else a violation.
    fn range<T: PartialOrd + fmt::Display + Copy>(&mut self, field: &str, value: T, low: T, high: T) -> T {
        // Not `value < low || value > high`: a NaN must fail too.
        if !(value >= low && value <= high) {
            self.add(field, format!("{value} is not between {low} and {high}"));
        }
        value
    }

    fn not_built(&mut self, field: &str, what: &str, remedy: &str) {
        self.add(field, format!("{what} is not built yet; {remedy}"));
    }
}

/// Decides every default and checks every rule.
///
/// # Errors
/// Every rule that the spec breaks, sorted by field.
pub fn resolve(spec: &CnnTrainingJobSpec) -> Result<ResolvedJob, Vec<Violation>> {
    let mut report = Report::default();
    let CnnTrainingJobSpec {
        executors,
        threads_per_executor,
        elastic,
        model,
        data,
        training,
        checkpoint,
        tracking,
        storage,
        run_policy,
        executor_template,
    } = spec;

    let model = model::resolve(model, &mut report);
    let selection = data::selection(data, &mut report);
    let validates =
        selection.validation_fraction > 0.0 || data.validation.as_ref().is_some_and(|v| v.uri.is_some());
    let training = training::resolve(training.as_ref(), validates, &mut report);
    let elastic = resolve_elastic(elastic.as_ref(), &mut report);
    check_executors(*executors, &elastic, training.micro_batches(), &mut report);
    let data = data::sources(data, &mut report);
    let checkpoint = resolve_checkpoint(checkpoint, validates, &mut report);
    let tracking = resolve_tracking(tracking.as_ref(), &mut report);
    let storage = resolve_storage(storage.as_ref(), &data, &checkpoint, &tracking, &mut report);
    let template = executor_template.clone().unwrap_or_default();
    match pod_parts::read(&template) {
        Ok(_) => {}
        Err(violations) => report.extend(violations),
    }
    if let Some(limit) = run_policy.as_ref().and_then(|policy| policy.active_deadline_seconds) {
        report.range("runPolicy.activeDeadlineSeconds", limit, 1, 315_360_000);
    }
    let threads_per_executor = match threads_per_executor {
        Some(threads) => report.range("threadsPerExecutor", *threads, 1, 256),
        None => threads_of(template.resources.as_ref()).unwrap_or(1).clamp(1, 256),
    };

    if report.0.is_empty() {
        Ok(ResolvedJob {
            executors: *executors,
            threads_per_executor,
            elastic,
            result: ResultSpec { model, training, data: selection },
            data,
            checkpoint,
            tracking,
            storage,
        })
    } else {
        report.0.sort();
        report.0.dedup();
        Err(report.0)
    }
}

/// Whole CPUs of the limit, else of the request.
fn threads_of(resources: Option<&serde_json::Value>) -> Option<u32> {
    let cpu = |kind: &str| -> Option<u32> {
        let cpu: Quantity = serde_json::from_value(resources?.get(kind)?.get("cpu")?.clone()).ok()?;
        u32::try_from(cpu.milli()? / 1000).ok()
    };
    cpu("limits").or_else(|| cpu("requests"))
}

fn resolve_elastic(elastic: Option<&Elastic>, report: &mut Report) -> ResolvedElastic {
    let Elastic {
        min_executors,
        join_grace_seconds,
        heartbeat_timeout_seconds,
        start_timeout_seconds,
        assignment,
    } = elastic.cloned().unwrap_or_default();
    ResolvedElastic {
        min_executors: report.range(
            "elastic.minExecutors",
            min_executors.unwrap_or(MIN_EXECUTORS),
            1,
            EXECUTORS_MAX,
        ),
        join_grace_seconds: report.range(
            "elastic.joinGraceSeconds",
            join_grace_seconds.unwrap_or(JOIN_GRACE_SECONDS),
            0,
            86_400,
        ),
        heartbeat_timeout_seconds: report.range(
            "elastic.heartbeatTimeoutSeconds",
            heartbeat_timeout_seconds.unwrap_or(HEARTBEAT_TIMEOUT_SECONDS),
            1,
            3600,
        ),
        start_timeout_seconds: report.range(
            "elastic.startTimeoutSeconds",
            start_timeout_seconds.unwrap_or(START_TIMEOUT_SECONDS),
            1,
            86_400,
        ),
        assignment: assignment.unwrap_or_default(),
    }
}

fn check_executors(executors: u32, elastic: &ResolvedElastic, micro_batches: u32, report: &mut Report) {
    let min = elastic.min_executors;
    if executors == 0 {
        report.add("executors", "0 does not stop a job; set runPolicy.suspend: true instead");
        return;
    }
    if executors > EXECUTORS_MAX {
        report.add(
            "executors",
            format!("{executors} is more than {EXECUTORS_MAX}; give each executor more threads instead"),
        );
    }
    if min > executors {
        report.add(
            "elastic.minExecutors",
            format!("{min} is more than executors ({executors}); lower it or add executors"),
        );
    }
    if executors > micro_batches {
        report.add(
            "executors",
            format!(
                "{executors} is more than the {micro_batches} micro-batches of a global batch, the smallest units of work; \
                 lower executors or training.microBatchSize"
            ),
        );
    }
}

fn resolve_checkpoint(checkpoint: &Checkpoint, validates: bool, report: &mut Report) -> ResolvedCheckpoint {
    let Checkpoint { uri, every_steps, keep, keep_best } = checkpoint;
    uri::check("checkpoint.uri", uri, report);
    if *keep_best == Some(true) && !validates {
        report.add("checkpoint.keepBest", "needs validation data; set data.validation.fraction");
    }
    ResolvedCheckpoint {
        uri: uri.clone(),
        every_steps: report.range(
            "checkpoint.everySteps",
            every_steps.unwrap_or(CHECKPOINT_EVERY_STEPS),
            1,
            100_000_000,
        ),
        keep: report.range("checkpoint.keep", keep.unwrap_or(CHECKPOINT_KEEP), 1, 1000),
        keep_best: keep_best.unwrap_or(validates),
    }
}

fn resolve_tracking(tracking: Option<&Tracking>, report: &mut Report) -> ResolvedTracking {
    let Tracking { tensor_board, mlflow } = tracking.cloned().unwrap_or_default();
    if let Some(TensorBoard { uri }) = &tensor_board {
        uri::check("tracking.tensorBoard.uri", uri, report);
    }
    if let Some(Mlflow { .. }) = mlflow {
        report.not_built(
            "tracking.mlflow",
            "reporting to MLflow",
            "remove it, or use tracking.tensorBoard; progress is in the job's status too",
        );
    }
    ResolvedTracking { tensor_board_uri: tensor_board.map(|TensorBoard { uri }| uri) }
}

/// What reaches storage must have storage to reach: a forgotten scheme in a URI would else go unseen.
fn resolve_storage(
    storage: Option<&Storage>,
    data: &ResolvedData,
    checkpoint: &ResolvedCheckpoint,
    tracking: &ResolvedTracking,
    report: &mut Report,
) -> ResolvedStorage {
    let Storage { hadoop_config_map_ref, user, kerberos_secret_ref, s3_secret_ref } =
        storage.cloned().unwrap_or_default();
    let uris = || {
        let everywhere = [&data.training_uri, &checkpoint.uri].into_iter();
        everywhere.chain(&data.test_uri).chain(&tracking.tensor_board_uri)
    };
    let (hdfs, s3) = (uris().any(|uri| uri::is_hdfs(uri)), uris().any(|uri| uri::is_s3(uri)));
    for (field, given, used, scheme) in [
        ("storage.hadoopConfigMapRef", hadoop_config_map_ref.is_some(), hdfs, "hdfs"),
        ("storage.user", user.is_some(), hdfs, "hdfs"),
        ("storage.kerberosSecretRef", kerberos_secret_ref.is_some(), hdfs, "hdfs"),
        ("storage.s3SecretRef", s3_secret_ref.is_some(), s3, "s3"),
    ] {
        if given && !used {
            report.add(
                field,
                format!("no URI of the job begins with {scheme}://; remove it or correct the URI"),
            );
        }
    }
    if kerberos_secret_ref.is_some() && hadoop_config_map_ref.is_none() {
        report.add(
            "storage.kerberosSecretRef",
            "needs storage.hadoopConfigMapRef: only core-site.xml tells that the cluster asks for Kerberos",
        );
    }
    if user.as_ref().is_some_and(String::is_empty) {
        report.add("storage.user", "must have 1 to 256 characters");
    }
    ResolvedStorage { user }
}
