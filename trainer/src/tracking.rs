//! What a run tells besides its checkpoints: the run log beside them, and TensorBoard's event files where the job asks for
//! them.
//!
//! The flow: the executor's loop makes [`Record`]s and leaves them in [`Memory`]; each [`Sink`] is served by a task of its own
//! ([`Writer`]) that takes from there what is new while it is this executor's turn to write, and never makes training wait.
//! `record` is one line, `run_log` the lines of many parts put together again, `event` TensorBoard's format; these three and
//! `memory` know no store, clock or task.
//!
//! Whose turn it is: as with checkpoints, that of the view's member of lowest index. Everyone remembers, so that the next
//! writer has what the last one did not write any more. Hence records come twice; readers keep one of each [`Key`].
//!
//! [`Key`]: record::Key
//! [`Sink`]: sink::Sink

mod event;
mod memory;
mod record;
mod run_log;
mod sink;
mod writer;

pub(crate) use memory::Memory;
pub(crate) use record::{Event, Observed, Record, ViewObserved};
pub(crate) use sink::{RunLogSink, TensorBoardSink};
pub(crate) use writer::{Duty, Writer};

#[cfg(test)]
pub(crate) mod strategies;
