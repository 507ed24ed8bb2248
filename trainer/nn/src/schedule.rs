//! Learning rates: a pure function of the step, in f64, with the cosine of the crate `libm`.

use std::f64::consts::PI;

/// How the learning rate changes over time; factors multiply the optimizer's learning rate.
#[derive(Clone, Debug, PartialEq)]
pub enum Schedule {
    /// No change.
    Constant,
    /// Half a cosine from 1 down to a factor at the last step; the warm-up comes before it.
    Cosine {
        /// Factor at the last step.
        final_factor: f64,
    },
    /// Up along half a cosine, then down along another. As PyTorch's `OneCycleLR`, after L. Smith and N. Topin,
    /// "Super-Convergence", 2018.
    OneCycle {
        /// Share of the steps in which the factor rises to 1.
        rise_fraction: f64,
        /// The first factor is 1 / this.
        initial_divisor: f64,
        /// The last factor is the first / this.
        final_divisor: f64,
    },
    /// Constant between changes.
    Piecewise {
        /// (complete epochs, factor from there on), ascending; 1 before the first.
        changes: Vec<(u32, f64)>,
    },
}

/// How long a training is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Steps of the whole training.
    pub total_steps: u64,
    /// Steps of an epoch.
    pub steps_per_epoch: u64,
    /// Steps of linear rise at the start: step `s` has the share `(s + 1) / warmup_steps`. 0 for none.
    pub warmup_steps: u64,
}

impl Schedule {
    /// The learning rate of the update that follows `step` updates, `step` from 0.
    pub fn learning_rate(&self, base: f64, step: u64, stretch: Stretch) -> f64 {
        let Stretch { total_steps, steps_per_epoch, warmup_steps } = stretch;
        let warmup = if step < warmup_steps { (step + 1) as f64 / warmup_steps as f64 } else { 1.0 };
        let last = total_steps.saturating_sub(1) as f64;
        let factor = match self {
            Self::Constant => 1.0,
            Self::Cosine { final_factor } => {
                let begin = warmup_steps as f64;
                fall(1.0, *final_factor, share(step as f64, begin, last))
            }
            Self::OneCycle { rise_fraction, initial_divisor, final_divisor } => {
                let initial = 1.0 / initial_divisor;
                let top = (rise_fraction * total_steps as f64 - 1.0).max(0.0);
                if (step as f64) < top {
                    fall(initial, 1.0, share(step as f64, 0.0, top))
                } else {
                    fall(1.0, initial / final_divisor, share(step as f64, top, last))
                }
            }
            Self::Piecewise { changes } => {
                let epoch = step / steps_per_epoch.max(1);
                let reached = changes.iter().rev().find(|(change, _)| u64::from(*change) <= epoch);
                reached.map_or(1.0, |(_, factor)| *factor)
            }
        };
        base * warmup * factor
    }
}

/// How much of the way from `begin` to `end` is done, in [0, 1].
fn share(step: f64, begin: f64, end: f64) -> f64 {
    if step <= begin {
        0.0
    } else if step >= end {
        1.0
    } else {
        (step - begin) / (end - begin)
    }
}

/// Half a cosine between two values.
fn fall(from: f64, to: f64, share: f64) -> f64 {
    to + (from - to) * (1.0 + libm::cos(PI * share)) / 2.0
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const STRETCH: Stretch = Stretch { total_steps: 100, steps_per_epoch: 10, warmup_steps: 0 };
    const ONE_CYCLE: Schedule =
        Schedule::OneCycle { rise_fraction: 0.3, initial_divisor: 25.0, final_divisor: 1e4 };

    fn close(ours: f64, expected: f64) {
        assert!((ours - expected).abs() <= 1e-12 * expected.abs().max(1e-3), "{ours} {expected}");
    }

    /// From `torch.optim.lr_scheduler.OneCycleLR(max_lr=0.1, total_steps=100)`, PyTorch 2.13.
    #[test]
    fn one_cycle_is_pytorchs() {
        let at = |step| ONE_CYCLE.learning_rate(0.1, step, STRETCH);
        close(at(0), 0.004);
        close(at(29), 0.1);
        close(at(99), 0.004 / 1e4);
        close(at(10), ONE_CYCLE_AT_10);
        close(at(70), ONE_CYCLE_AT_70);
    }
    const ONE_CYCLE_AT_10: f64 = 0.029516394846410082;
    const ONE_CYCLE_AT_70: f64 = 0.03669841092903536;

    #[test]
    fn cosine_starts_after_the_warm_up_and_ends_at_its_factor() {
        let schedule = Schedule::Cosine { final_factor: 0.1 };
        let stretch = Stretch { warmup_steps: 10, ..STRETCH };
        let at = |step| schedule.learning_rate(2.0, step, stretch);
        close(at(0), 0.2);
        close(at(9), 2.0);
        close(at(10), 2.0);
        close(at(99), 0.2);
        // The middle between step 10 and step 99 lies between these two.
        close((at(54) + at(55)) / 2.0, 1.1);
    }

    #[test]
    fn piecewise_changes_at_whole_epochs() {
        let schedule = Schedule::Piecewise { changes: vec![(2, 0.5), (5, 0.1)] };
        let factors = [0, 19, 20, 49, 50, 99].map(|step| schedule.learning_rate(1.0, step, STRETCH));
        assert_eq!(factors, [1.0, 1.0, 0.5, 0.5, 0.1, 0.1]);
    }

    /// The exact bits are part of every job's result.
    #[test]
    fn bits_are_pinned() {
        let bits = |schedule: Schedule| {
            (0..100).fold(0_u64, |hash, step| {
                hash.rotate_left(5) ^ schedule.learning_rate(1e-3, step, STRETCH).to_bits()
            })
        };
        let found = [bits(Schedule::Cosine { final_factor: 0.0 }), bits(ONE_CYCLE)];
        assert_eq!(found, [0x270a_298a_292f_cf82, 0xec81_d337_7b95_f977], "{found:#x?}");
    }

    proptest! {
        /// Whatever the lengths, a rate is finite and within the schedule's bounds, also past the end.
        #[test]
        fn rates_stay_within_bounds(
            total_steps in 0_u64..200, warmup_steps in 0_u64..300, step in 0_u64..400,
            rise_fraction in 0.0..=1.0, final_factor in 0.0..=1.0,
        ) {
            let stretch = Stretch { total_steps, steps_per_epoch: total_steps / 7, warmup_steps };
            let one_cycle = Schedule::OneCycle { rise_fraction, initial_divisor: 25.0, final_divisor: 1e4 };
            let piecewise = Schedule::Piecewise { changes: vec![(1, 0.5), (3, final_factor)] };
            for schedule in [Schedule::Constant, Schedule::Cosine { final_factor }, one_cycle, piecewise] {
                let rate = schedule.learning_rate(1.0, step, stretch);
                prop_assert!((0.0..=1.0).contains(&rate), "{schedule:?}: {rate}");
            }
        }
    }
}
