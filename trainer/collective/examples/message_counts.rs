//! How many messages and bytes the first view, a round and heartbeats take, by number of executors: JSON on standard output.
//!
//! Runs the protocol's cores in one process over a network that delivers at once, so the counts are exact: all executors
//! start together, form a view, do one round, then stand still. The vector is that of the reference network, in two parts.
//! Bytes are those of frames, without what WebSocket, TLS and TCP add.
//!
//! `cargo run --release -p lockstep-collective --example message_counts -- [executors ...]`, by default 2 to 256, in under a
//! minute.

use std::collections::VecDeque;
use std::time::Duration;

use lockstep_collective::core::{Core, Effect, Event, Message};
use lockstep_collective::frame::Codec;
use lockstep_collective::tree::NodeSum;
use lockstep_collective::{Action, Command, Config, Part, Plan};
use serde::Serialize;

const LEN: usize = 591_658;
const CUT: usize = 65_000;
const COUNTS: usize = 2;
/// Leaves of a round: as many as the most executors.
const LEAVES: u32 = 256;
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often time passes, and how often that is before the run counts as stuck.
const TICK: Duration = Duration::from_millis(100);
const MAX_TICKS: u32 = 100;

#[derive(Serialize)]
struct Report {
    floats: usize,
    leaves: u32,
    heartbeat_timeout_seconds: u64,
    rows: Vec<Row>,
}

#[derive(Serialize)]
struct Row {
    executors: u32,
    /// From the first connection until all work in the view.
    forming: Traffic,
    /// Sums and finished pieces of one round.
    round: Traffic,
    /// In one second of a view in which nothing happens.
    idle_second: Traffic,
}

/// What executors send.
#[derive(Serialize)]
struct Traffic {
    messages: u64,
    bytes: u64,
    messages_of_one_mean: f64,
    bytes_of_one_mean: f64,
    bytes_of_one_most: u64,
}

/// What each executor sends: messages and bytes.
#[derive(Default, Clone, Copy)]
struct Sent(u64, u64);

impl Traffic {
    fn of(sent: &[Sent]) -> Self {
        let messages: u64 = sent.iter().map(|Sent(messages, _)| messages).sum();
        let bytes: u64 = sent.iter().map(|Sent(_, bytes)| bytes).sum();
        let mean = |sum: u64| sum as f64 / sent.len() as f64;
        Self {
            messages,
            bytes,
            messages_of_one_mean: mean(messages),
            bytes_of_one_mean: mean(bytes),
            bytes_of_one_most: sent.iter().map(|Sent(_, bytes)| *bytes).max().unwrap_or(0),
        }
    }
}

fn main() -> Result<(), serde_json::Error> {
    let mut asked: Vec<u32> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    if asked.is_empty() {
        asked = vec![2, 4, 8, 16, 32, 64, 128, 256];
    }
    let report = Report {
        floats: LEN,
        leaves: LEAVES,
        heartbeat_timeout_seconds: HEARTBEAT_TIMEOUT.as_secs(),
        rows: asked.into_iter().map(row).collect(),
    };
    serde_json::to_writer_pretty(std::io::stdout(), &report)?;
    println!();
    Ok(())
}

fn row(executors: u32) -> Row {
    let mut job = Job::new(executors);
    job.run_until("all work in the view", |job| job.joined == executors);
    let forming = Traffic::of(&job.control);
    job.run_until("the round is finished everywhere", |job| job.reduced == executors);
    let round = Traffic::of(&job.data);
    // Whatever the round's end makes them say is said at once.
    job.pass(TICK);
    job.control.fill(Sent::default());
    for _ in 0..Duration::from_secs(1).as_nanos() / TICK.as_nanos() {
        job.pass(TICK);
    }
    Row { executors, forming, round, idle_second: Traffic::of(&job.control) }
}

/// Executors and what is on its way between them.
struct Job {
    now: Duration,
    cores: Vec<Core>,
    events: VecDeque<(u32, Event)>,
    control: Vec<Sent>,
    data: Vec<Sent>,
    joined: u32,
    reduced: u32,
}

