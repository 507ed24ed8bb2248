//! The status of a job: what it is (`plan`, pure), what changed (`story`, pure), and the writing of both.
//!
//! Two field managers write it: the controller its conditions and counts, and another one everything that follows the executors'
//! reports. Nothing here remembers anything: the previous status in the object is all the history there is, so the operator
//! can be restarted at any moment.

mod display;
mod plan;
mod reports;
mod story;
mod write;

pub(crate) use plan::{Facts, Refusal, plan, refused};
pub(crate) use story::{Note, story};
pub(crate) use write::{Error, write};
