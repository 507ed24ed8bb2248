//! Computes the micro-batches that the collective asks for, a few at a time, and folds them into tree nodes.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use lockstep_collective::tree::{Folder, Node, NodeSum, Tree};
use lockstep_nn::{Engine, Part, Task, TaskKind, Weights};
use snafu::ResultExt;
use tokio::sync::mpsc;

use super::{Sums, prepare::Prepared};
use crate::{
    course::Stage,
    failure::{ComputeSnafu, Failure},
    feed::{self, Feed},
    state::TrainingState,
};

/// Micro-batches read ahead of the threads.
const READ_AHEAD: usize = 2;
const READ_RETRY: Duration = Duration::from_millis(500);

/// The outcome of one micro-batch.
pub(super) struct LeafDone {
    round: u64,
    leaf: u32,
    outcome: Result<NodeSum, Outcome>,
}

enum Outcome {
    Read(feed::Error),
    Compute(lockstep_nn::engine::Error),
}

/// The open round's micro-batches: wanted, under way, folded.
pub(super) struct Leaves {
    feed: Arc<Feed>,
    engine: Arc<Engine>,
    round: OpenRound,
    folder: Folder<NodeSum>,
    waiting: VecDeque<u32>,
    under_way: BTreeSet<u32>,
    most_under_way: usize,
    /// Holds at most `most_under_way` outcomes of each round, since every leaf under way sends one.
    outcomes: mpsc::UnboundedReceiver<LeafDone>,
    sender: mpsc::UnboundedSender<LeafDone>,
}

/// What every leaf of a round needs.
struct OpenRound {
    number: u64,
    stage: Stage,
    step: u64,
    weights: Option<Arc<Weights>>,
}

impl Leaves {
    pub(super) fn new(prepared: &Prepared) -> Self {
        let (sender, outcomes) = mpsc::unbounded_channel();
        Self {
            feed: Arc::clone(&prepared.feed),
            engine: Arc::clone(&prepared.engine),
            round: OpenRound { number: 0, stage: Stage::Finished, step: 0, weights: None },
            folder: Folder::new(Tree::new(1)),
            waiting: VecDeque::new(),
            under_way: BTreeSet::new(),
            most_under_way: prepared.engine.threads() + READ_AHEAD,
            outcomes,
            sender,
        }
    }

    /// Begins the round that follows `state`; what is under way of an earlier one is dropped when it arrives.
    pub(super) fn open(&mut self, state: &TrainingState, leaves: u32) {
        let cursor = &state.cursor;
        self.round = OpenRound {
            number: cursor.round,
            stage: cursor.stage,
            step: cursor.step,
            weights: Some(Arc::clone(&state.tensors.weights)),
        };
        self.folder = Folder::new(Tree::new(leaves.max(1)));
        self.waiting.clear();
        self.under_way.clear();
    }

    /// Lets go of the round's weights, so that the next state can be written over them in place.
    pub(super) fn close(&mut self) {
        self.round.weights = None;
        self.waiting.clear();
    }

    /// Sets out to compute `nodes`, instead of what was wanted before; returns those that are complete already.
    pub(super) fn want(&mut self, nodes: &[Node]) -> Sums {
        let complete = self.folder.want(nodes);
        let under_way = &self.under_way;
        self.waiting = self.folder.missing().into_iter().filter(|leaf| !under_way.contains(leaf)).collect();
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
        if round != self.round.number {
            if let Ok(sum) = outcome {
                self.engine.recycle(sum.values);
            }
            return Ok(Vec::new());
        }
        self.under_way.remove(&leaf);
        let sum = match outcome {
            Ok(sum) => sum,
            Err(Outcome::Compute(source)) => {
                return Err(source).context(ComputeSnafu { step: self.round.step, leaf });
            }
            Err(Outcome::Read(source)) if source.is_retryable() => {
                tracing::warn!(error = %snafu::Report::from_error(&source), "reading failed; trying again");
                self.compute(leaf, READ_RETRY);
                return Ok(Vec::new());
            }
            Err(Outcome::Read(source)) => return Err(Failure::Data { source }),
        };
        let complete = self.folder.insert(leaf, sum);
        self.start();
        Ok(complete)
    }

    fn start(&mut self) {
        while self.under_way.len() < self.most_under_way {
            let Some(leaf) = self.waiting.pop_front() else { return };
            self.compute(leaf, Duration::ZERO);
        }
    }

    fn compute(&mut self, leaf: u32, delay: Duration) {
        let OpenRound { number: round, stage, step, .. } = self.round;
        let Some(weights) = self.round.weights.clone() else { return };
        self.under_way.insert(leaf);
        let (feed, engine, sender) = (Arc::clone(&self.feed), Arc::clone(&self.engine), self.sender.clone());
        tokio::spawn(async move {
            tokio::time::sleep(delay).await;
            let send = move |outcome| {
                // The receiver is gone only when the executor has ended.
                let _ = sender.send(LeafDone { round, leaf, outcome });
            };
            match feed.read(stage, step, leaf).await {
                Err(error) => send(Err(Outcome::Read(error))),
                Ok(feed::MicroBatch { pixels, labels }) => {
                    let kind = match stage {
                        Stage::Train => TaskKind::Train { step },
                        Stage::Validate | Stage::Test | Stage::Finished => TaskKind::Evaluate,
                    };
                    let mut upper = NodeSum { values: Vec::new(), counts: Vec::new() };
                    let answer = Box::new(move |part: Result<Part, lockstep_nn::engine::Error>| match part {
                        Ok(part) if part.is_last() => {
                            let Part { vector: mut values, mut counts, .. } = part;
                            values.append(&mut upper.values);
                            counts.append(&mut upper.counts);
                            send(Ok(NodeSum { values, counts }));
                        }
                        Ok(part) => upper = NodeSum { values: part.vector, counts: part.counts },
                        Err(error) => send(Err(Outcome::Compute(error))),
                    });
                    engine.submit(Task { kind, weights, position: leaf, pixels, labels, answer });
                }
            }
        });
    }
}
