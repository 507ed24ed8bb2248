//! Writes checkpoints and the result off the training path: one task, one write at a time.

use std::time::Duration;

use lockstep_nn::weights_sha256;
use snafu::Report;
use tokio::{
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    checkpoint::{CheckpointId, Error, JobResult, RunFolder},
    network::Network,
    state::TrainingState,
};

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A finished job waits no longer than this to leave its folder tidy.
const CLEANING_UP: Duration = Duration::from_secs(10);

enum Request {
    Commit(TrainingState),
    Finish { state: TrainingState, epochs: u32 },
}

/// What became of a request.
pub(super) enum Saved {
    /// A checkpoint is committed.
    Checkpoint {
        id: CheckpointId,
        /// Version of the state that was to be saved.
        round: u64,
    },
    /// The run's result, as read back.
    Result(Box<JobResult>),
    /// Storage failed and may recover; the request is still being worked on.
    Retrying(String),
    /// Trying again cannot help.
    Failed(Error),
}

/// The handle to the writing task; dropping it ends the task.
pub(super) struct Saver {
    requests: mpsc::UnboundedSender<Request>,
    answers: mpsc::UnboundedReceiver<Saved>,
    /// Requests without a final answer. States share their tensors with the loop's until that changes them.
    open: usize,
    task: JoinHandle<()>,
}

impl Saver {
    pub(super) fn start(run: RunFolder, network: Network) -> Self {
        let (requests, mut inbox) = mpsc::unbounded_channel();
        let (outbox, answers) = mpsc::unbounded_channel();
        let task = tokio::spawn(async move {
            while let Some(request) = inbox.recv().await {
                serve(&run, &network, request, &outbox).await;
            }
        });
        Self { requests, answers, open: 0, task }
    }

    /// Commits `state`, after what was asked for before.
    pub(super) fn commit(&mut self, state: TrainingState) {
        self.ask(Request::Commit(state));
    }

    /// Commits `state` unless storage is still busy with an earlier one: training never waits, memory stays bounded.
    pub(super) fn commit_if_idle(&mut self, state: TrainingState) {
        if self.open == 0 || state.cursor.training_has_ended() {
            self.commit(state);
        } else {
            tracing::warn!(
                step = state.cursor.step,
                "skipping a checkpoint: the one before is still being written"
            );
        }
    }

    /// Commits the final checkpoint, writes the result and reads it back.
    pub(super) fn finish(&mut self, state: TrainingState, epochs: u32) {
        self.ask(Request::Finish { state, epochs });
    }

    /// The next answer; waits for ever if nothing was asked for.
    pub(super) async fn next(&mut self) -> Saved {
        let Some(saved) = self.answers.recv().await else { return std::future::pending().await };
        self.open -= usize::from(!matches!(saved, Saved::Retrying(_)));
        saved
    }

    fn ask(&mut self, request: Request) {
        // The task ends only with this handle.
        self.open += usize::from(self.requests.send(request).is_ok());
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(run: &RunFolder, network: &Network, request: Request, outbox: &mpsc::UnboundedSender<Saved>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let saved = match attempt(run, network, &request).await {
            Ok(saved) => saved,
            Err(error) if error.is_retryable() => {
                let message = Report::from_error(&error).to_string();
                let _ = outbox.send(Saved::Retrying(message));
                sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            Err(error) => Saved::Failed(error),
        };
        // Nobody listens any more when the executor has ended.
        let _ = outbox.send(saved);
        return;
    }
}

async fn attempt(run: &RunFolder, network: &Network, request: &Request) -> Result<Saved, Error> {
    let (Request::Commit(state) | Request::Finish { state, .. }) = request;
    let id = run.commit(network, state).await?;
    if let Request::Finish { epochs, .. } = request {
        let weights = weights_sha256(&network.model, &state.tensors.weights);
        let result = JobResult::new(run.origin().clone(), weights, id.to_string(), *epochs, &state.cursor);
        run.finish(&result).await?;
        let result = run.result().await?.unwrap_or(result);
        clean_up(run).await;
        return Ok(Saved::Result(Box::new(result)));
    }
    if let Err(error) = run.prune().await {
        tracing::warn!(error = %Report::from_error(&error), "pruning failed; the next checkpoint tries again");
    }
    Ok(Saved::Checkpoint { id, round: state.cursor.round })
}

async fn clean_up(run: &RunFolder) {
    match timeout(CLEANING_UP, run.clean_up()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(error = %Report::from_error(&error), "temporary files are left"),
        Err(_) => tracing::warn!("temporary files are left: storage does not answer in time"),
    }
}
