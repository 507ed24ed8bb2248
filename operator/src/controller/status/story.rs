//! The events of a job: what changed from one status to the next, in the words of its user.

use super::plan::{EXECUTORS_GIVEN_UP, STORAGE_REASONS, is_true, reason_of_progress};
use kube::runtime::events::EventType;
use lockstep_crds::status::{CnnTrainingJobStatus, ExecutorCounts, Phase};

/// An event to be published.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) kind: EventType,
    pub(crate) reason: &'static str,
    pub(crate) text: String,
}

/// What changed. Reading it from two statuses makes it independent of what the operator remembers; an event may be
/// published twice or not at all when the operator dies between the status and the event.
pub(crate) fn story(previous: &CnnTrainingJobStatus, next: &CnnTrainingJobStatus) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut tell = |kind, reason, text: String| notes.push(Note { kind, reason, text });
    let counts = |status: &CnnTrainingJobStatus| status.executors.unwrap_or_default();
    let (was, is) = (counts(previous), counts(next));
    let became = |phase| next.phase == Some(phase) && previous.phase != Some(phase);
    let ended = next.phase.is_some_and(Phase::is_terminal);
    let message = |kind: &str| {
        let condition = next.conditions.iter().find(|condition| condition.type_ == kind);
        condition.map(|condition| format!("{}: {}", condition.reason, condition.message)).unwrap_or_default()
    };

    if previous.executors.is_none() && next.executors.is_some() {
        tell(EventType::Normal, "Created", format!("created the children for {} executors", is.desired));
    }
    if !is_true(previous, "Started") && is_true(next, "Started") {
        tell(
            EventType::Normal,
            "Started",
            format!("{} of {} executors have met and train", is.joined, is.desired),
        );
    }
    if previous.executors.is_some() && was.desired != is.desired {
        tell(EventType::Normal, "Scaled", format!("from {} to {} executors", was.desired, is.desired));
    }
    let trouble = |status| reason_of_progress(status).filter(|(reason, _)| STORAGE_REASONS.contains(reason));
    match (trouble(previous).map(|(reason, _)| reason), trouble(next)) {
        (before, Some((reason, words))) if before != Some(reason) => {
            let reason = STORAGE_REASONS.into_iter().find(|known| *known == reason).unwrap_or_default();
            tell(EventType::Warning, reason, words.to_owned());
        }
        (Some(_), None) if !ended => {
            tell(EventType::Normal, "StorageRecovered", "storage takes what it is given again".to_owned());
        }
        _ => {}
    }
    if became(Phase::Suspended) {
        tell(EventType::Normal, "Suspended", "executors leave after a checkpoint".to_owned());
    }
    if previous.phase == Some(Phase::Suspended) && !ended && next.phase != Some(Phase::Suspended) {
        tell(EventType::Normal, "Resumed", "executors start again".to_owned());
    }
    if lost(previous, next, was, is) {
        tell(
            EventType::Warning,
            "ExecutorLost",
            format!("{} of {} executors train; {}", is.joined, is.desired, at(next)),
        );
    }
    if previous.phase == Some(Phase::Recovering)
        && next.phase == Some(Phase::Running)
        && is.joined >= is.desired
    {
        tell(
            EventType::Normal,
            "Recovered",
            format!("all {} executors train again; {}", is.desired, at(next)),
        );
    }
    let gave_up = |status| reason_of_progress(status).filter(|(reason, _)| *reason == EXECUTORS_GIVEN_UP);
    if let (None, Some((_, words))) = (gave_up(previous), gave_up(next)) {
        tell(EventType::Warning, "ExecutorGivenUp", words.to_owned());
    }
    if became(Phase::Stalled) {
        tell(EventType::Warning, "Stalled", message("Progressing"));
    }
    if let Some(checkpoint) = &next.checkpoint
        && tells_checkpoint(previous, next)
    {
        tell(
            EventType::Normal,
            "CheckpointCommitted",
            format!("step {} is safe in {}", checkpoint.step, checkpoint.uri),
        );
    }
    if let Some(result) = &next.result
        && result.early_stopped
        && previous.result.is_none()
    {
        tell(
            EventType::Normal,
            "EarlyStopped",
            format!("the metric stopped improving; ended after {} steps", result.steps),
        );
    }
    if became(Phase::Succeeded) {
        let accuracy = next.result.as_ref().and_then(|result| result.test_accuracy);
        let accuracy =
            accuracy.map(|accuracy| format!(", test accuracy {:.1}%", 100.0 * accuracy)).unwrap_or_default();
        tell(EventType::Normal, "Completed", format!("{}{accuracy}", message("Complete")));
    }
    if became(Phase::Failed) {
        tell(EventType::Warning, "Failed", message("Failed"));
    }
    notes
}

/// The job has begun to recover, or has lost one more while it does.
///
/// Both signs of a loss, fewer members and a grown count of recoveries, lead to the phase Recovering, in either order.
fn lost(
    previous: &CnnTrainingJobStatus,
    next: &CnnTrainingJobStatus,
    was: ExecutorCounts,
    is: ExecutorCounts,
) -> bool {
    let recovers = |status: &CnnTrainingJobStatus| status.phase == Some(Phase::Recovering);
    let further = was.joined < was.desired && is.joined < was.joined && was.desired == is.desired;
    recovers(next) && (!recovers(previous) || further)
}

