//! Which faults strike and when: a pure function of the seed.

use lockstep_rng::{Domain, Stream};

/// How many faults of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub kills: u32,
    pub freezes: u32,
    pub scales: u32,
}

/// What happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// An executor's process is killed by SIGKILL, and started again as its supervising parent does.
    Kill,
    /// An executor's process is stopped by SIGSTOP for this part of the heartbeat's time-out: some notice, some do not.
    Freeze { timeouts: f64 },
    /// So many executors are wanted from now on: those with higher indices get SIGTERM, missing ones are started.
    Scale { executors: u32 },
}

/// One planned fault.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Fault {
    /// It strikes after this step is done.
    pub step: u64,
    /// How far into the next step, from 0 to 1.
    pub moment: f64,
    pub kind: Kind,
    /// Chooses whom it strikes among those that it may.
    pub draw: u64,
}

/// The longest freeze, in heartbeat time-outs.
const LONGEST_FREEZE: f64 = 2.0;
/// No fault strikes later, so that all can strike before a job ends.
const LATEST: f64 = 0.95;

/// Ascending by step. Scaling leaves two executors at least, and always changes their number; so it takes three.
pub(super) fn plan(seed: u64, counts: Counts, executors: u32, steps: u64) -> Vec<Fault> {
    let mut stream = Stream::new(seed, Domain::Chaos, 0, 0);
    let last = ((steps as f64 * LATEST) as u64).max(1);
    let mut faults: Vec<Fault> = Vec::new();
    for number in 0..counts.kills + counts.freezes + counts.scales {
        let kind = if number < counts.kills {
            Kind::Kill
        } else if number < counts.kills + counts.freezes {
            Kind::Freeze { timeouts: LONGEST_FREEZE * f64::from(stream.unit_f32()) }
        } else {
            // Decided below, in the order of time.
            Kind::Scale { executors }
        };
        let step = 1 + stream.below(last);
        faults.push(Fault { step, moment: stream.unit_f32().into(), kind, draw: stream.next_u64() });
    }
    faults.sort_by(|one, other| {
        (one.step, one.moment).partial_cmp(&(other.step, other.moment)).unwrap_or(std::cmp::Ordering::Equal)
    });
    let mut wanted = executors;
    for fault in &mut faults {
        if let Kind::Scale { executors: to } = &mut fault.kind {
            wanted = another(wanted, executors, fault.draw);
            *to = wanted;
        }
    }
    faults
}

/// A number from 2 to `most` that is not `current`.
fn another(current: u32, most: u32, draw: u64) -> u32 {
    let choices: Vec<u32> = (2..=most).filter(|number| *number != current).collect();
    if choices.is_empty() { current } else { choices[(draw % choices.len() as u64) as usize] }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_fault_strikes_before_the_end_and_every_scaling_changes_something(
            seed in any::<u64>(),
            kills in 0..60_u32,
            freezes in 0..20_u32,
            scales in 0..20_u32,
            executors in 3..9_u32,
            steps in 1..5000_u64,
        ) {
            let counts = Counts { kills, freezes, scales };
            let faults = plan(seed, counts, executors, steps);
            let count = |wanted: fn(&Kind) -> bool| faults.iter().filter(|fault| wanted(&fault.kind)).count() as u32;
            let found = Counts {
                kills: count(|kind| matches!(kind, Kind::Kill)),
                freezes: count(|kind| matches!(kind, Kind::Freeze { .. })),
                scales: count(|kind| matches!(kind, Kind::Scale { .. })),
            };
            prop_assert_eq!(found, counts);
            prop_assert!(faults.iter().all(|fault| (1..=steps).contains(&fault.step)));
            prop_assert!(faults.is_sorted_by_key(|fault| fault.step));
            let mut before = executors;
            for fault in &faults {
                if let Kind::Scale { executors: to } = fault.kind {
                    prop_assert!(to != before && (2..=executors).contains(&to), "{before} to {to}");
                    before = to;
                }
            }
            prop_assert_eq!(faults, plan(seed, counts, executors, steps));
        }
    }
}