impl Job {
    fn new(executors: u32) -> Self {
        let mut events = VecDeque::new();
        let plan = Plan::Reduce { leaves: LEAVES, len: LEN, cut: CUT, counts: COUNTS };
        for a in 0..executors {
            events.push_back((a, Event::Command(Command::Ready { round: 0, plan })));
            for b in 0..a {
                events.push_back((a, Event::Connected { connection: connection(a, b), dialed: Some(b) }));
                events.push_back((b, Event::Connected { connection: connection(a, b), dialed: None }));
            }
        }
        let none = vec![Sent::default(); executors as usize];
        Self {
            now: Duration::ZERO,
            cores: (0..executors).map(|index| core(index, executors)).collect(),
            events,
            control: none.clone(),
            data: none,
            joined: 0,
            reduced: 0,
        }
    }

    fn run_until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        for _ in 0..MAX_TICKS {
            while !done(self) {
                let Some((at, event)) = self.events.pop_front() else { break };
                self.handle(at, event);
            }
            if done(self) {
                return;
            }
            self.tick(TICK);
        }
        panic!("never reached: {what}");
    }

    fn tick(&mut self, time: Duration) {
        self.now += time;
        self.events.extend((0..self.cores.len() as u32).map(|index| (index, Event::Tick)));
    }

    /// Lets time pass and everything arrive.
    fn pass(&mut self, time: Duration) {
        self.tick(time);
        while let Some((at, event)) = self.events.pop_front() {
            self.handle(at, event);
        }
    }

    fn handle(&mut self, at: u32, event: Event) {
        self.cores[at as usize].handle(self.now, event);
        while let Some(effect) = self.cores[at as usize].poll() {
            match effect {
                Effect::Send { connection, message } => {
                    self.count(at, &message);
                    let (high, low) = ((connection >> 32) as u32, connection as u32);
                    let to = if at == high { low } else { high };
                    self.events.push_back((to, Event::Message { connection, message }));
                }
                Effect::Act(action) => self.act(at, action),
                Effect::Close { reason, .. } => panic!("executor {at} closed a connection: {reason}"),
            }
        }
    }

    fn count(&mut self, from: u32, message: &Message) {
        let counts = if matches!(message, Message::Control(_)) { &mut self.control } else { &mut self.data };
        let frame =
            Codec { checksum: false }.outline(message).expect("the core keeps to the limits of a frame");
        let Sent(messages, bytes) = &mut counts[from as usize];
        *messages += 1;
        *bytes += frame.len() as u64;
    }

    fn act(&mut self, at: u32, action: Action) {
        match action {
            Action::HashState { round } => {
                self.events.push_back((at, Event::Command(Command::StateHash { round, hash: [0; 32] })));
            }
            Action::Compute { round, nodes } => {
                for part in Part::ALL {
                    let (len, counts) = if part == Part::Upper { (LEN - CUT, COUNTS) } else { (CUT, 0) };
                    for node in &nodes[part] {
                        let sum = NodeSum { values: vec![0.0; len], counts: vec![0; counts] };
                        let command = Command::Sum { round, part, node: *node, sum };
                        self.events.push_back((at, Event::Command(command)));
                    }
                }
            }
            Action::View { joined: true, .. } => self.joined += 1,
            Action::Reduced { .. } => self.reduced += 1,
            _ => {}
        }
    }
}

fn core(index: u32, executors: u32) -> Core {
    let config = Config {
        index,
        executors,
        min_executors: executors,
        join_grace: Duration::from_secs(60),
        heartbeat_timeout: HEARTBEAT_TIMEOUT,
        start_timeout: Duration::from_secs(60),
        adaptive: true,
        job_uid: "count".to_owned(),
        result_hash: [0; 32],
        fingerprint: [0; 32],
        // As long as a random one.
        incarnation: u64::MAX - u64::from(index),
        seed: u64::from(index),
    };
    Core::new(config, Duration::ZERO)
}

/// Connection of a pair: its higher index dialled.
fn connection(a: u32, b: u32) -> u64 {
    u64::from(a.max(b)) << 32 | u64::from(a.min(b))
}
