//! The Job as the API server will see it.

use super::scale_patch;
use crate::test_support::resources;
use serde_json::{Value, json};

fn job(spec: Value) -> Value {
    serde_json::to_value(resources(spec).job).unwrap()
}

fn pod(spec: Value) -> Value {
    job(spec)["spec"]["template"]["spec"].clone()
}

#[test]
fn the_job_is_elastic_and_done_with_the_first_success() {
    let spec = &job(json!({"executors": 3}))["spec"];
    assert_eq!(spec["completionMode"], "Indexed");
    assert_eq!((&spec["completions"], &spec["parallelism"]), (&json!(3), &json!(3)));
    assert_eq!(spec["podReplacementPolicy"], "Failed");
    assert_eq!(spec["backoffLimitPerIndex"], 10);
    assert_eq!(spec["successPolicy"], json!({"rules": [{"succeededCount": 1}]}));
    assert_eq!(spec.get("maxFailedIndexes"), None);
    assert_eq!(spec["suspend"], false);
}

/// In another order a pod that was evicted while it failed for good would be retried for ever.
#[test]
fn permanent_exit_codes_end_the_job_and_disruptions_do_not_count() {
    let rules = job(json!({}))["spec"]["podFailurePolicy"]["rules"].clone();
    let codes: Vec<i32> = std::iter::once(2).chain(64..75).chain(76..79).collect();
    assert_eq!(
        rules,
        json!([
            {"action": "FailJob", "onExitCodes": {"containerName": "executor", "operator": "In", "values": codes}},
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
            {"action": "Ignore", "onExitCodes": {"containerName": "executor", "operator": "In", "values": [143]}},
        ])
    );
}

#[test]
fn executors_run_with_nothing_they_do_not_need() {
    let pod = pod(json!({}));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    assert_eq!(pod["securityContext"]["fsGroup"], 65532);
    assert_eq!(pod["automountServiceAccountToken"], false);
    let container = &pod["containers"][0];
    assert_eq!(container["securityContext"]["readOnlyRootFilesystem"], true);
    assert_eq!(container["securityContext"]["allowPrivilegeEscalation"], false);
    assert_eq!(container["securityContext"]["capabilities"]["drop"], json!(["ALL"]));
    assert_eq!(container["terminationMessagePolicy"], "FallbackToLogsOnError");
    assert_eq!(pod["terminationGracePeriodSeconds"], 120);
    assert_eq!(pod["restartPolicy"], "Never");
    let scratch =
        pod["volumes"].as_array().unwrap().iter().find(|volume| volume.get("emptyDir").is_some()).unwrap();
    assert_eq!(scratch["emptyDir"]["sizeLimit"], "1Gi");
}

#[test]
fn the_users_security_context_changes_only_what_it_names() {
    let pod = pod(json!({"executorTemplate": {
        "podSecurityContext": {"fsGroup": 1000, "supplementalGroups": [7]},
        "securityContext": {"capabilities": {"add": ["SYS_NICE"]}},
    }}));
    assert_eq!(pod["securityContext"]["fsGroup"], 1000);
    assert_eq!(pod["securityContext"]["supplementalGroups"], json!([7]));
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    let capabilities = &pod["containers"][0]["securityContext"]["capabilities"];
    assert_eq!(capabilities, &json!({"drop": ["ALL"], "add": ["SYS_NICE"]}));
}

#[test]
fn the_executor_is_told_who_it_is() {
    let container = &pod(json!({}))["containers"][0];
    let env = container["env"].as_array().unwrap();
    let value = |name: &str| env.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone();
    assert_eq!(value("LOCKSTEP_JOB_NAME"), "cifar10");
    assert_eq!(value("LOCKSTEP_JOB_UID"), "uid-1");
    assert_eq!(value("LOCKSTEP_NAMESPACE"), "training");
    assert_eq!(value("OMP_NUM_THREADS"), "1");
    assert_eq!(container["args"], json!(["executor"]));
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert_eq!(container["livenessProbe"]["httpGet"]["port"], 7602);
}

