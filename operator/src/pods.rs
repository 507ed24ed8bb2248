//! What the pods of a job say about its executors: pure readings of `Pod` objects.

use crate::names;
use k8s_openapi::{
    api::core::v1::{ContainerState, ContainerStatus, Pod},
    jiff::{SignedDuration, Timestamp},
};
use lockstep_crds::executor::{CONTAINER, ExecutorReport, exit_code};
use std::net::IpAddr;

/// The executor's index.
pub(crate) fn index(pod: &Pod) -> Option<u32> {
    pod.metadata.labels.as_ref()?.get(names::INDEX_LABEL)?.parse().ok()
}

/// Whether the pod counts as a member of the view: its readiness probe asks exactly that.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    is_active(pod)
        && conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

/// Whether the pod exists and has not ended.
pub(crate) fn is_active(pod: &Pod) -> bool {
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed")
}

/// The address of a running executor.
pub(crate) fn address(pod: &Pod) -> Option<IpAddr> {
    let running = matches!(state(pod)?, ContainerState { running: Some(_), .. });
    pod.status.as_ref()?.pod_ip.as_ref()?.parse().ok().filter(|_| running)
}

/// A volume that is still being bound, or a node that is still being added, makes a pod unschedulable for a while.
const SCHEDULING_GRACE: SignedDuration = SignedDuration::from_secs(30);

fn container(pod: &Pod) -> Option<&ContainerStatus> {
    let containers = pod.status.as_ref()?.container_statuses.as_deref()?;
    containers.iter().find(|container| container.name == CONTAINER)
}

fn state(pod: &Pod) -> Option<&ContainerState> {
    container(pod)?.state.as_ref()
}

/// How an executor ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ending {
    pub(crate) pod: String,
    pub(crate) index: Option<u32>,
    pub(crate) exit_code: i32,
    pub(crate) finished: Option<Timestamp>,
    /// Kubernetes' word: OOMKilled, Error, Completed.
    pub(crate) reason: String,
    /// Its last report, if it left one.
    pub(crate) report: Option<ExecutorReport>,
    /// Its last words: the report's message, else what it left or logged.
    pub(crate) words: Option<String>,
}

/// How the pod's executor ended, if it has.
pub(crate) fn ending(pod: &Pod) -> Option<Ending> {
    let terminated = state(pod)?.terminated.as_ref()?;
    let text = terminated.message.as_deref().map(str::trim).filter(|text| !text.is_empty());
    let report = text.and_then(report);
    let words = match &report {
        Some(report) => report.message.clone(),
        None => text.map(last_line),
    };
    Some(Ending {
        pod: pod.metadata.name.clone().unwrap_or_default(),
        index: index(pod),
        exit_code: terminated.exit_code,
        finished: terminated.finished_at.as_ref().map(|time| time.0),
        reason: terminated.reason.clone().unwrap_or_default(),
        report,
        words,
    })
}

/// The report that an executor left. A line of its log is JSON as well.
fn report(text: &str) -> Option<ExecutorReport> {
    let left: serde_json::Value = serde_json::from_str(text).ok()?;
    let is_log = left.get("fields").is_some();
    if is_log { None } else { serde_json::from_value(left).ok() }
}

/// What the last line of a log says, at most 500 characters of it. Executors log JSON, and what ends them may not.
fn last_line(text: &str) -> String {
    let line = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or_default().trim();
    let entry: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let message = entry.as_ref().and_then(|entry| entry["fields"]["message"].as_str());
    message.unwrap_or(line).chars().take(500).collect()
}

impl Ending {
    /// A condition's reason.
    pub(crate) fn condition_reason(&self) -> &'static str {
        match u8::try_from(self.exit_code) {
            _ if self.reason == "OOMKilled" => "OutOfMemory",
            Ok(exit_code::DATA) => "BadData",
            Ok(exit_code::DIVERGED) => "Diverged",
            Ok(exit_code::CONFIG | exit_code::USAGE) => "BadSpec",
            _ => "ExecutorFailed",
        }
    }

    /// Who ended how, in its own words, and what to do.
    pub(crate) fn describe(&self) -> String {
        let who = self.index.map_or_else(
            || format!("pod {}", self.pod),
            |index| format!("executor {index} (pod {})", self.pod),
        );
        let how = match self.condition_reason() {
            "OutOfMemory" => "ran out of memory".to_owned(),
            _ => format!("exited with {}", self.exit_code),
        };
        let words = self.words.as_deref().map(|words| format!(": {words}")).unwrap_or_default();
        let remedy = match self.condition_reason() {
            "OutOfMemory" => "; raise executorTemplate.resources.limits.memory or lower data.cacheSize",
            "BadData" => "; repair the data set, then create the job again with the same checkpoint.uri",
            "Diverged" => "; create a new job with a lower learning rate",
            "BadSpec" => "; create a new job with the spec corrected",
            _ => "",
        };
        format!("{who} {how}{words}{remedy}")
    }
}

