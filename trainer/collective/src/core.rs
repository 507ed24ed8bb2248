//! The protocol without sockets, clocks, threads or entropy: [`Event`]s in, [`Effect`]s out.
//!
//! Time is an argument (since any fixed moment), randomness comes from a seed and only spreads retries. So a whole job can
//! be run in one thread from one seed, which is how it is tested. `crate::group` drives a [`Core`] over real sockets.
//!
//! Safety needs no agreement at all: a state is a pure function of (job, version), so two views at once compute the same.
//! Agreement on views is for progress alone, which is why a [`Ballot`] may be lost or abandoned at any moment.
//!
//! - `links`: connections, who is behind them, silence; `gossip`: what executors tell each other of themselves, and when;
//!   `connected`: the links that follow from it
//! - `membership`: when a view is wanted, and when it is over; `ballots`: agreeing on it; `divergence`: states that differ
//! - `training`: the rounds of a view, by `round` and `kept`; `pace` and `assignment`: who computes how much of them
//! - `learning` and `teaching`: catching up by snapshot and finished vectors
//! - `leaving`: going without losing what only we know

mod assignment;
mod ballots;
mod candidates;
mod connected;
mod divergence;
mod gossip;
mod interface;
mod kept;
mod learning;
mod leaving;
mod links;
mod membership;
mod message;
mod pace;
mod round;
mod teaching;
mod training;
mod values;

pub use connected::Connected;
pub use interface::{CloseCode, ConnectionId, Effect, Event};
pub use message::{
    Ballot, Chunk, Control, Fragment, Hello, Lesson, Member, Message, SnapshotPart, Status, ViewNote,
};
pub use values::{Pool, Values};

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::frame::{MAX_CHUNK_FLOATS, MAX_COUNTS};
use crate::{Action, Command, Config, Hash, Plan};
use ballots::{Pending, Proposal};
use kept::Kept;
use learning::Learning;
use links::{Link, Peer};
use membership::View;
use pace::Pace;
use teaching::Student;

/// One more than the greatest index an executor may have.
pub const MAX_EXECUTORS: u32 = 1024;

/// Most floats of a vector.
pub const MAX_VECTOR: usize = 1 << 30;

/// Executors at most this many versions behind the newest may be asked into a view: what they lack is on its way.
const NEAR: u64 = 4;

/// What the application is doing with its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is loaded yet.
    Empty,
    /// It holds version `round` and waits for us.
    Ready,
    /// It holds version `round` and has that round's result.
    Applying,
    /// It is loading a snapshot or a checkpoint.
    Replacing,
}

/// The application's state, as far as the protocol needs to know.
#[derive(Debug)]
struct App {
    stage: Stage,
    round: u64,
    plan: Plan,
    hash: Option<Hash>,
    hash_asked: bool,
    /// Newest version known to be in a committed checkpoint. Version 0 comes from the seed and is never lost.
    saved: u64,
    kept: Kept,
    /// The last finished round: what a member that missed it needs.
    last: Option<(u64, Arc<Vec<f32>>, Vec<u64>)>,
    /// Memory for the next round's result, if there is some.
    spare: Vec<f32>,
    /// Longest vector so far.
    longest: usize,
}

/// The protocol of one executor.
#[derive(Debug)]
pub struct Core {
    config: Config,
    /// Most floats of a chunk. All members must use the same.
    chunk: usize,
    rng: ChaCha8Rng,
    started: Duration,
    now: Duration,
    effects: VecDeque<Effect>,
    /// Something changed that another part may want to act on.
    dirty: bool,
    /// When to look around even if nothing changes.
    due: Duration,
    failed: bool,

    links: BTreeMap<ConnectionId, Link>,
    /// By index.
    peers: BTreeMap<u32, Peer>,
    /// What everybody was told last, and when.
    gossiped: Option<Status>,
    gossiped_at: Duration,
    gossip_due: Duration,

    app: App,

    highest: u64,
    promised: Ballot,
    view: Option<View>,
    /// Ballot of the last view that we left.
    left_view: Option<Ballot>,
    pending: Option<Pending>,
    proposal: Option<Proposal>,
    had_view: bool,
    failures: u32,
    quiet_until: Duration,
    patience: Option<Duration>,
    foreign_seen: Option<Duration>,
    start_timed_out: bool,
    restores: u32,
    told: Option<Action>,

