//! How long the computing threads waited for their data.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Follows micro-batches from reading through computing, and adds up the time in which a thread had nothing to compute
/// although one was being read.
pub(super) struct DataWait {
    threads: usize,
    state: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    being_read: usize,
    being_computed: usize,
    since: Option<Instant>,
    total: Duration,
}

impl DataWait {
    /// For `threads` that compute.
    pub(super) fn new(threads: usize) -> Self {
        Self { threads, state: Mutex::default() }
    }

    /// A wanted micro-batch is not there yet.
    pub(super) fn reading(&self) {
        self.change(Instant::now(), |waiting| waiting.being_read += 1);
    }

    /// It is there, or cannot be read.
    pub(super) fn read(&self) {
        self.change(Instant::now(), |waiting| waiting.being_read -= 1);
    }

    /// One went to the threads.
    pub(super) fn computing(&self) {
        self.change(Instant::now(), |waiting| waiting.being_computed += 1);
    }

    /// The threads are done with it.
    pub(super) fn computed(&self) {
        self.change(Instant::now(), |waiting| waiting.being_computed -= 1);
    }

    /// All waiting up to now; as long as one thread waits, however many do.
    pub(super) fn total(&self) -> Duration {
        self.change(Instant::now(), |_| ())
    }

    fn change(&self, now: Instant, change: impl FnOnce(&mut Waiting)) -> Duration {
        let mut waiting = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waiting = &mut *waiting;
        if let Some(since) = waiting.since {
            waiting.total += now.saturating_duration_since(since);
        }
        change(waiting);
        let waits = waiting.being_read > 0 && waiting.being_computed < self.threads;
        waiting.since = waits.then_some(now);
        waiting.total
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds waited in all at `now`, after `change`.
    fn at(wait: &DataWait, start: Instant, now: u64, change: impl FnOnce(&mut Waiting)) -> u64 {
        wait.change(start + Duration::from_secs(now), change).as_secs()
    }

    #[test]
    fn only_an_idle_thread_waits() {
        let (wait, start) = (DataWait::new(2), Instant::now());
        at(&wait, start, 0, |waiting| waiting.being_computed = 2);
        at(&wait, start, 1, |waiting| waiting.being_read = 3);
        assert_eq!(at(&wait, start, 4, |waiting| waiting.being_computed = 1), 0);
        assert_eq!(at(&wait, start, 6, |waiting| waiting.being_computed = 0), 2);
        assert_eq!(at(&wait, start, 9, |waiting| waiting.being_read = 0), 5);
        assert_eq!(at(&wait, start, 20, |_| ()), 5);
    }

    #[test]
    fn nothing_to_read_is_no_waiting_for_data() {
        let (wait, start) = (DataWait::new(1), Instant::now());
        assert_eq!(at(&wait, start, 7, |_| ()), 0);
        assert_eq!(at(&wait, start, 9, |waiting| waiting.being_read = 1), 0);
        assert_eq!(at(&wait, start, 10, |_| ()), 1);
    }
}
