//! An executor's loop around a toy model, as the crate's documentation describes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lockstep_collective::transport::{Listener, SERVER_NAME};
use lockstep_collective::tree::{Node, NodeSum, PartFolders, Tree};
use lockstep_collective::{
    Action, Certificates, Command, Config, Group, GroupError, GroupOptions, Part, Plan,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use tokio::net::TcpListener;

/// Every round of the job alike.
#[derive(Clone, Copy)]
pub struct Job {
    pub rounds: u64,
    pub leaves: u32,
    pub len: usize,
    /// Time a leaf takes.
    pub pace: Duration,
}

impl Job {
    fn plan(self, round: u64) -> Plan {
        let Self { rounds, leaves, len, .. } = self;
        if round < rounds { Plan::Reduce { leaves, len, cut: self.cut(), counts: 1 } } else { Plan::Finished }
    }

    /// The lower part is the smaller one, as that of a convolutional network.
    fn cut(self) -> usize {
        self.len / 9
    }

    fn split(self, sum: NodeSum) -> [(Part, NodeSum); 2] {
        let NodeSum { mut values, counts } = sum;
        let upper = values.split_off(self.cut());
        let part = |values, counts| NodeSum { values, counts };
        [(Part::Upper, part(upper, counts)), (Part::Lower, part(values, Vec::new()))]
    }
}

fn leaf_sum(state: u64, leaf: u32, len: usize) -> NodeSum {
    let mut bits = state ^ u64::from(leaf).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let next = |_| {
        bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (bits >> 32) as u32 as f32 / (1 + (bits >> 20) % 1000) as f32
    };
    NodeSum { values: (0..len).map(next).collect(), counts: vec![u64::from(leaf)] }
}

fn next_state(state: u64, values: &[f32], counts: &[u64]) -> u64 {
    let bits = values.iter().map(|value| u64::from(value.to_bits())).chain(counts.iter().copied());
    bits.fold(state, |state, bits| (state ^ bits).wrapping_mul(0x100_0000_01b3).rotate_left(29))
}

/// The final state of the job on one executor without a collective.
pub fn reference(job: Job) -> u64 {
    fn fold(state: u64, node: Node, len: usize) -> NodeSum {
        let Some((left, right)) = node.children() else { return leaf_sum(state, node.start, len) };
        let mut sum = fold(state, left, len);
        sum.add(&fold(state, right, len));
        sum
    }
    (0..job.rounds).fold(1, |state, _| {
        let sum = fold(state, Tree::new(job.leaves).root().unwrap(), job.len);
        next_state(state, &sum.values, &sum.counts)
    })
}

/// A fresh authority and a certificate of it, as the operator makes them.
pub fn certificates() -> Certificates {
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &authority).unwrap();
    Certificates {
        ca: authority.pem().into_bytes(),
        certificate: certificate.pem().into_bytes(),
        key: key.serialize_pem().into_bytes(),
    }
}

pub struct Executor<L = TcpListener> {
    pub index: u32,
    pub executors: u32,
    pub join_grace: Duration,
    pub job_uid: String,
    pub result_hash: [u8; 32],
    pub fingerprint: [u8; 32],
    pub tls: Option<Certificates>,
    pub progress: Arc<AtomicU64>,
    listener: L,
    addresses: Vec<String>,
}

pub struct Outcome {
    pub state: u64,
    pub views: u64,
    pub snapshots: u64,
}

impl<L: Listener> Executor<L> {
    /// `addresses`: `host:port` of every executor.
    pub fn new(index: u32, executors: u32, listener: L, addresses: &[impl ToString]) -> Self {
        Self {
            index,
            executors,
            join_grace: Duration::from_secs(20),
            job_uid: "job".to_owned(),
            result_hash: [1; 32],
            fingerprint: [2; 32],
            tls: None,
            progress: Arc::new(AtomicU64::new(0)),
            listener,
            addresses: addresses.iter().map(ToString::to_string).collect(),
        }
    }

    /// A group whose executor has a state and could train.
    pub async fn start_ready(self) -> Group {
        let group = self.try_start().await.unwrap();
        let plan = Plan::Reduce { leaves: 1, len: 1, cut: 0, counts: 0 };
        group.commands.send(Command::Ready { round: 0, plan }).await.unwrap();
        group
    }

