//! A toy application: its state is a pure function of (job, version), as the real one's is, and every step checks that.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use lockstep_collective::tree::{Node, NodeSum, PartFolders, Tree};
use lockstep_collective::{Action, Command, Hash, Part, Plan};

/// The job: what every executor must compute, whoever takes part.
pub struct Job {
    pub rounds: u64,
    /// `states[r]` is the state at version `r`; `results[r]` the sum of round `r`.
    states: Vec<u64>,
    results: Vec<NodeSum>,
}

pub fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn next_state(state: u64, sum: &NodeSum) -> u64 {
    let bits = sum.values.iter().map(|value| u64::from(value.to_bits())).chain(sum.counts.iter().copied());
    bits.fold(mix(state), |state, bits| mix(state ^ bits))
}

fn leaf_sum(state: u64, leaf: u32, len: usize, counts: usize) -> NodeSum {
    let at = |i: usize| mix(state ^ mix(u64::from(leaf) << 32 | i as u64));
    let value = |i: usize| (at(i) as u32 as f32 - 2_147_483_648.0) / (1 + at(i) % 977) as f32;
    NodeSum {
        values: (0..len).map(value).collect(),
        counts: (0..counts).map(|i| at(1000 + i) % 17).collect(),
    }
}

fn fold(state: u64, node: Node, len: usize, counts: usize) -> NodeSum {
    let Some((left, right)) = node.children() else { return leaf_sum(state, node.start, len, counts) };
    let mut sum = fold(state, left, len, counts);
    sum.add(&fold(state, right, len, counts));
    sum
}

impl Job {
    pub fn new(seed: u64, rounds: u64) -> Self {
        let mut job = Self { rounds, states: vec![mix(seed)], results: Vec::new() };
        for round in 0..rounds {
            let state = job.states[round as usize];
            let Plan::Reduce { leaves, len, counts, .. } = job.plan(round) else { break };
            let sum = fold(state, Tree::new(leaves).root().unwrap(), len, counts);
            job.states.push(next_state(state, &sum));
            job.results.push(sum);
        }
        job
    }

    /// Shapes and cuts change from round to round, as between training and evaluation; there may be fewer leaves than
    /// executors, and either part may be empty.
    pub fn plan(&self, round: u64) -> Plan {
        if round >= self.rounds {
            return Plan::Finished;
        }
        let r = mix(round ^ self.states[0]);
        match r % 8 {
            0 => Plan::Reduce { leaves: 1, len: 1, cut: 0, counts: 2 },
            1 => Plan::Reduce { leaves: 1 + (r >> 8) as u32 % 3, len: 0, cut: 0, counts: 1 },
            _ => {
                let len = 5 + (r >> 16) as usize % 20;
                Plan::Reduce {
                    leaves: 4 + (r >> 8) as u32 % 9,
                    len,
                    cut: (r >> 32) as usize % (len + 1),
                    counts: (r >> 24) as usize % 3,
                }
            }
        }
    }

    /// A leaf's sum, and its parts in the order in which they are computed.
    fn parts(&self, round: u64, state: u64, leaf: u32) -> VecDeque<(Part, NodeSum)> {
        let Plan::Reduce { len, cut, counts, .. } = self.plan(round) else { return VecDeque::new() };
        let NodeSum { mut values, counts } = leaf_sum(state, leaf, len, counts);
        let upper = values.split_off(cut);
        let mut parts = VecDeque::from([(Part::Upper, NodeSum { values: upper, counts })]);
        if cut > 0 {
            parts.push_back((Part::Lower, NodeSum { values, counts: Vec::new() }));
        }
        parts
    }

    pub fn state(&self, round: u64) -> u64 {
        self.states[round as usize]
    }

    fn hash(&self, state: u64) -> Hash {
        let mut hash = [0; 32];
        hash[..8].copy_from_slice(&state.to_le_bytes());
        hash
    }
}

/// Something the application does that takes time.
#[derive(Debug)]
pub enum Work {
    /// A leaf up to the first of the parts that are left.
    Leaf {
        round: u64,
        leaf: u32,
        parts: VecDeque<(Part, NodeSum)>,
    },
    Apply {
        round: u64,
    },
    Install {
        round: u64,
        state: u64,
    },
    Answer(Command),
    Commit {
        round: u64,
        state: u64,
    },
}

/// One executor's application.
pub struct App {
    pub round: u64,
    pub state: u64,
    folders: PartFolders,
    todo: VecDeque<u32>,
    busy: bool,
    /// One part of a leaf is delivered, the other one is being computed.
    pub between_parts: bool,
    pub computed: u64,
    pub joined: bool,
    pub members: Vec<u32>,
    /// The state differs from the job's: only its hash shows it here, so that everything else can still be checked.
    pub corrupted: bool,
    pub left: bool,
    pub views: u64,
    pub snapshots: u64,
    pub restores: u64,
    pub failed: Option<String>,
    pub last_word: String,
    min_executors: usize,
}

impl App {
    pub fn new(round: u64, state: u64, min_executors: usize) -> Self {
        Self {
            round,
            state,
            folders: PartFolders::new(Tree::new(0)),
            todo: VecDeque::new(),
            busy: false,
            between_parts: false,
            computed: 0,
            joined: false,
            members: Vec::new(),
            corrupted: false,
            left: false,
            views: 0,
            snapshots: 0,
            restores: 0,
            failed: None,
            last_word: String::new(),
            min_executors,
        }
    }

    pub fn initial(job: &Job) -> u64 {
        job.states[0]
    }

