//! The fuzz targets without a fuzzer: every good input, changed at random many times. `scripts/fuzz.sh` does it with cargo-fuzz,
//! which finds its way by what the code did.
#![allow(clippy::unwrap_used)]

use std::panic::catch_unwind;

use lockstep_rng::{Domain, Stream};

#[path = "../../../../fuzz/src/targets.rs"]
mod targets;

const CHANGES: u64 = 8;
/// Of each target.
const ROUNDS: u64 = 5_000;

/// One after the other: the memory that is counted is the process's.
#[test]
fn changed_inputs_neither_panic_nor_take_memory() {
    for target in targets::ALL {
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| (target.run)(seed));
        for round in 0..ROUNDS {
            let mut chance = Stream::new(0, Domain::Chaos, round, 0);
            let mut input = seeds[chance.below(seeds.len() as u64) as usize].clone();
            for _ in 0..=chance.below(CHANGES) {
                change(&mut input, &mut chance);
            }
            let outcome = catch_unwind(|| (target.run)(&input));
            assert!(outcome.is_ok(), "{} failed in round {round} on {input:?}", target.name);
        }
    }
}

fn change(input: &mut Vec<u8>, chance: &mut Stream) {
    const ODD: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
    let place = chance.below(input.len() as u64 + 1) as usize;
    let length = chance.below(16.min(input.len() - place) as u64 + 1) as usize;
    match chance.below(6) {
        0 => input.truncate(place),
        1 => drop(input.drain(place..place + length)),
        2 => input.insert(place, chance.next_u32() as u8),
        3 => input.extend_from_within(place..place + length),
        4 if place < input.len() => input[place] ^= 1 << chance.below(8),
        _ if place < input.len() => input[place] = ODD[chance.below(ODD.len() as u64) as usize],
        _ => {}
    }
}
