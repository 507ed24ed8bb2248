//! The task that serves a sink: what to write when, and what to do while storage is away.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};

use super::{memory::Memory, sink::Sink};
use crate::failure::chain;

/// How often it is looked whether a write is due.
const TICK: Duration = Duration::from_millis(250);
/// So many new records are written at once, before any are forgotten.
const MOST_NEW: u64 = 512;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the executor's loop tells its writers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Duty {
    /// Number of this executor's turn to write, another one in each view; none: it is somebody else's.
    pub turn: Option<u64>,
    /// How often writing at once was asked for.
    pub asked: u64,
    /// Nothing more will happen.
    pub closing: bool,
}

/// See the module.
pub(crate) struct Writer<S> {
    sink: S,
    memory: Arc<Mutex<Memory>>,
    duty: watch::Receiver<Duty>,
    turn: Option<Turn>,
    /// Number of the first record that is not written.
    next: u64,
    /// Of [`Duty`], the last one that was heeded.
    asked: u64,
}

#[derive(Clone, Copy)]
struct Turn {
    number: u64,
    begun: Instant,
    /// Since when there was no write.
    idle: Instant,
}

impl Turn {
    fn new(number: u64) -> Self {
        let now = Instant::now();
        Self { number, begun: now, idle: now }
    }
}

impl<S: Sink> Writer<S> {
    pub(crate) fn new(sink: S, memory: Arc<Mutex<Memory>>, duty: watch::Receiver<Duty>) -> Self {
        Self { sink, memory, duty, turn: None, next: 0, asked: 0 }
    }

    /// Returns when all is written after the end was announced.
    pub(crate) async fn run(mut self) {
        loop {
            let duty = *self.duty.borrow_and_update();
            self.serve(duty).await;
            if duty.closing {
                return;
            }
            tokio::select! {
                changed = self.duty.changed() => if changed.is_err() { return },
                () = sleep(TICK) => {}
            }
        }
    }

    async fn serve(&mut self, duty: Duty) {
        match (self.turn, duty.turn) {
            (Some(turn), Some(number)) if S::CONTINUES => self.turn = Some(Turn { number, ..turn }),
            (turn, Some(number)) if turn.is_none_or(|turn| turn.number != number) => {
                self.sink.begin();
                self.next = 0;
                self.turn = Some(Turn::new(number));
            }
            (Some(_), None) => {
                // The next writer has not all of it.
                self.write(false).await;
                self.turn = None;
            }
            _ => {}
        }
        let asked = self.asked != duty.asked;
        self.asked = duty.asked;
        if let Some(turn) = self.turn
            && self.is_due(turn, asked, duty.closing)
        {
            self.write(self.next == 0).await;
        }
    }

    fn is_due(&self, turn: Turn, asked: bool, closing: bool) -> bool {
        let new = self.memory().count_since(self.next);
        let late = turn.idle.elapsed() >= S::period(turn.begun.elapsed());
        new > 0 && (closing || new >= MOST_NEW || late || (asked && S::PROMPT))
    }

    /// Writes what is new, for as long as it takes. Meanwhile the oldest steps are forgotten where memory ends.
    async fn write(&mut self, begins: bool) {
        let batch = self.memory().since(self.next);
        if batch.forgotten > 0 && !begins {
            let dropped = batch.forgotten;
            tracing::warn!(sink = S::NAME, dropped, "steps were left out: storage was away or too slow");
        }
        if batch.records.is_empty() {
            return;
        }
        let (mut pause, mut troubled, mut closing) = (FIRST_PAUSE, false, false);
        while let Err(error) = self.sink.write(&batch.records).await {
            if !std::mem::replace(&mut troubled, true) {
                let error = chain(&error);
                tracing::warn!(sink = S::NAME, error, "writing fails; trying again while training goes on");
            }
            tokio::select! {
                () = sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
                () = until_closing(&mut self.duty), if !closing => (closing, pause) = (true, FIRST_PAUSE),
            }
        }
        if troubled {
            tracing::info!(sink = S::NAME, "writing works again");
        }
        self.next = batch.end;
        if let Some(turn) = &mut self.turn {
            turn.idle = Instant::now();
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn until_closing(duty: &mut watch::Receiver<Duty>) {
    // Without its sender nothing more will happen either.
    drop(duty.wait_for(|duty| duty.closing).await);
}

#[cfg(test)]
mod tests;
