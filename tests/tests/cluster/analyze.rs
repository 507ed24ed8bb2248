//! An analysis in parts, each a pod: the report is that of one process, byte for byte.

use std::{fs, os::unix::fs::chown, process::Command, time::Duration};

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::{lockstep, namespace::with_namespace, wait::eventually};

use crate::job::{USER, example_path, provide};
use crate::world::World;

const IMAGE: &str = "REGISTRY/lockstep-trainer:0.1.0";
/// Five small pods on two busy cores.
const ANALYSIS: Duration = Duration::from_secs(180);

pub(crate) fn parts_on_pods_make_the_report_of_one_process(world: &World) -> Result<()> {
    let product = world.product()?;
    with_namespace(&world.cluster, "analyze", |kubectl| {
        let (volume, on_node) = world.cluster.volume("analyze")?;
        let data = volume.join("cifar10");
        fs::create_dir_all(&data)?;
        let splits = ["train", "test"].map(|split| product.data.join(split));
        let copied = Command::new("cp").args(["--recursive", "--link"]).args(&splits).arg(&data).status()?;
        ensure!(copied.success(), "failed to copy the data to {}", data.display());
        // What an earlier test run left would pass for this one's.
        fs::remove_dir_all(volume.join("analysis")).ok();
        chown(&volume, Some(USER), Some(USER))?;
        provide(kubectl, "analyze", "lockstep-data", &on_node)?;

        let manifest = fs::read_to_string(example_path("analyze/indexed-job.yaml"))?;
        ensure!(manifest.matches(IMAGE).count() == 2, "the example has other images than {IMAGE}");
        // Four parts must find room on a machine of two cores; they have their limits all the same.
        let manifest = manifest
            .replace(IMAGE, "localhost/lockstep-trainer:dev")
            .replace(r#"requests: {cpu: "1", memory: 256Mi}"#, "requests: {cpu: 100m, memory: 64Mi}");
        kubectl.run_with_input(&["apply", "--filename=-"], &manifest)?;
        eventually("the merged report", ANALYSIS, || {
            let job = kubectl.get("job", "analyze-merge")?.context("no job analyze-merge")?;
            ensure!(job["status"]["failed"].as_u64().unwrap_or(0) == 0, "it failed: {}", job["status"]);
            Ok((job["status"]["succeeded"] == 1).then_some(()))
        })?;
        let parts = kubectl.get("job", "analyze")?.context("no job analyze")?;
        ensure!(parts["status"]["completedIndexes"] == "0-3", "not all parts: {}", parts["status"]);

        let here = volume.join("here.json");
        let arguments = ["train", "test"].map(|split| format!("{split}={}", data.join(split).display()));
        let output = lockstep::lockstep(["analyze"]).args(arguments).arg("--json").arg(&here).output()?;
        ensure!(output.status.success(), "{}", lockstep::text(&output.stderr));
        let log = kubectl.run(&["logs", "job/analyze-merge"])?;
        ensure!(log.contains(&lockstep::text(&output.stdout)), "another summary than here: {log}");

        // The pods see the same files elsewhere.
        let there = fs::read_to_string(volume.join("analysis/report.json"))?;
        let there = there.replace("file:///data/cifar10/", &format!("file://{}/", data.display()));
        ensure!(there == fs::read_to_string(&here)?, "not the report of one process:\n{there}");
        let page = fs::read_to_string(volume.join("analysis/report.html"))?;
        ensure!(
            page.starts_with("<!doctype html>") && page.contains("data:image/png"),
            "no page with pictures"
        );
        Ok(())
    })
}
