//! What the status of a job should be, from its children and its executors' reports.

use super::{display::display, reports::follow_reports};
use crate::{names, pods};
use k8s_openapi::{
    api::{
        batch::v1::{Job, JobCondition},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
    jiff::Timestamp,
};
use lockstep_crds::{
    Violation,
    executor::{ExecutorPhase, ExecutorReport, StorageTroubleKind},
    status::{CnnTrainingJobStatus, ExecutorCounts, Phase},
};

/// What a status is computed from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Facts<'a> {
    /// The job's name.
    pub(crate) name: &'a str,
    /// The generation of the spec that the children were built from.
    pub(crate) generation: Option<i64>,
    /// Executors wanted.
    pub(crate) executors: u32,
    /// Passes over the data.
    pub(crate) epochs: u32,
    /// Whether the spec asks for suspension.
    pub(crate) suspend: bool,
    /// The child Job.
    pub(crate) job: &'a Job,
    /// The executors' pods.
    pub(crate) pods: &'a [Pod],
    /// What the spec refers to and does not exist, in words.
    pub(crate) missing: &'a [String],
    /// Answers of running executors; None when they were not asked this time.
    pub(crate) answers: Option<&'a [ExecutorReport]>,
}

/// Why a job has no children, or cannot go on with them.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Refusal {
    /// The spec breaks rules: over until the spec changes.
    Spec(Vec<Violation>),
    /// The API server refused a child for good.
    Child(String),
    /// Something failed that is tried again.
    Retried(String),
}

/// The status of a job whose children exist.
pub(crate) fn plan(
    now: Timestamp,
    previous: &CnnTrainingJobStatus,
    facts: Facts<'_>,
) -> CnnTrainingJobStatus {
    let Facts { name, generation, executors, epochs, suspend, job, pods, missing, answers } = facts;
    let mut endings: Vec<_> = pods.iter().filter_map(pods::ending).collect();
    endings.sort_by_key(|ending| ending.finished);
    let mut status = previous.clone();
    status.observed_generation = generation;
    status.start_time = status.start_time.or(Some(Time(now)));
    status.selector = Some(names::selector_text(name));
    status.replicas = Some(count(pods.iter().filter(|pod| pods::is_active(pod))));

    let last_words: Vec<&ExecutorReport> =
        endings.iter().filter_map(|ending| ending.report.as_ref()).collect();
    follow_reports(&mut status, answers.unwrap_or_default(), &last_words);
    let joined = match answers {
        Some(answers) => count(answers.iter().filter(|report| report.joined)),
        None => previous.executors.map_or(0, |counts| counts.joined),
    };
    let active = status.replicas.unwrap_or_default();
    let ready = count(pods.iter().filter(|pod| pods::is_ready(pod)));
    status.executors = Some(ExecutorCounts { desired: executors, ready, joined: joined.min(active) });

    let state = State {
        now,
        previous,
        suspend,
        executors,
        active,
        joined: joined.min(active),
        job,
        pods,
        missing,
        answers,
        endings: &endings,
    };
    let Judgement { phase, reason, message } = state.judge(&status);
    let started =
        is_true(previous, "Started") || joined > 0 || status.progress.as_ref().is_some_and(|p| p.step > 0);
    status.phase = Some(phase);
    let done = phase.is_terminal();
    let progressing = matches!(phase, Phase::Starting | Phase::Running | Phase::Recovering);
    for (kind, holds, reason, message) in [
        (
            "Suspended",
            phase == Phase::Suspended,
            if suspend { "Suspended" } else { "NotSuspended" },
            String::new(),
        ),
        ("Started", started, if started { "ExecutorsMet" } else { "ExecutorsHaveNotMet" }, String::new()),
        ("Progressing", progressing, reason, message.clone()),
        (
            "Complete",
            phase == Phase::Succeeded,
            if done { reason } else { "NotFinished" },
            only(phase == Phase::Succeeded, &message),
        ),
        (
            "Failed",
            phase == Phase::Failed,
            if done { reason } else { "NotFinished" },
            only(phase == Phase::Failed, &message),
        ),
    ] {
        set(&mut status.conditions, now, generation, kind, holds, reason, message);
    }
    if done {
        finish(&mut status, now, job);
    }
    status.display = Some(display(&status, epochs));
    status
}

