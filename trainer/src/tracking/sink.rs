//! Where records go: the run log's parts and TensorBoard's. A sink is written to by one task; a write that failed is tried again
//! with the same records, and what is written twice is read once.

use std::time::Duration;

use jiff::Timestamp;
use lockstep_storage::Store;
use snafu::{ResultExt, Snafu};

use super::{event, record::Record, run_log};

/// A part of the run log grows to this size before the next one begins.
const PART_BYTES: usize = 1 << 20;
const RUN_LOG_PERIOD: Duration = Duration::from_secs(30);
const FIRST_TENSOR_BOARD_PERIOD: Duration = Duration::from_secs(10);
/// A turn of any length has at most some hundred parts: this many until it is so many first periods old, then as many whenever
/// its age has grown 2.7 times.
const TENSOR_BOARD_PARTS: u32 = 64;
const PREFIX: &str = "events.out.tfevents.";

/// A failed write.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    /// Storage failed.
    #[snafu(transparent)]
    Storage { source: lockstep_storage::Error },
    /// A record is no JSON.
    #[snafu(display("failed to encode a record"))]
    Encode { source: serde_json::Error },
}

/// Takes records for somebody to read.
pub(crate) trait Sink: Send + 'static {
    /// Its name in the program's log.
    const NAME: &'static str;
    /// Whether one whose turn to write goes on in a new view continues; else it begins anew, with all that is remembered.
    const CONTINUES: bool;
    /// Whether it is written to when asked, however short the time since the last write.
    const PROMPT: bool;

    /// The time between two writes unasked, `age` after the turn began.
    fn period(age: Duration) -> Duration;

    /// A turn to write begins.
    fn begin(&mut self);

    /// Adds records.
    fn write(&mut self, records: &[Record]) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Writes the run log: parts of its own, of which it replaces the last one by a longer one until that is full.
pub(crate) struct RunLogSink {
    folder: Store,
    incarnation: u64,
    /// When the turn began, in milliseconds.
    begin: i64,
    number: u32,
    /// The content of the last part.
    open: Vec<u8>,
}

impl RunLogSink {
    /// Of the run log in `folder`; `incarnation` tells writers apart.
    pub(crate) fn new(folder: Store, incarnation: u64) -> Self {
        Self { folder, incarnation, begin: 0, number: 0, open: Vec::new() }
    }
}

impl Sink for RunLogSink {
    const NAME: &'static str = "run log";
    const CONTINUES: bool = true;
    const PROMPT: bool = true;

    fn period(_: Duration) -> Duration {
        RUN_LOG_PERIOD
    }

    fn begin(&mut self) {
        self.begin = now().max(self.begin + 1);
        self.number = 0;
        self.open.clear();
    }

    async fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let mut part = self.open.clone();
        run_log::append(records, &mut part).context(EncodeSnafu)?;
        let name = run_log::part_name(self.begin, self.incarnation, self.number);
        self.folder.put(&name, part.clone().into()).await?;
        self.open = part;
        if self.open.len() >= PART_BYTES {
            self.number += 1;
            self.open.clear();
        }
        Ok(())
    }
}

/// Writes TensorBoard's event files.
///
/// TensorBoard reads a folder's files in the order of their names, never goes back to one, and does not see that a file was
/// replaced. So parts never change, and names ascend: by the time at which the turn began, then by number. Each turn begins
/// with the whole curve, out of the run log and of what is remembered, and says that it overtakes all before it. Then it is
/// no matter what an earlier writer, dead or cut off from the others, did not write, or writes late.
pub(crate) struct TensorBoardSink {
    folder: Store,
    run_log: Store,
    executor: u32,
    incarnation: u64,
    turn: Option<Turn>,
}

/// A turn whose first part is written.
#[derive(Clone, Copy)]
struct Turn {
    /// In milliseconds.
    begin: i64,
    number: u32,
}

impl TensorBoardSink {
    /// Of the event files in `folder`, for what the run log in `run_log` holds.
    pub(crate) fn new(folder: Store, run_log: Store, executor: u32, incarnation: u64) -> Self {
        Self { folder, run_log, executor, incarnation, turn: None }
    }

    fn name(&self, Turn { begin, number }: Turn) -> String {
        let (seconds, millis) = (begin / 1000, begin % 1000);
        format!(
            "{PREFIX}{seconds:010}.{millis:03}.executor-{}-{:016x}.{number:05}",
            self.executor, self.incarnation
        )
    }

    /// Later than all turns before, even if their executors' clocks were ahead.
    async fn next_turn(&self) -> Result<Turn, Error> {
        // TensorBoard would take them for event files.
        for entry in self.folder.unfinished("").await? {
            self.folder.delete(&entry.path).await?;
        }
        let newest = self.folder.list("").await?.iter().filter_map(|entry| begin_of(&entry.path)).max();
        Ok(Turn { begin: newest.map_or(0, |newest| newest + 1).max(now()), number: 0 })
    }
}

impl Sink for TensorBoardSink {
    const NAME: &'static str = "TensorBoard";
    const CONTINUES: bool = false;
    const PROMPT: bool = false;

    fn period(age: Duration) -> Duration {
        FIRST_TENSOR_BOARD_PERIOD.max(age / TENSOR_BOARD_PARTS)
    }

    fn begin(&mut self) {
        self.turn = None;
    }

    async fn write(&mut self, records: &[Record]) -> Result<(), Error> {
        let wall_time = now() as f64 / 1e3;
        let (turn, part) = match self.turn {
            Some(turn) => (turn, event::encode(false, wall_time, records)),
            None => {
                let log = run_log::read(&self.run_log).await?;
                for damage in &log.damage {
                    tracing::warn!(%damage, "the run log is damaged");
                }
                let whole = run_log::unique(log.records.into_iter().chain(records.iter().cloned()));
                (self.next_turn().await?, event::encode(true, wall_time, &whole))
            }
        };
        self.folder.put(&self.name(turn), part.into()).await?;
        self.turn = Some(Turn { number: turn.number + 1, ..turn });
        Ok(())
    }
}

/// When the turn began that an event file belongs to, in milliseconds.
fn begin_of(name: &str) -> Option<i64> {
    let mut words = name.strip_prefix(PREFIX)?.split('.');
    let seconds: i64 = words.next()?.parse().ok()?;
    let millis = words.next().and_then(|millis| millis.parse().ok()).filter(|millis| *millis < 1000);
    seconds.checked_mul(1000)?.checked_add(millis.unwrap_or(999))
}

fn now() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests;
