//! How many messages and bytes a round takes, by number of executors: Markdown on standard output.
//!
//! Runs the protocol's cores in one process over a network that delivers at once, so the counts are exact: of one round in
//! a calm view, after the view has formed. The vector is that of the reference network, in two parts.
//!
//! `cargo run --release -p lockstep-collective --example message_counts -- [executors ...]`, by default 2 to 32. Forming a
//! view takes messages in the cube of the executors, since each tells all the others of every new connection: beyond 64 this
//! runs for minutes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use lockstep_collective::core::{Core, Effect, Event, Message};
use lockstep_collective::frame::Codec;
use lockstep_collective::tree::NodeSum;
use lockstep_collective::{Action, Command, Config, Part, Plan};

const LEN: usize = 591_658;
const CUT: usize = 65_000;
const COUNTS: usize = 2;
/// Leaves of a round: as many as the most executors.
const LEAVES: u32 = 256;
const HEARTBEAT: Duration = Duration::from_secs(5);

fn main() {
    println!("One round of {LEN} floats, {LEAVES} leaves, cut at {CUT}; a single executor sends nothing.\n");
    println!(
        "| Executors | Messages a round, all | Messages sent by one | MB sent by one, mean | MB sent by one, most | Control messages to form the view | Heartbeats a second, all |"
    );
    println!("|---:|---:|---:|---:|---:|---:|---:|");
    let mut asked: Vec<u32> = std::env::args().skip(1).filter_map(|text| text.parse().ok()).collect();
    if asked.is_empty() {
        asked = vec![2, 3, 4, 6, 8, 16, 32];
    }
    for executors in asked {
        let Counts { messages, bytes, forming } = count(executors);
        let sent: u64 = messages.values().sum();
        let megabytes = |bytes: f64| bytes / 1e6;
        let mean = megabytes(bytes.values().sum::<u64>() as f64 / f64::from(executors));
        let most = megabytes(bytes.values().copied().max().unwrap_or(0) as f64);
        // Every executor tells every other one, five times in a heartbeat time-out.
        let beats = f64::from(executors * (executors - 1)) * 5.0 / HEARTBEAT.as_secs_f64();
        println!(
            "| {executors} | {sent} | {} | {mean:.2} | {most:.2} | {forming} | {beats:.0} |",
            sent / u64::from(executors)
        );
    }
}

/// By executor: what it sent in the round.
struct Counts {
    messages: BTreeMap<u32, u64>,
    bytes: BTreeMap<u32, u64>,
    /// Control messages of all, from the first connection to the view.
    forming: u64,
}

fn core(index: u32, executors: u32) -> Core {
    let config = Config {
        index,
        executors,
        min_executors: executors,
        join_grace: Duration::from_secs(60),
        heartbeat_timeout: HEARTBEAT,
        start_timeout: Duration::from_secs(60),
        job_uid: "count".to_owned(),
        result_hash: [0; 32],
        fingerprint: [0; 32],
        incarnation: u64::from(index) + 1,
        seed: u64::from(index),
    };
    Core::new(config, Duration::ZERO)
}

/// Connection of a pair: its higher index dialled.
fn connection(a: u32, b: u32) -> u64 {
    u64::from(a.max(b)) << 32 | u64::from(a.min(b))
}

fn count(executors: u32) -> Counts {
    let mut cores: Vec<Core> = (0..executors).map(|index| core(index, executors)).collect();
    let mut events: VecDeque<(u32, Event)> = VecDeque::new();
    let plan = Plan::Reduce { leaves: LEAVES, len: LEN, cut: CUT, counts: COUNTS };
    for a in 0..executors {
        events.push_back((a, Event::Command(Command::Ready { round: 0, plan })));
        for b in 0..a {
            events.push_back((a, Event::Connected { connection: connection(a, b), dialed: Some(b) }));
            events.push_back((b, Event::Connected { connection: connection(a, b), dialed: None }));
        }
    }
    let mut counts = Counts { messages: BTreeMap::new(), bytes: BTreeMap::new(), forming: 0 };
    let mut reduced = 0;
    // Later moments only let quiet times and heartbeats pass.
    for moment in 0..1000 {
        let now = Duration::from_millis(100 * moment);
        if reduced == executors {
            break;
        }
        if moment > 0 {
            events.extend((0..executors).map(|index| (index, Event::Tick)));
        }
        while let Some((at, event)) = events.pop_front() {
            let core = &mut cores[at as usize];
            core.handle(now, event);
            while let Some(effect) = core.poll() {
                match effect {
                    Effect::Send { connection, message } => {
                        let (high, low) = ((connection >> 32) as u32, connection as u32);
                        counts.add(at, &message);
                        let to = if at == high { low } else { high };
                        events.push_back((to, Event::Message { connection, message }));
                    }
                    Effect::Act(Action::HashState { round }) => {
                        events.push_back((at, Event::Command(Command::StateHash { round, hash: [0; 32] })));
                    }
                    Effect::Act(Action::Compute { round, nodes }) => {
                        for part in Part::ALL {
                            let (len, counts) =
                                if part == Part::Upper { (LEN - CUT, COUNTS) } else { (CUT, 0) };
                            for node in &nodes[part] {
                                let sum = NodeSum { values: vec![0.0; len], counts: vec![0; counts] };
                                let command = Command::Sum { round, part, node: *node, sum };
                                events.push_back((at, Event::Command(command)));
                            }
                        }
                    }
                    Effect::Act(Action::Reduced { .. }) => reduced += 1,
                    _ => {}
                }
            }
        }
    }
    assert_eq!(reduced, executors, "the round is finished everywhere");
    counts
}

impl Counts {
    fn add(&mut self, from: u32, message: &Message) {
        if matches!(message, Message::Control(_)) {
            self.forming += u64::from(self.messages.is_empty());
            return;
        }
        let frame = Codec { checksum: false }.encode(message);
        *self.messages.entry(from).or_default() += 1;
        *self.bytes.entry(from).or_default() += frame.map_or(0, |frame| frame.len() as u64);
    }
}
