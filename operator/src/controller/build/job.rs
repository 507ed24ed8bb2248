//! The Indexed Job that runs the executors.
//!
//! What the settings do together was measured on a real Job controller: an index that exits 0 completes the Job, each index has
//! its own back-off, disruptions and clean leaves do not count as failures, permanent errors end the Job at once.

mod storage;

use super::{Error, MergeSnafu, ValidatedJob, metadata};
use crate::{controller::validate::PodTemplate, names};
use k8s_openapi::{
    api::{
        batch::v1::{
            Job, JobSpec, PodFailurePolicy, PodFailurePolicyOnExitCodesRequirement,
            PodFailurePolicyOnPodConditionsPattern, PodFailurePolicyRule, SuccessPolicy, SuccessPolicyRule,
        },
        core::v1::{
            ConfigMapVolumeSource, Container, ContainerPort, EmptyDirVolumeSource, EnvVar, HTTPGetAction,
            PodSpec, PodTemplateSpec, Probe, SecretVolumeSource, Volume, VolumeMount,
        },
    },
    apimachinery::pkg::{api::resource::Quantity, apis::meta::v1::ObjectMeta, util::intstr::IntOrString},
};
use lockstep_crds::{
    executor::{
        CONTAINER, CONTAINER_ARGS, ENV_JOB_NAME, ENV_JOB_UID, ENV_NAMESPACE, HEALTH_PORT, JOB_FILE, JOB_KEY,
        PEER_PORT, SCRATCH_DIR, STATUS_PORT, TLS_DIR, exit_code,
    },
    spec::ImagePullPolicy,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use snafu::ResultExt;

/// User and group of the published images; volumes are made writable for the group.
const USER: i64 = 65532;
/// Room for temporary files of an executor; more means that something leaks, and the kubelet evicts the pod.
const SCRATCH_LIMIT: &str = "1Gi";
const JOB_VOLUME: &str = "lockstep-job";
const TLS_VOLUME: &str = "lockstep-tls";
const SCRATCH_VOLUME: &str = "lockstep-scratch";

/// Builds the Job.
pub(super) fn build(job: &ValidatedJob) -> Result<Job, Error> {
    let executors = i32::try_from(job.resolved.executors).unwrap_or(i32::MAX);
    Ok(Job {
        metadata: metadata(job, job.name.clone()),
        spec: Some(JobSpec {
            completion_mode: Some("Indexed".to_owned()),
            completions: Some(executors),
            parallelism: Some(executors),
            suspend: Some(job.policy.suspend),
            active_deadline_seconds: job.policy.active_deadline.map(seconds),
            backoff_limit_per_index: Some(
                i32::try_from(job.policy.backoff_limit_per_executor).unwrap_or(i32::MAX),
            ),
            // Two pods of one index would be two executors of one name.
            pod_replacement_policy: Some("Failed".to_owned()),
            pod_failure_policy: Some(failure_policy()),
            // Whoever exits 0 has read the job's RESULT.json back: the work of all is done.
            success_policy: Some(SuccessPolicy {
                rules: vec![SuccessPolicyRule { succeeded_count: Some(1), succeeded_indexes: None }],
            }),
            template: pod_template(job)?,
            ..JobSpec::default()
        }),
        ..Job::default()
    })
}

/// What may change in a Job that exists, as a merge patch from `current` to `desired`; None if nothing has to.
///
/// The pod template is not among it: Kubernetes holds it fixed, and a new operator with a new default image must leave
/// running jobs alone.
pub(crate) fn scale_patch(current: &Job, desired: &Job) -> Option<Value> {
    let (Some(current), Some(desired)) = (&current.spec, &desired.spec) else { return None };
    let same = current.parallelism == desired.parallelism
        && current.completions == desired.completions
        && current.suspend.unwrap_or(false) == desired.suspend.unwrap_or(false)
        && current.active_deadline_seconds == desired.active_deadline_seconds;
    // Parallelism and completions go together, which is what makes an Indexed Job elastic.
    (!same).then(|| {
        json!({"spec": {
            "parallelism": desired.parallelism,
            "completions": desired.completions,
            "suspend": desired.suspend,
            "activeDeadlineSeconds": desired.active_deadline_seconds,
        }})
    })
}

/// The first rule that matches decides.
fn failure_policy() -> PodFailurePolicy {
    // Usage errors and sysexits, without EX_TEMPFAIL (75): trying again computes the same error.
    let permanent =
        std::iter::once(exit_code::USAGE).chain(64..=78).filter(|code| *code != exit_code::TEMPFAIL);
    PodFailurePolicy {
        rules: vec![
            PodFailurePolicyRule {
                action: "FailJob".to_owned(),
                on_exit_codes: Some(exit_codes(permanent.map(i32::from).collect())),
                on_pod_conditions: None,
            },
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_exit_codes: None,
                on_pod_conditions: Some(vec![PodFailurePolicyOnPodConditionsPattern {
                    type_: "DisruptionTarget".to_owned(),
                    status: "True".to_owned(),
                }]),
            },
            PodFailurePolicyRule {
                action: "Ignore".to_owned(),
                on_exit_codes: Some(exit_codes(vec![exit_code::TERMINATED.into()])),
                on_pod_conditions: None,
            },
        ],
    }
}

