//! Connections: who is behind them and who has gone silent.

use std::time::Duration;

use super::message::{Control, Hello, Member, Message, Status};
use super::{CloseCode, ConnectionId, Core, Effect, MAX_EXECUTORS};
use crate::Hash;

/// Version of the protocol; executors with another one do not talk.
pub(super) const PROTOCOL: u32 = 4;

/// An open connection.
#[derive(Debug)]
pub(super) struct Link {
    pub opened: Duration,
    dialed: Option<u32>,
    /// Who is there, once it said so.
    index: Option<u32>,
}

/// An executor that is connected.
#[derive(Debug)]
pub(super) struct Peer {
    pub connection: ConnectionId,
    pub incarnation: u64,
    pub result_hash: Hash,
    pub fingerprint: Hash,
    pub status: Option<Status>,
    /// It has had a status of ours on this connection.
    pub informed: bool,
    pub heard: Duration,
    /// It declined a proposal: its status does not count until the next one.
    pub declined: bool,
    /// It did not answer proposals in time: it is not asked again before.
    pub shunned_until: Duration,
    pub shunned: u32,
}

impl Core {
    pub(super) fn on_connected(&mut self, connection: ConnectionId, dialed: Option<u32>) {
        self.links.insert(connection, Link { opened: self.now, dialed, index: None });
        let hello = Hello {
            version: PROTOCOL,
            job_uid: self.config.job_uid.clone(),
            member: self.me(),
            result_hash: self.config.result_hash,
            fingerprint: self.config.fingerprint,
        };
        self.effects.push_back(Effect::Send { connection, message: Control::Hello(hello).into() });
    }

