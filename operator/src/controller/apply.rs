//! Writes the children: what is missing is made, what differs is corrected, what is not wanted any more goes.
//!
//! The order is that in which pods need them: a pod must find its ConfigMap and Secret when it starts. If the operator dies
//! between two writes, the next reconcile makes the rest: names are deterministic, and nothing depends on having been first.

use super::{
    build::{Resources, metadata, scale_patch},
    dereference::Existing,
    validate::ValidatedJob,
};
use crate::{
    identity,
    names::{self, MANAGER},
};
use k8s_openapi::{
    NamespaceResourceScope,
    api::{batch::v1::Job, core::v1::Secret, policy::v1::PodDisruptionBudget},
};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use snafu::{ResultExt, Snafu};
use std::fmt::Debug;

/// Why the children could not be written.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to apply the {kind} {name}"))]
    Apply { kind: String, name: String, source: kube::Error },
    #[snafu(display("failed to delete the {kind} {name}"))]
    Delete { kind: String, name: String, source: kube::Error },
    #[snafu(display("failed to turn the {kind} {name} into JSON"))]
    Encode { kind: String, name: String, source: serde_json::Error },
    #[snafu(display("failed to make the TLS identity of {job}"))]
    Identity { job: String, source: identity::Error },
}

impl Error {
    /// The API server's own words if it will never take this object: it is invalid, and only another spec helps.
    pub(crate) fn refusal(&self) -> Option<String> {
        match self {
            Self::Apply { kind, source: kube::Error::Api(status), .. } if status.code == 422 => {
                Some(format!("{kind}: {}", status.message))
            }
            Self::Apply { .. } | Self::Delete { .. } | Self::Encode { .. } | Self::Identity { .. } => None,
        }
    }
}

/// The children that later steps need.
#[derive(Clone, Debug)]
pub(crate) struct Applied {
    pub(crate) job: Job,
    pub(crate) secret: Secret,
}

/// Brings the children to what `resources` says.
///
/// # Errors
/// At the first write that fails.
pub(crate) async fn apply(
    client: &Client,
    job: &ValidatedJob,
    resources: Resources,
    existing: &Existing,
) -> Result<Applied, Error> {
    let Resources { service, config_map, network_policy, disruption_budget, job: child } = resources;
    let namespace = &job.namespace;
    ensure(client, namespace, existing.service.as_ref(), service).await?;
    ensure(client, namespace, existing.config_map.as_ref(), config_map).await?;
    ensure(client, namespace, existing.network_policy.as_ref(), network_policy).await?;
    match disruption_budget {
        Some(budget) => {
            ensure(client, namespace, existing.disruption_budget.as_ref(), budget).await?;
        }
        None => remove(client, namespace, existing.disruption_budget.as_ref()).await?,
    }
    let secret = match &existing.secret {
        // Made once: a new identity would lock the running executors out.
        Some(secret) => secret.clone(),
        None => create_secret(client, job).await?,
    };
    let child = match &existing.job {
        None => ensure(client, namespace, None, child).await?,
        Some(current) => adjust(client, namespace, current, &child).await?,
    };
    Ok(Applied { job: child, secret })
}

/// Applies `desired` unless `current` already has all of it.
async fn ensure<K>(client: &Client, namespace: &str, current: Option<&K>, desired: K) -> Result<K, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope>
        + Clone
        + Debug
        + DeserializeOwned
        + Serialize,
{
    let (kind, name) = (K::kind(&()).into_owned(), desired.name_any());
    if let Some(current) = current {
        let json =
            |object: &K| serde_json::to_value(object).context(EncodeSnafu { kind: &kind, name: &name });
        if covers(&json(current)?, &json(&desired)?) {
            return Ok(current.clone());
        }
    }
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let parameters = PatchParams::apply(MANAGER).force();
    api.patch(&name, &parameters, &Patch::Apply(&desired)).await.context(ApplySnafu { kind, name })
}

