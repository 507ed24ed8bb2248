//! What a run tells: TensorBoard from PyPI shows what the run log has, whoever wrote and died.

use std::{fs, path::PathBuf};

use anyhow::{Context, Result, ensure};
use lockstep_tests::{process, tracking::*};
use rustix::process::{Pid, Signal, kill_process};

use crate::lockstep::{Data, Job, text};

/// 14 steps an epoch.
const STEPS: u64 = 8 * 14;

/// The writer dies, comes back, and dies again; then all are stopped, and another number of executors goes on.
pub(crate) fn tensorboard_shows_every_step_once_whoever_died(data: &Data) -> Result<()> {
    let runs = tempfile::tempdir()?;
    let job = Job::new(data)?
        .set("training.epochs=8")
        .set(&format!("tracking.tensorBoard.uri={}", runs.path().display()));
    let running = job.start(&["--executors", "2"])?;
    for step in [10, 30] {
        job.reaches(step)?;
        process::kill(running.executor(0)?)?;
    }
    job.reaches(50)?;
    kill_process(Pid::from_raw(running.id() as i32).context("no pid")?, Signal::INT)?;
    let output = running.output()?;
    ensure!(output.status.code() == Some(130), "interrupted: {} {}", output.status, text(&output.stderr));
    let summary = job.run(&["--executors", "1"])?;
    ensure!(summary["alreadyFinished"] == false && summary["steps"] == STEPS, "{summary}");

    let log = RunLog::read(&only(&job.folder.path().join("checkpoints"))?.join("events"))?;
    ensure_tensorboard_shows(&only(runs.path())?, &log, STEPS)?;
    ensure!(
        log.lines("view").any(|line| line["observed"]["view"]["lost"] == serde_json::json!([0])),
        "no view tells that executor 0 was lost"
    );
    ensure!(log.by_step("checkpoint")?.contains_key(&STEPS), "the last checkpoint is not told");
    let result = log.by_step("result")?;
    let result = result.get(&STEPS).context("the result is not told")?;
    ensure!(result["weightsSha256"] == summary["weightsSha256"], "{result}\n{summary}");
    let test = &log.by_step("test")?[&STEPS];
    ensure!(test["accuracy"] == summary["testAccuracy"] && test["loss"] == summary["testLoss"], "{test}");
    Ok(())
}

/// Runs that are told elsewhere, or nowhere but beside their checkpoints, are the same runs.
pub(crate) fn a_job_without_tensorboard_has_a_run_log_all_the_same(data: &Data) -> Result<()> {
    let runs = tempfile::tempdir()?;
    let (plain, tracked) = (Job::new(data)?, Job::new(data)?);
    let tracked = tracked.set(&format!("tracking.tensorBoard.uri={}", runs.path().display()));
    let mut logs = Vec::new();
    for job in [&plain, &tracked] {
        let summary = job.run(&["--executors", "2"])?;
        let run = only(&job.folder.path().join("checkpoints"))?;
        let log = RunLog::read(&run.join("events"))?;
        let told = ["step", "epoch", "validation", "test", "result"].map(|kind| log.by_step(kind));
        let told = told.into_iter().collect::<Result<Vec<_>>>()?;
        ensure!(told[0].keys().copied().eq(1..=28), "not every step is told: {:?}", told[0].keys());
        ensure!(told[4].len() == 1 && summary["steps"] == 28, "{told:?} {summary}");
        logs.push((run.file_name().map(ToOwned::to_owned), told));
    }
    ensure!(logs[0] == logs[1], "what is a function of (job, step) differs: {logs:?}");
    Ok(())
}

/// The folder of the only run.
fn only(folder: &std::path::Path) -> Result<PathBuf> {
    let mut runs = fs::read_dir(folder)?.map(|run| Ok(run?.path())).collect::<Result<Vec<_>>>()?;
    ensure!(runs.len() == 1, "{runs:?}");
    runs.pop().context("no run")
}
