//! The operator's metrics, in Prometheus' text format.

use std::{
    fmt::Write,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Counters since the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    reconciliations: AtomicU64,
    failures: AtomicU64,
    micros: AtomicU64,
    answered: AtomicU64,
    missing: AtomicU64,
    events: AtomicU64,
    leader: AtomicBool,
}

impl Metrics {
    /// A reconciliation ended.
    pub(crate) fn reconciled(&self, took: Duration, well: bool) {
        self.reconciliations.fetch_add(1, Relaxed);
        self.micros.fetch_add(u64::try_from(took.as_micros()).unwrap_or(u64::MAX), Relaxed);
        if !well {
            self.failures.fetch_add(1, Relaxed);
        }
    }

    /// An executor was asked for its report.
    pub(crate) fn asked(&self, answered: bool) {
        if answered { &self.answered } else { &self.missing }.fetch_add(1, Relaxed);
    }

    /// An event was published.
    pub(crate) fn published(&self) {
        self.events.fetch_add(1, Relaxed);
    }

    /// Whether this operator is the one that works.
    pub(crate) fn leads(&self, leader: bool) {
        self.leader.store(leader, Relaxed);
    }

    /// The text of /metrics.
    pub(crate) fn render(&self) -> String {
        let mut text = String::new();
        let count = |counter: &AtomicU64| counter.load(Relaxed).to_string();
        #[allow(clippy::cast_precision_loss)]
        let seconds = self.micros.load(Relaxed) as f64 / 1e6;
        for (name, kind, help, samples) in [
            (
                "reconciliations_total",
                "counter",
                "Reconciliations of jobs.",
                vec![("", count(&self.reconciliations))],
            ),
            (
                "reconciliation_failures_total",
                "counter",
                "Reconciliations that failed and are tried again.",
                vec![("", count(&self.failures))],
            ),
            (
                "reconciliation_seconds_total",
                "counter",
                "Time spent in reconciliations.",
                vec![("", seconds.to_string())],
            ),
            (
                "reports_total",
                "counter",
                "Executors asked for their report.",
                vec![
                    ("{outcome=\"answered\"}", count(&self.answered)),
                    ("{outcome=\"missing\"}", count(&self.missing)),
                ],
            ),
            ("events_total", "counter", "Events published.", vec![("", count(&self.events))]),
            (
                "leader",
                "gauge",
                "1 if this operator is the one that works.",
                vec![("", u8::from(self.leader.load(Relaxed)).to_string())],
            ),
        ] {
            let name = format!("lockstep_operator_{name}");
            // Writing to a String cannot fail.
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in samples {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_prometheus_text() {
        let metrics = Metrics::default();
        metrics.reconciled(Duration::from_millis(1500), false);
        metrics.leads(true);
        let text = metrics.render();
        for line in [
            "# TYPE lockstep_operator_reconciliations_total counter",
            "lockstep_operator_reconciliations_total 1",
            "lockstep_operator_reconciliation_failures_total 1",
            "lockstep_operator_reconciliation_seconds_total 1.5",
            "lockstep_operator_leader 1",
        ] {
            assert!(text.lines().any(|found| found == line), "{line:?} is not in\n{text}");
        }
    }
}
