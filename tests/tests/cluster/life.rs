//! The life of a resource: suspension and deletion.

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::namespace::with_namespace;
use lockstep_tests::wait::eventually;

use crate::job::{Job, SOON, TRAINING, phase};
use crate::world::World;

/// Suspension costs a checkpoint and nothing else: no executor stays, and the job goes on at the same step.
pub(crate) fn a_suspended_job_goes_on_where_it_was(world: &World) -> Result<()> {
    let product = world.product()?;
    with_namespace(&world.cluster, "suspended", |kubectl| {
        let job = Job::apply(world, kubectl, |_| {})?;
        let running = job.until_step(5)?;
        job.suspend()?;

        let steps = committed_steps(&job)?;
        let last = *steps.last().context("the suspended job left no checkpoint")?;
        let seen = running["status"]["progress"]["step"].as_u64().context("no step")?;
        ensure!(last >= seen, "at step {seen} it was suspended, and its newest checkpoint is of step {last}");

        job.resume()?;
        let resumed = job.until("training again", TRAINING, |job| {
            phase(job) == "Running" && job["status"]["progress"]["step"].as_u64().is_some()
        })?;
        let step = resumed["status"]["progress"]["step"].as_u64();
        ensure!(step >= Some(last), "it was at step {last} and went on at {step:?}");
        job.until_it_succeeded_as(&product.reference)?;
        job.until_event("Suspended")?;
        job.until_event("Resumed")
    })
}

/// Steps of the committed checkpoints, ascending.
fn committed_steps(job: &Job<'_>) -> Result<Vec<u64>> {
    let mut steps = Vec::new();
    for entry in std::fs::read_dir(job.run_folder()?)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).context("no name")?;
        if path.join("MANIFEST.json").exists() {
            let digits = name.trim_start_matches("step-").split('-').next().unwrap_or_default();
            steps.push(digits.parse().with_context(|| format!("{name} is no checkpoint"))?);
        }
    }
    steps.sort_unstable();
    Ok(steps)
}

/// Whoever deletes a job gets rid of all of it, but for what it has stored.
pub(crate) fn a_deleted_job_takes_all_its_children_along(world: &World) -> Result<()> {
    const KINDS: &str = "jobs,pods,services,configmaps,secrets,networkpolicies,poddisruptionbudgets";
    world.product()?;
    with_namespace(&world.cluster, "deleted", |kubectl| {
        let names = || -> Result<Vec<String>> {
            let objects = kubectl.list(KINDS, "")?;
            let name = |object: &serde_json::Value| {
                format!(
                    "{}/{}",
                    object["kind"].as_str().unwrap_or(""),
                    object["metadata"]["name"].as_str().unwrap_or("")
                )
            };
            Ok(objects.iter().map(name).filter(|name| name != "ConfigMap/kube-root-ca.crt").collect())
        };
        ensure!(names()?.is_empty(), "the namespace is not empty: {:?}", names()?);
        let job = Job::apply(world, kubectl, |_| {})?;
        job.until_step(1)?;
        let children = names()?;
        for kind in ["Job", "Pod", "Service", "ConfigMap", "Secret"] {
            ensure!(children.iter().any(|name| name.starts_with(kind)), "no {kind} among {children:?}");
        }
        kubectl.run(&["delete", "cnntrainingjob", &job.name, "--wait", "--timeout=60s"])?;
        eventually("the children to go", SOON, || Ok(names()?.is_empty().then_some(())))
            .with_context(|| format!("left: {:?}", names()))?;
        ensure!(job.run_folder()?.exists(), "the job's files went too");
        Ok(())
    })
}