/// Whether every field of `desired` stands in `actual`, which may have more that the server filled in.
fn covers(actual: &Value, desired: &Value) -> bool {
    match (actual, desired) {
        (Value::Object(actual), Value::Object(desired)) => {
            desired.iter().all(|(key, desired)| actual.get(key).is_some_and(|actual| covers(actual, desired)))
        }
        (Value::Array(actual), Value::Array(desired)) => {
            actual.len() == desired.len()
                && actual.iter().zip(desired).all(|(actual, desired)| covers(actual, desired))
        }
        (actual, desired) => actual == desired,
    }
}

async fn remove(
    client: &Client,
    namespace: &str,
    current: Option<&PodDisruptionBudget>,
) -> Result<(), Error> {
    let Some(current) = current else { return Ok(()) };
    let name = current.name_any();
    let api = Api::<PodDisruptionBudget>::namespaced(client.clone(), namespace);
    match api.delete(&name, &DeleteParams::default()).await {
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        result => result.map(drop).context(DeleteSnafu { kind: "PodDisruptionBudget", name }),
    }
}

/// Creates and does not apply: of two operators that both find no Secret, the second must fail.
async fn create_secret(client: &Client, job: &ValidatedJob) -> Result<Secret, Error> {
    let name = names::secret(&job.name);
    let secret = Secret {
        metadata: metadata(job, name.clone()),
        type_: Some("kubernetes.io/tls".to_owned()),
        immutable: Some(true),
        data: Some(identity::make().context(IdentitySnafu { job: &job.name })?),
        ..Secret::default()
    };
    let api = Api::<Secret>::namespaced(client.clone(), &job.namespace);
    let parameters = PostParams { field_manager: Some(MANAGER.to_owned()), ..PostParams::default() };
    api.create(&parameters, &secret).await.context(ApplySnafu { kind: "Secret", name })
}

/// Changes what may change in a Job that exists.
async fn adjust(client: &Client, namespace: &str, current: &Job, desired: &Job) -> Result<Job, Error> {
    let Some(patch) = scale_patch(current, desired) else { return Ok(current.clone()) };
    if is_finished(current) {
        return Ok(current.clone());
    }
    let name = current.name_any();
    let api = Api::<Job>::namespaced(client.clone(), namespace);
    let parameters = PatchParams { field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
    api.patch(&name, &parameters, &Patch::Merge(patch)).await.context(ApplySnafu { kind: "Job", name })
}

/// A Job that has ended, or is about to, takes no more changes.
fn is_finished(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| {
        let ends = matches!(
            condition.type_.as_str(),
            "Complete" | "Failed" | "SuccessCriteriaMet" | "FailureTarget"
        );
        ends && condition.status == "True"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_the_server_filled_in_is_no_difference() {
        let desired = json!({"spec": {"ports": [{"port": 1}], "selector": {"a": "b"}}});
        let actual = json!({"spec": {"ports": [{"port": 1, "protocol": "TCP"}], "selector": {"a": "b"}, "type": "ClusterIP"}});
        assert!(covers(&actual, &desired));
        assert!(!covers(&json!({"spec": {"ports": [{"port": 2}], "selector": {"a": "b"}}}), &desired));
        assert!(!covers(
            &json!({"spec": {"ports": [{"port": 1}, {"port": 2}], "selector": {"a": "b"}}}),
            &desired
        ));
        assert!(!covers(&json!({"spec": {"ports": [{"port": 1}]}}), &desired));
    }

    #[test]
    fn only_an_invalid_object_is_refused_for_good() {
        let error = |code: u16| Error::Apply {
            kind: "Job".into(),
            name: "x".into(),
            source: kube::Error::Api(Box::new(kube::core::Status {
                code,
                message: "bad".into(),
                ..Default::default()
            })),
        };
        assert_eq!(error(422).refusal().as_deref(), Some("Job: bad"));
        for code in [403, 404, 409, 429, 500, 503] {
            assert_eq!(error(code).refusal(), None, "{code}");
        }
    }
}