fn exit_codes(values: Vec<i32>) -> PodFailurePolicyOnExitCodesRequirement {
    PodFailurePolicyOnExitCodesRequirement {
        container_name: Some(CONTAINER.to_owned()),
        operator: "In".to_owned(),
        values,
    }
}

fn pod_template(job: &ValidatedJob) -> Result<PodTemplateSpec, Error> {
    let PodTemplate {
        image,
        image_pull_policy,
        parts,
        node_selector,
        priority_class_name,
        service_account_name,
        labels,
        annotations,
        termination_grace_period,
    } = job.pod.clone();
    let storage = storage::parts(&job.storage);
    let mut volumes = parts.volumes;
    volumes.extend(own_volumes(&job.name));
    volumes.extend(storage.volumes);
    let mut mounts = parts.volume_mounts;
    mounts.extend(own_mounts());
    mounts.extend(storage.mounts);
    let mut env = own_env(job);
    env.extend(storage.env);
    env.extend(parts.env);
    let mut env_from = storage.env_from;
    env_from.extend(parts.env_from);
    let mut all_labels = labels;
    all_labels.extend(names::labels(&job.name));
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        image_pull_policy: image_pull_policy.map(|policy| {
            match policy {
                ImagePullPolicy::Always => "Always",
                ImagePullPolicy::IfNotPresent => "IfNotPresent",
                ImagePullPolicy::Never => "Never",
            }
            .to_owned()
        }),
        args: Some(CONTAINER_ARGS.map(str::to_owned).to_vec()),
        env: Some(env),
        env_from: (!env_from.is_empty()).then_some(env_from),
        ports: Some(vec![port("peers", PEER_PORT), port("status", STATUS_PORT), port("health", HEALTH_PORT)]),
        resources: parts.resources,
        volume_mounts: Some(mounts),
        // Ready means member of the view, so `kubectl get pods` shows who trains and drains wait for the right ones.
        readiness_probe: Some(probe("/readyz", 2, 3)),
        // Reading a large checkpoint on busy CPUs may take a while; only a process that answers nobody is hung.
        liveness_probe: Some(probe("/healthz", 10, 6)),
        security_context: Some(merge(job, "securityContext", container_security(), parts.security_context)?),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    };
    Ok(PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(all_labels),
            annotations: (!annotations.is_empty()).then_some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(PodSpec {
            containers: vec![container],
            volumes: Some(volumes),
            subdomain: Some(job.name.clone()),
            restart_policy: Some("Never".to_owned()),
            termination_grace_period_seconds: Some(seconds(termination_grace_period)),
            automount_service_account_token: Some(false),
            // Variables for every Service of the namespace: of no use here, and too many of them break the start.
            enable_service_links: Some(false),
            security_context: Some(merge(
                job,
                "podSecurityContext",
                pod_security(),
                parts.pod_security_context,
            )?),
            node_selector: (!node_selector.is_empty()).then_some(node_selector),
            tolerations: (!parts.tolerations.is_empty()).then_some(parts.tolerations),
            affinity: parts.affinity,
            topology_spread_constraints: (!parts.topology_spread_constraints.is_empty())
                .then_some(parts.topology_spread_constraints),
            image_pull_secrets: (!parts.image_pull_secrets.is_empty()).then_some(parts.image_pull_secrets),
            priority_class_name,
            service_account_name,
            ..PodSpec::default()
        }),
    })
}

