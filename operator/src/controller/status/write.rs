//! Writes a status that changed, each part under its own field manager.

use crate::names::{MANAGER, PROGRESS_MANAGER};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use lockstep_crds::{CnnTrainingJob, CnnTrainingJobStatus, GROUP, KIND, VERSION};
use serde_json::{Value, json};
use snafu::{ResultExt, Snafu};

/// Why a status could not be written.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to write the status of {job} as {manager}"))]
    Patch { job: String, manager: &'static str, source: kube::Error },
    #[snafu(display("failed to turn the status of {job} into JSON"))]
    Encode { job: String, source: serde_json::Error },
}

impl Error {
    /// Whether the job does not exist any more.
    pub(crate) fn is_gone(&self) -> bool {
        match self {
            Self::Patch { source: kube::Error::Api(status), .. } => status.code == 404,
            Self::Patch { .. } | Self::Encode { .. } => false,
        }
    }
}

/// What follows the executors' reports.
const PROGRESS_FIELDS: [&str; 7] =
    ["view", "recoveries", "progress", "best", "checkpoint", "result", "display"];

/// Writes the parts of the status that differ from the previous one.
///
/// # Errors
/// When the API server does not take it; the next reconcile computes it again.
pub(crate) async fn write(
    api: &Api<CnnTrainingJob>,
    job: &str,
    previous: &CnnTrainingJobStatus,
    next: &CnnTrainingJobStatus,
) -> Result<(), Error> {
    let (before, after) = (split(job, previous)?, split(job, next)?);
    for (manager, before, after) in [(MANAGER, before.0, after.0), (PROGRESS_MANAGER, before.1, after.1)] {
        if before != after {
            let patch = json!({"apiVersion": format!("{GROUP}/{VERSION}"), "kind": KIND, "status": after});
            let parameters = PatchParams::apply(manager).force();
            api.patch_status(job, &parameters, &Patch::Apply(patch))
                .await
                .context(PatchSnafu { job, manager })?;
        }
    }
    Ok(())
}

/// (the controller's part, the reports' part).
fn split(job: &str, status: &CnnTrainingJobStatus) -> Result<(Value, Value), Error> {
    let mut core = serde_json::to_value(status).context(EncodeSnafu { job })?;
    let mut progress = serde_json::Map::new();
    if let Some(core) = core.as_object_mut() {
        for field in PROGRESS_FIELDS {
            if let Some((name, value)) = core.remove_entry(field) {
                progress.insert(name, value);
            }
        }
    }
    Ok((core, Value::Object(progress)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lockstep_crds::status::{Phase, Progress};

    #[test]
    fn every_field_has_exactly_one_manager() {
        let status = CnnTrainingJobStatus {
            phase: Some(Phase::Running),
            progress: Some(Progress::default()),
            view: Some(3),
            ..CnnTrainingJobStatus::default()
        };
        let (core, progress) = split("x", &status).unwrap();
        assert_eq!(core, json!({"phase": "Running"}));
        assert_eq!(progress.as_object().unwrap().keys().collect::<Vec<_>>(), ["progress", "view"]);
    }

    /// A field renamed in the API must be renamed here.
    #[test]
    fn the_reports_fields_exist_in_the_api() {
        let crd = serde_json::to_value(lockstep_crds::definition::crd().unwrap()).unwrap();
        let status =
            &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"];
        for field in PROGRESS_FIELDS {
            assert!(status.get(field).is_some(), "status.{field}");
        }
    }
}
