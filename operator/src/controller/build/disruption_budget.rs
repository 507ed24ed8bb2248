//! The PodDisruptionBudget: a drain takes one executor at a time.

use super::{ValidatedJob, metadata};
use crate::names;
use k8s_openapi::{
    api::policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec},
    apimachinery::pkg::{apis::meta::v1::LabelSelector, util::intstr::IntOrString},
};

/// Builds the budget, or none for a single executor, which no budget could both protect and let go.
///
/// An integer `minAvailable` and not a percentage or `maxUnavailable`: those need a controller with a scale subresource,
/// which a Job is not, and would block every drain.
pub(super) fn build(job: &ValidatedJob) -> Option<PodDisruptionBudget> {
    let available = job.resolved.executors.checked_sub(1).filter(|rest| *rest >= 1)?;
    Some(PodDisruptionBudget {
        metadata: metadata(job, job.name.clone()),
        spec: Some(PodDisruptionBudgetSpec {
            min_available: Some(IntOrString::Int(i32::try_from(available).unwrap_or(i32::MAX))),
            selector: Some(LabelSelector {
                match_labels: Some(names::selector(&job.name)),
                match_expressions: None,
            }),
            // A pod that is not ready does not train: holding a drain up for it helps nobody.
            unhealthy_pod_eviction_policy: Some("AlwaysAllow".to_owned()),
            ..PodDisruptionBudgetSpec::default()
        }),
        ..PodDisruptionBudget::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::test_support::resources;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
    use serde_json::json;

    #[test]
    fn all_but_one_executor_stay() {
        let budget = |executors: u32| resources(json!({"executors": executors})).disruption_budget;
        assert!(budget(1).is_none());
        assert_eq!(budget(2).unwrap().spec.unwrap().min_available, Some(IntOrString::Int(1)));
        assert_eq!(budget(8).unwrap().spec.unwrap().min_available, Some(IntOrString::Int(7)));
    }
}
