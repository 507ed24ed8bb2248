//! The other end of `super::learning`: snapshots and finished rounds for executors that are behind, at their own pace.

use std::collections::VecDeque;
use std::sync::Arc;

use super::message::{Control, Fragment, Lesson, Message, SnapshotPart};
use super::values::Values;
use super::{Core, Stage};
use crate::Action;
use crate::frame::MAX_PART_BYTES;

/// Parts on their way to a learner that it has not taken yet.
const WINDOW: u64 = 16;
/// Floats of finished rounds that wait for a learner before it is sent away (a new snapshot is cheaper then).
const MAX_QUEUED_FLOATS: usize = 64 << 20;

/// One learner.
#[derive(Debug)]
pub(super) struct Student {
    pub stream: u64,
    /// Version of the next finished round that it needs.
    next: u64,
    snapshot: Snapshot,
    queue: VecDeque<Item>,
    sent: u64,
    taken: u64,
}

#[derive(Debug, PartialEq)]
enum Snapshot {
    /// It needs none, or has it in its queue.
    Done,
    /// It needs the next one.
    Wanted,
    /// The application is making it.
    Asked,
}

#[derive(Debug)]
enum Item {
    Vector { round: u64, values: Arc<Vec<f32>>, counts: Vec<u64>, at: usize },
    Snapshot { round: u64, bytes: Arc<Vec<u8>>, at: usize },
}

impl Core {
    pub(super) fn on_learn(&mut self, from: u32, stream: u64, next: u64) {
        let version = self.version();
        if !self.has_state() || self.left || self.failed || next > version {
            return self.send(from, Control::LearnEnd { stream });
        }
        let mut student = Student {
            stream,
            next: version,
            snapshot: Snapshot::Done,
            queue: VecDeque::new(),
            sent: 0,
            taken: 0,
        };
        if next != version {
            match &self.app.last {
                Some((round, values, counts)) if *round == next && next + 1 == version => {
                    let (round, values, counts) = (*round, Arc::clone(values), counts.clone());
                    student.queue.push_back(Item::Vector { round, values, counts, at: 0 });
                }
                _ => student.snapshot = Snapshot::Wanted,
            }
        }
        self.students.insert(from, student);
        self.send(from, Control::Teaching { stream, head: version });
    }

    pub(super) fn on_learned(&mut self, from: u32, stream: u64, parts: u64) {
        if let Some(student) = self.students.get_mut(&from).filter(|student| student.stream == stream) {
            student.taken = student.taken.max(parts.min(student.sent));
        }
    }

    pub(super) fn dismiss_students(&mut self) {
        for (index, student) in std::mem::take(&mut self.students) {
            self.send(index, Control::LearnEnd { stream: student.stream });
        }
    }

    /// A round is finished: everybody who learns gets it.
    pub(super) fn teach(&mut self, round: u64, values: &Arc<Vec<f32>>, counts: &[u64]) {
        let mut lost = Vec::new();
        for (index, student) in &mut self.students {
            if student.snapshot == Snapshot::Wanted {
                continue;
            }
            let queued: usize = student.queue.iter().map(Item::floats).sum();
            if student.next != round || queued > MAX_QUEUED_FLOATS.max(4 * values.len()) {
                lost.push((*index, student.stream));
                continue;
            }
            student.next = round + 1;
            student.queue.push_back(Item::Vector {
                round,
                values: Arc::clone(values),
                counts: counts.to_vec(),
                at: 0,
            });
        }
        for (index, stream) in lost {
            self.students.remove(&index);
            self.send(index, Control::LearnEnd { stream });
        }
    }

    pub(super) fn on_own_snapshot(&mut self, round: u64, bytes: &Arc<Vec<u8>>) {
        if self.snapshot_asked != Some(round) {
            return;
        }
        self.snapshot_asked = None;
        for student in self.students.values_mut().filter(|student| student.snapshot == Snapshot::Asked) {
            student.snapshot = Snapshot::Done;
            student.queue.push_front(Item::Snapshot { round, bytes: Arc::clone(bytes), at: 0 });
        }
    }

    /// Asks the application for a snapshot where one is needed, and sends what the learners have room for.
    pub(super) fn settle_teaching(&mut self) {
        let round = self.app.round;
        let wanted = self.students.values().any(|student| student.snapshot == Snapshot::Wanted);
        if wanted && self.snapshot_asked.is_none() && self.app.stage == Stage::Ready {
            for student in self.students.values_mut().filter(|student| student.snapshot == Snapshot::Wanted) {
                student.snapshot = Snapshot::Asked;
                student.next = round;
            }
            self.snapshot_asked = Some(round);
            self.act(Action::TakeSnapshot { round });
        }
        let head = self.version();
        let chunk = self.chunk;
        let mut messages: Vec<(u32, Message)> = Vec::new();
        for (index, student) in &mut self.students {
            while student.snapshot == Snapshot::Done && student.sent - student.taken < WINDOW {
                let Some(item) = student.queue.front_mut() else { break };
                let (message, last) = item.next_part(student.stream, head, chunk);
                student.sent += 1;
                messages.push((*index, message));
                if last {
                    student.queue.pop_front();
                }
            }
        }
        for (index, message) in messages {
            self.send(index, message);
        }
    }
}

impl Item {
    fn floats(&self) -> usize {
        match self {
            // Even an empty one costs something.
            Self::Vector { values, .. } => values.len() + 64,
            Self::Snapshot { .. } => 0,
        }
    }

    /// The next part, and whether it is the last. There is at least one, if an empty one.
    fn next_part(&mut self, stream: u64, head: u64, chunk: usize) -> (Message, bool) {
        match self {
            Self::Vector { round, values, counts, at } => {
                let start = *at;
                *at = values.len().min(start + chunk);
                let message = Message::Lesson(Lesson {
                    stream,
                    round: *round,
                    start: start as u64,
                    total: values.len() as u64,
                    head,
                    counts: if start == 0 { counts.clone() } else { Vec::new() },
                    values: Values::new(Arc::clone(values), start..*at),
                });
                (message, *at == values.len())
            }
            Self::Snapshot { round, bytes, at } => {
                let start = *at;
                *at = bytes.len().min(start + MAX_PART_BYTES.min(4 * chunk));
                let message = Message::Snapshot(SnapshotPart {
                    stream,
                    round: *round,
                    start: start as u64,
                    total: bytes.len() as u64,
                    head,
                    bytes: Fragment::new(Arc::clone(bytes), start..*at),
                });
                (message, *at == bytes.len())
            }
        }
    }
}
