//! Executors that come and go: everything that an administrator does to a cluster, done to one job.

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::kubectl::Kubectl;
use lockstep_tests::namespace::with_namespace;
use lockstep_tests::wait::eventually;
use serde_json::{Value, json};

use crate::job::{Job, SOON, TRAINING, phase};
use crate::training::recoveries;
use crate::world::World;

/// Long enough for all of it.
const EPOCHS: u32 = 80;
/// Four micro-batches: one for each of four executors.
const GLOBAL_BATCH: u32 = 64;
/// A drain that the budget holds up would wait for ever.
const DRAIN: &str = "20s";

/// Scaled from 1 to 4 to 2, a pod deleted, suspended and resumed, the node drained, the operator killed.
pub(crate) fn a_job_lives_through_all_that_an_administrator_does(world: &World) -> Result<()> {
    let longer = |job: &mut Value| {
        job["spec"]["training"]["epochs"] = json!(EPOCHS);
        job["spec"]["training"]["globalBatchSize"] = json!(GLOBAL_BATCH);
    };
    let reference = world.reference_of("elastic", longer)?;
    with_namespace(&world.cluster, "elastic", |kubectl| {
        let job = Job::apply(world, kubectl, |job| {
            longer(job);
            job["spec"]["executors"] = json!(1);
        })?;
        job.until_step(5)?;
        scale(&job, kubectl, 4)?;
        scale(&job, kubectl, 2)?;
        lose_a_pod(&job)?;
        suspend_and_resume(&job)?;
        drain(&job, kubectl)?;
        lose_the_operator(&job, world)?;
        job.until_it_succeeded_as(&reference)?;
        tells_the_story(&job)
    })
}

fn scale(job: &Job<'_>, kubectl: &Kubectl<'_>, executors: u32) -> Result<()> {
    kubectl.run(&["scale", &format!("cnntrainingjob/{}", job.name), &format!("--replicas={executors}")])?;
    job.until(&format!("{executors} executors"), TRAINING, |job| {
        let counts = &job["status"]["executors"];
        phase(job) == "Running" && counts["joined"] == executors && job["status"]["replicas"] == executors
    })?;
    goes_on(job)
}

fn lose_a_pod(job: &Job<'_>) -> Result<()> {
    let before = recoveries(&job.get()?);
    let pod = job.delete_pod(1)?;
    job.until("a recovery", TRAINING, |job| recoveries(job) > before)?;
    all_train(job)?;
    ensure!(job.pod(1)?["metadata"]["uid"] != pod["metadata"]["uid"], "the deleted pod is still there");
    Ok(())
}

fn suspend_and_resume(job: &Job<'_>) -> Result<()> {
    job.suspend()?;
    let stopped = step(&job.get()?)?;
    job.resume()?;
    let resumed = all_train(job)?;
    ensure!(step(&resumed)? >= stopped, "it went on before step {stopped}: {}", resumed["status"]);
    goes_on(job)
}

/// The budget lets one executor go at a time; on the only node there is no place for its replacement.
fn drain(job: &Job<'_>, kubectl: &Kubectl<'_>) -> Result<()> {
    let nodes = kubectl.run(&["get", "nodes", "--output=name"])?;
    let node = nodes.trim();
    let before = recoveries(&job.get()?);
    let pods = format!("--pod-selector=batch.kubernetes.io/job-name={}", job.name);
    let timeout = format!("--timeout={DRAIN}");
    let drained = kubectl.output(&["drain", node, "--delete-emptydir-data", &pods, &timeout]);
    let outcome = one_is_left(job, before);
    // Whatever happened: other tests need the node.
    kubectl.run(&["uncordon", node])?;
    let drained = drained?;
    let words = String::from_utf8_lossy(&drained.stderr);
    ensure!(!drained.status.success() && words.contains("disruption budget"), "both were evicted: {words}");
    outcome?;
    all_train(job).map(drop)
}

fn one_is_left(job: &Job<'_>, before: u64) -> Result<()> {
    let left = job.until("one executor to go on alone", SOON, |job| {
        job["status"]["executors"]["joined"] == 1 && job["status"]["replicas"] == 2
    })?;
    ensure!(recoveries(&left) >= before, "{}", left["status"]);
    goes_on(job)
}

fn lose_the_operator(job: &Job<'_>, world: &World) -> Result<()> {
    world.kill_operator()?;
    goes_on(job)
}

fn all_train(job: &Job<'_>) -> Result<Value> {
    job.until("all executors in one view", TRAINING, |job| {
        let counts = &job["status"]["executors"];
        // The budget does not protect a pod that is not ready.
        let all = ["joined", "ready"].iter().all(|kind| counts[kind] == counts["desired"]);
        phase(job) == "Running" && all
    })
}

/// Some steps more are done.
fn goes_on(job: &Job<'_>) -> Result<()> {
    let now = step(&job.get()?)?;
    job.until("some more steps", TRAINING, |job| step(job).is_ok_and(|step| step >= now + 5)).map(drop)
}

fn step(job: &Value) -> Result<u64> {
    job["status"]["progress"]["step"].as_u64().with_context(|| format!("no step in {}", job["status"]))
}

/// What an administrator reads afterwards.
fn tells_the_story(job: &Job<'_>) -> Result<()> {
    job.until_event("Completed")?;
    let events = job.events()?;
    let mut lines: Vec<[String; 4]> = events
        .iter()
        .map(|event| {
            ["eventTime", "type", "reason", "note"].map(|name| event[name].as_str().unwrap_or("").to_owned())
        })
        .collect();
    lines.sort();
    let story = lines.iter().map(|line| line.join("  ")).collect::<Vec<_>>().join("\n");
    eprintln!("{story}");
    for part in [
        "Created",
        "Started",
        "from 1 to 4 executors",
        "from 4 to 2 executors",
        "ExecutorLost",
        "Recovered",
        "Suspended",
        "Resumed",
        "CheckpointCommitted",
        "Completed",
    ] {
        ensure!(story.contains(part), "no event tells of {part}:\n{story}");
    }
    Ok(())
}

/// An autoscaler reads and writes the number of executors by the scale subresource; its metric comes from elsewhere.
pub(crate) fn an_autoscaler_finds_the_scale_of_a_job(world: &World) -> Result<()> {
    world.product()?;
    with_namespace(&world.cluster, "autoscaled", |kubectl| {
        let job = Job::apply(world, kubectl, |_| {})?;
        job.until_step(1)?;
        kubectl.run(&[
            "apply",
            "--filename",
            &crate::job::example_path("autoscaler/horizontal-pod-autoscaler.yaml").display().to_string(),
        ])?;
        let able = eventually("the autoscaler's first look", SOON, || {
            let autoscaler = kubectl.get("horizontalpodautoscaler", &job.name)?.context("no autoscaler")?;
            let conditions = autoscaler["status"]["conditions"].as_array().cloned().unwrap_or_default();
            Ok(conditions.into_iter().find(|condition| condition["type"] == "AbleToScale"))
        })?;
        ensure!(able["status"] == "True", "{able}");
        Ok(())
    })
}