    pace: Pace,
    /// Nanoseconds that a leaf takes each member of the last view, as it last said.
    paces: BTreeMap<Member, u64>,

    /// Chunks of the next round, or of a view that is not committed here yet, by the index of their sender.
    early: Vec<(u32, Message)>,
    early_floats: usize,

    learning: Option<Learning>,
    learn_after: Duration,
    streams: u64,
    /// By index.
    students: BTreeMap<u32, Student>,
    snapshot_asked: Option<u64>,

    leaving: Option<Duration>,
    left: bool,
    commit_asked: Option<u64>,
}

impl Core {
    /// An executor that knows nobody yet.
    #[must_use]
    pub fn new(config: Config, now: Duration) -> Self {
        Self::with_chunk(config, now, MAX_CHUNK_FLOATS)
    }

    /// With shorter chunks than the wire needs, so that tests see many of them. All members must use the same length.
    #[must_use]
    pub fn with_chunk(config: Config, now: Duration, chunk: usize) -> Self {
        Self {
            chunk: chunk.clamp(1, MAX_CHUNK_FLOATS),
            rng: ChaCha8Rng::seed_from_u64(config.seed),
            started: now,
            now,
            effects: VecDeque::new(),
            dirty: false,
            due: now,
            failed: false,
            links: BTreeMap::new(),
            peers: BTreeMap::new(),
            gossiped: None,
            gossiped_at: now,
            gossip_due: now,
            app: App {
                stage: Stage::Empty,
                round: 0,
                plan: Plan::Finished,
                hash: None,
                hash_asked: false,
                saved: 0,
                kept: Kept::default(),
                last: None,
                spare: Vec::new(),
                longest: 0,
            },
            highest: 0,
            promised: Ballot { number: 0, proposer: 0 },
            view: None,
            left_view: None,
            pending: None,
            proposal: None,
            had_view: false,
            failures: 0,
            quiet_until: now,
            patience: None,
            foreign_seen: None,
            start_timed_out: false,
            restores: 0,
            told: None,
            pace: Pace::default(),
            paces: BTreeMap::new(),
            early: Vec::new(),
            early_floats: 0,
            learning: None,
            learn_after: now,
            streams: 0,
            students: BTreeMap::new(),
            snapshot_asked: None,
            leaving: None,
            left: false,
            commit_asked: None,
            config,
        }
    }

    /// Takes an event at time `now` (never earlier than before). The effects are then there to [`poll`](Self::poll).
    pub fn handle(&mut self, now: Duration, event: Event) {
        let asleep = now.saturating_sub(self.now);
        self.now = self.now.max(now);
        if asleep > self.config.heartbeat_timeout / 2 {
            // We were frozen ourselves: what the peers sent meanwhile is still in the queue.
            self.peers.values_mut().for_each(|peer| peer.heard = now);
        }
        match event {
            Event::Command(command) => self.on_command(command),
            Event::Connected { connection, dialed } => self.on_connected(connection, dialed),
            Event::Disconnected { connection } => self.drop_link(connection),
            Event::Message { connection, message } => self.on_message(connection, message),
            Event::Tick => self.dirty = true,
        }
        // Most chunks change nothing that anybody else cares about.
        if self.dirty || self.now >= self.due {
            self.settle();
            self.due = self.deadline();
        }
    }

