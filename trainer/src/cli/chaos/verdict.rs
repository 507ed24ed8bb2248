//! What `lockstep chaos` ends with, for people and for programs.

use std::time::Duration;

use serde::Serialize;

use super::{
    disturbance::Outcome,
    plan::Counts,
    story::{Costs, quantile},
};
use crate::checkpoint::JobResult;

/// What struck.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Faults {
    seed: u64,
    kills: u32,
    /// Of these, of executor 0.
    kills_of_executor_0: usize,
    freezes: u32,
    scales: u32,
    /// Planned, but the job was over.
    missed: usize,
}

impl Faults {
    pub(super) fn new(outcome: &Outcome, seed: u64) -> Self {
        let Counts { kills, freezes, scales } = outcome.counts;
        let of_first = outcome.struck.iter().filter(|struck| struck.is_kill && struck.executors == [0]);
        Self { seed, kills, kills_of_executor_0: of_first.count(), freezes, scales, missed: outcome.missed }
    }
}

/// Of how long something took.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Distribution {
    count: usize,
    median: f64,
    nine_tenths: f64,
    longest: f64,
}

impl Distribution {
    /// Of values that ascend, each times `factor`.
    fn of(ascending: &[f64], factor: f64) -> Option<Self> {
        let part = |part: f64| quantile(ascending, part).map(|value| factor * value);
        let (median, nine_tenths, longest) = (part(0.5)?, part(0.9)?, part(1.0)?);
        Some(Self { count: ascending.len(), median, nine_tenths, longest })
    }
}

/// Whether the faults made a difference, and what they cost.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verdict {
    executors: u32,
    same_weights: bool,
    weights_sha256: String,
    /// Of the disturbed run, where they differ.
    other_weights_sha256: Option<String>,
    steps: u64,
    seconds_undisturbed: f64,
    seconds_disturbed: f64,
    faults: Faults,
    steps_lost: u64,
    recoveries: u64,
    step_milliseconds: Option<f64>,
    /// How long the others stood still, beside the step that was interrupted, in milliseconds.
    pauses_after_kills: Option<Distribution>,
    /// From the kill to the end of the first step after the newest one.
    seconds_until_next_step: Option<Distribution>,
    kills_in_evaluations: u64,
}

impl Verdict {
    pub(super) fn new(
        executors: u32,
        reference: JobResult,
        in_peace: Duration,
        result: JobResult,
        disturbed: Duration,
        faults: Faults,
        costs: Costs,
    ) -> Self {
        let same_weights = result.weights_sha256 == reference.weights_sha256;
        let Costs { steps_lost, recoveries, pauses, until_next_step, kills_in_evaluations, step_seconds } =
            costs;
        Self {
            executors,
            same_weights,
            other_weights_sha256: (!same_weights).then_some(result.weights_sha256),
            weights_sha256: reference.weights_sha256,
            steps: result.steps,
            seconds_undisturbed: in_peace.as_secs_f64(),
            seconds_disturbed: disturbed.as_secs_f64(),
            faults,
            steps_lost,
            recoveries,
            step_milliseconds: step_seconds.map(|seconds| 1e3 * seconds),
            pauses_after_kills: Distribution::of(&pauses, 1e3),
            seconds_until_next_step: Distribution::of(&until_next_step, 1.0),
            kills_in_evaluations,
        }
    }

    /// The same weights, no step lost, and nothing left undone of what was asked for.
    pub(super) fn is_good(&self) -> bool {
        self.same_weights && self.steps_lost == 0 && self.faults.missed == 0
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    pub(super) fn text(&self) -> String {
        let Faults { seed, kills, kills_of_executor_0, freezes, scales, missed } = &self.faults;
        let mut rows = vec![
            ("undisturbed", format!("{:.1} s, {}", self.seconds_undisturbed, self.weights_sha256)),
            (
                "disturbed",
                match &self.other_weights_sha256 {
                    None => format!("{:.1} s, the same weights", self.seconds_disturbed),
                    Some(other) => format!("{:.1} s, OTHER WEIGHTS: {other}", self.seconds_disturbed),
                },
            ),
            ("executors", self.executors.to_string()),
            (
                "faults",
                format!(
                    "{kills} kills ({kills_of_executor_0} of executor 0), {freezes} freezes, {scales} scalings; seed {seed}"
                ),
            ),
        ];
        if *missed > 0 {
            rows.push(("missed", format!("{missed} faults, since the job was over; more epochs help")));
        }
        rows.push(("steps", self.steps.to_string()));
        rows.push(("steps lost", self.steps_lost.to_string()));
        rows.push(("recoveries", self.recoveries.to_string()));
        rows.extend(
            self.step_milliseconds.map(|time| ("step", format!("{time:.0} ms, the median without faults"))),
        );
        rows.extend(self.pauses_after_kills.as_ref().map(|pauses| {
            let Distribution { count, median, nine_tenths, longest } = pauses;
            let words = format!(
                "median {median:.0} ms, nine tenths within {nine_tenths:.0} ms, longest {longest:.0} ms, beside the \
                 interrupted step; of {count} kills"
            );
            ("pause after a kill", words)
        }));
        rows.iter().map(|(name, value)| format!("{name:<20} {value}")).collect::<Vec<_>>().join("\n")
    }
}
