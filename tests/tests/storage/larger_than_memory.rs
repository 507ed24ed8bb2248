//! Data that does not fit into memory: the bound holds, and the weights are those of any other run.

use anyhow::{Context, Result, ensure};
use lockstep_tests::lockstep::Data;
use serde_json::Value;

use crate::bed::{Bed, Training};

/// All images, put there by Hadoop's own client.
const DATA: &str = "/datasets/whole";
const MIB: u64 = 1 << 20;
/// What the allocator and the buffers of requests may add to the bound.
const SLACK_MIB: u64 = 24;

/// Peak memory is compared with that of a run that keeps next to nothing, in the same test.
pub(crate) fn a_data_set_five_times_the_cache_trains_within_that_bound(bed: &Bed) -> Result<()> {
    let data = Data::whole()?;
    let folder = data.folder.to_str().context("the path is not UTF-8")?;
    bed.hdfs().shell(&["dfs", "-put", folder, DATA])?;
    let bytes: u64 = ["train", "test"].iter().map(|split| size(&data, split)).sum::<Result<u64>>()?;
    let bound_mib = bytes / 5 / MIB;

    let (reference, all) = train(bed, "1", "512Mi")?;
    let (fifth, within) = train(bed, "2", &format!("{bound_mib}Mi"))?;
    let (nothing, base) = train(bed, "2", "1Mi")?;
    println!(
        "data: {} MiB; peak memory of an executor: {} MiB with all of it, {} MiB with cacheSize {bound_mib}Mi, {} MiB with 1Mi",
        bytes / MIB,
        all / MIB,
        within / MIB,
        base / MIB
    );
    for summary in [&fifth, &nothing] {
        ensure!(
            reference["weightsSha256"].is_string() && summary["weightsSha256"] == reference["weightsSha256"],
            "{summary}\nwith all data in memory: {reference}"
        );
    }
    ensure!(within <= base + (bound_mib + SLACK_MIB) * MIB, "{bound_mib} MiB were to be kept at most");
    ensure!(all > within, "a bound that changes nothing bounds nothing");
    Ok(())
}

fn train(bed: &Bed, executors: &str, cache_size: &str) -> Result<(Value, u64)> {
    let name = format!("whole-{executors}-{cache_size}").to_lowercase();
    let uri = bed.hdfs().uri();
    let job = bed
        .job(&name)?
        .set(&format!("data.training.uri={uri}{DATA}/train"))
        .set(&format!("data.test.uri={uri}{DATA}/test"))
        .set("training.epochs=1")
        .set("checkpoint.everySteps=100")
        .set(&format!("data.cacheSize={cache_size}"));
    Training::start(job, &name, executors)?.summary_and_peak()
}

fn size(data: &Data, split: &str) -> Result<u64> {
    let files = std::fs::read_dir(data.folder.join(split))?;
    files.map(|file| Ok(file?.metadata()?.len())).sum()
}
