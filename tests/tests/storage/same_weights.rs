//! The promise on HDFS: where the bytes are does not change a bit of the weights.

use anyhow::{Context, Result, ensure};
use lockstep_tests::lockstep::{lockstep, text};
use serde_json::Value;

use crate::bed::Bed;

pub(crate) fn training_from_and_to_hdfs_gives_the_weights_of_files(bed: &Bed) -> Result<()> {
    let files = bed.job_on_files()?;
    let reference = files.run(&["--executors", "1"])?;
    for executors in ["1", "3"] {
        let summary = bed.job(&format!("same-{executors}"))?.run(&["--executors", executors])?;
        ensure_same(&summary, &reference).context(format!("with {executors} executors"))?;
        let again = bed.job(&format!("same-{executors}"))?.run(&["--executors", "2"])?;
        ensure!(again["alreadyFinished"] == true, "a finished run on HDFS was not found: {again}");

        // As Hadoop's own shell sees it: everything that was committed, nothing that was half written.
        let listing = bed.hdfs().shell(&["dfs", "-ls", "-R", &format!("/checkpoints/same-{executors}")])?;
        for file in ["RESULT.json", "model.safetensors", "optimizer.safetensors", "MANIFEST.json"] {
            ensure!(listing.contains(file), "no {file} in\n{listing}");
        }
        ensure!(!listing.contains(".tmp."), "temporary files are left:\n{listing}");
        let uri = summary["modelUri"].as_str().context("no modelUri")?;
        let local = reference["modelUri"].as_str().and_then(|uri| uri.strip_prefix("file://"));
        let copy = files.folder.path().join(format!("copy-{executors}"));
        bed.hdfs().shell(&["dfs", "-get", uri, copy.to_str().context("the path is not UTF-8")?])?;
        ensure!(
            std::fs::read(local.context("no modelUri")?)? == std::fs::read(&copy)?,
            "model.safetensors on HDFS differs from that in files"
        );
    }
    Ok(())
}

/// By the command that users have.
pub(crate) fn checkpoints_on_hdfs_are_listed_verified_and_pruned(bed: &Bed) -> Result<()> {
    let name = "listed";
    let summary = bed.job(name)?.run(&["--executors", "2"])?;
    let run = listing(bed, name, &["--verify"])?;
    ensure!(run["finished"] == true && run["weightsSha256"] == summary["weightsSha256"], "{run}");
    ensure!(steps(&run) == bed.committed(name)?, "Hadoop's listing differs: {run}");

    let run = listing(bed, name, &["--prune", "--keep", "1"])?;
    let newest: u32 = summary["steps"].as_u64().context("no steps")?.try_into()?;
    ensure!(bed.committed(name)? == [newest] && steps(&run) == [newest], "not only {newest} is left: {run}");
    let again = bed.job(name)?.run(&["--executors", "1"])?;
    ensure!(again["alreadyFinished"] == true, "the pruned run is not finished: {again}");
    Ok(())
}

/// The only run that `lockstep checkpoints` finds.
fn listing(bed: &Bed, name: &str, options: &[&str]) -> Result<Value> {
    let hdfs = bed.hdfs();
    let uri = format!("{}/checkpoints/{name}", hdfs.uri());
    let mut command = lockstep(["checkpoints", "--json", &uri]);
    let output = command.args(options).env("HADOOP_CONF_DIR", hdfs.conf_dir()).output()?;
    ensure!(output.status.success(), "{options:?}: {}{}", text(&output.stdout), text(&output.stderr));
    let listed: Value = serde_json::from_slice(&output.stdout)?;
    ensure!(listed["runs"].as_array().is_some_and(|runs| runs.len() == 1), "{listed}");
    Ok(listed["runs"][0].clone())
}

fn steps(run: &Value) -> Vec<u32> {
    let checkpoints = run["checkpoints"].as_array().into_iter().flatten();
    checkpoints.filter_map(|one| one["step"].as_u64()?.try_into().ok()).collect()
}

/// Checks that a job has the weights, and what is measured of them, of the same job from and to files.
pub(crate) fn ensure_same(summary: &Value, reference: &Value) -> Result<()> {
    for figure in ["weightsSha256", "testAccuracy", "validationAccuracy"] {
        ensure!(
            !reference[figure].is_null() && summary[figure] == reference[figure],
            "{figure}: {summary}\nfrom files: {reference}"
        );
    }
    Ok(())
}
