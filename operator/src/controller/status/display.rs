//! Text for `kubectl get`.

use lockstep_crds::status::{CnnTrainingJobStatus, Display, Phase};

/// The texts that belong to `status`; `epochs` is the spec's.
pub(super) fn display(status: &CnnTrainingJobStatus, epochs: u32) -> Display {
    let progress = status.progress.as_ref();
    let result = status.result.as_ref();
    let accuracy = result
        .and_then(|result| result.test_accuracy)
        .or_else(|| progress.and_then(|progress| progress.validation_accuracy));
    let running = !status.phase.is_some_and(Phase::is_terminal);
    Display {
        progress: progress.map(|progress| format!("{}%", progress.percent)),
        epoch: progress.map(|progress| format!("{}/{epochs}", progress.epoch)),
        accuracy: accuracy.map(|accuracy| format!("{:.1}%", 100.0 * accuracy)),
        images_per_second: progress
            .and_then(|progress| progress.images_per_second)
            .map(|rate| format!("{rate:.0}")),
        loss: progress.and_then(|progress| progress.loss).map(|loss| format!("{loss:.4}")),
        executors: status.executors.map(|executors| format!("{}/{}", executors.joined, executors.desired)),
        eta: progress.and_then(|progress| progress.eta_seconds).filter(|_| running).map(span),
    }
}

/// Seconds as kubectl writes ages: the two largest units.
fn span(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    if days > 0 {
        format!("{days}d{}h", hours % 24)
    } else if hours > 0 {
        format!("{hours}h{}m", minutes % 60)
    } else if minutes > 0 {
        format!("{minutes}m{}s", seconds % 60)
    } else {
        format!("{seconds}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::status::{ExecutorCounts, Progress, ResultStatus};

    #[test]
    fn spans_have_two_units() {
        for (seconds, text) in [(0, "0s"), (59, "59s"), (200, "3m20s"), (7_260, "2h1m"), (90_000, "1d1h")] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn the_results_accuracy_replaces_the_validations() {
        let mut status = CnnTrainingJobStatus {
            phase: Some(Phase::Running),
            progress: Some(Progress {
                epoch: 4,
                percent: 37,
                validation_accuracy: Some(0.7125),
                images_per_second: Some(1234.4),
                loss: Some(0.831_25),
                eta_seconds: Some(200),
                ..Progress::default()
            }),
            executors: Some(ExecutorCounts { desired: 2, ready: 2, joined: 1 }),
            ..CnnTrainingJobStatus::default()
        };
        let text = display(&status, 50);
        assert_eq!(text.progress.as_deref(), Some("37%"));
        assert_eq!(text.epoch.as_deref(), Some("4/50"));
        assert_eq!(text.accuracy.as_deref(), Some("71.2%"));
        assert_eq!(text.images_per_second.as_deref(), Some("1234"));
        assert_eq!(text.executors.as_deref(), Some("1/2"));
        assert_eq!(text.eta.as_deref(), Some("3m20s"));
        status.result = Some(ResultStatus { test_accuracy: Some(0.8), ..ResultStatus::default() });
        status.phase = Some(Phase::Succeeded);
        let text = display(&status, 50);
        assert_eq!((text.accuracy.as_deref(), text.eta), (Some("80.0%"), None));
    }
}
