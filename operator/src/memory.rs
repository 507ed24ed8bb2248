//! What the operator remembers between reconciles: only when it last asked or failed, never what it saw.
//!
//! Losing it costs one question too early and one retry too soon.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(300);
/// Entries of jobs that were not touched for so long are dropped.
const FORGET_AFTER: Duration = Duration::from_secs(3600);

#[derive(Debug, Default)]
struct Entry {
    asked: Option<Instant>,
    failures: u32,
    touched: Option<Instant>,
}

/// Notes about jobs, by uid.
#[derive(Debug, Default)]
pub(crate) struct Memory(Mutex<HashMap<String, Entry>>);

impl Memory {
    fn entries(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        // Every entry is valid on its own, so a panic elsewhere leaves nothing half-done here.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn with<T>(&self, job: &str, note: impl FnOnce(&mut Entry, Instant) -> T) -> T {
        let now = Instant::now();
        let mut entries = self.entries();
        if !entries.contains_key(job) {
            entries.retain(|_, entry| {
                entry.touched.is_some_and(|touched| now.duration_since(touched) < FORGET_AFTER)
            });
        }
        let entry = entries.entry(job.to_owned()).or_default();
        entry.touched = Some(now);
        note(entry, now)
    }

    /// Whether the job's executors were last asked at least `interval` ago; if so, now counts as asked.
    pub(crate) fn is_due(&self, job: &str, interval: Duration) -> bool {
        self.with(job, |entry, now| {
            // Timers fire early by a little; a question skipped for that would double the interval.
            let due = entry.asked.is_none_or(|asked| now.duration_since(asked) >= interval * 9 / 10);
            if due {
                entry.asked = Some(now);
            }
            due
        })
    }

    /// The reconcile went well.
    pub(crate) fn succeeded(&self, job: &str) {
        self.with(job, |entry, _| entry.failures = 0);
    }

    /// The reconcile failed: how long to wait before the next.
    pub(crate) fn failed(&self, job: &str) -> Duration {
        self.with(job, |entry, _| {
            let wait = FIRST_RETRY * 2u32.pow(entry.failures.min(16));
            entry.failures = entry.failures.saturating_add(1);
            wait.min(LAST_RETRY)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_spaced_out_for_each_job() {
        let memory = Memory::default();
        let hour = Duration::from_secs(3600);
        assert!(memory.is_due("a", hour));
        assert!(!memory.is_due("a", hour));
        assert!(memory.is_due("b", hour));
        assert!(memory.is_due("a", Duration::ZERO));
    }

    #[test]
    fn retries_slow_down_and_start_anew_after_success() {
        let memory = Memory::default();
        let waits: Vec<_> = (0..12).map(|_| memory.failed("a").as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        memory.succeeded("a");
        assert_eq!(memory.failed("a").as_secs(), 1);
    }
}