/// Why a pod does not run although it should, with a condition's reason.
pub(crate) fn obstacle(pod: &Pod, now: Timestamp) -> Option<(&'static str, String)> {
    if !is_active(pod) {
        return None;
    }
    let name = pod.metadata.name.as_deref().unwrap_or("pod");
    let status = pod.status.as_ref()?;
    if let Some(waiting) = state(pod).and_then(|state| state.waiting.as_ref()) {
        let kind = waiting.reason.as_deref().unwrap_or_default();
        let detail = waiting.message.as_deref().unwrap_or(kind);
        let remedy = match kind {
            "ErrImagePull" | "ImagePullBackOff" | "InvalidImageName" | "ErrImageNeverPull" => {
                Some(("ImagePullFailed", "check executorTemplate.image and imagePullSecrets"))
            }
            "CreateContainerConfigError" | "CreateContainerError" | "RunContainerError" => {
                Some(("ContainerCannotStart", "check executorTemplate"))
            }
            _ => None,
        };
        if let Some((reason, remedy)) = remedy {
            return Some((reason, format!("{name}: {detail}; {remedy}")));
        }
    }
    let unscheduled = status.conditions.as_deref().unwrap_or_default().iter().find(|condition| {
        condition.type_ == "PodScheduled"
            && condition.status == "False"
            && condition.reason.as_deref() == Some("Unschedulable")
            && condition
                .last_transition_time
                .as_ref()
                .is_none_or(|since| now.duration_since(since.0) >= SCHEDULING_GRACE)
    })?;
    let detail = unscheduled.message.as_deref().unwrap_or("no node has room");
    Some(("Unschedulable", format!("{name}: {detail}; check executorTemplate.resources and the nodes")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{at, ended_pod, pod, ready_pod};
    use serde_json::json;

    #[test]
    fn a_ready_pod_has_index_and_address() {
        let pod = ready_pod(3);
        assert_eq!((index(&pod), is_ready(&pod), address(&pod)), (Some(3), true, Some([10, 0, 0, 4].into())));
        assert_eq!(obstacle(&pod, at(0)), None);
        assert_eq!(ending(&pod), None);
    }

    #[test]
    fn last_words_come_from_the_report_or_from_the_log() {
        let report = ended_pod(1, 65, "Error", r#"{"index":1,"message":"shard x is cut off at byte 7"}"#);
        let ending_of_report = ending(&report).unwrap();
        assert_eq!(ending_of_report.words.as_deref(), Some("shard x is cut off at byte 7"));
        assert_eq!(ending_of_report.report.as_ref().unwrap().index, 1);
        assert_eq!(ending_of_report.condition_reason(), "BadData");
        let log = ended_pod(1, 101, "Error", "starting\nthread main panicked\n\n");
        assert_eq!(ending(&log).unwrap().words.as_deref(), Some("thread main panicked"));
        let line = r#"{"timestamp":"2026-01-01T00:00:00Z","level":"INFO","fields":{"message":"waiting","reason":"x"}}"#;
        let log = ended_pod(1, 137, "Error", line);
        assert_eq!(ending(&log).unwrap().words.as_deref(), Some("waiting"));
    }

    #[test]
    fn the_out_of_memory_killer_is_named() {
        let ending = ending(&ended_pod(0, 137, "OOMKilled", "")).unwrap();
        assert_eq!(ending.condition_reason(), "OutOfMemory");
        assert!(
            ending.describe().contains("executor 0 (pod cifar10-0-abcde) ran out of memory; raise"),
            "{}",
            ending.describe()
        );
    }

    #[test]
    fn what_keeps_a_pod_from_starting_is_named() {
        let image = pod(
            0,
            json!({"phase": "Pending", "containerStatuses": [{
                "name": "executor", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
                "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image \"x\""}},
            }]}),
        );
        let (reason, message) = obstacle(&image, at(0)).unwrap();
        assert_eq!(reason, "ImagePullFailed");
        assert!(message.contains("executorTemplate.image"), "{message}");
        let unschedulable = pod(
            0,
            json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available",
                "lastTransitionTime": at(0).to_string(),
            }]}),
        );
        assert_eq!(obstacle(&unschedulable, at(29)), None, "its volume may still be on the way");
        assert_eq!(obstacle(&unschedulable, at(30)).unwrap().0, "Unschedulable");
        let creating = pod(
            0,
            json!({"phase": "Pending", "containerStatuses": [{
                "name": "executor", "ready": false, "restartCount": 0, "image": "i", "imageID": "",
                "state": {"waiting": {"reason": "ContainerCreating"}},
            }]}),
        );
        assert_eq!(obstacle(&creating, at(0)), None);
    }
}
