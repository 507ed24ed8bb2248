//! What it takes to form a view: messages, and time from the last link on.

use crate::RECOVERY;
use crate::world::{HEARTBEAT, Setup, World};

fn world(executors: u32, seed: u64) -> World {
    World::new(Setup {
        seed,
        executors,
        min_executors: executors,
        rounds: 10,
        faults: None,
        storm: 0,
        adaptive: true,
    })
}

fn all_joined(world: &World) -> bool {
    (0..world.setup.executors).all(|at| world.is_joined(at))
}

/// To each peer: the greeting, the first status, the one with the last link, the one with the view, and what agrees on it;
/// beside them the heartbeats until then. Telling of every link would take the cube: 20 n^2 with 32, 34 n^2 with 64.
#[test]
fn forming_a_view_takes_messages_in_the_square_of_the_executors() {
    for (executors, seeds) in [(2, 50), (3, 50), (4, 50), (8, 20), (16, 10), (32, 3), (64, 1)] {
        for seed in 0..seeds {
            let mut world = world(executors, seed);
            assert!(world.run(RECOVERY, all_joined), "{executors} executors, seed {seed}");
            let heartbeats = world.now / (HEARTBEAT / 5);
            let most = u64::from(executors).pow(2) * (5 + heartbeats);
            assert!(
                world.controls <= most,
                "{executors} executors, seed {seed}: {} messages, more than {most}",
                world.controls
            );
        }
    }
}

/// News of the last link wait for nothing: as a rule the view is there before the next heartbeat would be.
#[test]
fn the_view_follows_the_last_link_at_once() {
    for executors in [2, 3, 4, 8] {
        let mut times: Vec<u64> = (0..41)
            .map(|seed| {
                let mut world = world(executors, seed);
                assert!(world.run(RECOVERY, World::is_meshed), "{executors} executors, seed {seed}");
                let meshed = world.now;
                assert!(world.run(RECOVERY, all_joined), "{executors} executors, seed {seed}");
                world.now - meshed
            })
            .collect();
        times.sort_unstable();
        let median = times[times.len() / 2];
        assert!(median < HEARTBEAT / 10, "{executors} executors: {median} us from the last link to the view");
    }
}
