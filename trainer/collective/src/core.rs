//! The protocol without sockets, clocks or threads.

mod message;

pub use message::{
    Ballot, Chunk, Control, Hello, Lesson, Member, Message, Part, SnapshotPart, Status, Values, ViewNote,
};

/// One more than the greatest index an executor may have.
pub const MAX_EXECUTORS: u32 = 1024;
