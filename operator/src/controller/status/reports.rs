//! From executors' reports to the parts of the status that follow them.

use lockstep_crds::{
    executor::ExecutorReport,
    status::{Best, CheckpointStatus, CnnTrainingJobStatus, Progress, ResultStatus},
};

/// Takes over what executors report, living ones and those that left their last words.
///
/// All members of a view have the same state, so the newest step of one speaks for all. After the loss of all, training goes
/// on from a checkpoint: the members' step is then the truth although it is lower than what is known.
pub(super) fn follow_reports(
    status: &mut CnnTrainingJobStatus,
    answers: &[ExecutorReport],
    last_words: &[&ExecutorReport],
) {
    let known = status.progress.as_ref().map_or(0, |progress| progress.step);
    let member = answers.iter().filter(|report| report.joined).max_by_key(|report| report.step);
    let other = answers.iter().chain(last_words.iter().copied()).max_by_key(|report| report.step);
    if let Some(newest) = member.or(other.filter(|report| report.step >= known))
        && newest.total_steps > 0
    {
        status.progress = Some(progress(newest));
    }
    let reports: Vec<&ExecutorReport> = answers.iter().chain(last_words.iter().copied()).collect();
    let view = reports.iter().filter_map(|report| report.view.as_ref()).map(|view| view.number).max();
    status.view = status.view.max(view);
    // Each executor counts since it joined; the one that has been there longest has seen most.
    status.recoveries =
        status.recoveries.max(reports.iter().map(|report| report.recoveries).max()).or(Some(0));
    if let Some(best) = reports.iter().filter_map(|report| report.best.as_ref()).max_by_key(|best| best.epoch)
    {
        status.best = Some(Best {
            epoch: best.epoch,
            validation_accuracy: best.validation_accuracy,
            checkpoint: best.checkpoint.clone(),
        });
    }
    if let Some(checkpoint) =
        reports.iter().filter_map(|report| report.checkpoint.as_ref()).max_by_key(|c| c.step)
        && status.checkpoint.as_ref().is_none_or(|known| known.step <= checkpoint.step)
    {
        status.checkpoint = Some(CheckpointStatus {
            uri: checkpoint.uri.clone(),
            step: checkpoint.step,
            time: checkpoint.time.clone(),
        });
    }
    if let Some((report, result)) =
        reports.iter().find_map(|report| report.result.as_ref().map(|result| (report, result)))
    {
        status.result = Some(ResultStatus {
            test_accuracy: result.test_accuracy,
            test_loss: result.test_loss,
            weights_sha256: result.weights_sha256.clone(),
            model_uri: result.model_uri.clone(),
            steps: result.steps,
            early_stopped: report.early_stopped,
        });
    }
}

fn progress(report: &ExecutorReport) -> Progress {
    let percent = (100 * report.step).checked_div(report.total_steps).unwrap_or(0);
    Progress {
        epoch: report.epoch,
        step: report.step,
        total_steps: report.total_steps,
        percent: u32::try_from(percent.min(100)).unwrap_or(100),
        eta_seconds: report.eta_seconds,
        images_per_second: Some(report.images_per_second).filter(|rate| rate.is_finite() && *rate > 0.0),
        loss: report.loss,
        learning_rate: report.learning_rate,
        validation_accuracy: report.validation_accuracy,
    }
}
