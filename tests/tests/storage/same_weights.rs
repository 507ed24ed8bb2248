//! The promise on HDFS: where the bytes are does not change a bit of the weights.

use anyhow::{Context, Result, ensure};
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
