//! Catching up: an executor outside a view takes a snapshot from a peer that is ahead, if one is needed, and then every
//! finished round from it, applying each by itself. `super::teaching` is the other end.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use rand_chacha::rand_core::Rng;

use super::message::{Control, Lesson, SnapshotPart};
use super::{Core, MAX_VECTOR, Stage};
use crate::frame::MAX_COUNTS;
use crate::{Action, Plan};

/// Finished rounds that wait for the application before the teacher has to.
const MAX_WAITING: usize = 4;

/// One conversation with a teacher.
#[derive(Debug)]
pub(super) struct Learning {
    pub source: u32,
    stream: u64,
    /// Version of the teacher's state, as it last said.
    pub head: Option<u64>,
    /// Version that the next finished round must have.
    pub next: u64,
    part: Option<Partial>,
    /// A snapshot that waits for the application to finish what it does.
    snapshot: Option<(u64, Vec<u8>)>,
    waiting: VecDeque<(u64, Vec<f32>, Vec<u64>)>,
    /// Parts taken, and how many of them the teacher knows of.
    parts: u64,
    told: u64,
    heard: Duration,
}

/// What is half here. Grows with the bytes that come, not with what they announce.
#[derive(Debug)]
enum Partial {
    Vector { round: u64, total: u64, values: Vec<f32>, counts: Vec<u64> },
    Snapshot { round: u64, total: u64, bytes: Vec<u8> },
}

impl Core {
    pub(super) fn settle_learning(&mut self) {
        if self.view.is_some() || !self.has_state() {
            // While a state is being replaced, the stream goes on behind it.
            return;
        }
        let now = self.now;
        let patience = 4 * self.config.heartbeat_timeout;
        if let Some(learning) = &mut self.learning {
            // What waits for the application is no fault of the teacher.
            if !learning.waiting.is_empty() {
                learning.heard = now;
            }
            let status = self.peers.get(&learning.source).and_then(|peer| peer.status.as_ref());
            let ahead = status.and_then(|status| status.round).is_some_and(|round| round > learning.next);
            let (source, idle) = (learning.source, now.saturating_sub(learning.heard));
            if (ahead || learning.head.is_none()) && idle >= patience {
                self.stop_learning(self.heartbeat_interval());
            } else if idle >= self.heartbeat_interval() {
                // Two that stand still must not wait for each other while somebody else goes on.
                let sources = self.sources();
                if !sources.is_empty() && !sources.iter().any(|(index, _)| *index == source) {
                    self.stop_learning(Duration::ZERO);
                }
            }
        }
        if self.learning.is_none() {
            self.start_learning();
        }
        self.take_lessons();
        if let Some(learning) = &mut self.learning
            && learning.parts != learning.told
            && learning.waiting.len() < MAX_WAITING
        {
            learning.told = learning.parts;
            let (source, stream, parts) = (learning.source, learning.stream, learning.parts);
            self.send(source, Control::Learned { stream, parts });
        }
    }

    /// Peers worth learning from, with whether they work in a view and their versions: next to a working view an executor
    /// always follows it; else it follows whoever is ahead.
    fn sources(&self) -> Vec<(u32, (bool, u64))> {
        let version = self.version();
        let working: Vec<u32> = self.working_views().map(|(index, _)| index).collect();
        let useful = |(index, _, status): (u32, &super::Peer, &super::Status)| {
            let round = status.round?;
            let works = working.contains(&index);
            (round > version || (round == version && works)).then_some((index, (works, round)))
        };
        self.linked_peers().filter_map(useful).collect()
    }

    fn start_learning(&mut self) {
        if self.now < self.learn_after || self.left || self.failed || self.leaving.is_some() {
            return;
        }
        let version = self.version();
        let sources = self.sources();
        let Some(best) = sources.iter().map(|(_, key)| *key).max() else { return };
        // Those of one view are equally good: spread the work.
        let good: Vec<u32> = sources
            .iter()
            .filter(|(_, key)| key.0 == best.0 && best.1 - key.1.min(best.1) <= 1)
            .map(|(index, _)| *index)
            .collect();
        let source = good[(self.rng.next_u64() % good.len() as u64) as usize];
        self.streams += 1;
        let stream = self.streams;
        self.learning = Some(Learning {
            source,
            stream,
            head: None,
            next: version,
            part: None,
            snapshot: None,
            waiting: VecDeque::new(),
            parts: 0,
            told: 0,
            heard: self.now,
        });
        self.dirty = true;
        self.send(source, Control::Learn { stream, from: version });
    }

    /// Ends the conversation; the next one begins after `quiet` at the earliest.
    pub(super) fn stop_learning(&mut self, quiet: Duration) {
        let Some(Learning { source, stream, .. }) = self.learning.take() else { return };
        self.send(source, Control::LearnEnd { stream });
        self.learn_after = self.now + quiet;
        self.dirty = true;
    }

