//! The ConfigMap with the resolved spec.

use super::{ValidatedJob, metadata};
use crate::names;
use k8s_openapi::api::core::v1::ConfigMap;
use lockstep_crds::{canonical, executor::JOB_KEY};
use std::collections::BTreeMap;

/// Builds the ConfigMap. It changes when the job is scaled, and running pods see that change in the mounted file.
pub(super) fn build(job: &ValidatedJob) -> serde_json::Result<ConfigMap> {
    Ok(ConfigMap {
        metadata: metadata(job, names::config_map(&job.name)),
        data: Some(BTreeMap::from([(JOB_KEY.to_owned(), canonical::to_string(&job.resolved)?)])),
        ..ConfigMap::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::test_support::resources;
    use lockstep_crds::ResolvedJob;
    use serde_json::json;

    #[test]
    fn executors_read_back_what_was_resolved() {
        let data = resources(json!({"executors": 3})).config_map.data.unwrap();
        let job: ResolvedJob = serde_json::from_str(&data["job.json"]).unwrap();
        assert_eq!(job.executors, 3);
        assert_eq!(job.checkpoint.uri, "file:///data/checkpoints");
    }
}