/// Committed checkpoints are frequent and events are not for that: the first, and one in each quarter of the job.
fn tells_checkpoint(previous: &CnnTrainingJobStatus, next: &CnnTrainingJobStatus) -> bool {
    let quarter = |status: &CnnTrainingJobStatus| {
        let total =
            status.progress.as_ref().or(next.progress.as_ref()).map_or(0, |progress| progress.total_steps);
        status.checkpoint.as_ref().map(|checkpoint| (4 * checkpoint.step).checked_div(total).unwrap_or(0))
    };
    quarter(previous) != quarter(next)
}

fn at(status: &CnnTrainingJobStatus) -> String {
    let step = status.progress.as_ref().map_or(0, |progress| progress.step);
    format!("step {step}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::status::{CheckpointStatus, Progress, ResultStatus};

    fn status(phase: Phase, joined: u32, desired: u32) -> CnnTrainingJobStatus {
        CnnTrainingJobStatus {
            phase: Some(phase),
            executors: Some(ExecutorCounts { desired, ready: joined, joined }),
            progress: Some(Progress { step: 40, total_steps: 400, ..Progress::default() }),
            recoveries: Some(0),
            ..CnnTrainingJobStatus::default()
        }
    }

    fn reasons(previous: &CnnTrainingJobStatus, next: &CnnTrainingJobStatus) -> Vec<&'static str> {
        story(previous, next).into_iter().map(|note| note.reason).collect()
    }

    #[test]
    fn nothing_new_is_no_event() {
        let running = status(Phase::Running, 2, 2);
        assert!(reasons(&running, &running).is_empty());
    }

    #[test]
    fn creation_is_told_once() {
        let starting = status(Phase::Starting, 0, 2);
        assert_eq!(reasons(&CnnTrainingJobStatus::default(), &starting), ["Created"]);
        assert!(reasons(&starting, &starting).is_empty());
    }

    #[test]
    fn loss_and_recovery_are_told() {
        let (full, less) = (status(Phase::Running, 2, 2), status(Phase::Recovering, 1, 2));
        assert_eq!(reasons(&full, &less), ["ExecutorLost"]);
        assert_eq!(reasons(&less, &full), ["Recovered"]);
    }

    #[test]
    fn a_loss_is_told_once_in_whatever_order_its_signs_appear() {
        let (full, less) = (status(Phase::Running, 2, 2), status(Phase::Recovering, 1, 2));
        let counted = CnnTrainingJobStatus { recoveries: Some(1), ..less.clone() };
        assert!(reasons(&less, &counted).is_empty());
        let counted_first = CnnTrainingJobStatus { recoveries: Some(1), ..status(Phase::Recovering, 2, 2) };
        assert_eq!(reasons(&full, &counted_first), ["ExecutorLost"]);
        assert!(reasons(&counted_first, &counted).is_empty());
        let another = status(Phase::Recovering, 0, 2);
        assert_eq!(reasons(&less, &another), ["ExecutorLost"]);
    }

    #[test]
    fn scaling_down_is_no_loss() {
        assert_eq!(reasons(&status(Phase::Running, 4, 4), &status(Phase::Running, 2, 2)), ["Scaled"]);
    }

    #[test]
    fn suspension_and_resumption_are_told() {
        let (running, suspended) = (status(Phase::Running, 2, 2), status(Phase::Suspended, 0, 2));
        assert_eq!(reasons(&running, &suspended), ["Suspended"]);
        assert_eq!(reasons(&suspended, &status(Phase::Starting, 0, 2)), ["Resumed"]);
    }

    #[test]
    fn checkpoints_are_told_once_in_a_quarter() {
        let with = |step: u64| CnnTrainingJobStatus {
            checkpoint: Some(CheckpointStatus { step, ..CheckpointStatus::default() }),
            ..status(Phase::Running, 2, 2)
        };
        assert_eq!(reasons(&status(Phase::Running, 2, 2), &with(10)), ["CheckpointCommitted"]);
        assert!(reasons(&with(10), &with(90)).is_empty());
        assert_eq!(reasons(&with(90), &with(100)), ["CheckpointCommitted"]);
    }

    #[test]
    fn the_end_is_told() {
        let mut done = status(Phase::Succeeded, 0, 2);
        done.result =
            Some(ResultStatus { early_stopped: true, test_accuracy: Some(0.5), ..ResultStatus::default() });
        let notes = story(&status(Phase::Running, 2, 2), &done);
        let told: Vec<_> = notes.iter().map(|note| note.reason).collect();
        assert_eq!(told, ["EarlyStopped", "Completed"]);
        assert!(notes[1].text.ends_with("test accuracy 50.0%"), "{}", notes[1].text);
        assert_eq!(reasons(&status(Phase::Running, 2, 2), &status(Phase::Failed, 0, 2)), ["Failed"]);
    }
}
