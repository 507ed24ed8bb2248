//! The promise: a job trains on pods, and its weights are those of one process on one machine, whatever is killed.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, bail, ensure};
use lockstep_tests::namespace::with_namespace;
use lockstep_tests::process;
use lockstep_tests::wait::eventually;
use serde_json::{Value, json};

use crate::job::{Job, SOON, TRAINING, phase};
use crate::world::World;

/// The example as it is, seen as users see it: by `kubectl get`.
pub(crate) fn the_example_trains_on_two_executors_to_the_weights_of_one_process(world: &World) -> Result<()> {
    let product = world.product()?;
    with_namespace(&world.cluster, "example", |kubectl| {
        let job = Job::apply(world, kubectl, |_| {})?;

        let accuracy = product.reference["testAccuracy"].as_f64().context("the reference has no accuracy")?;
        let accuracy = format!("{:.1}%", 100.0 * accuracy);

        // Every different line of the table while the job runs.
        let mut seen: BTreeSet<u32> = BTreeSet::new();
        let mut together = false;
        eventually("success in kubectl get", TRAINING, || {
            let row = table(&kubectl.run(&["get", "cnntrainingjobs"])?)?;
            let cell = |column: &str| {
                row.iter().find(|(name, _)| name == column).map_or("", |(_, cell)| cell.as_str())
            };
            match cell("PHASE") {
                "Failed" => bail!("the job failed: {row:?}"),
                "Succeeded" => {
                    ensure!(cell("PROGRESS") == "100%", "succeeded at less than 100 %: {row:?}");
                    ensure!(
                        cell("ACCURACY") == accuracy,
                        "not the accuracy of the reference, {accuracy}: {row:?}"
                    );
                    return Ok(Some(()));
                }
                _ => {}
            }
            seen.extend(cell("PROGRESS").strip_suffix('%').and_then(|percent| percent.parse::<u32>().ok()));
            together |= cell("EXECUTORS") == "2/2";
            Ok(None)
        })?;
        ensure!(
            seen.iter().filter(|&&percent| 0 < percent && percent < 100).count() >= 2,
            "no progress seen: {seen:?}"
        );
        ensure!(together, "the two executors were never seen together");

        let done = job.until_it_succeeded_as(&product.reference)?;
        ensure!(
            done["status"]["result"]["weightsSha256"] == *product.weights_sha256()?,
            "{}",
            done["status"]
        );
        ensure!(
            done["status"]["recoveries"].as_u64().unwrap_or(0) == 0,
            "something was lost: {}",
            done["status"]
        );
        // Ten classes: a network that learns nothing has a loss of ln 10, 2.3.
        let loss = done["status"]["progress"]["loss"].as_f64().context("no loss")?;
        ensure!(loss < 2.1, "it has learnt nothing: {}", done["status"]);
        for event in ["Created", "Started", "Completed"] {
            job.until_event(event)?;
        }
        let warnings: Vec<Value> =
            job.events()?.into_iter().filter(|event| event["type"] != "Normal").collect();
        ensure!(warnings.is_empty(), "nothing happened, and yet: {warnings:?}");
        Ok(())
    })
}

/// One process is killed inside its container, and the pod of another executor is deleted: the survivors go on at once,
/// both come back, and no bit changes.
pub(crate) fn killed_processes_and_deleted_pods_do_not_change_the_weights(world: &World) -> Result<()> {
    let product = world.product()?;
    with_namespace(&world.cluster, "kills", |kubectl| {
        let job = Job::apply(world, kubectl, |job| job["spec"]["executors"] = json!(3))?;
        job.until("three executors in one view", TRAINING, |job| {
            phase(job) == "Running" && job["status"]["executors"]["joined"] == 3
        })?;

        let victim = job.training_process(1)?;
        let pod = job.pod(1)?;
        process::kill(victim.pid)?;
        let recovered =
            job.until("a recovery from the killed process", TRAINING, |job| recoveries(job) >= 1)?;
        ensure!(phase(&recovered) != "Failed");
        eventually("a new process in the same pod", SOON, || {
            // Between two processes there is none.
            Ok(job.training_process(1).ok().filter(|process| process.pid != victim.pid))
        })?;
        ensure!(
            job.pod(1)?["metadata"]["uid"] == pod["metadata"]["uid"],
            "the Job replaced the pod of a killed process"
        );

        job.delete_pod(2)?;
        job.until("a recovery from the deleted pod", TRAINING, |job| recoveries(job) >= 2)?;

        job.until_it_succeeded_as(&product.reference)?;
        job.until_event("ExecutorLost")?;
        job.until_event("Recovered")?;
        job.until_event("Completed")
    })
}

/// The operator only watches; executors need it neither to train nor to finish, and a new one finds its way from what it reads.
pub(crate) fn training_goes_on_while_the_operator_is_gone(world: &World) -> Result<()> {
    let product = world.product()?;
    with_namespace(&world.cluster, "no-operator", |kubectl| {
        let job = Job::apply(world, kubectl, |_| {})?;
        job.until_step(1)?;
        let before = job.pod(0)?["metadata"]["uid"].clone();
        world.kill_operator()?;
        job.until_it_succeeded_as(&product.reference)?;
        ensure!(job.pod(0)?["metadata"]["uid"] == before, "the new operator replaced the executors");
        job.until_event("Completed")
    })
}

/// Views that went on after a loss.
pub(crate) fn recoveries(job: &Value) -> u64 {
    job["status"]["recoveries"].as_u64().unwrap_or(0)
}

/// The only row of a table of kubectl, as (column, cell): columns begin where their titles do.
fn table(text: &str) -> Result<Vec<(String, String)>> {
    let lines: Vec<&str> = text.lines().collect();
    let [titles, row] = lines[..] else { bail!("not one job in {text:?}") };
    let starts: Vec<usize> = (0..titles.len())
        .filter(|&at| !titles[at..].starts_with(' ') && (at == 0 || titles[..at].ends_with("  ")))
        .collect();
    let cell = |line: &str, column: usize| {
        let end = starts.get(column + 1).copied().unwrap_or(usize::MAX).min(line.len());
        line.get(starts[column]..end).unwrap_or_default().trim().to_owned()
    };
    Ok((0..starts.len()).map(|column| (cell(titles, column), cell(row, column))).collect())
}
