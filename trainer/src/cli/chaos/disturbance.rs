//! A run whose executors are killed, frozen and scaled by a plan.

use std::{
    collections::VecDeque,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use lockstep_crds::{
    ResolvedJob,
    executor::{ExecutorPhase, ExecutorReport, ViewReport, exit_code},
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::Child,
    sync::mpsc,
    time::{Instant, sleep, sleep_until},
};

use super::{
    plan::{Counts, Fault, Kind},
    story::Struck,
};
use crate::{
    cli::{
        executor::REPORT_INTERVAL,
        run::{
            Stopped,
            display::Display,
            failure_words,
            process::{command, read_reports, write_job},
        },
    },
    supervisor,
};

/// A fault that may strike nobody now is tried again after this.
const RETRY: Duration = Duration::from_millis(50);
/// Executors that must be at work for one of them to be taken away: one is left.
const FEWEST: usize = 2;

/// How the run went.
pub(super) struct Outcome {
    pub struck: Vec<Struck>,
    pub counts: Counts,
    /// Planned faults that found no moment before the job ended.
    pub missed: usize,
}

/// Trains `job` in `folder` through all of `faults`.
pub(super) async fn disturb(
    job: &ResolvedJob,
    threads: NonZeroUsize,
    folder: &Path,
    faults: Vec<Fault>,
    display: &mut Display,
) -> Result<Outcome, Stopped> {
    let (sender, events) = mpsc::unbounded_channel();
    let mut run = Run {
        job_file: write_job(folder, job)?,
        folder: folder.into(),
        threads,
        heartbeat: Duration::from_secs(job.elastic.heartbeat_timeout_seconds.into()),
        slots: (0..job.executors).map(|_| Slot::default()).collect(),
        faults: faults.into(),
        outcome: Outcome {
            struck: Vec::new(),
            counts: Counts { kills: 0, freezes: 0, scales: 0 },
            missed: 0,
        },
        newest: 0,
        newest_view: None,
        since: Instant::now(),
        step_time: Duration::ZERO,
        words: None,
        sender,
    };
    let watched = run.watch(events, display).await;
    // A frozen one would not even notice that this program has ended.
    run.slots.iter().filter_map(|slot| slot.process).for_each(|process| signal(process, Signal::KILL));
    watched.map(|()| Outcome { missed: run.faults.len(), ..run.outcome })
}

/// An executor's place.
#[derive(Default)]
struct Slot {
    /// Whether nobody shall be there.
    unwanted: bool,
    /// Whether the process was asked to leave; it does, even if somebody is wanted there again.
    leaving: bool,
    process: Option<Pid>,
    frozen: bool,
    /// What the process last said of itself.
    report: Option<Box<ExecutorReport>>,
    /// Whether its process was killed here.
    killed: bool,
    /// The incarnation that was killed: its last reports may still come.
    dead: Option<u64>,
    /// Read its result back, or left for good.
    ended: bool,
}

impl Slot {
    /// Whether it could go on alone without losing a step, by all that is known: it is a member of `newest_view`, and
    /// reported a step not older than `oldest`. Who was frozen, or got no CPU for a while, may be behind and not know it yet,
    /// and while it catches up it still takes itself for a member of the view that went on without it.
    fn is_at_work(&self, newest_view: Option<&ViewReport>, oldest: u64) -> bool {
        let is_up_to_date = self.report.as_ref().is_some_and(|report| {
            report.joined
                && report.view.as_ref() == newest_view
                && report.step >= oldest
                && !matches!(report.phase, ExecutorPhase::Saving | ExecutorPhase::Finished)
        });
        is_up_to_date && self.process.is_some() && !self.frozen && !self.unwanted && !self.leaving
    }
}

enum Event {
    Report(Box<ExecutorReport>),
    Ended { index: u32, code: i32 },
    Restart { index: u32 },
    Thaw { index: u32, process: Pid },
}

struct Run {
    folder: PathBuf,
    job_file: PathBuf,
    threads: NonZeroUsize,
    heartbeat: Duration,
    slots: Vec<Slot>,
    faults: VecDeque<Fault>,
    outcome: Outcome,
    /// The newest step that anyone reported, and since when.
    newest: u64,
    since: Instant,
    /// The view of whoever reported the newest step.
    newest_view: Option<ViewReport>,
    /// Of the newest steps.
    step_time: Duration,
    /// Of an executor that failed for good.
    words: Option<String>,
    sender: mpsc::UnboundedSender<Event>,
}

impl Run {
    fn start(&mut self, index: u32) -> std::io::Result<()> {
        let mut command = command(&self.folder, &self.job_file, index, self.threads)?;
        command.env("LOCKSTEP_LOG", format!("info,{}=debug", crate::executor::STEP_LOG));
        let mut child = command.spawn()?;
        let slot = &mut self.slots[index as usize];
        slot.process = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        (slot.report, slot.frozen, slot.killed, slot.leaving) = (None, false, false, false);
        if let Some(output) = child.stdout.take() {
            let (reports, mut queue) = mpsc::unbounded_channel();
            tokio::spawn(read_reports(output, reports));
            let sender = self.sender.clone();
            tokio::spawn(async move {
                while let Some(report) = queue.recv().await {
                    let _ = sender.send(Event::Report(Box::new(report)));
                }
            });
        }
        tokio::spawn(wait(index, child, self.sender.clone()));
        Ok(())
    }

    async fn watch(
        &mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        display: &mut Display,
    ) -> Result<(), Stopped> {
        (0..self.slots.len() as u32).try_for_each(|index| self.start(index))?;
        let mut asked = supervisor::asked_to_stop()?;
        let mut strikes_at = None;
        while !self.slots.iter().all(|slot| slot.ended) {
            tokio::select! {
                Some(event) = events.recv() => self.take_in(event, display)?,
                () = sleep_until(strikes_at.unwrap_or_else(Instant::now)), if strikes_at.is_some() => {
                    strikes_at = None;
                    if !self.strike(display)? {
                        strikes_at = Some(Instant::now() + RETRY);
                    }
                }
                Ok(()) = asked.changed() => return Err(Stopped::Interrupted),
            }
            if strikes_at.is_none() {
                strikes_at = self.next_moment();
            }
        }
        Ok(())
    }

    /// When the next fault is due, if its step is done.
    fn next_moment(&self) -> Option<Instant> {
        let fault = self.faults.front().filter(|fault| fault.step <= self.newest)?;
        Some(self.since + self.step_time.mul_f64(fault.moment))
    }

    fn take_in(&mut self, event: Event, display: &mut Display) -> Result<(), Stopped> {
        match event {
            Event::Report(report) => {
                self.words = failure_words(&report).or(self.words.take());
                display.show(&report);
                if report.step > self.newest {
                    let steps = u32::try_from(report.step - self.newest).unwrap_or(u32::MAX);
                    self.step_time = self.since.elapsed() / steps;
                    (self.newest, self.since) = (report.step, Instant::now());
                }
                self.hear_view(&report);
                let Some(slot) = self.slots.get_mut(report.index as usize) else { return Ok(()) };
                if slot.dead != Some(report.incarnation) {
                    slot.report = Some(report);
                }
            }
            Event::Ended { index, code } => self.ended(index, code)?,
            Event::Restart { index } => {
                let slot = &mut self.slots[index as usize];
                if slot.unwanted {
                    slot.ended = true;
                } else if slot.process.is_none() {
                    self.start(index)?;
                }
            }
            Event::Thaw { index, process } => {
                let slot = &mut self.slots[index as usize];
                if slot.process == Some(process) {
                    slot.frozen = false;
                    signal(process, Signal::CONT);
                }
            }
        }
        Ok(())
    }

    /// Two that part may give their views the same number: the one that goes on is that of the newest step.
    fn hear_view(&mut self, report: &ExecutorReport) {
        let number = |view: &Option<ViewReport>| view.as_ref().map(|view| view.number);
        if report.joined && report.step >= self.newest && number(&report.view) >= number(&self.newest_view) {
            self.newest_view.clone_from(&report.view);
        }
    }

    /// Whoever was killed, or had left and is wanted again, comes back. Nobody else may end before the job does.
    fn ended(&mut self, index: u32, code: i32) -> Result<(), Stopped> {
        let slot = &mut self.slots[index as usize];
        slot.process = None;
        slot.report = None;
        let was_killed = slot.killed && code == 128 + Signal::KILL.as_raw();
        let has_left = code == i32::from(exit_code::TERMINATED);
        if code == i32::from(exit_code::DONE) || (has_left && slot.unwanted) {
            slot.ended = true;
        } else if was_killed || has_left {
            let sender = self.sender.clone();
            tokio::spawn(async move {
                sleep(supervisor::PAUSE).await;
                let _ = sender.send(Event::Restart { index });
            });
        } else {
            let words = self.words.take().unwrap_or_else(|| "it said nothing".into());
            let words = format!("executor {index} ended by itself with exit code {code}: {words}");
            return Err(Stopped::Executor {
                words,
                code: u8::try_from(code).unwrap_or(exit_code::RETRYABLE),
            });
        }
        Ok(())
    }

    /// Lets the first fault strike that has somebody to strike; false where nobody may be struck now.
    fn strike(&mut self, display: &Display) -> std::io::Result<bool> {
        // One step is under way, and reports are not made of every step.
        let unreported = REPORT_INTERVAL.as_nanos() / self.step_time.as_nanos().max(1);
        let oldest = self.newest.saturating_sub(1 + u64::try_from(unreported).unwrap_or(u64::MAX - 1));
        let is_at_work =
            |index: &u32| self.slots[*index as usize].is_at_work(self.newest_view.as_ref(), oldest);
        let at_work: Vec<u32> = (0..self.slots.len() as u32).filter(is_at_work).collect();
        let may_strike = |fault: &Fault| match fault.kind {
            Kind::Kill | Kind::Freeze { .. } => at_work.len() >= FEWEST,
            // Those that stay must be at work already.
            Kind::Scale { executors } => at_work.iter().any(|index| *index < executors),
        };
        let due = |fault: &Fault| fault.step <= self.newest;
        let Some(place) = self.faults.iter().position(|fault| due(fault) && may_strike(fault)) else {
            return Ok(false);
        };
        let Some(fault) = self.faults.remove(place) else { return Ok(false) };
        let at = Timestamp::now();
        let executors = match fault.kind {
            Kind::Kill => {
                let victim = at_work[(fault.draw % at_work.len() as u64) as usize];
                self.kill(victim);
                display.note(&format!("step {}: killed executor {victim}", self.newest));
                self.outcome.counts.kills += 1;
                vec![victim]
            }
            Kind::Freeze { timeouts } => {
                let victim = at_work[(fault.draw % at_work.len() as u64) as usize];
                let time = self.heartbeat.mul_f64(timeouts);
                self.freeze(victim, time);
                display.note(&format!(
                    "step {}: froze executor {victim} for {:.1} s",
                    self.newest,
                    time.as_secs_f64()
                ));
                self.outcome.counts.freezes += 1;
                vec![victim]
            }
            Kind::Scale { executors } => {
                let leaving = self.scale(executors)?;
                display.note(&format!("step {}: scaled to {executors} executors", self.newest));
                self.outcome.counts.scales += 1;
                leaving
            }
        };
        self.outcome.struck.push(Struck { at, executors, is_kill: fault.kind == Kind::Kill });
        Ok(true)
    }

    fn kill(&mut self, victim: u32) {
        let slot = &mut self.slots[victim as usize];
        slot.killed = true;
        slot.dead = slot.report.take().map(|report| report.incarnation);
        if let Some(process) = slot.process {
            signal(process, Signal::KILL);
        }
    }

    fn freeze(&mut self, victim: u32, time: Duration) {
        let slot = &mut self.slots[victim as usize];
        let Some(process) = slot.process else { return };
        slot.frozen = true;
        signal(process, Signal::STOP);
        let sender = self.sender.clone();
        tokio::spawn(async move {
            sleep(time).await;
            let _ = sender.send(Event::Thaw { index: victim, process });
        });
    }

    /// Who leaves.
    fn scale(&mut self, executors: u32) -> std::io::Result<Vec<u32>> {
        let mut leaving = Vec::new();
        for index in 0..self.slots.len() as u32 {
            let slot = &mut self.slots[index as usize];
            let unwanted = index >= executors;
            if std::mem::replace(&mut slot.unwanted, unwanted) == unwanted {
                continue;
            }
            if unwanted {
                leaving.push(index);
                slot.leaving = true;
                if let Some(process) = slot.process {
                    signal(process, Signal::TERM);
                }
            } else if std::mem::take(&mut slot.ended) {
                self.start(index)?;
            }
        }
        Ok(leaving)
    }
}

/// A process that has ended in this moment needs no signal.
fn signal(process: Pid, signal: Signal) {
    if let Err(error) = kill_process(process, signal) {
        tracing::debug!(%error, ?process, ?signal, "nobody is there");
    }
}

/// Holds the standard input of `child` open: its end would tell it that this program has ended.
async fn wait(index: u32, mut child: Child, events: mpsc::UnboundedSender<Event>) {
    let _input = child.stdin.take();
    let code = match child.wait().await {
        Ok(status) => supervisor::code_of(status),
        Err(_) => i32::from(exit_code::RETRYABLE),
    };
    let _ = events.send(Event::Ended { index, code });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_could_go_on_alone_is_at_work() {
        let view = |number, members: &[u32]| ViewReport { number, members: members.into() };
        let is_at_work = |slot: &Slot, oldest| slot.is_at_work(Some(&view(3, &[0, 1])), oldest);
        let at_work = || {
            let view = Some(view(3, &[0, 1]));
            let report = ExecutorReport { joined: true, view, step: 7, ..ExecutorReport::default() };
            Slot { process: Pid::from_raw(1), report: Some(Box::new(report)), ..Slot::default() }
        };
        assert!(is_at_work(&at_work(), 6) && is_at_work(&at_work(), 7));
        assert!(!is_at_work(&at_work(), 8), "behind");
        assert!(!at_work().is_at_work(Some(&view(4, &[0, 1])), 7), "of a view that others have left");
        assert!(!at_work().is_at_work(Some(&view(3, &[1])), 7), "of a view beside that of the others");
        let others = [
            Slot { frozen: true, ..at_work() },
            Slot { leaving: true, ..at_work() },
            Slot { unwanted: true, ..at_work() },
            Slot { process: None, ..at_work() },
            Slot { report: None, ..at_work() },
        ];
        assert!(others.iter().all(|slot| !is_at_work(slot, 7)));
    }
}
