//! The reconciliation of one job: dereference, validate, build, apply, update status.
//!
//! It is computed from the API server's objects alone. What [`Context`] remembers only spaces out questions and retries; an
//! operator that starts anew forgets nothing that matters.

pub(crate) mod apply;
pub(crate) mod build;
pub(crate) mod delete;
pub(crate) mod dereference;
pub(crate) mod namespace;
pub(crate) mod status;
pub(crate) mod validate;

use crate::{events, identity, memory::Memory, metrics::Metrics, pods, progress, settings::Settings};
use k8s_openapi::{api::batch::v1::Job, jiff::Timestamp};
use kube::{Api, Client, ResourceExt, core::DeserializeGuard, runtime::controller::Action};
use lockstep_crds::{
    CnnTrainingJob, CnnTrainingJobStatus,
    executor::{ExecutorReport, STATUS_PORT},
    status::Phase,
};
use snafu::{OptionExt, ResultExt, Snafu};
use status::{Facts, Refusal};
use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// Why a reconcile failed.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to reconcile {object}: it has no namespace"))]
    NoNamespace { object: String },
    #[snafu(display("failed to read {namespace}/{job}"))]
    Read { namespace: String, job: String, source: kube::Error },
    #[snafu(display("failed to read the children of {namespace}/{job}"))]
    Dereference { namespace: String, job: String, source: dereference::Error },
    #[snafu(display("failed to take {namespace}/{job} out of a namespace that ends"))]
    Leave { namespace: String, job: String, source: kube::Error },
    #[snafu(display("failed to build the children of {namespace}/{job}"))]
    Build { namespace: String, job: String, source: build::Error },
    #[snafu(display("failed to apply the children of {namespace}/{job}"))]
    Apply { namespace: String, job: String, source: apply::Error },
    #[snafu(display("failed to read the TLS identity of {namespace}/{job}"))]
    Identity { namespace: String, job: String, source: identity::Error },
    #[snafu(display("failed to update the status of {namespace}/{job}"))]
    Status { namespace: String, job: String, source: status::Error },
    #[snafu(display("failed to delete {namespace}/{job}, whose ttlSecondsAfterFinished is over"))]
    Expire { namespace: String, job: String, source: kube::Error },
}

/// What every reconcile works with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) settings: Settings,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) memory: Memory,
}

/// Reconciles one job.
///
/// # Errors
/// When it could not be brought to its wanted state now; [`retry`] says when to try again.
pub(crate) async fn reconcile(
    object: Arc<DeserializeGuard<CnnTrainingJob>>,
    context: Arc<Context>,
) -> Result<Action, Error> {
    let begin = Instant::now();
    let result = bring(&object, &context).await;
    context.metrics.reconciled(begin.elapsed(), result.is_ok());
    if result.is_ok() {
        context.memory.succeeded(&key(&*object));
    }
    result
}

/// When to try again after a failure: after 1, 2, 4 … seconds, at most five minutes.
pub(crate) fn retry(
    object: Arc<DeserializeGuard<CnnTrainingJob>>,
    error: &Error,
    context: Arc<Context>,
) -> Action {
    let wait = context.memory.failed(&key(&*object));
    tracing::warn!(
        error = error as &dyn std::error::Error,
        namespace = object.namespace(),
        job = object.name_any(),
        again_in = ?wait,
        "reconciliation failed"
    );
    Action::requeue(wait)
}

fn key(object: &impl ResourceExt) -> String {
    object.uid().unwrap_or_default()
}

async fn bring(object: &DeserializeGuard<CnnTrainingJob>, context: &Context) -> Result<Action, Error> {
    let name = object.name_any();
    let namespace = object.namespace().context(NoNamespaceSnafu { object: &name })?;
    let api = Api::<DeserializeGuard<CnnTrainingJob>>::namespaced(context.client.clone(), &namespace);
    let found = api.get_opt(&name).await.context(ReadSnafu { namespace: &namespace, job: &name })?;
    let job = match found.map(|DeserializeGuard(job)| job) {
        Some(Ok(job)) => job,
        // Left by another version of the API. Its children go on; there is nothing here that could be said about it.
        Some(Err(invalid)) => {
            tracing::error!(namespace, job = name, error = %invalid, "the job is not readable with this version of the API");
            return Ok(Action::await_change());
        }
        None => return Ok(Action::await_change()),
    };
    if job.metadata.deletion_timestamp.is_some() {
        // Owner references delete the children.
        return Ok(Action::await_change());
    }
    let reconcile = Reconcile { context, namespace: &namespace, name: &name, job: &job };
    if let Some(phase) = ended(&job) {
        return reconcile.expire(phase).await;
    }
    match reconcile.advance().await {
        Ok(action) => Ok(action),
        Err(error) => {
            // The failure is shown too, or the user sees a job that silently does nothing.
            let refusal = Refusal::Retried(report(&error));
            reconcile.refuse(&refusal).await?;
            Err(error)
        }
    }
}