#[test]
fn the_executor_template_arrives_in_the_pod() {
    let template = json!({
        "imagePullPolicy": "IfNotPresent",
        "resources": {"limits": {"cpu": "2", "memory": "2Gi"}},
        "env": [{"name": "RUST_LOG", "value": "debug"}],
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "spot", "operator": "Exists"}],
        "affinity": {"podAntiAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"}],
        "priorityClassName": "low",
        "serviceAccountName": "trainer",
        "imagePullSecrets": [{"name": "registry"}],
        "labels": {"team": "vision"},
        "annotations": {"note": "x"},
        "terminationGracePeriodSeconds": 30,
    });
    let job = job(json!({"executorTemplate": template}));
    let pod = &job["spec"]["template"]["spec"];
    let container = &pod["containers"][0];
    assert_eq!(container["imagePullPolicy"], template["imagePullPolicy"]);
    assert_eq!(container["resources"], template["resources"]);
    assert!(container["env"].as_array().unwrap().contains(&template["env"][0]));
    for part in [
        "nodeSelector",
        "tolerations",
        "affinity",
        "topologySpreadConstraints",
        "priorityClassName",
        "serviceAccountName",
        "imagePullSecrets",
        "terminationGracePeriodSeconds",
    ] {
        assert_eq!(pod[part], template[part], "{part}");
    }
    let metadata = &job["spec"]["template"]["metadata"];
    assert_eq!(metadata["labels"]["team"], "vision");
    assert_eq!(metadata["annotations"], template["annotations"]);
}

#[test]
fn scaling_changes_parallelism_and_completions_together() {
    let two = resources(json!({"executors": 2})).job;
    let four = resources(json!({"executors": 4})).job;
    let patch = scale_patch(&two, &four).unwrap();
    assert_eq!(patch["spec"]["parallelism"], 4);
    assert_eq!(patch["spec"]["completions"], 4);
    assert_eq!(scale_patch(&two, &two), None);
}

#[test]
fn suspension_and_deadlines_follow_the_run_policy() {
    let running = resources(json!({})).job;
    let suspended = resources(json!({"runPolicy": {"suspend": true}})).job;
    assert_eq!(scale_patch(&running, &suspended).unwrap()["spec"]["suspend"], true);
    let limited = resources(json!({"runPolicy": {"activeDeadlineSeconds": 60}})).job;
    assert_eq!(scale_patch(&running, &limited).unwrap()["spec"]["activeDeadlineSeconds"], 60);
    assert_eq!(
        scale_patch(&limited, &running).unwrap()["spec"]["activeDeadlineSeconds"],
        Value::Null,
        "removed"
    );
}

/// A new operator with a new default image must not touch running jobs: their templates are fixed.
#[test]
fn another_image_does_not_change_a_job_that_exists() {
    let old = resources(json!({"executorTemplate": {"image": "old"}})).job;
    let new = resources(json!({"executorTemplate": {"image": "new"}})).job;
    assert_eq!(scale_patch(&old, &new), None);
}

#[test]
fn executors_get_the_configuration_and_the_secrets_of_storage() {
    let pod = pod(json!({
        "data": {"training": {"uri": "hdfs://namenode:8020/train"}, "test": {"uri": "s3://bucket/test"}},
        "storage": {
            "hadoopConfigMapRef": {"name": "hadoop-conf"},
            "kerberosSecretRef": {"name": "keytab"},
            "s3SecretRef": {"name": "s3"},
        },
    }));
    let volumes = pod["volumes"].as_array().unwrap();
    assert!(volumes.iter().any(|volume| volume["configMap"]["name"] == "hadoop-conf"));
    assert!(
        volumes
            .iter()
            .any(|volume| { volume["secret"] == json!({"secretName": "keytab", "defaultMode": 0o440}) })
    );
    let container = &pod["containers"][0];
    assert_eq!(container["envFrom"], json!([{"secretRef": {"name": "s3"}}]));
    let variable = |name: &str| {
        let variables = container["env"].as_array().unwrap();
        variables.iter().find(|variable| variable["name"] == name).unwrap()["value"].clone()
    };
    let mounted = |path: &Value| {
        container["volumeMounts"].as_array().unwrap().iter().any(|mount| &mount["mountPath"] == path)
    };
    assert!(mounted(&variable("HADOOP_CONF_DIR")) && mounted(&variable("LOCKSTEP_KERBEROS_DIR")));
    assert!(variable("KRB5_CONFIG").as_str().unwrap().starts_with("/etc/lockstep/kerberos/krb5.conf"));
}
