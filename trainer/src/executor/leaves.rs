//! Computes the micro-batches that the collective asks for, a few at a time, and folds them into tree nodes.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use lockstep_collective::{
    Part, PerPart,
    tree::{Node, NodeSum, PartFolders, Sums, Tree},
};
use lockstep_nn::{Engine, Task, TaskKind, Weights};
use snafu::ResultExt;
use tokio::sync::mpsc;

use super::{data_wait::DataWait, prepare::Prepared};
use crate::{
    course::{Course, Cursor, Stage},
    failure::{ComputeSnafu, Failure, SystemSnafu},
    feed::{self, MicroBatch},
    forecast::Place,
    prefetch::Prefetch,
    read_ahead,
    state::TrainingState,
};

/// Micro-batches read ahead of the threads.
const READ_AHEAD: usize = 2;
const READ_RETRY: Duration = Duration::from_millis(500);

/// Something that happened to a micro-batch.
pub(super) struct LeafDone {
    round: u64,
    leaf: u32,
    outcome: Outcome,
}

impl LeafDone {
    /// Why it could not be read, if it could not and is tried again.
    pub(super) fn failed_reading(&self) -> Option<&feed::Error> {
        match &self.outcome {
            Outcome::NotRead(error) if error.is_retryable() => Some(error),
            Outcome::NotRead(_) | Outcome::Computed(_) | Outcome::NotComputed(_) => None,
        }
    }
}

enum Outcome {
    Computed(lockstep_nn::Part),
    NotRead(feed::Error),
    NotComputed(lockstep_nn::engine::Error),
}

/// The open round's micro-batches: wanted, under way, folded.
pub(super) struct Leaves {
    course: Course,
    prefetch: Prefetch,
    engine: Arc<Engine>,
    data_wait: Arc<DataWait>,
    round: OpenRound,
    folders: PartFolders,
    waiting: VecDeque<u32>,
    under_way: BTreeSet<u32>,
    most_under_way: usize,
    /// Leaves of the open round that were asked of this executor: the next round's will be the same ones.
    asked: Vec<u32>,
    /// Holds at most two outcomes for each of `most_under_way` leaves of each round.
    outcomes: mpsc::UnboundedReceiver<LeafDone>,
    sender: mpsc::UnboundedSender<LeafDone>,
}

/// What every leaf of a round needs.
struct OpenRound {
    cursor: Cursor,
    /// First value of the upper part of a leaf's vector; 0: it has one part.
    cut: usize,
    weights: Option<Arc<Weights>>,
    computed: Computed,
}

/// What this executor has computed of a round.
#[derive(Debug, Clone, Copy)]
pub(super) struct Computed {
    /// When the first micro-batch was asked for.
    since: Instant,
    /// When the newest one was computed.
    newest: Instant,
    micro_batches: u32,
}

impl Computed {
    fn nothing() -> Self {
        let now = Instant::now();
        Self { since: now, newest: now, micro_batches: 0 }
    }

    fn one_more(&mut self) {
        self.newest = Instant::now();
        self.micro_batches += 1;
    }

    pub(super) fn micro_batches(&self) -> u32 {
        self.micro_batches
    }

    /// How long the micro-batches took.
    pub(super) fn took(&self) -> Duration {
        self.newest - self.since
    }

    /// How long ago the newest one was computed.
    pub(super) fn waited(&self) -> Duration {
        self.newest.elapsed()
    }
}

impl Leaves {
    pub(super) fn new(prepared: &Prepared) -> Result<Self, Failure> {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let feed = Arc::clone(&prepared.feed);
        let read = move |Place { stage, step, leaf }| {
            let feed = Arc::clone(&feed);
            async move { feed.read(stage, step, leaf).await }
        };
        let feed = Arc::clone(&prepared.feed);
        let ahead = move |opened| async move { read_ahead::run(&feed, opened).await };
        let prefetch = Prefetch::start(read, ahead, prepared.network.model.input().values())
            .context(SystemSnafu { action: "start the reading thread" })?;
        Ok(Self {
            course: prepared.course.clone(),
            prefetch,
            engine: Arc::clone(&prepared.engine),
            data_wait: Arc::new(DataWait::new(prepared.engine.threads())),
            round: OpenRound {
                cursor: Cursor::start(),
                cut: 0,
                weights: None,
                computed: Computed::nothing(),
            },
            folders: PartFolders::new(Tree::new(1)),
            waiting: VecDeque::new(),
            under_way: BTreeSet::new(),
            most_under_way: prepared.engine.threads() + READ_AHEAD,
            asked: Vec::new(),
            outcomes,
            sender,
        })
    }

    /// Begins the round that follows `state`, whose leaves' vectors are cut at `cut`; what is under way of an earlier one
    /// is dropped when it arrives.
    pub(super) fn open(&mut self, state: &TrainingState, leaves: u32, cut: usize) {
        let weights = Some(Arc::clone(&state.tensors.weights));
        self.round = OpenRound { cursor: state.cursor.clone(), cut, weights, computed: Computed::nothing() };
        self.folders = PartFolders::new(Tree::new(leaves.max(1)));
        self.waiting.clear();
        self.under_way.clear();
    }

    /// Lets go of the round's weights, so that the next state can be written over them in place.
    pub(super) fn close(&mut self) {
        self.round.weights = None;
        self.waiting.clear();
    }

    /// What was computed here of the round that was opened last.
    pub(super) fn computed(&self) -> Computed {
        self.round.computed
    }

