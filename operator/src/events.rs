//! Publishes a job's story as Kubernetes events.

use crate::{
    controller::{Context, status::Note},
    names::MANAGER,
};
use kube::{
    Resource,
    runtime::events::{Event, Recorder, Reporter},
};
use lockstep_crds::CnnTrainingJob;

/// Publishes one event. A failure is logged and not retried: the status says the same and stays.
pub(crate) async fn publish(context: &Context, job: &CnnTrainingJob, note: Note) {
    let Note { kind, reason, text } = note;
    // A recorder of its own: one that is shared folds events of one reason into the first one's text.
    let reporter = Reporter { controller: MANAGER.to_owned(), instance: context.settings.name.clone() };
    let recorder = Recorder::new(context.client.clone(), reporter);
    let mut regarding = job.object_ref(&());
    // `kubectl describe` looks events up without it.
    regarding.resource_version = None;
    let event = Event {
        type_: kind,
        reason: reason.to_owned(),
        note: Some(text.chars().take(1000).collect()),
        action: "Reconcile".to_owned(),
        secondary: None,
    };
    match recorder.publish(&event, &regarding).await {
        Ok(()) => context.metrics.published(),
        Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, reason, "event not published"),
    }
}
