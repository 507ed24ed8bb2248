//! From the resource to a [`ValidatedJob`]: every default decided, every rule checked, nothing optional left that the children need.
//!
//! Left of it stands `dereference`, right of it `build`. The rules themselves are `lockstep_crds::resolve`'s; here come those
//! that only make sense in a cluster.

use crate::settings::Settings;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};
use lockstep_crds::{
    CnnTrainingJob, ResolvedJob, Violation,
    resolve::{
        defaults::{BACKOFF_LIMIT_PER_EXECUTOR, TERMINATION_GRACE_PERIOD_SECONDS},
        pod_parts::{self, PodParts},
        resolve,
    },
    spec::{ExecutorTemplate, ImagePullPolicy, Kernels, Storage},
};
use std::{collections::BTreeMap, time::Duration};

/// A job that can run.
#[derive(Clone, Debug)]
pub(crate) struct ValidatedJob {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) uid: String,
    pub(crate) owner: OwnerReference,
    pub(crate) resolved: ResolvedJob,
    pub(crate) storage: Storage,
    pub(crate) policy: Policy,
    pub(crate) pod: PodTemplate,
}

/// The run policy, complete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) suspend: bool,
    pub(crate) active_deadline: Option<Duration>,
    pub(crate) backoff_limit_per_executor: u32,
}

/// The executor template, complete.
#[derive(Clone, Debug)]
pub(crate) struct PodTemplate {
    pub(crate) image: String,
    pub(crate) image_pull_policy: Option<ImagePullPolicy>,
    pub(crate) parts: PodParts,
    pub(crate) node_selector: BTreeMap<String, String>,
    pub(crate) priority_class_name: Option<String>,
    pub(crate) service_account_name: Option<String>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) termination_grace_period: Duration,
}

/// Validates a job.
///
/// # Errors
/// Every rule that the job breaks.
pub(crate) fn validate(job: &CnnTrainingJob, settings: &Settings) -> Result<ValidatedJob, Vec<Violation>> {
    let template = job.spec.executor_template.clone().unwrap_or_default();
    let (resolved, parts) = match (resolve(&job.spec), pod_parts::read(&template)) {
        (Ok(resolved), Ok(parts)) => (resolved, parts),
        // What `read` finds, `resolve` has found too.
        (Err(violations), _) | (Ok(_), Err(violations)) => return Err(violations),
    };
    let mut violations = check_mounts(&resolved, &parts);
    let ExecutorTemplate {
        image,
        image_pull_policy,
        node_selector,
        priority_class_name,
        service_account_name,
        labels,
        annotations,
        termination_grace_period_seconds,
        // These are in `parts`.
        resources: _,
        env: _,
        env_from: _,
        volumes: _,
        volume_mounts: _,
        tolerations: _,
        affinity: _,
        topology_spread_constraints: _,
        image_pull_secrets: _,
        security_context: _,
        pod_security_context: _,
    } = template;
    let (default_image, option) = match resolved.result.training.kernels {
        Kernels::Native => (&settings.trainer_image, "--trainer-image"),
        Kernels::LibTorch => (&settings.trainer_libtorch_image, "--trainer-libtorch-image"),
    };
    let image = image.or_else(|| default_image.clone());
    if image.is_none() {
        violations.push(Violation::new(
            "executorTemplate.image",
            format!("must be set, because the operator was installed without a default ({option})"),
        ));
    }
    let (Some(image), Some(owner), Some(namespace), Some(uid), true) =
        (image, job.controller_owner_ref(&()), job.namespace(), job.uid(), violations.is_empty())
    else {
        if violations.is_empty() {
            violations.push(Violation::new(
                "metadata",
                "has no name, namespace or uid: the object does not come from an API server",
            ));
        }
        return Err(violations);
    };
    let policy = job.spec.run_policy.clone().unwrap_or_default();
    Ok(ValidatedJob {
        name: job.name_any(),
        namespace,
        uid,
        owner,
        resolved,
        storage: job.spec.storage.clone().unwrap_or_default(),
        policy: Policy {
            suspend: policy.suspend.unwrap_or(false),
            active_deadline: policy
                .active_deadline_seconds
                .map(|seconds| Duration::from_secs(seconds.into())),
            backoff_limit_per_executor: policy
                .backoff_limit_per_executor
                .unwrap_or(BACKOFF_LIMIT_PER_EXECUTOR),
        },
        pod: PodTemplate {
            image,
            image_pull_policy,
            parts,
            node_selector: node_selector.unwrap_or_default(),
            priority_class_name,
            service_account_name,
            labels: labels.unwrap_or_default(),
            annotations: annotations.unwrap_or_default(),
            termination_grace_period: Duration::from_secs(
                termination_grace_period_seconds.unwrap_or(TERMINATION_GRACE_PERIOD_SECONDS).into(),
            ),
        },
    })
}

