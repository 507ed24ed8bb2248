//! Gossip: what everybody tells everybody of itself, from which all compute the same candidates.
//!
//! With n executors a status to all costs n messages and everybody has n links, so telling of every link at once would cost
//! their cube. A peer that is new here is told alone, and news of links wait for more of them where nothing waits for them.

use std::time::Duration;

use super::message::{Control, Status, ViewNote};
use super::{Core, MAX_EXECUTORS, Stage};

impl Core {
    /// Tells everybody how things are: when that changed, and as a heartbeat. Tells a new peer at once.
    pub(super) fn gossip(&mut self) {
        let status = self.status();
        self.gossip_due = self.when_to_tell(&status);
        let all = self.now >= self.gossip_due;
        let told: Vec<u32> = self
            .peers
            .iter_mut()
            .filter_map(|(index, peer)| {
                let new = !std::mem::replace(&mut peer.informed, true);
                (all || new).then_some(*index)
            })
            .collect();
        for index in told {
            self.send(index, Control::Status(status.clone()));
        }
        if all {
            self.gossiped = Some(status);
            self.gossiped_at = self.now;
            self.gossip_due = self.now + self.heartbeat_interval();
        }
    }

    /// When `status` is to be told to all: now, if somebody may wait for it.
    fn when_to_tell(&self, status: &Status) -> Duration {
        let Some(old) = &self.gossiped else { return self.now };
        // In a view the version grows with every round, and its members know that anyway.
        let round = if status.view.is_some() { old.round } else { status.round };
        let but_links =
            Status { round, connected: old.connected.clone(), highest: old.highest, ..status.clone() };
        let whole = |status: &Status| status.connected.count() + 1 >= self.config.executors as usize;
        if but_links != *old || (whole(status) && !whole(old)) {
            return self.now;
        }
        let news = status.connected != old.connected || status.highest != old.highest;
        self.gossiped_at
            + if news { self.patience_with_links(old, status) } else { self.heartbeat_interval() }
    }

    /// How long news of links wait for more of them, counted from the last status to all.
    ///
    /// While everybody waits for everybody only the last link opens the barrier, and the others can come with heartbeats. Else
    /// the wait grows with the peers (a millisecond each, at a heartbeat a second): one link that comes or goes in a calm mesh
    /// is told at once.
    fn patience_with_links(&self, old: &Status, new: &Status) -> Duration {
        let only_more = new.connected.includes(&old.connected);
        if only_more && self.waits_for_all() {
            return self.heartbeat_interval();
        }
        self.heartbeat_interval() * self.peers.len() as u32 / MAX_EXECUTORS
    }

    fn status(&self) -> Status {
        let note = |view: &super::View| ViewNote {
            ballot: view.ballot,
            members: view.members.iter().map(|member| member.index).collect(),
        };
        Status {
            round: (self.app.stage != Stage::Empty && self.app.stage != Stage::Replacing)
                .then(|| self.version()),
            saved: self.app.saved,
            view: self.view.as_ref().map(note),
            connected: self.connected(),
            leaving: self.leaving.is_some() || self.left || self.failed,
            eligible: self.is_eligible(),
            started: self.had_view,
            highest: self.highest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;
    use crate::core::{Effect, Event, Hello, Member, Message};

    const SECOND: Duration = Duration::from_secs(1);

    /// Executor 0 of `executors`, with a heartbeat a second.
    fn core(executors: u32, join_grace: Duration) -> Core {
        let config = Config {
            index: 0,
            executors,
            min_executors: 1,
            join_grace,
            heartbeat_timeout: 5 * SECOND,
            start_timeout: 600 * SECOND,
            adaptive: true,
            job_uid: "job".to_owned(),
            result_hash: [0; 32],
            fingerprint: [0; 32],
            incarnation: 7,
            seed: 0,
        };
        Core::new(config, Duration::ZERO)
    }

    /// Whom the event made it send a status to.
    fn told(core: &mut Core, now: Duration, event: Event) -> Vec<u32> {
        core.handle(now, event);
        let status = |effect| match effect {
            Effect::Send { connection, message: Message::Control(Control::Status(_)) } => {
                Some(connection as u32)
            }
            _ => None,
        };
        std::iter::from_fn(|| core.poll()).filter_map(status).collect()
    }

    /// Peer `index` connects, on the connection of that number.
    fn connect(core: &mut Core, now: Duration, index: u32) -> Vec<u32> {
        let connection = u64::from(index);
        let mut all = told(core, now, Event::Connected { connection, dialed: None });
        let hello = Hello {
            version: crate::core::links::PROTOCOL,
            job_uid: "job".to_owned(),
            member: Member { index, incarnation: connection },
            result_hash: [0; 32],
            fingerprint: [0; 32],
        };
        all.extend(told(core, now, Event::Message { connection, message: Control::Hello(hello).into() }));
        all
    }

    #[test]
    fn before_the_barrier_opens_only_the_last_link_is_told_to_all() {
        let mut core = core(5, 60 * SECOND);
        told(&mut core, Duration::ZERO, Event::Tick);
        let now = SECOND / 2;
        assert_eq!(connect(&mut core, now, 1), [1]);
        assert_eq!(connect(&mut core, now, 2), [2]);
        assert_eq!(connect(&mut core, now, 3), [3]);
        assert_eq!(connect(&mut core, now, 4), [1, 2, 3, 4]);
    }

    #[test]
    fn a_link_that_comes_or_goes_in_a_calm_mesh_is_told_at_once() {
        let mut core = core(9, Duration::ZERO);
        told(&mut core, Duration::ZERO, Event::Tick);
        let at = |tenths: u32| tenths * SECOND / 10;
        assert_eq!(connect(&mut core, at(1), 1), [1]);
        assert_eq!(connect(&mut core, at(2), 2), [1, 2]);
        assert_eq!(connect(&mut core, at(3), 3), [1, 2, 3]);
        assert_eq!(told(&mut core, at(4), Event::Disconnected { connection: 2 }), [1, 3]);
    }

    /// Half of a large job dies within a moment.
    #[test]
    fn links_that_go_together_are_told_together() {
        let mut core = core(101, Duration::ZERO);
        for index in 1..=100 {
            connect(&mut core, Duration::ZERO, index);
        }
        let mut now = SECOND / 2;
        assert_eq!(told(&mut core, now, Event::Tick).len(), 0, "all know of all");
        let mut messages = 0;
        for connection in 51..=100 {
            now += Duration::from_micros(100);
            messages += told(&mut core, now, Event::Disconnected { connection }).len();
        }
        let last = now;
        now = core.deadline();
        messages += told(&mut core, now, Event::Tick).len();
        assert_eq!(messages, 99 + 50, "the first loss, and all others");
        assert!(now - last < SECOND / 10, "told {:?} after the last", now - last);
    }
}
