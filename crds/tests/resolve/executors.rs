//! `spec.executors`, `spec.elastic` and `spec.executorTemplate`.

use lockstep_crds::resolve;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::{accepted, refused, with};

#[test]
fn threads_follow_the_cpu_limit_then_the_request() {
    for (resources, threads) in [
        (json!({"limits": {"cpu": "2500m"}, "requests": {"cpu": "4"}}), 2),
        (json!({"requests": {"cpu": 3}}), 3),
        (json!({"limits": {"cpu": "500m"}}), 1),
        (json!({"limits": {"memory": "1Gi"}}), 1),
    ] {
        let job = accepted(json!({"executorTemplate": {"resources": resources}}));
        assert_eq!(job.threads_per_executor, threads, "{resources}");
    }
    let job = accepted(
        json!({"threadsPerExecutor": 5, "executorTemplate": {"resources": {"limits": {"cpu": "2"}}}}),
    );
    assert_eq!(job.threads_per_executor, 5);
}

#[test]
fn zero_executors_are_refused_with_the_right_way_to_stop() {
    refused(json!({"executors": 0}), "executors", "runPolicy.suspend");
}

#[test]
fn more_executors_than_micro_batches_are_refused() {
    refused(json!({"executors": 9}), "executors", "8 micro-batches");
    accepted(json!({"executors": 8}));
}

#[test]
fn more_executors_than_the_maximum_are_refused() {
    let training = json!({"globalBatchSize": 4096, "microBatchSize": 1});
    refused(json!({"executors": 1025, "training": training}), "executors", "1024");
}

#[test]
fn more_minimum_executors_than_executors_are_refused() {
    refused(json!({"executors": 2, "elastic": {"minExecutors": 3}}), "elastic.minExecutors", "executors (2)");
}

#[test]
fn times_out_of_range_are_refused() {
    refused(
        json!({"elastic": {"heartbeatTimeoutSeconds": 0}}),
        "elastic.heartbeatTimeoutSeconds",
        "between 1",
    );
    refused(json!({"elastic": {"startTimeoutSeconds": 0}}), "elastic.startTimeoutSeconds", "between 1");
    refused(json!({"elastic": {"joinGraceSeconds": 100_000}}), "elastic.joinGraceSeconds", "86400");
}

#[test]
fn pod_parts_are_read_and_misspelt_ones_named() {
    let template = |template: Value| json!({"executorTemplate": template});
    accepted(template(json!({
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": "cifar10"}}],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
        "tolerations": [{"key": "spot", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {}},
        "resources": {"limits": {"cpu": 2, "memory": "2Gi"}},
    })));
    refused(
        template(json!({"tolerations": [{"kee": "spot"}]})),
        "executorTemplate.tolerations[0].kee",
        "unknown field",
    );
    refused(template(json!({"affinity": {"nodeAffinity": 3}})), "executorTemplate.affinity", "invalid type");
    refused(
        template(json!({"volumes": [{"name": "lockstep-job"}]})),
        "executorTemplate.volumes[0].name",
        "Lockstep's own",
    );
    refused(
        template(json!({"env": [{"name": "LOCKSTEP_JOB_UID"}]})),
        "executorTemplate.env[0].name",
        "set by Lockstep",
    );
    refused(
        template(json!({"env": [{"name": "OMP_NUM_THREADS", "value": "4"}]})),
        "executorTemplate.env[0].name",
        "set by Lockstep",
    );
    refused(
        template(json!({"volumeMounts": [{"name": "data", "mountPath": "/data"}]})),
        "executorTemplate.volumeMounts[0].name",
        "not in executorTemplate.volumes",
    );
    for path in ["/tmp", "/etc/lockstep/tls/", "/etc/lockstep/job", "/"] {
        refused(
            template(json!({"volumes": [{"name": "v"}], "volumeMounts": [{"name": "v", "mountPath": path}]})),
            "executorTemplate.volumeMounts[0].mountPath",
            "choose another folder",
        );
    }
    refused(
        template(json!({"labels": {"batch.kubernetes.io/job-name": "x"}})),
        "executorTemplate.labels[batch.kubernetes.io/job-name]",
        "remove it",
    );
}

proptest! {
    /// Whatever the numbers, what is accepted can be divided among the executors without rest.
    #[test]
    fn an_accepted_job_can_run(executors in 0u32..20, min in 0u32..20, global in 0u32..300, micro in 0u32..40) {
        let spec = with(&json!({
            "executors": executors,
            "elastic": {"minExecutors": min},
            "training": {"globalBatchSize": global, "microBatchSize": micro},
        }));
        let possible = micro > 0 && global > 0 && global % micro == 0 && executors >= 1 && min >= 1
            && min <= executors && executors <= global / micro;
        let resolved = resolve(&spec);
        prop_assert_eq!(resolved.is_ok(), possible, "{:?}", resolved);
        if let Ok(job) = resolved {
            prop_assert!(job.result.training.micro_batches() >= job.executors);
        }
    }
}
