//! What a run ends with, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use super::display::Figures;
use crate::{checkpoint::JobResult, opened_job::OpenedJob};

/// The result of a run; `None` where it was not measured or not asked for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Summary {
    executors: u32,
    threads_per_executor: Option<usize>,
    steps: u64,
    epochs: u32,
    early_stopped: bool,
    test_accuracy: Option<f64>,
    test_loss: Option<f64>,
    validation_accuracy: Option<f64>,
    seconds: Option<f64>,
    images_per_second: Option<f64>,
    recoveries: u64,
    weights_sha256: String,
    model_uri: String,
    /// Whether the run had ended before this command.
    already_finished: bool,
}

impl Summary {
    /// Of a run that this command has trained, or the last part of it.
    pub(super) fn new(
        opened: &OpenedJob,
        result: JobResult,
        figures: Figures,
        elapsed: Duration,
        threads: usize,
    ) -> Self {
        let Figures { images_per_second, recoveries } = figures;
        Self {
            threads_per_executor: Some(threads),
            seconds: Some(elapsed.as_secs_f64()),
            images_per_second,
            recoveries,
            already_finished: false,
            ..Self::earlier(opened, result)
        }
    }

    /// Of a run that had ended before.
    pub(super) fn earlier(opened: &OpenedJob, result: JobResult) -> Self {
        Self {
            executors: opened.job.executors,
            threads_per_executor: None,
            steps: result.steps,
            epochs: result.epochs,
            early_stopped: result.early_stopped,
            test_accuracy: result.test.map(|score| score.accuracy),
            test_loss: result.test.map(|score| score.loss),
            validation_accuracy: result.validation.map(|score| score.accuracy),
            seconds: None,
            images_per_second: None,
            recoveries: 0,
            model_uri: format!("{}/{}/model.safetensors", opened.run.uri(), result.checkpoint),
            weights_sha256: result.weights_sha256,
            already_finished: true,
        }
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    pub(super) fn text(&self) -> String {
        let percent = |share: f64| format!("{:.2} %", 100.0 * share);
        let early = if self.early_stopped { ", stopped early" } else { "" };
        let mut rows = vec![("trained", format!("{} epochs, {} steps{early}", self.epochs, self.steps))];
        if self.already_finished {
            rows.push(("note", "this run had finished before; --fresh starts it over".into()));
        }
        rows.extend(self.test_accuracy.map(|accuracy| ("test accuracy", percent(accuracy))));
        rows.extend(self.test_loss.map(|loss| ("test loss", format!("{loss:.4}"))));
        rows.extend(self.validation_accuracy.map(|accuracy| ("validation accuracy", percent(accuracy))));
        rows.extend(self.seconds.map(|seconds| ("time", format!("{seconds:.1} s"))));
        rows.extend(self.images_per_second.map(|rate| ("images/s", format!("{rate:.0}"))));
        if let Some(threads) = self.threads_per_executor {
            rows.push((
                "executors",
                format!("{} x {threads} threads, {} recoveries", self.executors, self.recoveries),
            ));
        }
        rows.push(("model", self.model_uri.clone()));
        rows.push(("weightsSha256", self.weights_sha256.clone()));
        rows.iter().map(|(name, value)| format!("{name:<20} {value}")).collect::<Vec<_>>().join("\n")
    }
}
