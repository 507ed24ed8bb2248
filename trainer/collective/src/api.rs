//! What the executor and the collective say to each other: configuration, commands (executor → collective) and actions
//! (collective → executor). `crate::group` carries them over channels, [`crate::core`] acts on them.

use std::sync::Arc;
use std::time::Duration;

use crate::part::Shape;
use crate::tree::{Node, NodeSum};
use crate::{Part, PerPart};

/// A digest of 256 bits.
pub type Hash = [u8; 32];

/// Who this executor is and when it may start.
#[derive(Debug, Clone)]
pub struct Config {
    /// The pod's index in the job; names the executor for its peers. Below [`crate::core::MAX_EXECUTORS`].
    pub index: u32,
    /// Executors the job wants; the start barrier opens early once all are in. At least 1.
    pub executors: u32,
    /// Fewer than this train nothing: they pause. At least 1.
    pub min_executors: u32,
    /// How long the start barrier waits for `executors` before `min_executors` are enough.
    pub join_grace: Duration,
    /// Silence after which a peer counts as lost.
    pub heartbeat_timeout: Duration,
    /// How long to wait for a first view before [`Action::StartTimedOut`], and for executors of another kind before going on
    /// without them.
    pub start_timeout: Duration,
    /// Whether leaves are shared by how fast each member is, or evenly. The member that proposes a view decides for it.
    pub adaptive: bool,
    /// Identity of the job: connections with another one are closed.
    pub job_uid: String,
    /// Hash of everything that determines the result (`collective.md`); executors with another one form no view with this one.
    pub result_hash: Hash,
    /// Hash of fixed inputs' results on this machine; executors with another one form no view with this one.
    pub fingerprint: Hash,
    /// Random number of this start of the process.
    pub incarnation: u64,
    /// Seeds jitter and back-off only; never anything that enters the state.
    pub seed: u64,
}

/// What the state at one version does next: a pure function of that state, so every executor has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plan {
    /// One reduction.
    Reduce {
        /// Leaves of the tree, at least 1.
        leaves: u32,
        /// Floats of every leaf's vector, may be 0.
        len: usize,
        /// Where the vector is cut into [`Part`]s: first float of the upper one, at most `len`. 0: it is not cut.
        cut: usize,
        /// Integers beside it, at most [`crate::frame::MAX_COUNTS`].
        counts: usize,
    },
    /// The job is done at this version.
    Finished,
}

impl Plan {
    /// Leaves and what each sums; `None` when there is nothing to reduce.
    pub(crate) fn shape(self) -> Option<(u32, Shape)> {
        match self {
            Self::Reduce { leaves, len, cut, counts } => Some((leaves, Shape { len, cut, counts })),
            Self::Finished => None,
        }
    }
}

/// From the executor to the collective.
#[derive(Debug)]
pub enum Command {
    /// The executor holds the state at version `round`. Sent at the start and after every change of the state.
    Ready {
        /// Version of the state = number of the next round.
        round: u64,
        /// What the next round is.
        plan: Plan,
    },
    /// One part of the finished sum of one node that [`Action::Compute`] asked for. The upper part should come first and
    /// early: it travels while the lower one is being computed.
    Sum {
        /// Round it belongs to; sums of other rounds are ignored.
        round: u64,
        /// Which part of the vector.
        part: Part,
        /// Node of the tree over the round's leaves.
        node: Node,
        /// The part's floats; in the upper part also `counts` integers, else none.
        sum: NodeSum,
    },
    /// Answer to [`Action::HashState`].
    StateHash {
        /// Version that was hashed.
        round: u64,
        /// Digest over the whole state.
        hash: Hash,
    },
    /// Answer to [`Action::TakeSnapshot`].
    Snapshot {
        /// Version of the state in `bytes`.
        round: u64,
        /// The whole state, in the application's own format.
        bytes: Arc<Vec<u8>>,
    },
    /// A checkpoint of this version is committed: an answer to [`Action::CommitCheckpoint`], or the application's own.
    CheckpointCommitted {
        /// Version of the state in the checkpoint.
        round: u64,
    },
    /// Leave cleanly (SIGTERM). Answered by [`Action::Left`].
    Leave,
}

/// From the collective to the executor.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Compute the sums of these nodes; replaces any earlier list, keeps what was computed of the same round.
    Compute {
        /// The open round.
        round: u64,
        /// Disjoint nodes, ascending; may be empty. They differ between parts where a part is known from an earlier view.
        nodes: PerPart<Vec<Node>>,
    },
    /// The sum over all leaves of `round`. Apply it and send [`Command::Ready`] for `round + 1`.
    Reduced {
        /// The round that is finished; equals the version of the state that the executor holds.
        round: u64,
        /// The tree's root; not divided by anything.
        values: Arc<Vec<f32>>,
        /// Sums of the integers.
        counts: Vec<u64>,
        /// What was sent as [`Command::Sum`], as far as nobody else holds it: memory to use again, its values mean nothing.
        spent: Vec<NodeSum>,
    },
    /// Answer with [`Command::StateHash`] for the state as it is now.
    HashState {
        /// Its version.
        round: u64,
    },
    /// Answer with [`Command::Snapshot`] of the state as it is now. Training goes on meanwhile: serialise on another thread.
    TakeSnapshot {
        /// Its version.
        round: u64,
    },
    /// Replace the state by this one and send [`Command::Ready`].
    InstallSnapshot {
        /// Version of the state in `bytes`; greater than the version held.
        round: u64,
        /// What a peer's application gave as [`Command::Snapshot`].
        bytes: Vec<u8>,
    },
    /// States of one version differ. Discard this one, restore the newest checkpoint (else the seed's state), send
    /// [`Command::Ready`].
    RestoreCheckpoint,
    /// Commit a checkpoint of the state as it is now, then send [`Command::CheckpointCommitted`]: somebody who leaves waits for it.
    CommitCheckpoint {
        /// Its version.
        round: u64,
    },
    /// The membership changed.
    View {
        /// Number of the view, growing.
        number: u64,
        /// Indexes of its members, ascending.
        members: Vec<u32>,
        /// Whether this executor is one of them.
        joined: bool,
    },
    /// Training stands still since too few executors are here; it had been running.
    Paused {
        /// One sentence for the status.
        reason: String,
    },
    /// Not training yet: what this executor waits for.
    Waiting {
        /// One sentence for the status.
        reason: String,
    },
    /// No first view formed within `start_timeout`. The collective goes on trying; the executor may give up (retryable).
    StartTimedOut,
    /// Nobody needs this executor any more: after [`Command::Leave`] it may exit.
    Left,
    /// Permanent: going on cannot help.
    Failed {
        /// One sentence for the status.
        reason: String,
    },
}
