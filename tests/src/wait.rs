//! Awaiting conditions: always with a deadline, never by sleeping and hoping.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const INTERVAL: Duration = Duration::from_millis(150);

/// Probes until `probe` gives a value. An error of the probe means that the condition can no longer come true.
pub fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut probe: impl FnMut() -> Result<Option<T>>,
) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(value) = probe()? {
            return Ok(value);
        }
        if start.elapsed() > deadline {
            bail!("after {} s still waiting for {what}", deadline.as_secs());
        }
        std::thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_condition_that_never_comes_true_fails_after_the_deadline() {
        let error = eventually::<()>("pigs to fly", Duration::from_millis(200), || Ok(None)).unwrap_err();
        assert!(error.to_string().contains("pigs to fly"));
    }

    #[test]
    fn a_failing_probe_ends_the_wait_at_once() {
        let start = Instant::now();
        eventually::<()>("anything", Duration::from_secs(60), || bail!("hopeless")).unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(10));
    }
}