    pub(super) fn on_message(&mut self, connection: ConnectionId, message: Message) {
        let Some(link) = self.links.get(&connection) else { return };
        let Some(index) = link.index else {
            return match message {
                Message::Control(Control::Hello(hello)) => self.on_hello(connection, hello),
                _ => self.close(connection, CloseCode::Protocol, "a message before hello"),
            };
        };
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.heard = self.now;
        }
        let control = match message {
            Message::Control(control) => control,
            Message::Sum(_) | Message::Finished(_) => return self.on_chunk(index, message),
            Message::Lesson(lesson) => return self.on_lesson(index, lesson),
            Message::Snapshot(part) => return self.on_snapshot_part(index, part),
        };
        self.dirty = true;
        match control {
            Control::Hello(_) => self.close(connection, CloseCode::Protocol, "a second hello"),
            Control::Status(status) => self.on_status(index, status),
            // Others may be connected, to know of each other; they agree on nothing and teach each other nothing.
            _ if !self.is_same(index) => {}
            Control::Propose { ballot, candidates, at } => self.on_propose(index, ballot, candidates, at),
            Control::Ack { ballot, round, hash } => self.on_ack(index, ballot, round, hash),
            Control::Nack { ballot, promised } => self.on_nack(index, ballot, promised),
            Control::Decline { ballot } => self.on_decline(index, ballot),
            Control::Abort { ballot } => self.on_abort(index, ballot),
            Control::Commit { ballot, members, round, hash, paces } => {
                self.on_commit(index, ballot, members, (round, hash), paces);
            }
            Control::Abandon { ballot, round } => self.on_abandon(index, ballot, round),
            Control::Diverged { ballot, round } => self.on_diverged(index, ballot, round),
            Control::Learn { stream, from } => self.on_learn(index, stream, from),
            Control::Teaching { stream, head } => self.on_teaching(index, stream, head),
            Control::Learned { stream, parts } => self.on_learned(index, stream, parts),
            Control::LearnEnd { stream } => self.on_learn_end(index, stream),
        }
    }

    fn on_hello(&mut self, connection: ConnectionId, hello: Hello) {
        let Hello { version, job_uid, member: Member { index, incarnation }, result_hash, fingerprint } =
            hello;
        let dialed = self.links.get(&connection).and_then(|link| link.dialed);
        let expected =
            dialed.map_or(index > self.config.index && index < MAX_EXECUTORS, |dialed| dialed == index);
        if version != PROTOCOL {
            return self.close(
                connection,
                CloseCode::Version,
                &format!("protocol version {version}, this is {PROTOCOL}"),
            );
        }
        if job_uid != self.config.job_uid {
            return self.close(connection, CloseCode::Stranger, "another job");
        }
        if !expected || index == self.config.index {
            return self.close(
                connection,
                CloseCode::Stranger,
                &format!("executor {index} is not expected here"),
            );
        }
        if let Some(old) = self.peers.get(&index) {
            // The newest connection counts: a restarted process is back before its old socket is known to be dead.
            let old = old.connection;
            self.close(old, CloseCode::Superseded, "the executor has connected again");
        }
        if let Some(link) = self.links.get_mut(&connection) {
            link.index = Some(index);
        }
        let peer = Peer {
            connection,
            incarnation,
            result_hash,
            fingerprint,
            status: None,
            informed: false,
            heard: self.now,
            declined: false,
            shunned_until: self.now,
            shunned: 0,
        };
        self.peers.insert(index, peer);
        self.dirty = true;
    }

    fn on_status(&mut self, index: u32, status: Status) {
        self.highest = self.highest.max(status.highest);
        if let Some(peer) = self.peers.get_mut(&index) {
            peer.status = Some(status);
            peer.declined = false;
        }
    }

    pub(super) fn close(&mut self, connection: ConnectionId, code: CloseCode, reason: &str) {
        self.effects.push_back(Effect::Close { connection, code, reason: reason.to_owned() });
        self.drop_link(connection);
    }

    /// Closes the connection of a peer that broke a rule.
    pub(super) fn reject(&mut self, index: u32, reason: &str) {
        if let Some(peer) = self.peers.get(&index) {
            self.close(peer.connection, CloseCode::Protocol, reason);
        }
    }

    pub(super) fn drop_link(&mut self, connection: ConnectionId) {
        let Some(Link { index: Some(index), .. }) = self.links.remove(&connection) else { return };
        self.peers.remove(&index);
        self.students.remove(&index);
        if self.learning.as_ref().is_some_and(|learning| learning.source == index) {
            self.learning = None;
        }
        if self.view.as_ref().is_some_and(|view| view.has(index)) {
            self.break_view();
        }
        if self.pending.as_ref().is_some_and(|pending| pending.proposer == index) {
            self.pending = None;
        }
        if self
            .proposal
            .as_ref()
            .is_some_and(|proposal| proposal.candidates.iter().any(|member| member.index == index))
        {
            self.abort(Duration::ZERO);
        }
        self.dirty = true;
    }

    pub(super) fn settle_links(&mut self) {
        let silence = self.config.heartbeat_timeout;
        let silent =
            self.peers.values().filter(|peer| self.now >= peer.heard + silence).map(|peer| peer.connection);
        let nameless =
            self.links.iter().filter(|(_, link)| link.index.is_none() && self.now >= link.opened + silence);
        let late: Vec<ConnectionId> = silent.chain(nameless.map(|(connection, _)| *connection)).collect();
        for connection in late {
            self.close(connection, CloseCode::Silent, "nothing was heard for too long");
        }
    }

    /// Whether this peer may share a view with us.
    pub(super) fn is_same(&self, index: u32) -> bool {
        self.peers.get(&index).is_some_and(|peer| {
            peer.result_hash == self.config.result_hash && peer.fingerprint == self.config.fingerprint
        })
    }

    /// Peers that could share a view with us and to whom the link is reported by both ends, with what they say.
    pub(super) fn linked_peers(&self) -> impl Iterator<Item = (u32, &Peer, &Status)> {
        let me = self.me();
        self.peers.iter().filter_map(move |(index, peer)| {
            let status = peer.status.as_ref()?;
            (self.is_same(*index) && status.connected.contains(me)).then_some((*index, peer, status))
        })
    }
}
