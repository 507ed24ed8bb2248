//! What goes wrong: crashes, cuts, freezes, leaves, connections that break for a moment, damaged and repeated messages.

use lockstep_collective::core::{Ballot, ConnectionId, Control, Message};

use super::{Happening, World};

/// What may go wrong, per opportunity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Faults {
    pub crashes: bool,
    pub cuts: bool,
    pub freezes: bool,
    pub leaves: bool,
    pub garbage: bool,
    /// Connections that break and are back at once, many of them.
    pub flaps: bool,
}

impl World {
    /// One random fault, and the next; after the storm everything heals.
    pub(super) fn fault(&mut self) {
        let Some(faults) = self.setup.faults else { return };
        if self.now >= self.setup.storm {
            for (from, to) in self.cut.clone() {
                self.heal(from, to);
            }
            for at in 0..self.setup.executors {
                self.restart(at, 1000);
            }
            return;
        }
        if faults.flaps {
            let next = 500 + self.rng.below(20_000);
            self.after(next, Happening::Fault);
            return self.flap();
        }
        let next = 30_000 + self.rng.below(500_000);
        self.after(next, Happening::Fault);
        let executors = u64::from(self.setup.executors);
        let at = self.rng.below(executors) as u32;
        let other = self.rng.below(executors) as u32;
        // Never past the end of the storm, so that the time to recover is known.
        let left = self.setup.storm - self.now;
        let duration = self.rng.below(1_500_000).min(left);
        match self.rng.below(6) {
            0 | 1 if faults.crashes => {
                self.stats.crashes += 1;
                self.kill(at);
                self.restart(at, duration);
                if self.rng.chance(4) {
                    self.kill(other);
                    self.restart(other, duration / 2);
                }
            }
            2 if faults.cuts && at != other => {
                self.stats.cuts += 1;
                let one_way = self.rng.chance(2);
                self.cut(at, other);
                self.after(duration, Happening::Heal { from: at, to: other });
                if !one_way {
                    self.cut(other, at);
                    self.after(duration, Happening::Heal { from: other, to: at });
                }
            }
            3 if faults.cuts => {
                // A partition: those below against the others.
                self.stats.cuts += 1;
                for a in 0..self.setup.executors {
                    for b in 0..self.setup.executors {
                        if (a <= at) != (b <= at) {
                            self.cut(a, b);
                            self.after(duration, Happening::Heal { from: a, to: b });
                        }
                    }
                }
            }
            4 if faults.freezes => {
                self.stats.freezes += 1;
                self.freeze(at, duration);
            }
            5 if faults.leaves => {
                self.stats.leaves += 1;
                self.leave(at);
                if self.rng.chance(3) {
                    for at in 0..self.setup.executors {
                        self.leave(at);
                    }
                }
            }
            _ if faults.garbage => self.garbage(),
            _ => {}
        }
    }

    /// A connection breaks, at its two ends not at the same moment, and is back within some milliseconds.
    pub(super) fn flap(&mut self) {
        let open: Vec<(ConnectionId, [u32; 2])> = self
            .connections
            .iter()
            .filter(|(_, link)| link.open == [true; 2])
            .map(|(connection, link)| (*connection, link.ends))
            .collect();
        if open.is_empty() {
            return;
        }
        self.stats.flaps += 1;
        let (connection, ends) = open[self.rng.below(open.len() as u64) as usize];
        for at in ends {
            let delay = self.rng.below(3_000);
            self.after(delay, Happening::Lost { connection, at });
        }
        let delay = 3_000 + self.rng.below(4_000);
        self.after(delay, Happening::Redial { from: ends[0], to: ends[1] });
    }

    /// Messages that were never sent, or long ago, or to somebody else.
    pub(super) fn garbage(&mut self) {
        for _ in 0..1 + self.rng.below(8) {
            let open: Vec<(ConnectionId, u32)> = self
                .connections
                .iter()
                .flat_map(|(connection, link)| {
                    [0, 1]
                        .into_iter()
                        .filter(|end| link.open[*end])
                        .map(|end| (*connection, link.ends[end]))
                        .collect::<Vec<_>>()
                })
                .collect();
            if open.is_empty() || self.old_messages.is_empty() {
                return;
            }
            self.stats.garbage += 1;
            let (connection, to) = open[self.rng.below(open.len() as u64) as usize];
            let at = self.rng.below(self.old_messages.len() as u64) as usize;
            let mut message = self.old_messages[at].clone();
            let number = self.rng.below(40);
            let how = self.rng.below(6);
            match &mut message {
                Message::Sum(chunk) | Message::Finished(chunk) => match how {
                    0 => chunk.ballot = Ballot { number, ..chunk.ballot },
                    1 => {
                        chunk.round = chunk.round.wrapping_add(self.rng.below(5)).wrapping_sub(2);
                        // Of the length of a piece it would be a lie that only the checksum can catch.
                        chunk.values = [&chunk.values[..], &[0.5; 5]].concat().into();
                    }
                    2 => chunk.start = self.rng.next(),
                    3 => chunk.node.len = self.rng.next() as u32,
                    4 => chunk.values = vec![0.5; self.rng.below(9) as usize + 5].into(),
                    _ => {}
                },
                Message::Control(
                    Control::Commit { ballot, .. }
                    | Control::Ack { ballot, .. }
                    | Control::Propose { ballot, .. },
                ) => match how {
                    0 | 1 => ballot.number = number,
                    2 => ballot.proposer = self.rng.next(),
                    _ => {}
                },
                Message::Lesson(lesson) => lesson.stream = lesson.stream.wrapping_add(how),
                Message::Snapshot(part) => part.start = part.start.wrapping_add(how),
                Message::Control(_) => {}
            }
            // A real sum of this very round from another place would be a lie that only the checksum can catch.
            let lie = matches!(&message, Message::Lesson(_) | Message::Snapshot(_)) && how == 0;
            if self.tell {
                eprintln!("{:>9} garbage to {to} on {connection}: {message:?}", self.now);
            }
            if !lie {
                self.after(0, Happening::Deliver { connection, to, message });
            }
        }
    }
}