/// What is written to a path that no volume backs would be lost with the pod, and the root filesystem is read-only anyway.
/// Data may come with the image, so only the places that are written to must be volumes.
fn check_mounts(resolved: &ResolvedJob, parts: &PodParts) -> Vec<Violation> {
    let checkpoint = [("checkpoint.uri", &resolved.checkpoint.uri)].into_iter();
    let tensor_board = resolved.tracking.tensor_board_uri.iter().map(|uri| ("tracking.tensorBoard.uri", uri));
    checkpoint.chain(tensor_board).filter_map(|(field, uri)| check_mount(field, uri, parts)).collect()
}

fn check_mount(field: &str, uri: &str, parts: &PodParts) -> Option<Violation> {
    let path = uri.strip_prefix("file://")?;
    let below = |mount: &str| {
        let mount = mount.trim_end_matches('/');
        path == mount || path.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'))
    };
    let mount = parts
        .volume_mounts
        .iter()
        .filter(|mount| below(&mount.mount_path))
        .max_by_key(|mount| mount.mount_path.len());
    let message = match mount {
        None => format!(
            "{path} is not on a volume; mount one there with executorTemplate.volumes and volumeMounts"
        ),
        Some(mount) if mount.read_only == Some(true) => {
            format!("{path} is on the read-only volume {:?}", mount.name)
        }
        Some(_) => return None,
    };
    Some(Violation::new(field, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{job, settings};
    use serde_json::json;

    fn refused(spec: serde_json::Value, field: &str, word: &str) {
        let violations = validate(&job(spec), &settings()).unwrap_err();
        assert_eq!(violations[0].field, field, "{violations:?}");
        assert!(violations[0].message.contains(word), "{violations:?}");
    }

    #[test]
    fn a_job_without_an_image_takes_the_operators_for_its_kernels() {
        let image = |changes| validate(&job(changes), &settings()).unwrap().pod.image;
        let libtorch = json!({"numerics": {"kernels": "LibTorch"}});
        assert_eq!(image(json!({})), "registry/trainer:1");
        assert_eq!(image(json!({"training": libtorch})), "registry/trainer-libtorch:1");
        let mine = json!({"image": "mine:2"});
        assert_eq!(image(json!({"executorTemplate": mine})), "mine:2");
        assert_eq!(image(json!({"executorTemplate": mine, "training": libtorch})), "mine:2");
    }

    #[test]
    fn a_job_without_any_image_is_refused() {
        let none = Settings { trainer_image: None, trainer_libtorch_image: None, ..settings() };
        let violations = validate(&job(json!({})), &none).unwrap_err();
        assert_eq!(violations[0].field, "executorTemplate.image");
    }

    #[test]
    fn what_is_written_must_be_on_a_writable_volume() {
        refused(json!({"checkpoint": {"uri": "file:///elsewhere/x"}}), "checkpoint.uri", "mount one there");
        refused(json!({"checkpoint": {"uri": "file:///database"}}), "checkpoint.uri", "mount one there");
        let runs = |uri: &str| json!({"tracking": {"tensorBoard": {"uri": uri}}});
        refused(runs("file:///elsewhere/x"), "tracking.tensorBoard.uri", "mount one there");
        assert!(validate(&job(runs("file:///data/runs")), &settings()).is_ok());
        assert!(validate(&job(runs("hdfs://namenode:8020/runs")), &settings()).is_ok());
        let read_only = json!({"executorTemplate": {"volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": true}]}});
        refused(read_only, "checkpoint.uri", "read-only");
        let nested = json!({"executorTemplate": {
            "volumes": [{"name": "data", "emptyDir": {}}, {"name": "checkpoints", "emptyDir": {}}],
            "volumeMounts": [
                {"name": "data", "mountPath": "/data", "readOnly": true},
                {"name": "checkpoints", "mountPath": "/data/checkpoints/"},
            ],
        }});
        assert!(validate(&job(nested), &settings()).is_ok());
    }

    #[test]
    fn the_apis_own_rules_hold_here_too() {
        refused(json!({"executors": 0}), "executors", "runPolicy.suspend");
    }
}
