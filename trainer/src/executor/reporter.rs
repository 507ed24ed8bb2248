//! Keeps the executor's report up to date for whoever asks: the operator, `lockstep run`, the probes.

use std::time::{Duration, Instant};

use lockstep_crds::executor::{
    BestReport, CheckpointReport, ExecutorPhase, ExecutorReport, JobResult, StorageTrouble, ViewReport,
};
use tokio::sync::watch;

use super::prepare::Prepared;
use crate::{
    checkpoint::{self, CheckpointId},
    course::{Course, Cursor},
};

/// Share of the newest step in the smoothed rate.
const SMOOTHING: f64 = 0.1;
/// A longer gap between two steps is an evaluation, a pause or a loss, not the speed of training.
const LONGEST_STEP: Duration = Duration::from_secs(60);

/// Writes the report; cloned handles write the same one.
#[derive(Clone)]
pub(crate) struct Reporter {
    report: watch::Sender<ExecutorReport>,
    rate: std::sync::Arc<std::sync::Mutex<Rate>>,
}

#[derive(Default)]
struct Rate {
    last_step: Option<Instant>,
    seconds_per_step: Option<f64>,
}

impl Reporter {
    pub(crate) fn new(index: u32, incarnation: u64) -> Self {
        let report = ExecutorReport { index, incarnation, ..Default::default() };
        Self { report: watch::Sender::new(report), rate: std::sync::Arc::default() }
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<ExecutorReport> {
        self.report.subscribe()
    }

    pub(super) fn course(&self, course: &Course) {
        self.report.send_modify(|report| {
            report.total_steps = course.total_steps();
            report.epochs = course.epochs.into();
        });
    }

    pub(super) fn phase(&self, phase: ExecutorPhase, message: Option<String>) {
        self.report.send_if_modified(|report| {
            let changed = (report.phase, &report.message) != (phase, &message);
            (report.phase, report.message) = (phase, message);
            changed
        });
        if phase != ExecutorPhase::Training {
            self.rate().last_step = None;
        }
    }

    /// What storage refuses; none: it works again.
    pub(super) fn storage_trouble(&self, trouble: Option<StorageTrouble>) {
        self.report.send_if_modified(|report| {
            let changed = report.storage_trouble != trouble;
            report.storage_trouble = trouble;
            changed
        });
    }

    pub(crate) fn failed(&self, message: String) {
        self.phase(ExecutorPhase::Failed, Some(message));
    }

    pub(super) fn view(&self, number: u64, members: &[u32], joined: bool, at_work: bool) {
        self.report.send_modify(|report| {
            let before = report.view.as_ref().filter(|_| report.joined);
            let lost = before.is_some_and(|view| view.members.iter().any(|member| !members.contains(member)));
            report.recoveries += u64::from(lost && joined && at_work);
            report.joined = joined;
            report.view = Some(ViewReport { number, members: members.to_vec() });
        });
    }

    /// A training step of `images` is done, after `data_wait_seconds` of waiting for data in all; returns images a second, 0
    /// before the second step.
    pub(super) fn stepped(
        &self,
        images: usize,
        loss: f32,
        learning_rate: f64,
        data_wait_seconds: f64,
    ) -> f64 {
        let now = Instant::now();
        let mut rate = self.rate();
        let elapsed =
            rate.last_step.replace(now).map(|then| now - then).filter(|elapsed| *elapsed < LONGEST_STEP);
        if let Some(seconds) = elapsed.map(|elapsed| elapsed.as_secs_f64()) {
            let smoothed =
                rate.seconds_per_step.map_or(seconds, |before| before + SMOOTHING * (seconds - before));
            rate.seconds_per_step = Some(smoothed);
        }
        let seconds_per_step = rate.seconds_per_step;
        drop(rate);
        self.report.send_modify(|report| {
            report.loss = Some(loss.into());
            report.learning_rate = Some(learning_rate);
            report.data_wait_seconds = data_wait_seconds;
            if let Some(seconds) = seconds_per_step {
                report.images_per_second = images as f64 / seconds;
                let left = report.total_steps.saturating_sub(report.step + 1);
                report.eta_seconds = Some((left as f64 * seconds).ceil() as u64);
            }
        });
        seconds_per_step.map_or(0.0, |seconds| images as f64 / seconds)
    }

    /// The state has changed.
    pub(super) fn state(&self, prepared: &Prepared, cursor: &Cursor) {
        self.report.send_modify(|report| {
            report.step = cursor.step;
            report.epoch = prepared.course.epochs_done(cursor.step).into();
            report.early_stopped = cursor.early_stopped;
            report.validation_accuracy = cursor.validation.map(|score| score.accuracy);
            let kept = report.best.take().and_then(|best| best.checkpoint.map(|uri| (best.epoch, uri)));
            report.best = cursor.best.map(|best| BestReport {
                epoch: best.epoch.into(),
                validation_accuracy: best.validation.accuracy,
                checkpoint: kept.filter(|(epoch, _)| *epoch == u64::from(best.epoch)).map(|(_, uri)| uri),
            });
        });
    }

    pub(super) fn checkpoint(&self, run_uri: &str, id: CheckpointId, best_step: Option<u64>) {
        let uri = format!("{run_uri}/{id}");
        self.report.send_modify(|report| {
            if let Some(best) = report.best.as_mut().filter(|_| best_step == Some(id.step)) {
                best.checkpoint = Some(uri.clone());
            }
            report.checkpoint =
                Some(CheckpointReport { uri, step: id.step, time: jiff::Timestamp::now().to_string() });
            report.message = None;
            report.storage_trouble = None;
        });
    }

    pub(super) fn checkpoint_uri(&self) -> Option<String> {
        self.report.borrow().checkpoint.as_ref().map(|checkpoint| checkpoint.uri.clone())
    }

    pub(super) fn finished(&self, result: &checkpoint::JobResult, run_uri: &str) {
        self.report.send_modify(|report| {
            report.phase = ExecutorPhase::Finished;
            report.message = None;
            report.storage_trouble = None;
            report.eta_seconds = None;
            report.step = result.steps;
            report.epoch = result.epochs.into();
            report.early_stopped = result.early_stopped;
            report.validation_accuracy = result.validation.map(|score| score.accuracy);
            if report.best.is_none() {
                report.best = result.best.map(|best| BestReport {
                    epoch: best.epoch.into(),
                    validation_accuracy: best.validation.accuracy,
                    checkpoint: None,
                });
            }
            report.result = Some(JobResult {
                test_accuracy: result.test.map(|score| score.accuracy),
                test_loss: result.test.map(|score| score.loss),
                weights_sha256: result.weights_sha256.clone(),
                model_uri: format!("{run_uri}/{}/model.safetensors", result.checkpoint),
                steps: result.steps,
            });
        });
    }

    fn rate(&self) -> std::sync::MutexGuard<'_, Rate> {
        self.rate.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}
