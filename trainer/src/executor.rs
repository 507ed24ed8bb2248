//! The executor: one loop that turns what the collective asks for into computation, and its answers into the
//! next state.
//!
//! `prepare` gathers everything a job needs before its first step; `leaves` computes micro-batches; `saver`
//! writes checkpoints off the training path; `reporter` tells the world, `tracker` posterity; this file decides.

mod data_wait;
mod leaves;
mod prepare;
mod reporter;
mod saver;
pub(crate) mod servers;
mod tracker;

use std::time::Duration;

use lockstep_collective::{Action, Command, Group, Plan};
use lockstep_crds::executor::{ExecutorPhase, StorageTrouble, StorageTroubleKind};
use snafu::ResultExt;
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval, sleep_until},
};

use self::{
    leaves::{LeafDone, Leaves},
    prepare::Prepared,
    saver::{Saved, Saver},
    tracker::Tracker,
};
pub(crate) use self::{prepare::Place, reporter::Reporter};
use crate::{
    checkpoint::{JobResult, decode_snapshot, encode_snapshot},
    course::{Score, Stage},
    failure::{CheckpointSnafu, CollectiveEndedSnafu, CollectiveSnafu, Failure, StartGroupSnafu, chain},
    opened_job::OpenedJob,
    state::TrainingState,
};

/// How an executor ends when nothing went wrong.
#[derive(Debug)]
pub(crate) enum Ending {
    /// RESULT.json was read back.
    Done,
    /// Asked to leave; the work goes on elsewhere or later.
    Left,
}

/// How often storage is asked for a result that somebody else may have written.
const RESULT_POLL: Duration = Duration::from_millis(500);
/// How long a finished executor waits for the one whose turn it is to write the result.
const RESULT_PATIENCE: Duration = Duration::from_secs(10);

/// The log target of a line for every step, at level `debug`: `LOCKSTEP_LOG=info,lockstep::step=debug`.
pub(crate) const STEP_LOG: &str = "lockstep::step";

/// Trains the job at `place` until it is done, `leave` turns true, or something fails for good.
pub(crate) async fn run(
    opened: OpenedJob,
    place: Place,
    reporter: Reporter,
    mut leave: watch::Receiver<bool>,
) -> Result<Ending, Failure> {
    reporter.course(&opened.course);
    if let Some(result) = opened.run.result().await.context(CheckpointSnafu)? {
        // Whoever wrote it may have been killed before it tidied up, and is perhaps who starts here again.
        saver::clean_up(&opened.run).await;
        reporter.finished(&result, opened.run.uri());
        return Ok(Ending::Done);
    }
    let tracker = Tracker::start(&opened, place.index, place.incarnation)?;
    let (prepared, config, options) = prepare::prepare(opened, place)?;
    let (state, is_committed) = prepared.restore_or_initialise().await?;
    let group = Group::start(config, options).await.context(StartGroupSnafu)?;
    let mut executor = Executor::new(prepared, group, state, reporter, tracker)?;
    let ending = executor.train(is_committed, &mut leave).await;
    let Executor { group, mut tracker, .. } = executor;
    tokio::join!(group.close(), tracker.close());
    ending
}

struct Executor {
    prepared: Prepared,
    group: Group,
    state: TrainingState,
    leaves: Leaves,
    saver: Saver,
    reporter: Reporter,
    tracker: Tracker,
    membership: Membership,
    /// Whether the last micro-batch could not be read.
    reading_fails: bool,
    /// Leaving was asked for.
    leaving: bool,
    /// Since when the job is finished and its result awaited.
    finished_since: Option<Instant>,
    /// Whether this executor has set out to write the result.
    finishing: bool,
    ending: Option<Ending>,
}

/// This executor's place among the others, as last heard.
#[derive(Default)]
struct Membership {
    members: Vec<u32>,
    joined: bool,
    paused: bool,
}