fn own_env(job: &ValidatedJob) -> Vec<EnvVar> {
    [
        (ENV_JOB_NAME, job.name.as_str()),
        (ENV_JOB_UID, &job.uid),
        (ENV_NAMESPACE, &job.namespace),
        // The engine runs its own threads, each with one micro-batch; libtorch's pools would fight them and change the bits.
        ("OMP_NUM_THREADS", "1"),
        ("MKL_NUM_THREADS", "1"),
    ]
    .map(|(name, value)| EnvVar { name: name.to_owned(), value: Some(value.to_owned()), value_from: None })
    .to_vec()
}

fn own_volumes(job: &str) -> [Volume; 3] {
    [
        Volume {
            name: JOB_VOLUME.to_owned(),
            config_map: Some(ConfigMapVolumeSource { name: names::config_map(job), ..Default::default() }),
            ..Volume::default()
        },
        Volume {
            name: TLS_VOLUME.to_owned(),
            secret: Some(SecretVolumeSource {
                secret_name: Some(names::secret(job)),
                default_mode: Some(0o440),
                ..Default::default()
            }),
            ..Volume::default()
        },
        Volume {
            name: SCRATCH_VOLUME.to_owned(),
            empty_dir: Some(EmptyDirVolumeSource {
                size_limit: Some(Quantity(SCRATCH_LIMIT.to_owned())),
                medium: None,
            }),
            ..Volume::default()
        },
    ]
}

fn own_mounts() -> [VolumeMount; 3] {
    let job_folder = JOB_FILE.trim_end_matches(JOB_KEY).trim_end_matches('/');
    [(JOB_VOLUME, job_folder, true), (TLS_VOLUME, TLS_DIR, true), (SCRATCH_VOLUME, SCRATCH_DIR, false)].map(
        |(name, path, read_only)| VolumeMount {
            name: name.to_owned(),
            mount_path: path.to_owned(),
            read_only: read_only.then_some(true),
            ..VolumeMount::default()
        },
    )
}

fn port(name: &str, port: u16) -> ContainerPort {
    ContainerPort {
        name: Some(name.to_owned()),
        container_port: port.into(),
        protocol: Some("TCP".to_owned()),
        ..ContainerPort::default()
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::Int(HEALTH_PORT.into()),
            scheme: Some("HTTP".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        timeout_seconds: Some(5),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

fn container_security() -> Value {
    json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
}

fn pod_security() -> Value {
    json!({
        "runAsNonRoot": true,
        "runAsUser": USER,
        "runAsGroup": USER,
        "fsGroup": USER,
        // Going through a large volume at every start of a pod takes minutes.
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    })
}

/// Lays the user's part over the default one, member by member.
fn merge<T: Serialize + DeserializeOwned>(
    job: &ValidatedJob,
    part: &'static str,
    mut defaults: Value,
    over: Option<T>,
) -> Result<T, Error> {
    let context = MergeSnafu { job: &job.name, part };
    if let Some(over) = over {
        lay_over(&mut defaults, serde_json::to_value(over).context(context)?);
    }
    serde_json::from_value(defaults).context(context)
}

fn lay_over(into: &mut Value, over: Value) {
    match (into, over) {
        (Value::Object(into), Value::Object(over)) => {
            for (key, value) in over {
                lay_over(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, over) => *into = over,
    }
}

fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