/// The status of a job that cannot have children, or not now.
pub(crate) fn refused(
    now: Timestamp,
    previous: &CnnTrainingJobStatus,
    generation: Option<i64>,
    refusal: &Refusal,
) -> CnnTrainingJobStatus {
    let mut status = previous.clone();
    status.observed_generation = generation;
    let (phase, reason, message) = match refusal {
        Refusal::Spec(violations) => {
            let list = violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            (Phase::Failed, "InvalidSpec", list)
        }
        Refusal::Child(message) => (Phase::Failed, "ChildRefused", message.clone()),
        // What was known about the executors still stands.
        Refusal::Retried(message) => {
            (previous.phase.unwrap_or(Phase::Pending), "ReconcileFailed", message.clone())
        }
    };
    status.phase = Some(phase);
    let failed = phase == Phase::Failed;
    set(&mut status.conditions, now, generation, "Progressing", false, reason, message.clone());
    set(
        &mut status.conditions,
        now,
        generation,
        "Complete",
        false,
        if failed { reason } else { "NotFinished" },
        String::new(),
    );
    set(
        &mut status.conditions,
        now,
        generation,
        "Failed",
        failed,
        if failed { reason } else { "NotFinished" },
        only(failed, &message),
    );
    status.completion_time = if failed { status.completion_time.or(Some(Time(now))) } else { None };
    status
}

fn only(holds: bool, message: &str) -> String {
    if holds { message.to_owned() } else { String::new() }
}

struct State<'a> {
    now: Timestamp,
    previous: &'a CnnTrainingJobStatus,
    suspend: bool,
    executors: u32,
    active: u32,
    joined: u32,
    job: &'a Job,
    pods: &'a [Pod],
    missing: &'a [String],
    answers: Option<&'a [ExecutorReport]>,
    endings: &'a [pods::Ending],
}

/// Reason of the condition Progressing while training goes on without executors that crashed too often.
pub(super) const EXECUTORS_GIVEN_UP: &str = "ExecutorsGivenUp";
const STORAGE_FULL: &str = "StorageFull";
const STORAGE_UNAVAILABLE: &str = "StorageUnavailable";
/// Reasons of the condition Progressing while storage refuses something.
pub(super) const STORAGE_REASONS: [&str; 2] = [STORAGE_FULL, STORAGE_UNAVAILABLE];

/// Reason and message of the condition Progressing.
pub(super) fn reason_of_progress(status: &CnnTrainingJobStatus) -> Option<(&str, &str)> {
    let condition = status.conditions.iter().find(|condition| condition.type_ == "Progressing")?;
    Some((&condition.reason, &condition.message))
}

struct Judgement {
    phase: Phase,
    reason: &'static str,
    message: String,
}