    pub fn check(&self, job: &Job) {
        assert_eq!(
            self.state, job.states[self.round as usize],
            "the state of version {} is not the job's",
            self.round
        );
    }

    pub fn ready(&self, job: &Job) -> Command {
        Command::Ready { round: self.round, plan: job.plan(self.round) }
    }

    fn reset_folder(&mut self, job: &Job) {
        let leaves = if let Plan::Reduce { leaves, .. } = job.plan(self.round) { leaves } else { 0 };
        self.folders = PartFolders::new(Tree::new(leaves));
        self.todo.clear();
    }

    /// What the collective asks for: commands to give back at once, and work that takes time.
    pub fn on_action(
        &mut self,
        job: &Job,
        action: Action,
        storage: &BTreeMap<u64, u64>,
    ) -> (Vec<Command>, Vec<Work>) {
        let mut commands = Vec::new();
        let mut work = Vec::new();
        match action {
            Action::Compute { round, nodes } => {
                assert_eq!(round, self.round, "asked to compute another round than the one we are at");
                if let Plan::Reduce { leaves, .. } = job.plan(round)
                    && self.folders.tree().leaves() != leaves
                {
                    self.reset_folder(job);
                }
                for (part, node, sum) in self.folders.want(&nodes) {
                    commands.push(Command::Sum { round, part, node, sum });
                }
                self.todo = self.folders.missing().into();
                work.extend(self.next_leaf(job));
            }
            Action::Reduced { round, values, counts, spent: _ } => {
                assert_eq!(round, self.round, "the result of another round than the one we are at");
                let expected = &job.results[round as usize];
                let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
                assert_eq!(
                    bits(&values),
                    bits(&expected.values),
                    "round {round}: not the bits of one executor"
                );
                assert_eq!(counts, expected.counts);
                self.todo.clear();
                work.push(Work::Apply { round });
            }
            Action::HashState { round } => {
                assert_eq!(round, self.round);
                work.push(Work::Answer(Command::StateHash {
                    round,
                    hash: job.hash(self.state ^ u64::from(self.corrupted)),
                }));
            }
            Action::TakeSnapshot { round } => {
                assert_eq!(round, self.round);
                let bytes = Arc::new(self.state.to_le_bytes().repeat(13));
                work.push(Work::Answer(Command::Snapshot { round, bytes }));
            }
            Action::InstallSnapshot { round, bytes } => {
                assert!(round > self.round, "a snapshot that is no newer");
                self.snapshots += 1;
                self.todo.clear();
                let state = u64::from_le_bytes(*bytes.first_chunk().unwrap());
                assert_eq!(bytes, state.to_le_bytes().repeat(13), "the snapshot is damaged");
                work.push(Work::Install { round, state });
            }
            Action::RestoreCheckpoint => {
                self.restores += 1;
                self.corrupted = false;
                self.todo.clear();
                let (round, state) =
                    storage.last_key_value().map_or((0, job.states[0]), |(round, state)| (*round, *state));
                work.push(Work::Install { round, state });
            }
            Action::CommitCheckpoint { round } => {
                assert_eq!(round, self.round);
                work.push(Work::Commit { round, state: self.state });
            }
            Action::View { members, joined, .. } => {
                assert!(members.len() >= self.min_executors, "a view below minExecutors");
                self.joined = joined;
                self.members.clone_from(&members);
                self.views += u64::from(joined);
                self.last_word = format!("view {members:?}, joined {joined}");
            }
            Action::Paused { reason } | Action::Waiting { reason } => {
                self.joined = false;
                self.last_word = reason;
            }
            Action::StartTimedOut => {}
            Action::Left => self.left = true,
            Action::Failed { reason } => self.failed = Some(reason),
        }
        (commands, work)
    }

    fn next_leaf(&mut self, job: &Job) -> Option<Work> {
        if self.busy {
            return None;
        }
        let leaf = self.todo.pop_front()?;
        self.busy = true;
        Some(Work::Leaf { round: self.round, leaf, parts: job.parts(self.round, self.state, leaf) })
    }

    /// Some work is done.
    pub fn on_done(
        &mut self,
        job: &Job,
        done: Work,
        storage: &mut BTreeMap<u64, u64>,
    ) -> (Vec<Command>, Vec<Work>) {
        let mut commands = Vec::new();
        let mut work = Vec::new();
        match done {
            Work::Leaf { round, leaf, mut parts } => {
                if let (true, Some((part, sum))) = (round == self.round, parts.pop_front()) {
                    for (part, node, sum) in self.folders.insert(part, leaf, sum) {
                        commands.push(Command::Sum { round, part, node, sum });
                    }
                }
                self.between_parts = round == self.round && !parts.is_empty();
                if self.between_parts {
                    work.push(Work::Leaf { round, leaf, parts });
                } else {
                    self.busy = false;
                    self.computed += 1;
                    work.extend(self.next_leaf(job));
                }
            }
            Work::Apply { round } => {
                self.state = next_state(self.state, &job.results[round as usize]);
                self.round = round + 1;
                self.check(job);
                self.reset_folder(job);
                commands.push(self.ready(job));
            }
            Work::Install { round, state } => {
                (self.round, self.state) = (round, state);
                self.check(job);
                self.reset_folder(job);
                commands.push(self.ready(job));
            }
            Work::Answer(command) => commands.push(command),
            Work::Commit { round, state } => {
                let old = storage.insert(round, state);
                assert!(old.is_none_or(|old| old == state), "two checkpoints of one version differ");
                commands.push(Command::CheckpointCommitted { round });
            }
        }
        (commands, work)
    }
}
