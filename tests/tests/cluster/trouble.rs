//! What keeps executors from running is named where users look for it, with what to do.

use anyhow::Result;
use lockstep_tests::namespace::with_namespace;
use serde_json::json;

use crate::job::{Job, SOON, TRAINING, ensure_says, phase};
use crate::world::World;

pub(crate) fn an_image_that_is_not_there_is_named(world: &World) -> Result<()> {
    world.product()?;
    with_namespace(&world.cluster, "no-image", |kubectl| {
        let job = Job::apply(world, kubectl, |job| {
            job["spec"]["executorTemplate"]["image"] = json!("localhost/lockstep-nowhere:1");
            job["spec"]["executorTemplate"]["imagePullPolicy"] = json!("Never");
        })?;
        let stalled = job.until("the missing image in the status", SOON, |job| phase(job) == "Stalled")?;
        ensure_says(&stalled, "Progressing", &["lockstep-nowhere", "check executorTemplate.image"])?;
        job.until_event("Stalled")
    })
}

pub(crate) fn executors_that_run_out_of_memory_end_the_job_with_the_remedy(world: &World) -> Result<()> {
    world.product()?;
    with_namespace(&world.cluster, "no-memory", |kubectl| {
        let job = Job::apply(world, kubectl, |job| {
            // The program starts in that, and does not train in it.
            let memory = json!({"memory": "24Mi"});
            job["spec"]["executorTemplate"]["resources"] = json!({"requests": memory, "limits": memory});
            job["spec"]["runPolicy"] = json!({"backoffLimitPerExecutor": 0});
        })?;
        let failed = job.until("failure", TRAINING, |job| phase(job) == "Failed")?;
        let words = ["ran out of memory", "executorTemplate.resources.limits.memory"];
        ensure_says(&failed, "Failed", &words)?;
        job.until_event("Failed")
    })
}
