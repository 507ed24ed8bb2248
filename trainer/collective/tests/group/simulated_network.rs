//! The real transport over a simulated network: what is sent comes late, links are cut in one direction or both, or hold
//! everything back, and hosts crash. Handshakes, frames, TLS, dialling and heartbeats are the real ones.
//!
//! `LOCKSTEP_NETWORK_SEEDS=n` runs n seeds, `LOCKSTEP_NETWORK_SEED=s` one. Faults and latencies are functions of the seed; the
//! order in which a host's tasks run is tokio's.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use lockstep_collective::Certificates;
use lockstep_collective::transport::{Listener, Stream};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use turmoil::net::{TcpListener, TcpStream};
use turmoil::{Builder, Sim};

use crate::executor::{Executor, Job, Outcome, certificates, reference};

const PORT: u16 = 9000;
const JOB: Job = Job { rounds: 400, leaves: 6, len: 1000, pace: Duration::from_millis(2) };
/// Faults begin and end within it.
const STORM: Duration = Duration::from_secs(5);
/// After the last fault; joinGrace, for whoever comes back when the others are done, is part of it.
const RECOVERY: Duration = Duration::from_secs(90);

struct SimulatedListener(TcpListener);

struct SimulatedStream(TcpStream);

impl Listener for SimulatedListener {
    type Stream = SimulatedStream;

    async fn accept(&self) -> io::Result<(SimulatedStream, SocketAddr)> {
        let (stream, from) = self.0.accept().await?;
        Ok((SimulatedStream(stream), from))
    }
}

impl Stream for SimulatedStream {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    async fn connect(address: &str) -> io::Result<Self> {
        TcpStream::connect(address).await.map(Self)
    }

    fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.0.into_split()
    }

    fn set_nodelay(&self) -> io::Result<()> {
        self.0.set_nodelay(true)
    }
}

impl AsyncRead for SimulatedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for SimulatedStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

fn host(index: u32) -> String {
    format!("executor-{index}")
}

/// What every executor's last start came to.
type Outcomes = Rc<RefCell<Vec<Option<Outcome>>>>;

fn start(sim: &mut Sim<'_>, executors: u32, tls: Option<&Certificates>) -> Outcomes {
    let outcomes = Outcomes::new(RefCell::new((0..executors).map(|_| None).collect()));
    let addresses: Vec<_> = (0..executors).map(|index| format!("{}:{PORT}", host(index))).collect();
    for index in 0..executors {
        let (addresses, tls, outcomes) = (addresses.clone(), tls.cloned(), Rc::clone(&outcomes));
        sim.host(host(index), move || {
            let (addresses, tls, outcomes) = (addresses.clone(), tls.clone(), Rc::clone(&outcomes));
            outcomes.borrow_mut()[index as usize] = None;
            async move {
                let listener = SimulatedListener(TcpListener::bind(("0.0.0.0", PORT)).await?);
                let mut executor = Executor::new(index, executors, listener, &addresses);
                executor.tls = tls;
                let outcome = executor.run(JOB).await;
                outcomes.borrow_mut()[index as usize] = Some(outcome);
                Ok(())
            }
        });
    }
    outcomes
}

/// A fault that is under way, and what ends it.
enum Fault {
    Cut(u32, u32),
    CutOneWay(u32, u32),
    Held(u32, u32),
    Crashed(u32),
}

/// The faults of a seed, one after the other and over each other.
struct Storm {
    rng: ChaCha8Rng,
    executors: u32,
    next: Duration,
    under_way: Vec<(Duration, Fault)>,
}

impl Storm {
    fn below(&mut self, bound: u64) -> u64 {
        self.rng.next_u64() % bound
    }

    fn millis(&mut self, from: u64, to: u64) -> Duration {
        Duration::from_millis(from + self.below(to - from))
    }

    fn step(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let ended: Vec<_> = self.under_way.extract_if(.., |(end, _)| *end <= now).collect();
        ended.iter().for_each(|(_, fault)| fault.end(sim));
        if now < self.next || now >= STORM {
            return;
        }
        self.next = now + self.millis(50, 500);
        let one = self.below(self.executors.into()) as u32;
        let other = (one + 1 + self.below(u64::from(self.executors) - 1) as u32) % self.executors;
        let fault = match self.below(4) {
            0 => Fault::Cut(one, other),
            1 => Fault::CutOneWay(one, other),
            2 => Fault::Held(one, other),
            _ => Fault::Crashed(one),
        };
        let busy = |under_way: &(Duration, Fault)| under_way.1.touches(&fault);
        if self.under_way.iter().any(busy) {
            return;
        }
        fault.begin(sim);
        let end = now + self.millis(20, 4000);
        self.under_way.push((end, fault));
    }
}

