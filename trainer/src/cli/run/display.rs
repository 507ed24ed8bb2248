//! What a person sees while a job runs: one bar for the job, lines for what happens to it.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use lockstep_crds::executor::{ExecutorPhase, ExecutorReport, StorageTroubleKind};

use crate::course::Course;

/// Without a terminal, a line this often.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Follows the reports of all executors.
pub(crate) struct Display {
    bar: ProgressBar,
    global_batch: usize,
    executors: u32,
    newest: ExecutorReport,
    recoveries: u64,
    first_step: Option<(u64, Instant)>,
    last_step: Option<(u64, Instant)>,
    last_line: Option<Instant>,
    reported_epoch: u64,
    /// (index, incarnation) of executors whose last words were shown.
    failures: BTreeSet<(u32, u64)>,
    /// Of executors by index, as far as they have any.
    storage_troubles: BTreeMap<u32, StorageTroubleKind>,
}

/// What was measured over the whole run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Figures {
    /// From the first finished step to the last, evaluations in between included.
    pub(crate) images_per_second: Option<f64>,
    /// Of the executor that counted most.
    pub(crate) recoveries: u64,
}

impl Display {
    pub(crate) fn new(course: &Course, executors: u32, threads: usize) -> Self {
        let bar = ProgressBar::new(course.total_steps());
        let template = "{prefix} {wide_bar:.green/dim} {pos}/{len} steps  {msg}";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("━╸─"));
        }
        bar.set_prefix("starting");
        let display = Self {
            bar,
            global_batch: course.global_batch,
            executors,
            newest: ExecutorReport::default(),
            recoveries: 0,
            first_step: None,
            last_step: None,
            last_line: None,
            reported_epoch: 0,
            failures: BTreeSet::new(),
            storage_troubles: BTreeMap::new(),
        };
        display.note(&format!(
            "training on {} images, {} epochs of {} steps, with {executors} x {threads} threads",
            course.training_records,
            course.epochs,
            course.steps_per_epoch()
        ));
        display
    }

    /// A line above the bar.
    pub(crate) fn note(&self, text: &str) {
        if self.bar.is_hidden() {
            eprintln!("{text}");
        } else {
            self.bar.println(text);
        }
    }

    /// Takes in one executor's report. The one that is furthest speaks for the job.
    pub(crate) fn show(&mut self, report: &ExecutorReport) {
        self.recoveries = self.recoveries.max(report.recoveries);
        if report.phase == ExecutorPhase::Failed {
            let words = report.message.as_deref().unwrap_or("no reason given");
            if self.failures.insert((report.index, report.incarnation)) {
                self.note(&format!("executor {}: {words}", report.index));
            }
            return;
        }
        self.show_storage(report);
        if report.step < self.newest.step {
            return;
        }
        if report.step > self.newest.step {
            let now = Instant::now();
            self.first_step.get_or_insert((report.step, now));
            self.last_step = Some((report.step, now));
        }
        self.newest = report.clone();
        self.bar.set_position(report.step);
        self.bar.set_prefix(format!("epoch {}/{}", (report.epoch + 1).min(report.epochs), report.epochs));
        self.bar.set_message(self.status());
        self.print_lines();
    }

    /// A line when trouble with storage begins and when it ends.
    fn show_storage(&mut self, report: &ExecutorReport) {
        let before = match &report.storage_trouble {
            Some(trouble) => self.storage_troubles.insert(report.index, trouble.kind),
            None => self.storage_troubles.remove(&report.index),
        };
        match &report.storage_trouble {
            Some(trouble) if before != Some(trouble.kind) => {
                self.note(&format!("executor {}: {}", report.index, trouble.message));
            }
            None if before.is_some() => self.note(&format!("executor {}: storage works again", report.index)),
            _ => {}
        }
    }

    fn status(&self) -> String {
        let report = &self.newest;
        let members = report.view.as_ref().filter(|_| report.joined).map_or(0, |view| view.members.len());
        let mut parts = vec![format!("{members}/{} executors", self.executors)];
        parts.extend(report.loss.map(|loss| format!("loss {loss:.3}")));
        parts.extend(
            report.validation_accuracy.map(|accuracy| format!("validation {:.1} %", 100.0 * accuracy)),
        );
        if report.images_per_second > 0.0 {
            parts.push(format!("{:.0} images/s", report.images_per_second));
        }
        parts.extend(report.eta_seconds.map(|seconds| format!("{}:{:02} left", seconds / 60, seconds % 60)));
        parts.extend(report.message.clone());
        parts.join("  ")
    }

    /// An epoch's end is worth a line everywhere; progress only where there is no bar.
    fn print_lines(&mut self) {
        let report = &self.newest;
        let evaluated = report.phase != ExecutorPhase::Evaluating;
        if report.epoch > self.reported_epoch && evaluated {
            self.reported_epoch = report.epoch;
            self.note(&format!("epoch {}/{} done: {}", report.epoch, report.epochs, self.status()));
        } else if self.bar.is_hidden() && self.last_line.is_none_or(|then| then.elapsed() > LINE_INTERVAL) {
            self.last_line = Some(Instant::now());
            eprintln!("step {}/{}  {}", report.step, report.total_steps, self.status());
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(self) -> Figures {
        self.bar.finish_and_clear();
        let rate = |(first, since): (u64, Instant), (last, until): (u64, Instant)| {
            let seconds = (until - since).as_secs_f64();
            (seconds > 0.0).then(|| (last - first) as f64 * self.global_batch as f64 / seconds)
        };
        let images_per_second =
            self.first_step.zip(self.last_step).and_then(|(first, last)| rate(first, last));
        Figures { images_per_second, recoveries: self.recoveries }
    }
}
