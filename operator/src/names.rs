//! Names and labels of everything that belongs to a job; all follow from the job's name, so that a restart finds them again.

use std::collections::BTreeMap;

/// Field manager of the children and of the status's conditions.
pub(crate) const MANAGER: &str = "lockstep-operator";
/// Field manager of the part of the status that follows the executors' reports.
pub(crate) const PROGRESS_MANAGER: &str = "lockstep-operator-progress";
/// Label with the name of the job.
pub(crate) const JOB_LABEL: &str = "lockstep.dev/job-name";
/// Component label of executor pods.
pub(crate) const COMPONENT: &str = "executor";
/// Label by which a pod of the operator itself is known, set by the chart.
pub(crate) const OPERATOR_APP: &str = "lockstep-operator";
/// The label that an Indexed Job gives its pods.
pub(crate) const INDEX_LABEL: &str = "batch.kubernetes.io/job-completion-index";
/// The label that Kubernetes gives every namespace.
pub(crate) const NAMESPACE_LABEL: &str = "kubernetes.io/metadata.name";

/// Labels of every child of a job.
pub(crate) fn labels(job: &str) -> BTreeMap<String, String> {
    let mut labels = selector(job);
    labels.insert("app.kubernetes.io/managed-by".to_owned(), MANAGER.to_owned());
    labels.insert("app.kubernetes.io/name".to_owned(), "lockstep".to_owned());
    labels.insert("app.kubernetes.io/instance".to_owned(), job.to_owned());
    labels
}

/// Labels that select exactly the executor pods of a job.
pub(crate) fn selector(job: &str) -> BTreeMap<String, String> {
    BTreeMap::from([
        (JOB_LABEL.to_owned(), job.to_owned()),
        ("app.kubernetes.io/component".to_owned(), COMPONENT.to_owned()),
    ])
}

/// `selector` in the form of the scale subresource and of `kubectl -l`.
pub(crate) fn selector_text(job: &str) -> String {
    selector(job).iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

/// The Secret with the job's TLS identity.
pub(crate) fn secret(job: &str) -> String {
    format!("{job}-tls")
}

/// The ConfigMap with the resolved spec.
pub(crate) fn config_map(job: &str) -> String {
    format!("{job}-job")
}