impl Executor {
    fn new(
        prepared: Prepared,
        group: Group,
        state: TrainingState,
        reporter: Reporter,
        tracker: Tracker,
    ) -> Result<Self, Failure> {
        let saver = Saver::start(prepared.run.clone(), prepared.network.clone());
        let leaves = Leaves::new(&prepared)?;
        Ok(Self {
            prepared,
            group,
            state,
            leaves,
            saver,
            reporter,
            tracker,
            membership: Membership::default(),
            reading_fails: false,
            leaving: false,
            finished_since: None,
            finishing: false,
            ending: None,
        })
    }

    async fn train(
        &mut self,
        is_committed: bool,
        leave: &mut watch::Receiver<bool>,
    ) -> Result<Ending, Failure> {
        let mut poll = interval(RESULT_POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.begin(is_committed).await?;
        loop {
            if let Some(ending) = self.ending.take() {
                return Ok(ending);
            }
            let turn_at = self.finished_since.map(|since| since + RESULT_PATIENCE);
            tokio::select! {
                action = self.group.actions.recv() => match action {
                    Some(action) => self.act(action).await?,
                    None => return CollectiveEndedSnafu.fail(),
                },
                done = self.leaves.next() => self.leaf_done(done).await?,
                saved = self.saver.next() => self.saved(saved).await?,
                _ = poll.tick(), if self.looks_for_a_result() => self.look_for_a_result().await?,
                () = sleep_until(turn_at.unwrap_or_else(Instant::now)), if turn_at.is_some() && !self.finishing => {
                    self.finish();
                }
                left = leave.wait_for(|leave| *leave), if !self.leaving => {
                    // The sender lives as long as the program; without it nobody can ask to leave.
                    self.leaving = true;
                    if left.is_ok() {
                        tracing::info!("asked to leave");
                        self.command(Command::Leave).await?;
                    }
                }
            }
        }
    }

    /// Announces a state that was just loaded. A committed one need not be saved again before anyone leaves.
    async fn begin(&mut self, is_committed: bool) -> Result<(), Failure> {
        if is_committed {
            self.command(Command::CheckpointCommitted { round: self.state.cursor.round }).await?;
        }
        self.announce().await
    }

    /// Tells the collective which version of the state we hold and what comes next.
    async fn announce(&mut self) -> Result<(), Failure> {
        let stage = self.state.cursor.stage;
        let leaves = self.prepared.course.leaves(stage);
        let model = &self.prepared.network.model;
        let (len, cut) = match stage {
            Stage::Train => (model.reduction_len(), model.reduction_cut()),
            Stage::Validate | Stage::Test | Stage::Finished => (1, 0),
        };
        let plan = match stage {
            Stage::Finished => Plan::Finished,
            _ => Plan::Reduce { leaves, len, cut, counts: 2 },
        };
        self.leaves.open(&self.state, leaves, cut);
        if self.membership.joined && !self.membership.paused {
            self.reporter.phase(self.phase(), None);
        }
        self.reporter.state(&self.prepared, &self.state.cursor);
        if stage == Stage::Finished {
            self.finished_since.get_or_insert_with(Instant::now);
            if self.membership.members.first().is_none_or(|first| *first == self.prepared.index) {
                self.finish();
            }
        }
        self.command(Command::Ready { round: self.state.cursor.round, plan }).await
    }

    fn phase(&self) -> ExecutorPhase {
        match self.state.cursor.stage {
            Stage::Train => ExecutorPhase::Training,
            Stage::Validate | Stage::Test => ExecutorPhase::Evaluating,
            Stage::Finished => ExecutorPhase::Saving,
        }
    }

    async fn act(&mut self, action: Action) -> Result<(), Failure> {
        match action {
            Action::Compute { round, nodes } if round == self.state.cursor.round => {
                self.reporter.phase(self.phase(), None);
                for (part, node, sum) in self.leaves.want(&nodes) {
                    self.command(Command::Sum { round, part, node, sum }).await?;
                }
                Ok(())
            }
            Action::Reduced { round, values, counts, spent } if round == self.state.cursor.round => {
                self.leaves.recycle(spent);
                self.apply(&values, &counts)?;
                // The collective writes its next result over it.
                drop(values);
                self.announce().await
            }
            Action::Compute { .. } | Action::Reduced { .. } => Ok(()),
            Action::HashState { round } if round == self.state.cursor.round => {
                let hash = self.state.agreement_hash();
                self.command(Command::StateHash { round, hash }).await
            }
            Action::TakeSnapshot { round } if round == self.state.cursor.round => {
                let (state, commands) = (self.state.clone(), self.group.commands.clone());
                tokio::task::spawn_blocking(move || match encode_snapshot(&state) {
                    Ok(bytes) => {
                        drop(commands.blocking_send(Command::Snapshot { round, bytes: bytes.into() }))
                    }
                    Err(error) => tracing::error!(%error, "failed to encode the state for a peer"),
                });
                Ok(())
            }
            Action::HashState { .. } | Action::TakeSnapshot { .. } => Ok(()),
            Action::InstallSnapshot { round, bytes } => {
                let state = decode_snapshot(&self.prepared.network, &bytes)
                    .map_err(|error| Failure::Snapshot { reason: error.to_string() })?;
                if state.cursor.round != round {
                    let reason = format!("it is of round {}, announced as {round}", state.cursor.round);
                    return Err(Failure::Snapshot { reason });
                }
                tracing::info!(step = state.cursor.step, "took over a peer's state");
                self.state = state;
                self.announce().await
            }
            Action::RestoreCheckpoint => {
                tracing::error!("the executors' states differ; restoring the newest checkpoint");
                let (state, is_committed) = self.prepared.restore_or_initialise().await?;
                self.state = state;
                self.begin(is_committed).await
            }
            Action::CommitCheckpoint { .. } => {
                self.saver.commit(self.state.clone());
                Ok(())
            }
            Action::View { number, members, joined } => {
                tracing::info!(number, ?members, joined, "view");
                // Who leaves a finished job is no loss.
                let at_work = self.state.cursor.stage != Stage::Finished;
                self.reporter.view(number, &members, joined, at_work);
                self.tracker.view(self.state.cursor.step, number, &members, joined, at_work);
                self.membership = Membership { members, joined, paused: false };
                Ok(())
            }
            Action::Paused { reason } => {
                tracing::warn!(reason, "paused");
                self.membership.paused = true;
                self.reporter.phase(ExecutorPhase::Paused, Some(reason));
                Ok(())
            }
            Action::Waiting { reason } => {
                tracing::info!(reason, "waiting");
                self.reporter.phase(ExecutorPhase::Joining, Some(reason));
                Ok(())
            }
            Action::StartTimedOut => Err(Failure::StartTimeout),
            Action::Left => {
                self.ending = Some(Ending::Left);
                Ok(())
            }
            Action::Failed { reason } => CollectiveSnafu { reason }.fail(),
        }
    }

    /// The next state: the reduced vector goes through the optimizer, the cursor along the course.
    fn apply(&mut self, values: &[f32], counts: &[u64]) -> Result<(), Failure> {
        let computed = self.leaves.computed();
        let waited_seconds = computed.waited().as_secs_f64();
        self.leaves.close();
        let Prepared { network, course, learning_rate, .. } = &self.prepared;
        let cursor = self.state.cursor.clone();
        let stage = cursor.stage;
        let (correct, images) = (counts.first().copied().unwrap_or(0), counts.get(1).copied().unwrap_or(0));
        if stage == Stage::Train {
            let leaves = course.leaves(Stage::Train);
            let learning_rate = learning_rate.at(cursor.step);
            let tensors = &mut self.state.tensors;
            let summary = tokio::task::block_in_place(|| {
                lockstep_nn::apply(&network.model, &network.optimizer, learning_rate, tensors, values, leaves)
            });
            let checkpoint = || self.reporter.checkpoint_uri().unwrap_or_else(|| "none".into());
            let summary = summary.map_err(|source| Failure::Update { checkpoint: checkpoint(), source })?;
            let data_wait_seconds = self.leaves.waited_for_data().as_secs_f64();
            let rate =
                self.reporter.stepped(course.global_batch, summary.loss, learning_rate, data_wait_seconds);
            self.tracker.stepped(cursor.step + 1, summary.loss, learning_rate, rate);
            // `make bench` reads when each step was done, what this executor computed of it, and for how long it waited for the
            // others and its data.
            tracing::debug!(
                target: STEP_LOG,
                step = cursor.step + 1,
                loss = summary.loss,
                micro_batches = computed.micro_batches(),
                computed_seconds = computed.took().as_secs_f64(),
                waited_seconds,
                data_wait_seconds,
            );
            self.state.cursor = course.after_step(cursor, f64::from(summary.loss), correct, images);
        } else {
            let images = images.max(1) as f64;
            let loss = f64::from(values.first().copied().unwrap_or(f32::NAN)) / images;
            let score = Score { loss, accuracy: correct as f64 / images };
            tracing::info!(?stage, step = cursor.step, loss, accuracy = score.accuracy, "evaluated");
            self.state.cursor = course.after_evaluation(cursor, score);
        }
        self.tracker.advanced(&self.prepared.course, stage, &self.state.cursor);
        if self.is_writer() && self.prepared.is_checkpoint_due(&self.state.cursor) {
            self.tracker.flush();
            self.saver.commit_newest(self.state.clone());
        }
        Ok(())
    }

    /// The member of lowest index writes; any other would write the same bytes.
    fn is_writer(&self) -> bool {
        self.membership.members.first() == Some(&self.prepared.index)
    }

    async fn leaf_done(&mut self, done: LeafDone) -> Result<(), Failure> {
        let round = self.state.cursor.round;
        self.report_reading(&done);
        for (part, node, sum) in self.leaves.take(done)? {
            self.command(Command::Sum { round, part, node, sum }).await?;
        }
        Ok(())
    }

    /// Says that training waits for its data, and that it does no more.
    fn report_reading(&mut self, done: &LeafDone) {
        if let Some(error) = done.failed_reading() {
            let message = format!("{}; training waits for its data", chain(error));
            self.reporter
                .storage_trouble(Some(StorageTrouble { kind: StorageTroubleKind::Unavailable, message }));
            self.reading_fails = true;
        } else if std::mem::take(&mut self.reading_fails) {
            self.reporter.storage_trouble(None);
        }
    }

    async fn saved(&mut self, saved: Saved) -> Result<(), Failure> {
        match saved {
            Saved::Checkpoint { id, round, took } => {
                tracing::info!(checkpoint = %id, seconds = took.as_secs_f64(), "committed");
                self.tracker.checkpoint(id);
                let best_step = self.state.cursor.best.map(|best| best.step);
                self.reporter.checkpoint(self.prepared.run.uri(), id, best_step);
                self.command(Command::CheckpointCommitted { round }).await
            }
            Saved::Result(result) => {
                self.done(&result);
                Ok(())
            }
            Saved::Retrying(trouble) => {
                tracing::warn!(message = trouble.message, "storage fails; trying again");
                self.reporter.storage_trouble(Some(trouble));
                Ok(())
            }
            Saved::Failed(source) => Err(source).context(CheckpointSnafu),
        }
    }

    /// Sets out to write the final checkpoint and the result, and to read the result back.
    fn finish(&mut self) {
        if !std::mem::replace(&mut self.finishing, true) {
            self.saver.finish(self.state.clone(), self.prepared.course.epochs_done(self.state.cursor.step));
        }
    }

    fn looks_for_a_result(&self) -> bool {
        !self.membership.joined || self.membership.paused || self.finished_since.is_some()
    }

    async fn look_for_a_result(&mut self) -> Result<(), Failure> {
        match self.prepared.run.result().await {
            Ok(None) => Ok(()),
            Ok(Some(result)) => {
                self.done(&result);
                Ok(())
            }
            Err(error) if error.is_retryable() => Ok(()),
            Err(error) => Err(error).context(CheckpointSnafu),
        }
    }

    fn done(&mut self, result: &JobResult) {
        tracing::info!(weights = result.weights_sha256, "the job is done");
        self.reporter.finished(result, self.prepared.run.uri());
        self.tracker.finished(result);
        self.ending = Some(Ending::Done);
    }

    async fn command(&mut self, command: Command) -> Result<(), Failure> {
        self.group.commands.send(command).await.map_err(|_| Failure::CollectiveEnded)
    }
}
