//! The network: connections that keep order, with delays, cuts in one direction or both, and ends.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use lockstep_collective::core::{ConnectionId, Message};

use super::{Happening, World};

pub(super) struct Connection {
    /// Dialler and dialled.
    pub(super) ends: [u32; 2],
    /// Lives of the two processes.
    pub(super) lives: [u64; 2],
    pub(super) open: [bool; 2],
    /// Earliest next delivery towards each end: a connection keeps order.
    pub(super) clear: [u64; 2],
    /// What waits for a cut to heal, towards each end; `None` is the end of the connection.
    pub(super) held: [VecDeque<Option<Message>>; 2],
}

impl World {
    /// Whether every pair has a connection; its ends know of it within 6 ms.
    pub fn is_meshed(&self) -> bool {
        let n = self.setup.executors as usize;
        let pairs: BTreeSet<[u32; 2]> =
            self.connections.values().filter(|link| link.open == [true; 2]).map(|link| link.ends).collect();
        pairs.len() == n * (n - 1) / 2
    }

    pub(super) fn dial(&mut self, from: u32, to: u32) {
        let again = 5_000 + self.rng.below(150_000);
        self.after(again, Happening::Dial { from, to });
        self.connect(from, to);
    }

    pub(super) fn connect(&mut self, from: u32, to: u32) {
        let (Some(dialer), Some(dialed)) = (self.processes.get(&from), self.processes.get(&to)) else {
            return;
        };
        let lives = [dialer.life, dialed.life];
        let ends = [from, to];
        let has = |link: &Connection| link.ends == ends && link.lives[0] == lives[0] && link.open[0];
        // A handshake needs both directions.
        if dialer.frozen
            || self.connections.values().any(has)
            || self.cut.contains(&(from, to))
            || self.cut.contains(&(to, from))
        {
            return;
        }
        self.next_connection += 1;
        let connection = self.next_connection;
        let delays = [200 + self.rng.below(5_000), 200 + self.rng.below(5_000)];
        let link = Connection {
            ends,
            lives,
            open: [true; 2],
            clear: [self.now + delays[0], self.now + delays[1]],
            held: Default::default(),
        };
        self.connections.insert(connection, link);
        for end in 0..2 {
            self.after(delays[end], Happening::Connected { connection, at: ends[end] });
        }
    }

    pub(super) fn end(&self, connection: ConnectionId, at: u32) -> Option<usize> {
        let link = self.connections.get(&connection)?;
        let end = link.ends.iter().position(|end| *end == at)?;
        (self.processes.get(&at)?.life == link.lives[end]).then_some(end)
    }

    /// Connections that are open at this executor's end, by peer.
    pub(super) fn open_at(&self, at: u32) -> BTreeMap<u32, BTreeSet<ConnectionId>> {
        let mut open: BTreeMap<u32, BTreeSet<ConnectionId>> = BTreeMap::new();
        for (connection, link) in &self.connections {
            if let Some(end) = self.end(*connection, at).filter(|end| link.open[*end]) {
                open.entry(link.ends[1 - end]).or_default().insert(*connection);
            }
        }
        open
    }

    /// Sends a message, or the end of the connection, from `at` to the other end.
    pub(super) fn transmit(&mut self, at: u32, connection: ConnectionId, message: Option<Message>) {
        self.controls += u64::from(matches!(message, Some(Message::Control(_))));
        let latency =
            100 + self.rng.below(2_000) + if self.rng.chance(50) { self.rng.below(60_000) } else { 0 };
        let Some(link) = self.connections.get_mut(&connection) else { return };
        let end = usize::from(link.ends[0] == at);
        let to = link.ends[end];
        if self.cut.contains(&(at, to)) {
            link.held[end].push_back(message);
            return;
        }
        let when = link.clear[end].max(self.now + latency);
        link.clear[end] = when;
        let happening = match message {
            Some(message) => {
                if self.old_messages.len() == 200 {
                    self.old_messages.pop_front();
                }
                if self.setup.faults.is_some_and(|faults| faults.garbage) {
                    self.old_messages.push_back(message.clone());
                }
                Happening::Deliver { connection, to, message }
            }
            None => Happening::Lost { connection, at: to },
        };
        self.queue.put(when, happening);
    }

    pub fn cut(&mut self, from: u32, to: u32) {
        self.cut.insert((from, to));
    }

    pub fn heal(&mut self, from: u32, to: u32) {
        self.cut.remove(&(from, to));
        let waiting: Vec<ConnectionId> = self.connections.keys().copied().collect();
        for connection in waiting {
            let Some(link) = self.connections.get_mut(&connection) else { continue };
            let end = usize::from(link.ends == [from, to]);
            if link.ends == [from, to] || link.ends == [to, from] {
                for message in std::mem::take(&mut link.held[end]) {
                    self.transmit(from, connection, message);
                }
            }
        }
    }

    /// What a process held open when it ended.
    pub(super) fn lose_connections(&mut self, at: u32, life: u64) {
        let lost: Vec<ConnectionId> = self
            .connections
            .iter()
            .filter(|(_, link)| {
                let end = link.ends.iter().position(|end| *end == at);
                end.is_some_and(|end| link.open[end] && link.lives[end] == life)
            })
            .map(|(connection, _)| *connection)
            .collect();
        for connection in lost {
            // The kernel closes the sockets, with or without what was on its way.
            let reset = self.rng.chance(2);
            if let Some(link) = self.connections.get_mut(&connection) {
                let end = usize::from(link.ends[1] == at);
                link.open[end] = false;
                if reset {
                    link.clear[1 - end] = self.now;
                }
            }
            self.transmit(at, connection, None);
        }
    }
}
