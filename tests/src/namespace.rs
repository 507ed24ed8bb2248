//! A Kubernetes namespace for each test: tests do not see each other, and a failure shows what stood in it.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::Instant;

use anyhow::Result;
use serde_json::json;

use crate::cluster::Cluster;
use crate::kubectl::Kubectl;

/// Runs `test` with a new namespace. Prints the namespace's objects, events and logs where the test fails; deletes it
/// in either case.
pub fn with_namespace(
    cluster: &Cluster,
    name: &str,
    test: impl FnOnce(&Kubectl<'_>) -> Result<()>,
) -> Result<()> {
    let kubectl = Kubectl::new(cluster, Some(name.to_owned()));
    // One that is left from a run of a cluster that was brought up by hand is in the way.
    cluster.kubectl().run(&["delete", "namespace", name, "--ignore-not-found", "--wait"])?;
    cluster.kubectl().apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}))?;
    let start = Instant::now();
    let outcome = catch_unwind(AssertUnwindSafe(|| test(&kubectl)));
    let passed = matches!(outcome, Ok(Ok(())));
    if !passed {
        eprintln!("==== {name} failed after {:.1} s; its namespace:", start.elapsed().as_secs_f64());
        describe(&kubectl);
    }
    let deleted = cluster.kubectl().run(&["delete", "namespace", name, "--wait", "--timeout=120s"]);
    match outcome {
        Ok(result) => result.and(deleted.map(drop)),
        Err(panic) => resume_unwind(panic),
    }
}

/// Prints whatever helps to understand a failure.
pub fn describe(kubectl: &Kubectl<'_>) {
    let show = |title: &str, arguments: &[&str]| match kubectl.output(arguments) {
        Ok(output) => eprintln!(
            "---- {title}\n{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => eprintln!("---- {title}: {error:#}"),
    };
    show("objects", &["get", "pods,jobs,services,configmaps,persistentvolumeclaims", "--output=wide"]);
    show("training jobs", &["get", "cnntrainingjobs", "--output=yaml"]);
    show("events", &["get", "events", "--sort-by=.metadata.creationTimestamp"]);
    let pods = kubectl.list("pods", "").unwrap_or_default();
    for name in pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str()) {
        show(
            &format!("status of {name}"),
            &["get", "pod", name, "--output=jsonpath={.status.containerStatuses}"],
        );
        show(&format!("log of {name}"), &["logs", name, "--all-containers", "--tail=80"]);
    }
}
