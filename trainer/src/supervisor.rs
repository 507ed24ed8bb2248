//! The supervising parent of an executor: starts it, and starts it again within a second when it crashes,
//! long before Kubernetes would replace the pod (10 seconds and more).
//!
//! It passes SIGTERM on and restarts nothing afterwards; a permanent exit code passes through; a child that
//! the kernel killed for memory is not restarted, because the pod must show why it ended.

use std::{
    collections::VecDeque,
    os::unix::process::ExitStatusExt,
    process::ExitStatus,
    time::{Duration, Instant},
};

use lockstep_crds::executor::exit_code;
use tokio::{
    process::{Child, Command},
    signal::unix::{SignalKind, signal},
    sync::watch,
};

/// More crashes than this within [`WINDOW`] are no accident.
const MOST_RESTARTS: usize = 5;
const WINDOW: Duration = Duration::from_secs(60);
pub(crate) const PAUSE: Duration = Duration::from_millis(200);

/// What to do once a child has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again.
    Restart,
    /// End with this code.
    Exit(i32),
}

/// Decides about ended children; knows no process, clock or signal.
#[derive(Debug, Default)]
pub(crate) struct RestartPolicy {
    restarts: VecDeque<Instant>,
}

impl RestartPolicy {
    /// `code` is the exit code, or 128 + the signal that ended the child.
    pub(crate) fn decide(
        &mut self,
        code: i32,
        out_of_memory: bool,
        terminating: bool,
        now: Instant,
    ) -> Verdict {
        // 101 is a panic; above 128 a signal ended it, but 143 is SIGTERM's own code.
        let retryable = [exit_code::RETRYABLE, exit_code::TEMPFAIL].map(i32::from);
        let crashed = retryable.contains(&code) || matches!(code, 101 | 129..=142);
        if out_of_memory {
            return Verdict::Exit(137);
        }
        if !crashed || terminating {
            return Verdict::Exit(code);
        }
        while self.restarts.front().is_some_and(|then| now.duration_since(*then) > WINDOW) {
            self.restarts.pop_front();
        }
        if self.restarts.len() == MOST_RESTARTS {
            return Verdict::Exit(code);
        }
        self.restarts.push_back(now);
        Verdict::Restart
    }
}

/// Runs `command` until it ends for good; returns the exit code to end with.
///
/// `started` sees every child; `stop` turning true asks the child to leave. The command's standard input should
/// be a pipe: it is held open, so that a child can tell that its parent has ended.
///
/// # Errors
/// The child cannot be started.
pub(crate) async fn supervise(
    mut command: Command,
    mut started: impl FnMut(&mut Child),
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<i32> {
    let mut policy = RestartPolicy::default();
    let mut stopping = *stop.borrow();
    loop {
        let kills_before = out_of_memory_kills();
        let mut child = command.spawn()?;
        // `wait` would close it.
        let _input = child.stdin.take();
        started(&mut child);
        if stopping {
            terminate(&child);
        }
        let status = loop {
            tokio::select! {
                status = child.wait() => break status?,
                _ = stop.wait_for(|stop| *stop), if !stopping => {
                    stopping = true;
                    terminate(&child);
                }
            }
        };
        let code = code_of(status);
        let out_of_memory = code == 137 && out_of_memory_kills() > kills_before;
        match policy.decide(code, out_of_memory, stopping, Instant::now()) {
            Verdict::Exit(code) => return Ok(code),
            Verdict::Restart => {
                tracing::warn!(code, "the executor process ended; starting it again");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Turns true at SIGTERM or SIGINT, and once more at every further one.
///
/// # Errors
/// The signals cannot be listened to.
pub(crate) fn asked_to_stop() -> std::io::Result<watch::Receiver<bool>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (sender, receiver) = watch::channel(false);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            sender.send_replace(true);
        }
    });
    Ok(receiver)
}

/// Exit code, or 128 + signal as shells count.
pub(crate) fn code_of(status: ExitStatus) -> i32 {
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// Asks a child to leave; one that has ended already needs no signal.
fn terminate(child: &Child) {
    if let Some(id) =
        child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw)
        && let Err(error) = rustix::process::kill_process(id, rustix::process::Signal::TERM)
    {
        tracing::warn!(%error, "failed to pass SIGTERM on to the executor process");
    }
}

/// Processes that the kernel killed for memory in this container so far, on cgroup v2 or v1; 0 if neither tells.
fn out_of_memory_kills() -> u64 {
    ["/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"]
        .iter()
        .filter_map(|path| std::fs::read_to_string(path).ok())
        .find_map(|text| text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()))
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crashes_are_restarted_and_everything_else_ends_the_parent() {
        let now = Instant::now();
        for code in [1, 75, 101, 134, 137, 139] {
            assert_eq!(RestartPolicy::default().decide(code, false, false, now), Verdict::Restart, "{code}");
        }
        for code in [0, 2, 65, 70, 78, 143] {
            assert_eq!(
                RestartPolicy::default().decide(code, false, false, now),
                Verdict::Exit(code),
                "{code}"
            );
        }
    }

    #[test]
    fn nothing_is_restarted_after_sigterm_or_when_the_kernel_wanted_memory_back() {
        let now = Instant::now();
        assert_eq!(RestartPolicy::default().decide(137, false, true, now), Verdict::Exit(137));
        assert_eq!(RestartPolicy::default().decide(137, true, false, now), Verdict::Exit(137));
    }

    #[test]
    fn a_sixth_crash_within_a_minute_is_final_and_one_a_minute_later_is_not() {
        let mut policy = RestartPolicy::default();
        let start = Instant::now();
        for second in 0..5 {
            assert_eq!(
                policy.decide(139, false, false, start + Duration::from_secs(second)),
                Verdict::Restart
            );
        }
        assert_eq!(policy.decide(139, false, false, start + Duration::from_secs(6)), Verdict::Exit(139));
        assert_eq!(policy.decide(139, false, false, start + Duration::from_secs(70)), Verdict::Restart);
    }

    #[tokio::test]
    async fn a_crashing_child_is_started_again_until_it_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        let script = "echo x >> log; [ $(wc -l < log) -ge 3 ] || kill -KILL $$";
        command.args(["-c", script]).current_dir(folder.path());
        let (_go_on, stop) = watch::channel(false);
        let mut starts = 0;
        assert_eq!(supervise(command, |_| starts += 1, stop).await.unwrap(), 0);
        assert_eq!(starts, 3);
        assert_eq!(std::fs::read_to_string(folder.path().join("log")).unwrap().lines().count(), 3);
    }
}