impl State<'_> {
    fn judge(&self, status: &CnnTrainingJobStatus) -> Judgement {
        let verdict = |phase, reason, message: String| Judgement { phase, reason, message };
        if let Some(condition) = job_condition(self.job, "Failed") {
            let (reason, message) = self.why_failed(condition);
            return verdict(Phase::Failed, reason, message);
        }
        if job_condition(self.job, "Complete").is_some() {
            let message = match &status.result {
                Some(result) => format!("the trained model is {}", result.model_uri),
                None => "an executor has finished; its report is lost, RESULT.json beside the checkpoints has the result".to_owned(),
            };
            return verdict(Phase::Succeeded, "Finished", message);
        }
        // Before suspension: a job whose result is written ends as done, whatever is asked of it meanwhile.
        if self.is_finishing(status) {
            return verdict(
                Phase::Running,
                "Finishing",
                match self.storage_trouble() {
                    Some((_, words)) => {
                        format!("training is complete, and its result waits for storage: {words}")
                    }
                    None => "training is complete; executors save the result and end".to_owned(),
                },
            );
        }
        if self.suspend {
            let message = match self.active {
                0 => "set runPolicy.suspend to false to go on at the same step".to_owned(),
                active => format!("{active} executors are leaving"),
            };
            return verdict(Phase::Suspended, "Suspended", message);
        }
        if let Some(message) = self.paused() {
            return verdict(Phase::Stalled, "TooFewExecutors", message);
        }
        let (joined, wanted) = (self.joined, self.executors);
        let obstacle = self
            .missing_reference()
            .or_else(|| self.pods.iter().find_map(|pod| pods::obstacle(pod, self.now)));
        let was = self.previous.phase;
        if joined >= wanted && self.recovered_unseen(status) {
            return verdict(Phase::Recovering, "ExecutorsLost", "training went on after a loss".to_owned());
        }
        if joined >= wanted {
            let (reason, message) =
                self.storage_trouble().unwrap_or_else(|| ("Training", "all executors train".to_owned()));
            return verdict(Phase::Running, reason, message);
        }
        if joined > 0
            && let Some(message) = self.given_up()
        {
            return verdict(Phase::Running, EXECUTORS_GIVEN_UP, message);
        }
        if joined > 0 {
            let lost = self.previous.executors.is_some_and(|counts| counts.joined > joined)
                || was == Some(Phase::Recovering);
            let phase = if lost { Phase::Recovering } else { Phase::Running };
            let (reason, detail) = match obstacle {
                Some((reason, message)) => (reason, message),
                None if lost => ("ExecutorsLost", "replacements are on their way".to_owned()),
                None => ("ExecutorsMissing", "the others will join".to_owned()),
            };
            return verdict(phase, reason, format!("{joined} of {wanted} executors train; {detail}"));
        }
        if let Some((reason, message)) = obstacle {
            return verdict(Phase::Stalled, reason, message);
        }
        let waiting = self.answers.unwrap_or_default().iter().find_map(|report| report.message.clone());
        let ended = self.endings.iter().rfind(|ending| ending.exit_code != 0 && ending.exit_code != 143);
        let message = waiting
            .or_else(|| ended.map(pods::Ending::describe))
            .unwrap_or_else(|| "executors start and look for each other".to_owned());
        if is_true(self.previous, "Started") && was != Some(Phase::Suspended) && was != Some(Phase::Starting)
        {
            verdict(Phase::Recovering, "ExecutorsLost", message)
        } else {
            verdict(Phase::Starting, "Starting", message)
        }
    }

    /// Which executors are not replaced any more, if no other is missing: training goes on without them.
    fn given_up(&self) -> Option<String> {
        let status = self.job.status.as_ref()?;
        let failed = indexes(status.failed_indexes.as_deref().unwrap_or_default());
        let gone = count(failed.iter());
        if gone == 0 || self.joined + gone < self.executors {
            return None;
        }
        let crash = self.endings.iter().rfind(|ending| {
            ending.exit_code != 0 && ending.index.is_some_and(|index| failed.contains(&index))
        });
        let crash = crash.map_or_else(|| format!("executors {failed:?} crashed"), pods::Ending::describe);
        let (joined, wanted) = (self.joined, self.executors);
        Some(format!(
            "{joined} of {wanted} executors train; {crash}; it crashed more often than runPolicy.backoffLimitPerExecutor \
             allows and is not replaced; a new job with the same checkpoint.uri goes on from here with all"
        ))
    }

    /// The pods that need it only say that they are being made.
    fn missing_reference(&self) -> Option<(&'static str, String)> {
        (!self.missing.is_empty()).then(|| ("ReferenceNotFound", self.missing.join("; ")))
    }

    /// Reason and message, where storage refuses an executor something. Training goes on without it. Executors that were
    /// not asked have nothing new to say.
    fn storage_trouble(&self) -> Option<(&'static str, String)> {
        let Some(answers) = self.answers else {
            let known = reason_of_progress(self.previous);
            let (reason, message) = known.filter(|(reason, _)| STORAGE_REASONS.contains(reason))?;
            let reason = STORAGE_REASONS.into_iter().find(|known| *known == reason)?;
            return Some((reason, message.to_owned()));
        };
        let trouble = answers.iter().find_map(|report| report.storage_trouble.as_ref())?;
        let reason = match trouble.kind {
            StorageTroubleKind::Full => STORAGE_FULL,
            StorageTroubleKind::Unavailable => STORAGE_UNAVAILABLE,
        };
        Some((reason, trouble.message.clone()))
    }

    /// Whether executors say that they lost one which was there at both looks. When a job is scaled down more were there
    /// than are wanted, and those that leave are not lost.
    fn recovered_unseen(&self, status: &CnnTrainingJobStatus) -> bool {
        let grown = self.previous.recoveries.is_some_and(|before| status.recoveries > Some(before));
        grown && self.previous.executors.is_some_and(|counts| counts.joined <= self.executors)
    }

    /// Whether training is complete and somebody writes or has written the result: the others end now, and are not lost.
    fn is_finishing(&self, status: &CnnTrainingJobStatus) -> bool {
        let trained = status.progress.as_ref().is_some_and(|progress| progress.step >= progress.total_steps);
        trained
            || status.result.is_some()
            || job_condition(self.job, "SuccessCriteriaMet").is_some()
            || self.endings.iter().any(|ending| ending.exit_code == 0)
    }

    /// Why training pauses, if every executor that answers says that it does.
    fn paused(&self) -> Option<String> {
        let answers = self.answers.filter(|answers| !answers.is_empty())?;
        let all = answers.iter().all(|report| report.phase == ExecutorPhase::Paused);
        all.then(|| {
            let message = answers.iter().find_map(|report| report.message.clone());
            message.unwrap_or_else(|| "fewer than elastic.minExecutors executors reach each other".to_owned())
        })
    }

    fn why_failed(&self, condition: &JobCondition) -> (&'static str, String) {
        let of_job = condition.message.clone().unwrap_or_default();
        if condition.reason.as_deref() == Some("DeadlineExceeded") {
            return (
                "DeadlineExceeded",
                "the job ran longer than runPolicy.activeDeadlineSeconds".to_owned(),
            );
        }
        // A permanent error speaks before those that merely kept coming back.
        let failures =
            || self.endings.iter().filter(|ending| ending.exit_code != 0 && ending.exit_code != 143);
        let permanent =
            failures().find(|ending| matches!(ending.condition_reason(), "BadData" | "Diverged" | "BadSpec"));
        match permanent.or_else(|| failures().next_back()) {
            Some(ending) => (ending.condition_reason(), ending.describe()),
            None => ("ExecutorFailed", of_job),
        }
    }
}