impl Fault {
    fn begin(&self, sim: &mut Sim<'_>) {
        match *self {
            Self::Cut(one, other) => sim.partition(host(one), host(other)),
            Self::CutOneWay(one, other) => sim.partition_oneway(host(one), host(other)),
            Self::Held(one, other) => sim.hold(host(one), host(other)),
            Self::Crashed(one) => sim.crash(host(one)),
        }
    }

    fn end(&self, sim: &mut Sim<'_>) {
        match *self {
            Self::Cut(one, other) => sim.repair(host(one), host(other)),
            Self::CutOneWay(one, other) => sim.repair_oneway(host(one), host(other)),
            Self::Held(one, other) => sim.release(host(one), host(other)),
            Self::Crashed(one) => sim.bounce(host(one)),
        }
    }

    /// Whether both are about one link, or about one host's life.
    fn touches(&self, other: &Self) -> bool {
        match (self.link(), other.link()) {
            (Ok(one), Ok(other)) => one == other,
            (Err(one), Err(other)) => one == other,
            (Ok(_), Err(_)) | (Err(_), Ok(_)) => false,
        }
    }

    /// The link, or else the host.
    fn link(&self) -> Result<(u32, u32), u32> {
        match *self {
            Self::Cut(one, other) | Self::CutOneWay(one, other) | Self::Held(one, other) => {
                Ok((one.min(other), one.max(other)))
            }
            Self::Crashed(one) => Err(one),
        }
    }
}

fn sim(seed: u64) -> Sim<'static> {
    Builder::new()
        .rng_seed(seed)
        .simulation_duration(STORM + RECOVERY)
        .min_message_latency(Duration::from_micros(100))
        .max_message_latency(Duration::from_millis(8))
        // Segments of one direction; a sum is a handful, and what a cut swallows is never missed.
        .tcp_capacity(1 << 16)
        .build()
}

/// Views and snapshots of all executors.
fn through_a_storm(seed: u64, tls: Option<&Certificates>) -> (u64, u64) {
    let executors = 2 + (seed % 3) as u32;
    let mut sim = sim(seed);
    let outcomes = start(&mut sim, executors, tls);
    let rng = ChaCha8Rng::seed_from_u64(seed);
    let mut storm = Storm { rng, executors, next: Duration::from_millis(300), under_way: Vec::new() };
    loop {
        sim.step().unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        storm.step(&mut sim);
        let calm = sim.elapsed() >= STORM && storm.under_way.is_empty();
        if calm && outcomes.borrow().iter().all(Option::is_some) {
            break;
        }
        assert!(
            sim.elapsed() < STORM + RECOVERY,
            "seed {seed}: not finished {RECOVERY:?} after the last fault"
        );
    }
    let outcomes = outcomes.borrow();
    for (index, outcome) in outcomes.iter().flatten().enumerate() {
        assert_eq!(outcome.state, reference(JOB), "seed {seed}: executor {index}");
    }
    let sum = |what: fn(&Outcome) -> u64| outcomes.iter().flatten().map(what).sum();
    (sum(|outcome| outcome.views), sum(|outcome| outcome.snapshots))
}

fn seeds(default: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    match number("LOCKSTEP_NETWORK_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("LOCKSTEP_NETWORK_SEEDS").unwrap_or(default)).collect(),
    }
}

fn through_storms(tls: Option<&Certificates>) {
    let seeds = seeds(20);
    let (mut views, mut snapshots) = (0, 0);
    for seed in &seeds {
        let (some_views, some_snapshots) = through_a_storm(*seed, tls);
        views += some_views;
        snapshots += some_snapshots;
    }
    println!("{} networks: {views} views, {snapshots} snapshots", seeds.len());
    if seeds.len() > 10 {
        // The test would show nothing if the storm blew past the jobs.
        assert!(views > 4 * seeds.len() as u64, "{views} views");
        assert!(4 * snapshots > seeds.len() as u64, "{snapshots} snapshots");
    }
}

#[test]
fn a_network_that_delays_cuts_and_holds_and_hosts_that_crash_leave_the_bits() {
    through_storms(None);
}

#[test]
fn such_a_network_leaves_the_bits_of_connections_with_mutual_tls() {
    through_storms(Some(&certificates()));
}

/// The control: without faults nobody notices the network.
#[test]
fn a_calm_simulated_network_needs_one_view() {
    let mut sim = sim(1);
    let outcomes = start(&mut sim, 3, None);
    while outcomes.borrow().iter().any(Option::is_none) {
        sim.step().unwrap();
    }
    for outcome in outcomes.borrow().iter().flatten() {
        assert_eq!((outcome.state, outcome.views, outcome.snapshots), (reference(JOB), 1, 0));
    }
}
