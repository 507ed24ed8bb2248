//! What is going to happen, in the order of simulated time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use lockstep_collective::core::{ConnectionId, Message};

use crate::app::Work;

#[derive(Debug)]
pub enum Happening {
    Deliver { connection: ConnectionId, to: u32, message: Message },
    Lost { connection: ConnectionId, at: u32 },
    Connected { connection: ConnectionId, at: u32 },
    Dial { from: u32, to: u32 },
    Redial { from: u32, to: u32 },
    Tick { at: u32, life: u64, turn: u64 },
    Done { at: u32, life: u64, work: Work },
    Fault,
    Thaw { at: u32 },
    Start { at: u32 },
    Heal { from: u32, to: u32 },
}

/// Of what happens at the same microsecond, the first one put in comes first.
#[derive(Default)]
pub struct Queue {
    sequence: u64,
    items: BinaryHeap<Item>,
}

impl Queue {
    pub fn put(&mut self, time: u64, happening: Happening) {
        self.sequence += 1;
        self.items.push(Item(time, self.sequence, happening));
    }

    /// When the next one happens (microseconds).
    pub fn next_time(&self) -> Option<u64> {
        self.items.peek().map(|Item(time, _, _)| *time)
    }

    pub fn take(&mut self) -> Option<(u64, Happening)> {
        self.items.pop().map(|Item(time, _, happening)| (time, happening))
    }

    /// Takes back all that `keep` refuses.
    pub fn retain(&mut self, keep: impl Fn(&Happening) -> bool) {
        self.items.retain(|Item(_, _, happening)| keep(happening));
    }
}

/// Time, sequence number, what happens; the earliest is the greatest.
struct Item(u64, u64, Happening);
impl PartialEq for Item {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Item {}
impl PartialOrd for Item {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Item {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        Reverse((self.0, self.1)).cmp(&Reverse((other.0, other.1)))
    }
}
