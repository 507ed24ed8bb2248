//! What executors say to each other. [`crate::frame`] turns a [`Message`] into bytes and back.

use std::ops::{Deref, Range};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::connected::Connected;
use super::values::Values;
use crate::Hash;
use crate::tree::Node;

/// One start of one executor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Member {
    /// The executor's index.
    pub index: u32,
    /// Random number of this start of it.
    pub incarnation: u64,
}

/// Names a view. Greater wins; no two proposals share one, since a proposer never uses a number twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ballot {
    /// One more than the highest number the proposer had seen.
    pub number: u64,
    /// Incarnation of the proposer.
    pub proposer: u64,
}

/// First message on a connection, from both ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of this protocol.
    pub version: u32,
    /// Identity of the job.
    pub job_uid: String,
    /// Who speaks.
    pub member: Member,
    /// Hash of all that determines the result.
    pub result_hash: Hash,
    /// Hash of fixed inputs' results on the speaker's machine.
    pub fingerprint: Hash,
}

/// What a heartbeat says; also sent when it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the state held; `None` before the first one is loaded.
    pub round: Option<u64>,
    /// Newest version that is known to be in a committed checkpoint.
    pub saved: u64,
    /// The view the speaker works in.
    pub view: Option<ViewNote>,
    /// Whom the speaker is connected to.
    pub connected: Connected,
    /// Whether the speaker wants to go.
    pub leaving: bool,
    /// Whether the speaker's state is new enough to enter a view.
    pub eligible: bool,
    /// Whether the speaker has been in a view.
    pub started: bool,
    /// Highest ballot number seen.
    pub highest: u64,
}

/// A view, as gossip names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewNote {
    /// Its ballot.
    pub ballot: Ballot,
    /// Indexes of its members, ascending.
    pub members: Vec<u32>,
}

/// Part of a snapshot's bytes, shared rather than copied.
#[derive(Debug, Clone)]
pub struct Fragment {
    data: Arc<Vec<u8>>,
    range: Range<usize>,
}

impl Fragment {
    /// `data[range]`; the range is cut to what is there.
    #[must_use]
    pub fn new(data: Arc<Vec<u8>>, range: Range<usize>) -> Self {
        let end = range.end.min(data.len());
        Self { range: range.start.min(end)..end, data }
    }
}

impl Deref for Fragment {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.data[self.range.clone()]
    }
}

impl PartialEq for Fragment {
    fn eq(&self, other: &Self) -> bool {
        self[..] == other[..]
    }
}

/// Everything that travels between two executors.
#[derive(Debug, Clone, PartialEq)]
pub enum Message {
    /// A small message: membership, agreement, flow control.
    Control(Control),
    /// A member's sum of one node, one piece of the vector: to the owner of that piece.
    Sum(Chunk),
    /// The root's sum, one piece of the vector: from the owner to all. The node is the root.
    Finished(Chunk),
    /// Part of a finished vector, to a learner.
    Lesson(Lesson),
    /// Part of a snapshot, to a learner.
    Snapshot(SnapshotPart),
}

/// A piece of one node's sum in one round of one view.
#[derive(Debug, Clone, PartialEq)]
pub struct Chunk {
    /// The view.
    pub ballot: Ballot,
    /// The round.
    pub round: u64,
    /// The node that is summed.
    pub node: Node,
    /// First float of the piece in the whole vector; with the view this names the slice and its owner.
    pub start: u64,
    /// Nanoseconds that a leaf takes the sender, smoothed; 0 when unknown.
    pub pace: u64,
    /// The node's integers, in the first piece of the upper part; else empty.
    pub counts: Vec<u64>,
    /// The floats.
    pub values: Values,
}

/// Part of a finished round's vector.
#[derive(Debug, Clone, PartialEq)]
pub struct Lesson {
    /// The learner's number for this conversation.
    pub stream: u64,
    /// The finished round.
    pub round: u64,
    /// First float of this part.
    pub start: u64,
    /// Floats of the whole vector.
    pub total: u64,
    /// Version of the state that the teacher holds.
    pub head: u64,
    /// The round's integers, in the first part; else empty.
    pub counts: Vec<u64>,
    /// The floats.
    pub values: Values,
}

/// Part of a snapshot.
#[derive(Debug, Clone, PartialEq)]
pub struct SnapshotPart {
    /// The learner's number for this conversation.
    pub stream: u64,
    /// Version of the state in the snapshot.
    pub round: u64,
    /// First byte of this part.
    pub start: u64,
    /// Bytes of the whole snapshot.
    pub total: u64,
    /// Version of the state that the teacher holds.
    pub head: u64,
    /// The bytes.
    pub bytes: Fragment,
}

/// The small messages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Control {
    /// Who speaks; first on every connection.
    Hello(Hello),
    /// Heartbeat.
    Status(Status),
    /// A new view is proposed to each of `candidates`.
    Propose {
        /// Its name.
        ballot: Ballot,
        /// Who is asked, ascending.
        candidates: Vec<Member>,
        /// Stop and answer once the state has this version; 0: at once. Lets an intact view end at a round's end.
        at: u64,
    },
    /// The sender has stopped and promises the ballot; sent again when its state moves on.
    Ack {
        /// Which proposal.
        ballot: Ballot,
        /// Version of the sender's state.
        round: u64,
        /// Hash of that state.
        hash: Hash,
    },
    /// The sender has promised another ballot.
    Nack {
        /// Which proposal.
        ballot: Ballot,
        /// What the sender promised.
        promised: Ballot,
    },
    /// Go on without the sender: it is leaving, or its state is too old.
    Decline {
        /// Which proposal.
        ballot: Ballot,
    },
    /// The proposer has given the ballot up.
    Abort {
        /// Which proposal.
        ballot: Ballot,
    },
    /// The view is in force.
    Commit {
        /// Its name.
        ballot: Ballot,
        /// Its members, ascending; `members[rank]`.
        members: Vec<Member>,
        /// Version of the state that all members hold.
        round: u64,
        /// Hash of that state.
        hash: Hash,
        /// By rank, nanoseconds that a leaf takes: what the leaves are shared by at first. None: evenly, for ever.
        paces: Vec<u64>,
    },
    /// The sender works no more in this view: it finishes no round from `round` on.
    Abandon {
        /// Which view.
        ballot: Ballot,
        /// First round without the sender.
        round: u64,
    },
    /// States of one version differ: whoever holds that version restores the newest checkpoint.
    Diverged {
        /// The proposal that found it.
        ballot: Ballot,
        /// The version.
        round: u64,
    },
    /// Send me your state if mine is too old, then every finished round from `from` on.
    Learn {
        /// The learner's number for this conversation.
        stream: u64,
        /// Version of the learner's state.
        from: u64,
    },
    /// Answer to `Learn`.
    Teaching {
        /// The learner's number for this conversation.
        stream: u64,
        /// Version of the teacher's state.
        head: u64,
    },
    /// The learner has room again.
    Learned {
        /// The learner's number for this conversation.
        stream: u64,
        /// Parts taken so far.
        parts: u64,
    },
    /// Either side ends the conversation.
    LearnEnd {
        /// The learner's number for this conversation.
        stream: u64,
    },
}

impl From<Control> for Message {
    fn from(control: Control) -> Self {
        Self::Control(control)
    }
}