    /// The next effect, in order.
    pub fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When to call [`handle`](Self::handle) again with [`Event::Tick`] if nothing else happens; always later than now.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let Config { join_grace, heartbeat_timeout: silence, start_timeout, .. } = self.config;
        let mut deadlines = vec![
            self.gossip_due,
            self.started + join_grace,
            self.started + start_timeout,
            self.quiet_until,
            self.learn_after,
        ];
        deadlines.extend(self.patience);
        deadlines.extend(self.peers.values().map(|peer| peer.heard + silence));
        deadlines.extend(self.peers.values().map(|peer| peer.shunned_until));
        deadlines.extend(self.links.values().map(|link| link.opened + silence));
        deadlines.extend(self.proposal.as_ref().and_then(|proposal| proposal.deadline));
        let latest = self.now + self.heartbeat_interval();
        deadlines.into_iter().filter(|deadline| *deadline > self.now).min().unwrap_or(latest).min(latest)
    }

    /// Lets every part act until none has anything left to do. Each pass is cheap; the bound only guards against a mistake.
    fn settle(&mut self) {
        for _ in 0..32 {
            self.dirty = false;
            self.settle_links();
            self.settle_pending();
            self.settle_view();
            self.settle_proposal();
            self.settle_learning();
            self.settle_teaching();
            self.settle_leaving();
            // Before proposing, so that nobody judges the proposal by an older status of ours.
            self.gossip();
            self.consider();
            if !self.dirty {
                break;
            }
        }
        self.tell();
    }

    fn on_command(&mut self, command: Command) {
        if let Command::Sum { round, part, node, sum } = command {
            return self.on_own_sum(round, part, node, sum);
        }
        self.dirty = true;
        match command {
            Command::Ready { round, plan } => self.on_ready(round, plan),
            Command::Sum { .. } => {}
            Command::StateHash { round, hash } => {
                if self.app.stage == Stage::Ready && self.app.round == round {
                    self.app.hash = Some(hash);
                }
            }
            Command::Snapshot { round, bytes } => self.on_own_snapshot(round, &bytes),
            Command::CheckpointCommitted { round } => self.app.saved = self.app.saved.max(round),
            Command::Leave => self.leaving = self.leaving.or(Some(self.now)),
        }
    }

    fn on_ready(&mut self, round: u64, plan: Plan) {
        if let Plan::Reduce { leaves, len, cut, counts } = plan
            && (leaves == 0 || len > MAX_VECTOR || cut > len || counts > MAX_COUNTS)
        {
            return self.fail(format!("round {round} cannot be {plan:?}"));
        }
        let follows = self.app.stage == Stage::Applying && self.app.round + 1 == round;
        if !follows {
            // Another state than the one our peers know of: whatever was built on that is void.
            self.app.last = None;
            self.snapshot_asked = None;
            self.dismiss_students();
            if self.learning.as_ref().is_some_and(|learning| learning.next != round) {
                self.stop_learning(Duration::ZERO);
            }
            self.break_view();
        }
        self.app.kept.clear();
        self.app.stage = Stage::Ready;
        self.app.round = round;
        self.app.plan = plan;
        self.app.hash = None;
        self.app.hash_asked = false;
        if let Plan::Reduce { len, .. } = plan {
            self.app.longest = self.app.longest.max(len);
        }
    }

    /// Version of the state that this executor has, or will have without anybody's help.
    fn version(&self) -> u64 {
        self.app.round + u64::from(self.app.stage == Stage::Applying)
    }

    fn has_state(&self) -> bool {
        match self.app.stage {
            Stage::Ready | Stage::Applying => true,
            Stage::Empty | Stage::Replacing => false,
        }
    }

    fn me(&self) -> Member {
        Member { index: self.config.index, incarnation: self.config.incarnation }
    }

    fn min_members(&self) -> usize {
        self.config.min_executors.max(1) as usize
    }

    fn heartbeat_interval(&self) -> Duration {
        (self.config.heartbeat_timeout / 5).max(Duration::from_millis(1))
    }

    /// Between `shortest` and twice that.
    fn jittered(&mut self, shortest: Duration) -> Duration {
        let nanos = u64::try_from(shortest.as_nanos()).unwrap_or(u64::MAX).max(1);
        shortest + Duration::from_nanos(self.rng.next_u64() % nanos)
    }

    fn act(&mut self, action: Action) {
        self.effects.push_back(Effect::Act(action));
    }

    fn fail(&mut self, reason: String) {
        if !self.failed {
            self.failed = true;
            self.dirty = true;
            self.break_view();
            self.act(Action::Failed { reason });
        }
    }

    fn send(&mut self, index: u32, message: impl Into<Message>) {
        if let Some(peer) = self.peers.get(&index) {
            self.effects.push_back(Effect::Send { connection: peer.connection, message: message.into() });
        }
    }
}
