//! Every read of a reconcile: the job, its children and its pods, fresh from the API server.
//!
//! Not from a cache: a status computed from an old one would tell its story twice.

use crate::names;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Pod, Secret, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{Api, Client, Resource, ResourceExt, api::ListParams};
use lockstep_crds::{
    CnnTrainingJob,
    spec::{NameRef, Storage},
};
use serde::de::DeserializeOwned;
use snafu::{ResultExt, Snafu, ensure};
use std::fmt::Debug;

/// Why the reads failed.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to read the {kind} {name}"))]
    Read { kind: String, name: String, source: kube::Error },
    #[snafu(display("failed to list the pods of {job}"))]
    ListPods { job: String, source: kube::Error },
    #[snafu(display(
        "failed to use the {kind} {name}: it belongs to somebody else; delete it or rename the job"
    ))]
    NameTaken { kind: String, name: String },
}

/// What exists of a job.
#[derive(Clone, Debug, Default)]
pub(crate) struct Existing {
    pub(crate) service: Option<Service>,
    pub(crate) config_map: Option<ConfigMap>,
    pub(crate) network_policy: Option<NetworkPolicy>,
    pub(crate) disruption_budget: Option<PodDisruptionBudget>,
    pub(crate) secret: Option<Secret>,
    pub(crate) job: Option<Job>,
    pub(crate) pods: Vec<Pod>,
    /// What the spec refers to and does not exist, each in words. Pods that need it cannot start.
    pub(crate) missing: Vec<String>,
}

/// Reads the children of `job`.
///
/// # Errors
/// When a read fails, or a child's name is taken by an object that is not the job's.
pub(crate) async fn dereference(
    client: &Client,
    namespace: &str,
    job: &CnnTrainingJob,
) -> Result<Existing, Error> {
    let name = job.name_any();
    let uid = job.uid().unwrap_or_default();
    let (secret, config_map) = (names::secret(&name), names::config_map(&name));
    let parameters = ListParams::default().labels(&names::selector_text(&name));
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    let (service, config_map, network_policy, disruption_budget, secret, child, pods, missing) = tokio::try_join!(
        own(client, namespace, &name, &uid),
        own(client, namespace, &config_map, &uid),
        own(client, namespace, &name, &uid),
        own(client, namespace, &name, &uid),
        own(client, namespace, &secret, &uid),
        own::<Job>(client, namespace, &name, &uid),
        async { pods.list(&parameters).await.context(ListPodsSnafu { job: &name }) },
        missing(client, namespace, job.spec.storage.as_ref()),
    )?;
    // A deleted job of the same name may have left pods that are still ending.
    let job_uid = child.as_ref().and_then(ResourceExt::uid);
    let pods = pods
        .items
        .into_iter()
        .filter(|pod| job_uid.is_some() && is_owned(pod, job_uid.as_deref().unwrap_or_default()));
    Ok(Existing {
        service,
        config_map,
        network_policy,
        disruption_budget,
        secret,
        job: child,
        pods: pods.collect(),
        missing,
    })
}

/// What `storage` refers to and does not exist.
async fn missing(client: &Client, namespace: &str, storage: Option<&Storage>) -> Result<Vec<String>, Error> {
    let Some(Storage { hadoop_config_map_ref, user: _, kerberos_secret_ref, s3_secret_ref }) = storage else {
        return Ok(Vec::new());
    };
    let (hadoop, kerberos, s3) = tokio::try_join!(
        lacks::<ConfigMap>(client, namespace, "storage.hadoopConfigMapRef", hadoop_config_map_ref.as_ref()),
        lacks::<Secret>(client, namespace, "storage.kerberosSecretRef", kerberos_secret_ref.as_ref()),
        lacks::<Secret>(client, namespace, "storage.s3SecretRef", s3_secret_ref.as_ref()),
    )?;
    Ok([hadoop, kerberos, s3].into_iter().flatten().collect())
}

/// Words for a reference that leads nowhere. Only the object's metadata is read: what it holds is none of our business.
async fn lacks<K>(
    client: &Client,
    namespace: &str,
    field: &str,
    reference: Option<&NameRef>,
) -> Result<Option<String>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let Some(NameRef { name }) = reference else { return Ok(None) };
    let kind = K::kind(&()).into_owned();
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let found = api.get_metadata_opt(name).await.context(ReadSnafu { kind: &kind, name })?;
    let words = || {
        format!("{field} names the {kind} {name}, which does not exist; create it, and the executors start")
    };
    Ok(found.is_none().then(words))
}

async fn own<K>(client: &Client, namespace: &str, name: &str, uid: &str) -> Result<Option<K>, Error>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let api = Api::<K>::namespaced(client.clone(), namespace);
    let kind = K::kind(&()).into_owned();
    let found = api.get_opt(name).await.context(ReadSnafu { kind: &kind, name })?;
    if let Some(object) = &found {
        ensure!(is_owned(object, uid), NameTakenSnafu { kind, name });
    }
    Ok(found)
}

/// Whether the owner with `uid` controls the object.
fn is_owned(object: &impl ResourceExt, uid: &str) -> bool {
    object.owner_references().iter().any(|owner| owner.controller == Some(true) && owner.uid == uid)
}
