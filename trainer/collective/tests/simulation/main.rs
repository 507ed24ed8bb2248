//! Whole jobs in a deterministic simulation, thousands of schedules from as many seeds.
//!
//! `LOCKSTEP_SIM_SEEDS=n` runs n seeds of each kind, `LOCKSTEP_SIM_SEED=s` replays one
//! (`LOCKSTEP_SIM_TRACE=1` tells its story). Checked in every one of them:
//! every result has the bits of one executor and every state is that of the undisturbed job (asserted in [`app`] at every
//! step), no message ends a process, and once the faults stop, every executor finishes within a bounded time.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod app;
mod forming;
mod rng;
mod scenarios;
mod watch;
mod world;

use rng::Rng;
use world::{Faults, Setup, Stats, World};

const SECOND: u64 = 1_000_000;
/// Microseconds after the last fault by which all have finished.
const RECOVERY: u64 = 30 * SECOND;

fn seeds(default: u64) -> Vec<u64> {
    let number = |name| std::env::var(name).ok().map(|value| value.parse().expect("a number"));
    match number("LOCKSTEP_SIM_SEED") {
        Some(seed) => vec![seed],
        None => (0..number("LOCKSTEP_SIM_SEEDS").unwrap_or(default)).collect(),
    }
}

fn run(setup: Setup) -> World {
    let mut world = World::new(setup);
    let limit = setup.storm + RECOVERY;
    let done = world.run(limit, |world| world.now >= setup.storm && world.all_finished());
    assert!(done, "not finished {RECOVERY} us after the faults stopped: {}", world.describe());
    world.finish();
    world
}

/// Runs every seed on this machine's cores and names the one that fails.
fn for_seeds(default: u64, test: impl Fn(u64) -> Stats + Sync) -> Vec<Stats> {
    let seeds = seeds(default);
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut stats = Vec::new();
        while let Some(seed) = seeds.get(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed)) {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| test(*seed)));
            match result {
                Ok(result) => stats.push(result),
                Err(panic) => {
                    eprintln!("failed with seed {seed}; replay it with LOCKSTEP_SIM_SEED={seed}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
        stats
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|thread| thread.join().expect("a seed failed, see above")).collect()
    })
}

fn storm(seed: u64, faults: Faults) -> Setup {
    let mut rng = Rng::new(seed ^ 0x5107);
    let executors = 1 + rng.below(5) as u32;
    let min_executors = 1 + rng.below(u64::from(executors)) as u32;
    Setup {
        seed,
        executors,
        min_executors,
        rounds: 60 + rng.below(60),
        faults: Some(faults),
        storm: 4 * SECOND,
        adaptive: true,
    }
}

const NONE: Faults =
    Faults { crashes: false, cuts: false, freezes: false, leaves: false, garbage: false, flaps: false };
const ALL: Faults = Faults { crashes: true, cuts: true, freezes: true, leaves: true, garbage: true, ..NONE };

#[test]
fn any_faults_leave_the_bits_and_the_progress() {
    let stats = for_seeds(6000, |seed| run(storm(seed, ALL)).stats);
    let sum = |what: fn(&Stats) -> u64| stats.iter().map(what).sum::<u64>();
    println!(
        "{} jobs: {} crashes, {} cuts, {} freezes, {} leaves, {} damaged messages; {} views, {} snapshots",
        stats.len(),
        sum(|s| s.crashes),
        sum(|s| s.cuts),
        sum(|s| s.freezes),
        sum(|s| s.leaves),
        sum(|s| s.garbage),
        sum(|s| s.views),
        sum(|s| s.snapshots),
    );
    assert_eq!(sum(|s| s.restores), 0, "no state ever differed, so none had to be restored");
    if stats.len() > 100 {
        // The test would show nothing if the storm blew past the jobs.
        assert!(sum(|s| s.views) > 4 * stats.len() as u64);
        assert!(sum(|s| s.snapshots) > stats.len() as u64 / 2);
    }
}

#[test]
fn crashes_alone_leave_the_bits_and_the_progress() {
    for_seeds(1000, |seed| run(storm(seed, Faults { crashes: true, ..NONE })).stats);
}

#[test]
fn cuts_alone_leave_the_bits_and_the_progress() {
    for_seeds(1000, |seed| run(storm(seed, Faults { cuts: true, ..NONE })).stats);
}

#[test]
fn leaves_alone_leave_the_bits_and_the_progress() {
    for_seeds(1000, |seed| run(storm(seed, Faults { leaves: true, ..NONE })).stats);
}

/// Connections break and return while ballots are open: what was sent in between is lost, and nobody may count on it.
#[test]
fn connections_that_break_and_return_within_a_ballot_leave_the_bits_and_the_progress() {
    let stats = for_seeds(1000, |seed| {
        let setup = storm(seed, Faults { flaps: true, ..NONE });
        run(Setup { executors: 3 + seed as u32 % 3, min_executors: 1 + seed as u32 % 2, ..setup }).stats
    });
    assert!(stats.iter().all(|stats| stats.flaps > 100), "most of the storm was calm");
}

/// A simulation that is not a function of its seed cannot be replayed.
#[test]
fn one_seed_is_one_schedule() {
    for seed in 0..5 {
        let (a, b) = (run(storm(seed, ALL)), run(storm(seed, ALL)));
        assert_eq!((a.trace, a.events, a.now, a.stats), (b.trace, b.events, b.now, b.stats));
    }
}
