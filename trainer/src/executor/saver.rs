//! Writes checkpoints and the result off the training path: one task, one write at a time.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lockstep_crds::executor::{StorageTrouble, StorageTroubleKind};
use lockstep_nn::weights_sha256;
use snafu::Report;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

use crate::{
    checkpoint::{CheckpointId, Error, JobResult, RunFolder},
    failure::chain,
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
        /// From the state to its manifest.
        took: Duration,
    },
    /// The run's result, as read back.
    Result(Box<JobResult>),
    /// Storage failed and may recover; the request is still being worked on.
    Retrying(StorageTrouble),
    /// Trying again cannot help.
    Failed(Error),
}

/// The handle to the writing task; dropping it ends the task.
pub(super) struct Saver {
    requests: mpsc::UnboundedSender<Request>,
    answers: mpsc::UnboundedReceiver<Saved>,
    newest: Arc<Newest>,
    task: JoinHandle<()>,
}

/// The state of the newest checkpoint that was due and has not been begun. Training never waits for storage, and memory
/// stays bounded: a newer state takes the place of an older one.
#[derive(Default)]
struct Newest {
    state: Mutex<Option<TrainingState>>,
    filled: Notify,
}

impl Newest {
    fn put(&self, state: TrainingState) {
        if let Some(older) = self.slot().replace(state) {
            tracing::warn!(
                step = older.cursor.step,
                "skipping a checkpoint: storage is slower than they are due"
            );
        }
        self.filled.notify_one();
    }

    fn take(&self) -> Option<TrainingState> {
        self.slot().take()
    }

    fn slot(&self) -> MutexGuard<'_, Option<TrainingState>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Saver {
    pub(super) fn start(run: RunFolder, network: Network) -> Self {
        let (requests, inbox) = mpsc::unbounded_channel();
        let (outbox, answers) = mpsc::unbounded_channel();
        let newest = Arc::<Newest>::default();
        let writer = Writer { run, network, newest: Arc::clone(&newest), outbox };
        let task = tokio::spawn(writer.work(inbox));
        Self { requests, answers, newest, task }
    }

    /// Commits `state`, after what was asked for before, and answers when it is done.
    pub(super) fn commit(&mut self, state: TrainingState) {
        self.ask(Request::Commit(state));
    }

    /// Commits `state`, or a newer one that is given before storage is ready for it.
    pub(super) fn commit_newest(&mut self, state: TrainingState) {
        if state.cursor.training_has_ended() {
            self.commit(state);
        } else {
            self.newest.put(state);
        }
    }

    /// Commits the final checkpoint, writes the result and reads it back.
    pub(super) fn finish(&mut self, state: TrainingState, epochs: u32) {
        self.ask(Request::Finish { state, epochs });
    }

    /// The next answer; waits for ever if nothing was asked for.
    pub(super) async fn next(&mut self) -> Saved {
        match self.answers.recv().await {
            Some(saved) => saved,
            None => std::future::pending().await,
        }
    }

    fn ask(&mut self, request: Request) {
        // An older state than the request's.
        self.newest.take();
        // The task ends only with this handle.
        let _ = self.requests.send(request);
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The writing task.
struct Writer {
    run: RunFolder,
    network: Network,
    newest: Arc<Newest>,
    outbox: mpsc::UnboundedSender<Saved>,
}

impl Writer {
    async fn work(self, mut inbox: mpsc::UnboundedReceiver<Request>) {
        loop {
            tokio::select! {
                request = inbox.recv() => match request {
                    Some(request) => self.serve(request, false).await,
                    None => return,
                },
                () = self.newest.filled.notified() => {
                    if let Some(state) = self.newest.take() {
                        self.serve(Request::Commit(state), true).await;
                    }
                }
            }
        }
    }

    /// Works on `request` until it is done or cannot be; one that `may_advance` gives way to a newer state meanwhile.
    async fn serve(&self, mut request: Request, may_advance: bool) {
        let mut pause = FIRST_PAUSE;
        loop {
            let saved = match attempt(&self.run, &self.network, &request).await {
                Ok(saved) => saved,
                Err(error) if error.is_retryable() => {
                    let _ = self.outbox.send(Saved::Retrying(trouble(&error)));
                    sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                    if may_advance && let Some(newer) = self.newest.take() {
                        request = Request::Commit(newer);
                    }
                    continue;
                }
                Err(error) => Saved::Failed(error),
            };
            // Nobody listens any more when the executor has ended.
            let _ = self.outbox.send(saved);
            return;
        }
    }
}

/// What a person needs to know of a store that refuses.
fn trouble(error: &Error) -> StorageTrouble {
    let words = chain(error);
    if error.is_full() {
        let message = format!(
            "{words}: storage is full; free space or raise the quota: training goes on, and the newest state is saved then"
        );
        return StorageTrouble { kind: StorageTroubleKind::Full, message };
    }
    StorageTrouble { kind: StorageTroubleKind::Unavailable, message: format!("{words}; trying again") }
}

async fn attempt(run: &RunFolder, network: &Network, request: &Request) -> Result<Saved, Error> {
    let (Request::Commit(state) | Request::Finish { state, .. }) = request;
    let began = Instant::now();
    let id = run.commit(network, state).await?;
    let took = began.elapsed();
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
    Ok(Saved::Checkpoint { id, round: state.cursor.round, took })
}

/// Leaves the folder of a finished job tidy: whoever committed the final checkpoint may have died before it pruned, and whoever
/// wrote the result before it removed its temporary file.
pub(super) async fn clean_up(run: &RunFolder) {
    let tidy = async {
        run.prune().await?;
        run.clean_up().await
    };
    match timeout(CLEANING_UP, tidy).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(error = %Report::from_error(&error), "old checkpoints or temporary files are left");
        }
        Err(_) => {
            tracing::warn!("old checkpoints or temporary files are left: storage does not answer in time");
        }
    }
}