/// The terminal phase of a job that nothing is done for any more.
///
/// A spec that was refused may be corrected, as far as it may change at all; a job that ran has ended for ever.
fn ended(job: &CnnTrainingJob) -> Option<Phase> {
    let status = job.status.as_ref()?;
    let phase = status.phase.filter(|phase| phase.is_terminal())?;
    let refused = status.conditions.iter().any(|condition| {
        condition.type_ == "Failed" && matches!(condition.reason.as_str(), "InvalidSpec" | "ChildRefused")
    });
    let corrected = refused && status.observed_generation != job.metadata.generation;
    (!corrected).then_some(phase)
}

/// The error with all its causes, in one line.
fn report(error: &Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

struct Reconcile<'a> {
    context: &'a Context,
    namespace: &'a str,
    name: &'a str,
    job: &'a CnnTrainingJob,
}

impl Reconcile<'_> {
    /// The five calls.
    async fn advance(&self) -> Result<Action, Error> {
        let Self { context, namespace, name, job } = *self;
        let Context { client, settings, .. } = context;

        let existing = dereference::dereference(client, namespace, job)
            .await
            .context(DereferenceSnafu { namespace, job: name })?;

        if let Some(child) = &existing.job
            && namespace::leave_if_it_ends(client, namespace, child, &existing.pods)
                .await
                .context(LeaveSnafu { namespace, job: name })?
        {
            return Ok(Action::await_change());
        }

        let validated = match validate::validate(job, settings) {
            Ok(validated) => validated,
            Err(violations) => return self.refuse(&Refusal::Spec(violations)).await,
        };

        let resources = build::build(&validated, settings).context(BuildSnafu { namespace, job: name })?;

        let applied = match apply::apply(client, &validated, resources, &existing).await {
            Ok(applied) => applied,
            Err(error) => match error.refusal() {
                Some(message) => return self.refuse(&Refusal::Child(message)).await,
                None => return Err(error).context(ApplySnafu { namespace, job: name }),
            },
        };

        let answers = self.ask(&applied, &existing).await?;
        let facts = Facts {
            name,
            generation: job.metadata.generation,
            executors: validated.resolved.executors,
            epochs: validated.resolved.result.training.epochs,
            suspend: validated.policy.suspend,
            job: &applied.job,
            pods: &existing.pods,
            missing: &existing.missing,
            answers: answers.as_deref(),
        };
        let next = status::plan(Timestamp::now(), &self.previous(), facts);
        self.update(&next).await?;
        match next.phase {
            Some(phase) if phase.is_terminal() => self.expire_after(&next),
            _ => Ok(Action::requeue(settings.progress_interval)),
        }
    }

    fn previous(&self) -> CnnTrainingJobStatus {
        self.job.status.clone().unwrap_or_default()
    }

    /// The running executors' reports, or None if they were asked a moment ago.
    async fn ask(
        &self,
        applied: &apply::Applied,
        existing: &dereference::Existing,
    ) -> Result<Option<Vec<ExecutorReport>>, Error> {
        let Self { context, namespace, name, job } = *self;
        let settings = &context.settings;
        // At the end everybody is asked once more, as long as somebody is there.
        let executors: Vec<SocketAddr> = existing
            .pods
            .iter()
            .filter_map(|pod| pods::address(pod).map(|address| (address, STATUS_PORT).into()))
            .collect();
        if is_over(&applied.job) && executors.is_empty() {
            return Ok(None);
        }
        if !context.memory.is_due(&key(job), settings.progress_interval) {
            return Ok(None);
        }
        let tls = identity::client(&applied.secret).context(IdentitySnafu { namespace, job: name })?;
        Ok(Some(progress::ask_all(executors, tls, settings.report_timeout, &context.metrics).await))
    }

    /// Shows why the job has no children, or not now.
    async fn refuse(&self, refusal: &Refusal) -> Result<Action, Error> {
        let next = status::refused(Timestamp::now(), &self.previous(), self.job.metadata.generation, refusal);
        self.update(&next).await?;
        self.expire_after(&next)
    }

    async fn update(&self, next: &CnnTrainingJobStatus) -> Result<(), Error> {
        let Self { context, namespace, name, job } = *self;
        let previous = self.previous();
        let api = Api::<CnnTrainingJob>::namespaced(context.client.clone(), namespace);
        match status::write(&api, name, &previous, next).await {
            // Deleted meanwhile: there is nothing left to say it to.
            Err(error) if error.is_gone() => return Ok(()),
            result => result.context(StatusSnafu { namespace, job: name })?,
        }
        for note in status::story(&previous, next) {
            events::publish(context, job, note).await;
        }
        Ok(())
    }

    /// Waits for the job's time to live, if it has one.
    fn expire_after(&self, status: &CnnTrainingJobStatus) -> Result<Action, Error> {
        Ok(match self.lifetime(status) {
            Some(rest) => Action::requeue(rest.max(Duration::from_millis(100))),
            None => Action::await_change(),
        })
    }

    /// How long the ended job still has to live; None: for ever.
    fn lifetime(&self, status: &CnnTrainingJobStatus) -> Option<Duration> {
        let limit = self.job.spec.run_policy.as_ref()?.ttl_seconds_after_finished?;
        let end = status.completion_time.as_ref()?.0.as_second() + i64::from(limit);
        Some(Duration::from_secs(u64::try_from(end - Timestamp::now().as_second()).unwrap_or(0)))
    }

    /// Deletes the ended job when its time is over.
    async fn expire(&self, phase: Phase) -> Result<Action, Error> {
        let Self { context, namespace, name, job } = *self;
        let rest = self.lifetime(&self.previous());
        if rest != Some(Duration::ZERO) {
            return Ok(rest.map_or_else(Action::await_change, Action::requeue));
        }
        tracing::info!(
            namespace,
            job = name,
            ?phase,
            "deleting the job: its ttlSecondsAfterFinished is over"
        );
        let api = Api::<CnnTrainingJob>::namespaced(context.client.clone(), namespace);
        delete::delete(&api, job).await.context(ExpireSnafu { namespace, job: name })?;
        Ok(Action::await_change())
    }
}