/// The numbers of a list such as `1,3-5,7`, as a Job's status has it. A part that is no such thing counts for nothing.
fn indexes(list: &str) -> Vec<u32> {
    let part = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse().ok()?..=last.parse().ok()?)
    };
    list.split(',').filter_map(part).flatten().take(lockstep_crds::spec::EXECUTORS_MAX as usize).collect()
}

fn job_condition<'a>(job: &'a Job, kind: &str) -> Option<&'a JobCondition> {
    let conditions = job.status.as_ref()?.conditions.as_deref()?;
    conditions.iter().find(|condition| condition.type_ == kind && condition.status == "True")
}

fn finish(status: &mut CnnTrainingJobStatus, now: Timestamp, job: &Job) {
    let ended = job.status.as_ref().and_then(|status| status.completion_time.clone());
    status.completion_time = status.completion_time.clone().or(ended).or(Some(Time(now)));
    if let Some(counts) = &mut status.executors {
        *counts = ExecutorCounts { desired: counts.desired, ready: 0, joined: 0 };
    }
    if let Some(progress) = &mut status.progress {
        progress.eta_seconds = None;
        if status.phase == Some(Phase::Succeeded) {
            progress.percent = 100;
        }
    }
}

/// Whether a condition of the status holds.
pub(super) fn is_true(status: &CnnTrainingJobStatus, kind: &str) -> bool {
    status.conditions.iter().any(|condition| condition.type_ == kind && condition.status == "True")
}

fn set(
    conditions: &mut Vec<Condition>,
    now: Timestamp,
    generation: Option<i64>,
    kind: &str,
    holds: bool,
    reason: &str,
    message: String,
) {
    let value = if holds { "True" } else { "False" };
    let old = conditions.iter().position(|condition| condition.type_ == kind);
    let since = old
        .map(|at| &conditions[at])
        .filter(|old| old.status == value)
        .map(|old| old.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: value.to_owned(),
        observed_generation: generation,
        last_transition_time: since.unwrap_or(Time(now)),
        reason: reason.to_owned(),
        // The API allows 32,768 bytes; a message is for people.
        message: message.chars().take(4000).collect(),
    };
    match old {
        Some(at) => conditions[at] = condition,
        None => conditions.push(condition),
    }
}

fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests;