    pub(super) fn on_learn_end(&mut self, from: u32, stream: u64) {
        if self.learning.as_ref().is_some_and(|learning| learning.source == from && learning.stream == stream)
        {
            self.learning = None;
            self.learn_after = self.now + self.heartbeat_interval();
            self.dirty = true;
        }
        if self.students.get(&from).is_some_and(|student| student.stream == stream) {
            self.students.remove(&from);
        }
    }

    pub(super) fn on_teaching(&mut self, from: u32, stream: u64, head: u64) {
        if let Some(learning) = self.current(from, stream) {
            learning.head = Some(head);
            self.dirty = true;
        }
    }

    fn current(&mut self, from: u32, stream: u64) -> Option<&mut Learning> {
        let now = self.now;
        let learning =
            self.learning.as_mut().filter(|learning| learning.source == from && learning.stream == stream)?;
        learning.heard = now;
        Some(learning)
    }

    pub(super) fn on_lesson(&mut self, from: u32, lesson: Lesson) {
        let Lesson { stream, round, start, total, head, counts, values } = lesson;
        let Some(learning) = self.current(from, stream) else { return };
        learning.head = Some(head);
        learning.parts += 1;
        let expected = learning.next + learning.waiting.len() as u64;
        let fits = match &mut learning.part {
            None if start == 0
                && round == expected
                && total <= MAX_VECTOR as u64
                && counts.len() <= MAX_COUNTS =>
            {
                learning.part = Some(Partial::Vector { round, total, values: values.into_vec(), counts });
                true
            }
            Some(Partial::Vector { round: open, total: announced, values: have, .. }) => {
                let fits = *open == round
                    && *announced == total
                    && have.len() as u64 == start
                    && !values.is_empty()
                    && counts.is_empty();
                if fits {
                    have.extend_from_slice(&values);
                }
                fits
            }
            _ => false,
        };
        self.finish_part(fits);
    }

    pub(super) fn on_snapshot_part(&mut self, from: u32, part: SnapshotPart) {
        let SnapshotPart { stream, round, start, total, head, bytes } = part;
        let version = self.version();
        let Some(learning) = self.current(from, stream) else { return };
        learning.head = Some(head);
        learning.parts += 1;
        let fits = match &mut learning.part {
            None if start == 0
                && round > version
                && learning.waiting.is_empty()
                && learning.snapshot.is_none() =>
            {
                learning.part = Some(Partial::Snapshot { round, total, bytes: bytes.to_vec() });
                true
            }
            Some(Partial::Snapshot { round: open, total: announced, bytes: have }) => {
                let fits =
                    *open == round && *announced == total && have.len() as u64 == start && !bytes.is_empty();
                if fits {
                    have.extend_from_slice(&bytes);
                }
                fits
            }
            _ => false,
        };
        self.finish_part(fits);
    }

    fn finish_part(&mut self, fits: bool) {
        self.dirty = true;
        let Some(learning) = &mut self.learning else { return };
        let (have, total) = match &learning.part {
            Some(Partial::Vector { total, values, .. }) => (values.len() as u64, *total),
            Some(Partial::Snapshot { total, bytes, .. }) => (bytes.len() as u64, *total),
            None => (0, 0),
        };
        if !fits || have > total {
            return self.stop_learning(self.heartbeat_interval());
        }
        if have == total {
            match learning.part.take() {
                Some(Partial::Vector { round, values, counts, .. }) => {
                    learning.waiting.push_back((round, values, counts))
                }
                Some(Partial::Snapshot { round, bytes, .. }) => {
                    learning.next = round;
                    learning.snapshot = Some((round, bytes));
                }
                None => {}
            }
        }
    }

    /// Hands the next thing learned to the application, when it can take it.
    fn take_lessons(&mut self) {
        if self.app.stage != Stage::Ready {
            return;
        }
        let round = self.app.round;
        let Some(learning) = &mut self.learning else { return };
        if let Some((round, bytes)) = learning.snapshot.take() {
            self.replace_state();
            return self.act(Action::InstallSnapshot { round, bytes });
        }
        if learning.next != round {
            return self.stop_learning(Duration::ZERO);
        }
        let Some((_, values, counts)) = learning.waiting.pop_front() else { return };
        match self.app.plan {
            Plan::Reduce { len, counts: integers, .. } if len == values.len() && integers == counts.len() => {
                learning.next = round + 1;
                self.reduced(Arc::new(values), counts);
            }
            // A teacher whose rounds are not ours cannot teach us.
            Plan::Reduce { .. } | Plan::Finished => self.stop_learning(self.heartbeat_interval()),
        }
    }
}
