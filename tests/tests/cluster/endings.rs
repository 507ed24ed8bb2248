//! How jobs end that cannot succeed, and how what has ended goes away.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::kubectl::Kubectl;
use lockstep_tests::namespace::with_namespace;
use lockstep_tests::process;
use lockstep_tests::wait::eventually;
use serde_json::{Value, json};

use crate::job::{Job, SOON, TRAINING, ensure_says, phase, reason};
use crate::training::recoveries;
use crate::world::World;

const TTL_SECONDS: u64 = 20;
/// Long enough for a controller that would recreate something to do it.
const A_WHILE: Duration = Duration::from_secs(15);

/// Trying again cannot help: no pod is made a second time, and the status has the executor's own words.
pub(crate) fn a_permanent_error_ends_the_job_at_once_with_the_executors_last_words(
    world: &World,
) -> Result<()> {
    world.product()?;
    with_namespace(&world.cluster, "last-words", |kubectl| {
        let job = Job::apply(world, kubectl, |job| {
            job["spec"]["data"]["features"] = json!({"image": "photograph"});
        })?;
        let failed = job.until("failure", TRAINING, |job| phase(job) == "Failed")?;
        ensure_says(&failed, "Failed", &["photograph", ".tfrecord at byte", "the record has"])?;
        job.until_event("Failed")?;
        let pods = uids(kubectl)?;
        ensure!(pods.len() <= 2, "two executors had {} pods", pods.len());
        std::thread::sleep(A_WHILE);
        let later = uids(kubectl)?;
        ensure!(later.iter().all(|uid| pods.contains(uid)), "a failed job got pods: {pods:?}, {later:?}");
        Ok(())
    })
}

fn uids(kubectl: &Kubectl<'_>) -> Result<Vec<String>> {
    let pods = kubectl.list("pods", "")?;
    let uid = |pod: &Value| pod["metadata"]["uid"].as_str().map(str::to_owned).context("no uid");
    pods.iter().map(uid).collect()
}

/// With no crash allowed, two deleted pods are none, and a process that dies again and again is one: its executor is given up, and
/// with the last of them the job.
pub(crate) fn crashes_are_counted_and_disruptions_are_not(world: &World) -> Result<()> {
    world.product()?;
    with_namespace(&world.cluster, "crashes", |kubectl| {
        let job = Job::apply(world, kubectl, |job| {
            job["spec"]["training"]["epochs"] = json!(400);
            job["spec"]["runPolicy"] = json!({"backoffLimitPerExecutor": 0});
        })?;
        job.until_step(1)?;
        for _ in 0..2 {
            let before = recoveries(&job.get()?);
            job.delete_pod(1)?;
            job.until("both after a deletion", TRAINING, |job| {
                recoveries(job) > before
                    && phase(job) == "Running"
                    && job["status"]["executors"]["joined"] == 2
            })?;
        }
        let alone = killed_until(&job, 1, |state| reason(state, "Progressing") == "ExecutorsGivenUp")?;
        ensure!(phase(&alone) == "Running", "the other one does not train on: {}", alone["status"]);
        ensure_says(
            &alone,
            "Progressing",
            &["1 of 2 executors train", "executor 1", "backoffLimitPerExecutor"],
        )?;
        job.until_event("ExecutorGivenUp")?;
        let failed = killed_until(&job, 0, |state| phase(state) == "Failed")?;
        ensure_says(&failed, "Failed", &["executor 0"])
    })
}

/// Kills the executor's process whenever there is one, until `holds`; each has several lives.
fn killed_until(job: &Job<'_>, index: u32, holds: impl Fn(&Value) -> bool) -> Result<Value> {
    let mut kills = 0;
    let state = eventually("the end of kills", TRAINING, || {
        let state = job.get()?;
        if holds(&state) {
            return Ok(Some(state));
        }
        ensure!(phase(&state) != "Succeeded", "it succeeded after {kills} kills");
        // Between two processes there is none.
        if let Ok(process) = job.training_process(index) {
            kills += u32::from(process::kill(process.pid).is_ok());
        }
        Ok(None)
    })?;
    ensure!(kills > 5, "{kills} kills were enough");
    Ok(state)
}

/// Neither before its time nor never.
pub(crate) fn a_finished_job_goes_when_its_time_is_over(world: &World) -> Result<()> {
    let product = world.product()?;
    with_namespace(&world.cluster, "ttl", |kubectl| {
        let job = Job::apply(world, kubectl, |job| {
            job["spec"]["runPolicy"] = json!({"ttlSecondsAfterFinished": TTL_SECONDS});
        })?;
        job.until("success", TRAINING, |job| phase(job) == "Succeeded")?;
        let succeeded = Instant::now();
        ensure!(
            job.get()?["status"]["result"]["weightsSha256"] == *product.weights_sha256()?,
            "other weights"
        );
        eventually("the job to go", SOON, || {
            Ok(kubectl.get("cnntrainingjob", &job.name)?.is_none().then_some(()))
        })?;
        // Its end was some moments before we saw it.
        let lived = succeeded.elapsed();
        ensure!(lived + Duration::from_secs(5) >= Duration::from_secs(TTL_SECONDS), "it lived for {lived:?}");
        eventually("its pods to go", SOON, || Ok(kubectl.list("pods", "")?.is_empty().then_some(())))?;
        ensure!(job.run_folder()?.join("RESULT.json").exists(), "the result went too");
        Ok(())
    })
}