    pub async fn try_start(self) -> Result<Group, GroupError> {
        static STARTS: AtomicU64 = AtomicU64::new(1);
        let start = STARTS.fetch_add(1, Ordering::Relaxed);
        let config = Config {
            index: self.index,
            executors: self.executors,
            min_executors: 1,
            join_grace: self.join_grace,
            heartbeat_timeout: Duration::from_secs(2),
            start_timeout: Duration::from_secs(60),
            adaptive: true,
            job_uid: self.job_uid,
            result_hash: self.result_hash,
            fingerprint: self.fingerprint,
            incarnation: start.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            seed: start,
        };
        let addresses = self.addresses;
        let peers = Arc::new(move |index: u32| addresses[index as usize].clone());
        let group =
            Group::start(config, GroupOptions { listener: self.listener, peers, tls: self.tls }).await?;
        Ok(group)
    }

    pub async fn run(self, job: Job) -> Outcome {
        let progress = Arc::clone(&self.progress);
        let mut group = self.try_start().await.unwrap();
        let commands = group.commands.clone();
        let send = async |command| commands.send(command).await.unwrap();
        let (done, mut sums) = tokio::sync::mpsc::channel(64);
        let (mut state, mut round) = (1, 0);
        let mut outcome = Outcome { state, views: 0, snapshots: 0 };
        let mut folders = PartFolders::new(Tree::new(job.leaves));
        let mut running = BTreeSet::new();
        send(Command::Ready { round, plan: job.plan(round) }).await;
        while round < job.rounds {
            tokio::select! {
                action = group.actions.recv() => match action.expect("the group lives") {
                    Action::Compute { round: of, nodes } => {
                        assert_eq!(of, round);
                        for (part, node, sum) in folders.want(&nodes) {
                            send(Command::Sum { round, part, node, sum }).await;
                        }
                    }
                    Action::Reduced { round: of, values, counts, spent: _ } => {
                        assert_eq!(of, round);
                        assert_eq!(values.len(), job.len);
                        state = next_state(state, &values, &counts);
                        round += 1;
                        folders = PartFolders::new(Tree::new(job.leaves));
                        progress.store(round, Ordering::Relaxed);
                        send(Command::Ready { round, plan: job.plan(round) }).await;
                    }
                    Action::HashState { round } => {
                        let mut hash = [0; 32];
                        hash[..8].copy_from_slice(&state.to_le_bytes());
                        send(Command::StateHash { round, hash }).await;
                    }
                    Action::TakeSnapshot { round } => {
                        send(Command::Snapshot { round, bytes: Arc::new(state.to_le_bytes().to_vec()) }).await;
                    }
                    Action::InstallSnapshot { round: to, bytes } => {
                        (round, state) = (to, u64::from_le_bytes(bytes.try_into().unwrap()));
                        outcome.snapshots += 1;
                        folders = PartFolders::new(Tree::new(job.leaves));
                        send(Command::Ready { round, plan: job.plan(round) }).await;
                    }
                    Action::View { joined, .. } => {
                        outcome.views += u64::from(joined);
                    }
                    Action::Paused { .. } | Action::Waiting { .. } | Action::StartTimedOut => {}
                    unexpected @ (Action::RestoreCheckpoint | Action::CommitCheckpoint { .. } | Action::Left | Action::Failed { .. }) => {
                        panic!("{unexpected:?}")
                    }
                },
                sum = sums.recv() => {
                    let (of, leaf, part, sum) = sum.unwrap();
                    if part == Part::Lower {
                        running.remove(&(of, leaf));
                    }
                    if of == round {
                        for (part, node, sum) in folders.insert(part, leaf, sum) {
                            send(Command::Sum { round, part, node, sum }).await;
                        }
                    }
                }
            }
            // Also after the last part of a leaf: the first one may have gone with a view that wanted other nodes.
            for leaf in folders.missing() {
                if running.insert((round, leaf)) {
                    let done = done.clone();
                    tokio::spawn(async move {
                        tokio::time::sleep(job.pace).await;
                        let sum = leaf_sum(state, leaf, job.len);
                        for (part, sum) in job.split(sum) {
                            drop(done.send((round, leaf, part, sum)).await);
                            tokio::time::sleep(job.pace / 4).await;
                        }
                    });
                }
            }
        }
        outcome.state = state;
        // Whoever is behind may still need us, as in a real job, where everybody stays until the result is written.
        tokio::time::sleep(Duration::from_millis(300)).await;
        drop(commands);
        group.close().await;
        outcome
    }
}
