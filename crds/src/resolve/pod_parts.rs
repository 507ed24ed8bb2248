//! Reads the open Kubernetes parts of an executor template into their types, losing nothing in silence.

use super::Violation;
use crate::{
    executor::{CONTAINER, HADOOP_DIR, JOB_FILE, KERBEROS_DIR, SCRATCH_DIR, TLS_DIR},
    manifest::unknown_fields,
    spec::ExecutorTemplate,
};
use k8s_openapi::api::core::v1::{
    Affinity, EnvFromSource, EnvVar, LocalObjectReference, PodSecurityContext, ResourceRequirements,
    SecurityContext, Toleration, TopologySpreadConstraint, Volume, VolumeMount,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// Prefix of volume names, environment variables (in capitals) and labels that are Lockstep's own.
pub const RESERVED: &str = "lockstep";

/// The parts of an executor template that are Kubernetes' own types.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PodParts {
    /// CPU and memory.
    pub resources: Option<ResourceRequirements>,
    /// Environment variables.
    pub env: Vec<EnvVar>,
    /// Environment variables from ConfigMaps and Secrets.
    pub env_from: Vec<EnvFromSource>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// Where the volumes appear.
    pub volume_mounts: Vec<VolumeMount>,
    /// Tolerated taints.
    pub tolerations: Vec<Toleration>,
    /// Preferred and required nodes and neighbours.
    pub affinity: Option<Affinity>,
    /// Spread over nodes and zones.
    pub topology_spread_constraints: Vec<TopologySpreadConstraint>,
    /// Credentials of image registries.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// The container's security context.
    pub security_context: Option<SecurityContext>,
    /// The pod's security context.
    pub pod_security_context: Option<PodSecurityContext>,
}

/// Reads the parts.
///
/// # Errors
/// A violation for each part that is not what Kubernetes expects, has fields unknown to this version, or collides with
/// Lockstep's own.
pub fn read(template: &ExecutorTemplate) -> Result<PodParts, Vec<Violation>> {
    let mut violations = Vec::new();
    let parts = PodParts {
        resources: one("resources", template.resources.as_ref(), &mut violations),
        env: many("env", template.env.as_deref(), &mut violations),
        env_from: many("envFrom", template.env_from.as_deref(), &mut violations),
        volumes: many("volumes", template.volumes.as_deref(), &mut violations),
        volume_mounts: many("volumeMounts", template.volume_mounts.as_deref(), &mut violations),
        tolerations: many("tolerations", template.tolerations.as_deref(), &mut violations),
        affinity: one("affinity", template.affinity.as_ref(), &mut violations),
        topology_spread_constraints: many(
            "topologySpreadConstraints",
            template.topology_spread_constraints.as_deref(),
            &mut violations,
        ),
        image_pull_secrets: many("imagePullSecrets", template.image_pull_secrets.as_deref(), &mut violations),
        security_context: one("securityContext", template.security_context.as_ref(), &mut violations),
        pod_security_context: one(
            "podSecurityContext",
            template.pod_security_context.as_ref(),
            &mut violations,
        ),
    };
    check_reserved(template, &parts, &mut violations);
    if violations.is_empty() { Ok(parts) } else { Err(violations) }
}

fn path(name: &str) -> String {
    format!("executorTemplate.{name}")
}

fn one<T: DeserializeOwned + Serialize>(
    name: &str,
    value: Option<&Value>,
    violations: &mut Vec<Violation>,
) -> Option<T> {
    value.and_then(|value| part(&path(name), value, violations))
}

fn many<T: DeserializeOwned + Serialize>(
    name: &str,
    values: Option<&[Value]>,
    violations: &mut Vec<Violation>,
) -> Vec<T> {
    let items = values.unwrap_or_default().iter().enumerate();
    items.filter_map(|(index, value)| part(&format!("{}[{index}]", path(name)), value, violations)).collect()
}

fn part<T: DeserializeOwned + Serialize>(
    path: &str,
    value: &Value,
    violations: &mut Vec<Violation>,
) -> Option<T> {
    let read =
        serde_json::from_value::<T>(value.clone()).and_then(|part| Ok((serde_json::to_value(&part)?, part)));
    match read {
        Ok((known, part)) => {
            violations.extend(unknown_fields(path, value, &known));
            Some(part)
        }
        Err(error) => {
            violations.push(Violation::new(path, error.to_string()));
            None
        }
    }
}

fn check_reserved(template: &ExecutorTemplate, parts: &PodParts, violations: &mut Vec<Violation>) {
    let mut refuse = |name: String, message: String| violations.push(Violation::new(path(&name), message));
    for (index, volume) in parts.volumes.iter().enumerate() {
        if volume.name.starts_with(RESERVED) {
            refuse(
                format!("volumes[{index}].name"),
                format!("names that start with {RESERVED} are Lockstep's own; rename it"),
            );
        }
    }
    for (index, mount) in parts.volume_mounts.iter().enumerate() {
        if !parts.volumes.iter().any(|volume| volume.name == mount.name) {
            refuse(
                format!("volumeMounts[{index}].name"),
                format!("{:?} is not in executorTemplate.volumes", mount.name),
            );
        }
        let taken = [
            SCRATCH_DIR,
            TLS_DIR,
            HADOOP_DIR,
            KERBEROS_DIR,
            JOB_FILE.trim_end_matches("/job.json"),
            "/dev/termination-log",
        ];
        if taken.contains(&mount.mount_path.trim_end_matches('/'))
            || mount.mount_path.trim_end_matches('/').is_empty()
        {
            refuse(
                format!("volumeMounts[{index}].mountPath"),
                format!("{:?} is used by the {CONTAINER} itself; choose another folder", mount.mount_path),
            );
        }
    }
    for (index, variable) in parts.env.iter().enumerate() {
        let own = ["JOB_COMPLETION_INDEX", "OMP_NUM_THREADS", "MKL_NUM_THREADS"];
        if variable.name.starts_with("LOCKSTEP_") || own.contains(&variable.name.as_str()) {
            refuse(format!("env[{index}].name"), format!("{} is set by Lockstep; remove it", variable.name));
        }
    }
    for label in template.labels.iter().flatten().map(|(key, _)| key) {
        let prefix = label.split_once('/').map_or("", |(prefix, _)| prefix);
        let kubernetes = prefix == "kubernetes.io" || prefix.ends_with(".kubernetes.io");
        if prefix == crate::GROUP || prefix.ends_with(".lockstep.dev") || kubernetes {
            refuse(format!("labels[{label}]"), format!("labels of {prefix} are set for you; remove it"));
        }
    }
}