    /// How long the threads have waited for their data in all.
    pub(super) fn waited_for_data(&self) -> Duration {
        self.data_wait.total()
    }

    /// Takes sums that the collective needs no more, for their memory.
    pub(super) fn recycle(&self, spent: Vec<NodeSum>) {
        for sum in spent {
            self.engine.recycle(sum.values);
        }
    }

    /// Sets out to compute `nodes`, instead of what was wanted before; returns those that are complete already.
    pub(super) fn want(&mut self, nodes: &PerPart<Vec<Node>>) -> Sums {
        if self.round.computed.micro_batches == 0 {
            self.round.computed = Computed::nothing();
        }
        let complete = self.folders.want(nodes);
        let missing = self.folders.missing();
        let under_way = &self.under_way;
        self.waiting = missing.iter().copied().filter(|leaf| !under_way.contains(leaf)).collect();
        self.asked = missing;
        self.start();
        complete
    }

    /// The next outcome; waits for ever if nothing is under way.
    pub(super) async fn next(&mut self) -> LeafDone {
        match self.outcomes.recv().await {
            Some(done) => done,
            // Cannot end: `self` holds a sender.
            None => std::future::pending().await,
        }
    }

    /// Folds an outcome; returns the nodes that it completes.
    pub(super) fn take(&mut self, done: LeafDone) -> Result<Sums, Failure> {
        let LeafDone { round, leaf, outcome } = done;
        if round != self.round.cursor.round {
            if let Outcome::Computed(part) = outcome {
                self.engine.recycle(part.vector);
            }
            return Ok(Vec::new());
        }
        match outcome {
            Outcome::Computed(part) => Ok(self.fold(leaf, part)),
            Outcome::NotComputed(source) => {
                Err(source).context(ComputeSnafu { step: self.round.cursor.step, leaf })
            }
            Outcome::NotRead(source) if source.is_retryable() => {
                tracing::warn!(error = %snafu::Report::from_error(&source), "reading failed; trying again");
                self.compute(leaf, READ_RETRY);
                Ok(Vec::new())
            }
            Outcome::NotRead(source) => Err(Failure::Data { source }),
        }
    }

    fn fold(&mut self, leaf: u32, computed: lockstep_nn::Part) -> Sums {
        let is_last = computed.is_last();
        let part = if is_last && self.round.cut > 0 { Part::Lower } else { Part::Upper };
        let sum = NodeSum { values: computed.vector, counts: computed.counts };
        let complete = self.folders.insert(part, leaf, sum);
        while let Some(spent) = self.folders.take_spent(part) {
            self.engine.recycle(spent.values);
        }
        if is_last {
            self.round.computed.one_more();
            self.under_way.remove(&leaf);
            // Other nodes may have been wanted since its first part came, which is gone then.
            if self.folders.missing().contains(&leaf) {
                self.waiting.push_back(leaf);
            }
            self.start();
        }
        complete
    }

    /// Keeps the threads busy. Once they have all of the round, the next one's micro-batches are read.
    fn start(&mut self) {
        while self.under_way.len() < self.most_under_way {
            let Some(leaf) = self.waiting.pop_front() else { break };
            self.compute(leaf, Duration::ZERO);
        }
        if self.waiting.is_empty() && !self.asked.is_empty() {
            let leaves = std::mem::take(&mut self.asked);
            let cursor = self.round.cursor.clone();
            self.prefetch.follow(&self.course, read_ahead::OpenRound { cursor, leaves });
        }
    }

    /// Sets out to read a micro-batch and to compute it. One that was read ahead goes to the threads at once.
    fn compute(&mut self, leaf: u32, delay: Duration) {
        let Cursor { round, stage, step, .. } = self.round.cursor;
        let Some(weights) = self.round.weights.clone() else { return };
        self.under_way.insert(leaf);
        let (engine, sender) = (Arc::clone(&self.engine), self.sender.clone());
        let (data_wait, computing) = (Arc::clone(&self.data_wait), Arc::clone(&self.data_wait));
        let send = move |outcome| {
            // The receiver is gone only when the executor has ended.
            let _ = sender.send(LeafDone { round, leaf, outcome });
        };
        let submit = move |read: Result<MicroBatch, feed::Error>| match read {
            Err(error) => send(Outcome::NotRead(error)),
            Ok(MicroBatch { pixels, labels }) => {
                let kind = match stage {
                    Stage::Train => TaskKind::Train { step },
                    Stage::Validate | Stage::Test | Stage::Finished => TaskKind::Evaluate,
                };
                computing.computing();
                let answer = Box::new(move |part: Result<lockstep_nn::Part, _>| {
                    if part.as_ref().map_or(true, lockstep_nn::Part::is_last) {
                        computing.computed();
                    }
                    send(part.map_or_else(Outcome::NotComputed, Outcome::Computed));
                });
                engine.submit(Task { kind, weights, position: leaf, pixels, labels, answer });
            }
        };
        let mut reading = self.prefetch.read(Place { stage, step, leaf }, delay);
        match reading.try_recv() {
            Ok(read) => submit(read),
            Err(_) => {
                data_wait.reading();
                tokio::spawn(async move {
                    let read = reading.await;
                    data_wait.read();
                    match read {
                        Ok(read) => submit(read),
                        // The reading thread lives as long as the leaves.
                        Err(_) => tracing::debug!(leaf, "a reading was dropped"),
                    }
                });
            }
        }
    }
}
