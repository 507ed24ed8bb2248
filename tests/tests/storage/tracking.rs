//! What a run tells, on HDFS: TensorBoard shows it from copies that Hadoop's own shell made.

use anyhow::{Context, Result, ensure};
use lockstep_tests::tracking::{RunLog, ensure_tensorboard_shows};

use crate::bed::Bed;

pub(crate) fn a_run_log_and_event_files_on_hdfs_are_whole_as_hadoops_shell_gets_them(
    bed: &Bed,
) -> Result<()> {
    let uri = format!("{}/runs/tracked", bed.hdfs().uri());
    let job = bed.job("tracked")?.set(&format!("tracking.tensorBoard.uri={uri}"));
    let summary = job.run(&["--executors", "2"])?;
    // …/<run>/step-…/model.safetensors
    let run = summary["modelUri"].as_str().and_then(|uri| uri.rsplit('/').nth(2)).context("no modelUri")?;
    let copies = tempfile::tempdir()?;
    for (source, name) in
        [(format!("/checkpoints/tracked/{run}/events"), "events"), (format!("/runs/tracked/{run}"), "runs")]
    {
        let copy = copies.path().join(name);
        bed.hdfs().shell(&["dfs", "-get", &source, copy.to_str().context("the path is not UTF-8")?])?;
    }
    let listing = bed.hdfs().shell(&["dfs", "-ls", "-R", "/runs/tracked"])?;
    ensure!(!listing.contains(".tmp."), "temporary files are left:\n{listing}");
    let log = RunLog::read(&copies.path().join("events"))?;
    let steps = summary["steps"].as_u64().context("no steps")?;
    ensure_tensorboard_shows(&copies.path().join("runs"), &log, steps)
}
