//! How fast this executor computes: what its share of the leaves follows.

use std::time::Duration;

/// Share of the newest round in the smoothed pace, as one part of so many.
const SMOOTHING: u64 = 4;

/// Measures rounds that are computed from their beginning.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Nanoseconds a leaf; 0: unknown.
    smoothed: u64,
    /// The first round touches memory for the first time.
    is_warm: bool,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Duration,
    leaves: u32,
}

impl Pace {
    /// Nanoseconds that a leaf takes, smoothed; 0 when unknown.
    pub(super) fn nanoseconds(&self) -> u64 {
        self.smoothed
    }

    /// So many leaves are being computed from now on, and what was begun before does not count.
    pub(super) fn begin(&mut self, now: Duration, leaves: u32) {
        self.open = (leaves > 0).then_some(Open { since: now, leaves });
    }

    /// What was begun will not be finished as it was begun.
    pub(super) fn forget(&mut self) {
        self.open = None;
    }

    /// They are all computed.
    pub(super) fn end(&mut self, now: Duration) {
        let Some(Open { since, leaves }) = self.open.take() else { return };
        if !std::mem::replace(&mut self.is_warm, true) {
            return;
        }
        let nanoseconds = now.saturating_sub(since).as_nanos() / u128::from(leaves);
        let newest =
            u64::try_from(nanoseconds).unwrap_or(u64::MAX / SMOOTHING).clamp(1, u64::MAX / SMOOTHING);
        self.smoothed = match self.smoothed {
            0 => newest,
            smoothed => (smoothed * (SMOOTHING - 1) + newest) / SMOOTHING,
        }
        .max(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round(pace: &mut Pace, milliseconds: u64) {
        pace.begin(Duration::ZERO, 4);
        pace.end(Duration::from_millis(milliseconds));
    }

    #[test]
    fn the_pace_follows_the_rounds_after_the_first_one() {
        let mut pace = Pace::default();
        round(&mut pace, 900);
        assert_eq!(pace.nanoseconds(), 0);
        round(&mut pace, 40);
        assert_eq!(pace.nanoseconds(), 10_000_000);
        round(&mut pace, 80);
        assert_eq!(pace.nanoseconds(), 12_500_000);
        for _ in 0..30 {
            round(&mut pace, 80);
        }
        assert!((19_990_000..=20_000_000).contains(&pace.nanoseconds()));
    }

    #[test]
    fn rounds_that_are_not_finished_as_they_began_do_not_count() {
        let mut pace = Pace::default();
        round(&mut pace, 40);
        round(&mut pace, 40);
        pace.begin(Duration::ZERO, 4);
        pace.forget();
        pace.end(Duration::from_secs(9));
        pace.begin(Duration::ZERO, 0);
        pace.end(Duration::from_secs(9));
        assert_eq!(pace.nanoseconds(), 10_000_000);
    }

    #[test]
    fn no_time_overflows() {
        let mut pace = Pace::default();
        round(&mut pace, 1);
        for _ in 0..3 {
            round(&mut pace, u64::MAX);
            round(&mut pace, 0);
        }
        assert!(pace.nanoseconds() > 0);
    }
}
