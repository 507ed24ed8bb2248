//! The end of a namespace.
//!
//! Kubernetes deletes a namespace's pods first, and its Jobs once no pod is left (KEP-5080). A Job with a back-off limit for each
//! index holds the last failed pod of one until it has made the next (KEP-3850), and in a namespace that ends it can make none. So
//! neither goes until somebody deletes the Job.

use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Namespace, Pod},
};
use kube::{Api, Client};

use super::delete::delete;

/// Deletes `job` if its namespace is being deleted; whether it is. Asked only when pods are on their way out.
///
/// # Errors
/// The API server's.
pub(crate) async fn leave_if_it_ends(
    client: &Client,
    namespace: &str,
    job: &Job,
    pods: &[Pod],
) -> Result<bool, kube::Error> {
    if !pods.iter().any(|pod| pod.metadata.deletion_timestamp.is_some()) {
        return Ok(false);
    }
    let found = Api::<Namespace>::all(client.clone()).get_opt(namespace).await?;
    if found.is_none_or(|namespace| namespace.metadata.deletion_timestamp.is_none()) {
        return Ok(false);
    }
    delete(&Api::namespaced(client.clone(), namespace), job).await?;
    Ok(true)
}
