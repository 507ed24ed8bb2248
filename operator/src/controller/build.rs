//! From a [`ValidatedJob`] to its children: pure, no client, no clock, so that the same job always gives the same objects.

mod config_map;
mod disruption_budget;
mod job;
mod network_policy;
mod service;

pub(crate) use job::scale_patch;

use super::validate::ValidatedJob;
use crate::{names, settings::Settings};
use k8s_openapi::{
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use snafu::{ResultExt, Snafu};

/// Why the children could not be built.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to write the resolved spec of {job} as JSON"))]
    ResolvedSpec { job: String, source: serde_json::Error },
    #[snafu(display("failed to merge executorTemplate.{part} of {job} into the defaults"))]
    Merge { job: String, part: &'static str, source: serde_json::Error },
}

/// The children of a job, all but the Secret, which is made once and not from the job.
#[derive(Clone, Debug)]
pub(crate) struct Resources {
    pub(crate) service: Service,
    pub(crate) config_map: ConfigMap,
    pub(crate) network_policy: NetworkPolicy,
    /// None where there is nothing to protect: one executor.
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
    pub(crate) job: Job,
}

/// Builds the children.
///
/// # Errors
/// [`Error::Merge`] when the user's security context cannot be laid over the default one.
pub(crate) fn build(job: &ValidatedJob, settings: &Settings) -> Result<Resources, Error> {
    Ok(Resources {
        service: service::build(job),
        config_map: config_map::build(job).context(ResolvedSpecSnafu { job: &job.name })?,
        network_policy: network_policy::build(job, settings.namespace.as_deref()),
        disruption_budget: disruption_budget::build(job),
        job: job::build(job)?,
    })
}

/// Metadata of a child. The owner reference is what deletes it with its job.
pub(crate) fn metadata(job: &ValidatedJob, name: String) -> ObjectMeta {
    ObjectMeta {
        name: Some(name),
        namespace: Some(job.namespace.clone()),
        labels: Some(names::labels(&job.name)),
        owner_references: Some(vec![job.owner.clone()]),
        ..ObjectMeta::default()
    }
}

#[cfg(test)]
mod tests {
    use crate::test_support::resources;
    use serde_json::{Value, json};

    fn metadata(value: impl serde::Serialize) -> Value {
        serde_json::to_value(value).unwrap()["metadata"].clone()
    }

    /// Pods find each other by `<job>-<index>.<subdomain>`, and only if the subdomain is the Service's name.
    #[test]
    fn the_jobs_subdomain_names_the_service() {
        let resources = resources(json!({}));
        let pod = resources.job.spec.unwrap().template.spec.unwrap();
        assert_eq!(pod.subdomain, resources.service.metadata.name);
        assert_eq!(
            pod.subdomain, resources.job.metadata.name,
            "hostnames of an Indexed Job begin with its name"
        );
    }

    #[test]
    fn every_selector_selects_the_pods_and_nothing_of_another_job() {
        let resources = resources(json!({"executors": 2}));
        let pod = resources.job.spec.unwrap().template.metadata.unwrap().labels.unwrap();
        let service = resources.service.spec.unwrap().selector.unwrap();
        let policy = resources.network_policy.spec.unwrap().pod_selector.unwrap().match_labels.unwrap();
        let budget =
            resources.disruption_budget.unwrap().spec.unwrap().selector.unwrap().match_labels.unwrap();
        for selector in [&service, &policy, &budget] {
            assert!(
                selector.iter().all(|(key, value)| pod.get(key) == Some(value)),
                "{selector:?} against {pod:?}"
            );
            assert_eq!(selector.get("lockstep.dev/job-name").map(String::as_str), Some("cifar10"));
        }
    }

    #[test]
    fn every_child_is_deleted_with_its_job() {
        let resources = resources(json!({"executors": 2}));
        for metadata in [
            metadata(&resources.service),
            metadata(&resources.config_map),
            metadata(&resources.network_policy),
            metadata(&resources.disruption_budget),
            metadata(&resources.job),
        ] {
            let owner = &metadata["ownerReferences"][0];
            assert_eq!(owner["uid"], "uid-1", "{metadata}");
            assert_eq!(owner["controller"], true);
            assert_eq!(metadata["namespace"], "training");
        }
    }

    #[test]
    fn the_pods_mount_the_config_map_and_the_secret_that_exist() {
        let resources = resources(json!({}));
        let pod = resources.job.spec.unwrap().template.spec.unwrap();
        let volumes = pod.volumes.unwrap();
        let config = volumes.iter().find_map(|volume| volume.config_map.as_ref()).unwrap();
        let secret = volumes.iter().find_map(|volume| volume.secret.as_ref()).unwrap();
        assert_eq!(Some(&config.name), resources.config_map.metadata.name.as_ref());
        assert_eq!(secret.secret_name.as_deref(), Some(crate::names::secret("cifar10").as_str()));
        for mount in pod.containers[0].volume_mounts.as_ref().unwrap() {
            assert!(volumes.iter().any(|volume| volume.name == mount.name), "{} is not a volume", mount.name);
        }
    }

    #[test]
    fn the_same_job_gives_the_same_objects() {
        let text = |resources: &super::Resources| serde_json::to_string(&resources.job).unwrap();
        assert_eq!(text(&resources(json!({}))), text(&resources(json!({}))));
    }
}