/// Whether the Job has ended or is ending.
fn is_over(job: &Job) -> bool {
    let conditions = job.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    conditions.iter().any(|condition| {
        matches!(condition.type_.as_str(), "Complete" | "Failed") && condition.status == "True"
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support::{at, job};
    use lockstep_crds::Violation;
    use serde_json::json;

    fn refused_at(generation: i64) -> CnnTrainingJob {
        let mut job = job(json!({}));
        let refusal = Refusal::Spec(vec![Violation::new("executors", "too many")]);
        job.status =
            Some(status::refused(at(0), &CnnTrainingJobStatus::default(), Some(generation), &refusal));
        job
    }

    #[test]
    fn a_refused_spec_gets_another_chance_when_it_changes() {
        assert_eq!(ended(&refused_at(1)), Some(Phase::Failed));
        assert_eq!(ended(&refused_at(0)), None);
    }

    #[test]
    fn a_job_that_ran_has_ended_for_ever() {
        for phase in [Phase::Succeeded, Phase::Failed] {
            let mut job = job(json!({}));
            job.status = Some(CnnTrainingJobStatus {
                phase: Some(phase),
                observed_generation: Some(0),
                ..CnnTrainingJobStatus::default()
            });
            assert_eq!(ended(&job), Some(phase));
        }
    }

    #[test]
    fn a_job_that_runs_has_not_ended() {
        let mut job = job(json!({}));
        assert_eq!(ended(&job), None);
        job.status =
            Some(CnnTrainingJobStatus { phase: Some(Phase::Running), ..CnnTrainingJobStatus::default() });
        assert_eq!(ended(&job), None);
    }

    #[test]
    fn an_error_is_reported_with_its_causes() {
        let error = Error::Dereference {
            namespace: "training".into(),
            job: "cifar10".into(),
            source: dereference::Error::NameTaken { kind: "Service".into(), name: "cifar10".into() },
        };
        assert_eq!(
            report(&error),
            "failed to read the children of training/cifar10: failed to use the Service cifar10: it belongs to somebody else; \
             delete it or rename the job"
        );
    }
}
