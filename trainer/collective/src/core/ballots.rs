//! Agreeing on a view: Propose, Ack (version, state hash), Commit, each matched to the full ballot.
//!
//! A proposer asks its candidates to stop: at once when nothing works, or at a round's end (`at`) when it only changes a
//! working view, so that nothing is computed twice. Whoever is a little behind learns the missing rounds from those ahead
//! meanwhile (`super::learning`) and answers again. A commit names members with equal versions and equal hashes only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::assignment::Shares;
use super::membership::View;
use super::message::{Ballot, Control, Member};
use super::{ConnectionId, Core, NEAR, Stage};
use crate::{Action, Hash, Plan};

/// A ballot that this executor promised and that is not committed here yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub ballot: Ballot,
    pub proposer: u32,
    candidates: Vec<Member>,
    at: u64,
    /// Since when the old view is over because of it.
    pub frozen: Option<Duration>,
    pub acked: Option<(u64, Hash)>,
    /// The connection to each peer when the ballot was promised. The view is entered over these or not at all: on one that
    /// broke since, and may be back, what the peer sent in between is lost.
    connections: BTreeMap<u32, ConnectionId>,
    /// First round that some candidate takes no part in; it may have had the commit before us.
    pub stopped: u64,
}

impl Pending {
    fn new(ballot: Ballot, proposer: u32, candidates: Vec<Member>, at: u64) -> Self {
        Self {
            ballot,
            proposer,
            candidates,
            at,
            frozen: None,
            acked: None,
            connections: BTreeMap::new(),
            stopped: u64::MAX,
        }
    }
}

/// A ballot that this executor proposed.
#[derive(Debug)]
pub(super) struct Proposal {
    pub ballot: Ballot,
    pub candidates: Vec<Member>,
    /// Latest answer of each.
    acks: BTreeMap<u32, (u64, Hash)>,
    declined: BTreeSet<u32>,
    /// When to go on with the answers that are there; unknown while members still finish a round.
    pub deadline: Option<Duration>,
}

impl Core {
    /// Asks `members`, which include us, to form a view.
    pub(super) fn propose(&mut self, members: &[u32], at: u64) {
        let member = |index: &u32| {
            let incarnation = self.peers.get(index).map_or(self.config.incarnation, |peer| peer.incarnation);
            Member { index: *index, incarnation }
        };
        let candidates: Vec<Member> = members.iter().map(member).collect();
        let ballot = Ballot { number: self.highest + 1, proposer: self.config.incarnation };
        let deadline = (at == 0).then_some(self.now + self.config.heartbeat_timeout);
        self.proposal = Some(Proposal {
            ballot,
            candidates: candidates.clone(),
            acks: BTreeMap::new(),
            declined: BTreeSet::new(),
            deadline,
        });
        // Members that leave are told too: so they begin no round that is not theirs any more.
        let members = self.view.iter().flat_map(|view| view.members.iter().map(|member| member.index));
        let mut asked: BTreeSet<u32> = candidates.iter().map(|member| member.index).chain(members).collect();
        asked.remove(&self.config.index);
        for index in asked {
            self.send(index, Control::Propose { ballot, candidates: candidates.clone(), at });
        }
        self.promise(Pending::new(ballot, self.config.index, candidates, at));
    }

    pub(super) fn on_propose(&mut self, from: u32, ballot: Ballot, candidates: Vec<Member>, at: u64) {
        let Some(sender) =
            self.peers.get(&from).map(|peer| Member { index: from, incarnation: peer.incarnation })
        else {
            return;
        };
        let ascending = candidates.is_sorted_by(|a, b| a.index < b.index);
        if ballot.proposer != sender.incarnation || !ascending || !candidates.contains(&sender) {
            return self
                .reject(from, "a proposal that is not the sender's, or whose candidates make no sense");
        }
        self.highest = self.highest.max(ballot.number);
        if !candidates.contains(&self.me()) {
            if let Some(view) = self.view.as_mut().filter(|view| at > 0 && view.has(from)) {
                view.stopped = view.stopped.min(at);
            }
            return;
        }
        if ballot <= self.promised {
            let promised = self.promised;
            return self.send(from, Control::Nack { ballot, promised });
        }
        let going = self.leaving.is_some() || self.left || self.failed;
        if going || !self.has_state() || (self.view.is_none() && !self.is_near()) {
            return self.send(from, Control::Decline { ballot });
        }
        self.promise(Pending::new(ballot, from, candidates, at));
    }

    fn promise(&mut self, mut pending: Pending) {
        pending.connections = self.peers.iter().map(|(index, peer)| (*index, peer.connection)).collect();
        self.promised = pending.ballot;
        self.highest = self.highest.max(pending.ballot.number);
        self.patience = None;
        if self.proposal.as_ref().is_some_and(|proposal| proposal.ballot != pending.ballot) {
            self.abort(Duration::ZERO);
        }
        let at = pending.at;
        self.pending = Some(pending);
        if at == 0 {
            self.freeze();
        }
        self.dirty = true;
    }

    /// Ends the old view for the promised ballot.
    fn freeze(&mut self) {
        if let Some(pending) = &mut self.pending {
            pending.frozen = Some(self.now);
        }
        self.break_view();
        self.dirty = true;
    }

    pub(super) fn settle_pending(&mut self) {
        let Some(pending) = &self.pending else { return };
        let (ballot, by, at) = (pending.ballot, pending.proposer, pending.at);
        let Some(since) = pending.frozen else {
            let there =
                self.app.stage == Stage::Ready && (self.app.round >= at || self.app.plan == Plan::Finished);
            if there {
                self.freeze();
            } else if self.view.is_none() && self.learning.is_none() {
                // Nobody brings us to where the members will be.
                self.drop_pending();
            }
            return;
        };
        if by != self.config.index && self.now >= since + 2 * self.config.heartbeat_timeout {
            self.pending = None;
            self.dirty = true;
            return;
        }
        if self.app.stage != Stage::Ready {
            return;
        }
        let round = self.app.round;
        let alone = pending.candidates.len() == 1;
        let Some(hash) = self.app.hash.or_else(|| alone.then_some([0; 32])) else {
            if !self.app.hash_asked {
                self.app.hash_asked = true;
                self.act(Action::HashState { round });
            }
            return;
        };
        if pending.acked == Some((round, hash)) {
            return;
        }
        if let Some(pending) = &mut self.pending {
            pending.acked = Some((round, hash));
        }
        if by == self.config.index {
            self.on_ack(by, ballot, round, hash);
        } else {
            self.send(by, Control::Ack { ballot, round, hash });
        }
        self.dirty = true;
    }

    /// Takes back a promise that we cannot keep.
    pub(super) fn drop_pending(&mut self) {
        let Some(Pending { ballot, proposer, .. }) = self.pending.take() else { return };
        if proposer == self.config.index {
            self.abort(Duration::ZERO);
        } else {
            self.send(proposer, Control::Decline { ballot });
        }
        self.dirty = true;
    }

    pub(super) fn on_ack(&mut self, from: u32, ballot: Ballot, round: u64, hash: Hash) {
        let patience = self.config.heartbeat_timeout;
        let now = self.now;
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.shunned = 0;
            peer.shunned_until = now;
        }
        let Some(proposal) = self.proposal.as_mut().filter(|proposal| proposal.ballot == ballot) else {
            return;
        };
        if proposal.candidates.iter().any(|member| member.index == from) {
            // Whoever answers has reached the round's end: the others cannot be far.
            proposal.deadline.get_or_insert(now + patience);
            proposal.acks.insert(from, (round, hash));
            self.dirty = true;
        }
    }

    pub(super) fn on_nack(&mut self, from: u32, ballot: Ballot, promised: Ballot) {
        self.highest = self.highest.max(promised.number);
        let ours = |proposal: &Proposal| {
            proposal.ballot == ballot && proposal.candidates.iter().any(|member| member.index == from)
        };
        if self.proposal.as_ref().is_some_and(ours) {
            self.back_off();
        }
    }

    pub(super) fn on_decline(&mut self, from: u32, ballot: Ballot) {
        let Some(proposal) = self.proposal.as_mut().filter(|proposal| proposal.ballot == ballot) else {
            return;
        };
        proposal.declined.insert(from);
        if let Some(peer) = self.peers.get_mut(&from) {
            peer.declined = true;
        }
        // A member whose view broke will not reach the round's end: start over at once.
        if self.pending.as_ref().is_some_and(|pending| pending.at > 0) {
            self.abort(Duration::ZERO);
        }
        self.dirty = true;
    }

    pub(super) fn on_abort(&mut self, from: u32, ballot: Ballot) {
        if self.pending.as_ref().is_some_and(|pending| pending.ballot == ballot && pending.proposer == from) {
            self.pending = None;
            self.dirty = true;
        }
    }

    /// Gives our proposal up and proposes nothing for `quiet`.
    pub(super) fn abort(&mut self, quiet: Duration) {
        let Some(Proposal { ballot, candidates, .. }) = self.proposal.take() else { return };
        for member in candidates {
            if member.index != self.config.index {
                self.send(member.index, Control::Abort { ballot });
            }
        }
        if self.pending.as_ref().is_some_and(|pending| pending.ballot == ballot) {
            self.pending = None;
        }
        self.quiet_until = self.quiet_until.max(self.now + quiet);
        self.dirty = true;
    }

    /// Gives up for a random while that grows with every failure, so that two proposers do not collide for ever.
    pub(super) fn back_off(&mut self) {
        self.failures = (self.failures + 1).min(6);
        let shortest = (self.config.heartbeat_timeout / 100) * (1 << self.failures);
        let quiet = self.jittered(shortest);
        self.abort(quiet);
    }

    pub(super) fn settle_proposal(&mut self) {
        let Some(proposal) = &self.proposal else { return };
        let me = self.config.index;
        let gone = |member: &&Member| {
            let here =
                self.peers.get(&member.index).is_some_and(|peer| peer.incarnation == member.incarnation);
            member.index != me && !here && !proposal.declined.contains(&member.index)
        };
        if proposal.candidates.iter().find(gone).is_some() {
            return self.abort(Duration::ZERO);
        }
        let late = proposal.deadline.is_some_and(|deadline| self.now >= deadline);
        let asked: Vec<u32> = proposal
            .candidates
            .iter()
            .map(|member| member.index)
            .filter(|index| !proposal.declined.contains(index))
            .collect();
        let silent: Vec<u32> =
            asked.iter().copied().filter(|index| !proposal.acks.contains_key(index)).collect();
        if !silent.is_empty() && !late {
            return;
        }
        let acks: Vec<(u32, u64, Hash)> = asked
            .iter()
            .filter_map(|index| proposal.acks.get(index).map(|(round, hash)| (*index, *round, *hash)))
            .collect();
        let newest = acks.iter().map(|(_, round, _)| *round).max().unwrap_or(0);
        let waiting = |(_, round, _): &&(u32, u64, Hash)| *round < newest && newest - *round <= NEAR;
        if acks.iter().find(waiting).is_some() && !late {
            return;
        }
        let ours = acks.iter().find(|(index, _, _)| *index == me).copied();
        let equal: Vec<(u32, u64, Hash)> =
            acks.into_iter().filter(|(_, round, _)| *round == newest).collect();
        self.shun(&silent);
        match ours {
            Some((_, round, hash)) if round == newest => {
                if equal.iter().any(|(_, _, other)| *other != hash) {
                    self.declare_diverged(newest, &equal);
                } else if equal.len() >= self.min_members() {
                    let members: Vec<u32> = equal.iter().map(|(index, _, _)| *index).collect();
                    self.commit(&members, newest, hash);
                } else {
                    self.back_off();
                }
            }
            // We do not hold the newest state, or cannot say: by now somebody else should propose, or we after learning.
            _ => self.back_off(),
        }
    }

    /// Peers that did not answer in time are left alone for longer and longer, until they answer.
    fn shun(&mut self, silent: &[u32]) {
        let shortest = self.config.heartbeat_timeout;
        for index in silent {
            if let Some(peer) = self.peers.get_mut(index) {
                peer.shunned = (peer.shunned + 1).min(5);
                peer.shunned_until = self.now + shortest * (1 << peer.shunned);
            }
        }
    }

    fn commit(&mut self, members: &[u32], round: u64, hash: Hash) {
        let Some(Proposal { ballot, candidates, .. }) = self.proposal.take() else { return };
        let members: Vec<Member> =
            candidates.into_iter().filter(|member| members.contains(&member.index)).collect();
        let paces = self.shares(&members).announced();
        let commit = Control::Commit { ballot, members: members.clone(), round, hash, paces: paces.clone() };
        // Also to the spares: it ends what they promised.
        let peers: Vec<u32> = self.peers.keys().copied().filter(|index| self.is_same(*index)).collect();
        for index in peers {
            self.send(index, commit.clone());
        }
        self.failures = 0;
        self.on_commit(self.config.index, ballot, members, (round, hash), paces);
    }

    /// How these members begin to share the leaves: by how fast each was when last heard of.
    fn shares(&self, members: &[Member]) -> Shares {
        let Some((leaves, _)) = self.app.plan.shape().filter(|_| self.config.adaptive) else {
            return Shares::even(members.len());
        };
        let pace = |member: &Member| {
            let ours = (*member == self.me()).then(|| self.pace.nanoseconds());
            ours.or_else(|| self.paces.get(member).copied()).unwrap_or(0)
        };
        Shares::by_paces(leaves, &members.iter().map(pace).collect::<Vec<_>>())
    }

    pub(super) fn on_commit(
        &mut self,
        from: u32,
        ballot: Ballot,
        members: Vec<Member>,
        (round, hash): (u64, Hash),
        paces: Vec<u64>,
    ) {
        let sender = self.peers.get(&from).map_or(self.config.incarnation, |peer| peer.incarnation);
        let ascending = members.is_sorted_by(|a, b| a.index < b.index);
        let shares = Shares::from_announced(paces, members.len());
        let Some(shares) = shares.filter(|_| ballot.proposer == sender && ascending && !members.is_empty())
        else {
            return self.reject(from, "a commit that is not the sender's, or whose members make no sense");
        };
        self.highest = self.highest.max(ballot.number);
        self.dirty = true;
        let rank = members.iter().position(|member| *member == self.me());
        let (acked, stopped) = match &self.pending {
            Some(pending) if pending.ballot == ballot => {
                let known = |member: &Member| {
                    let connection = self.peers.get(&member.index).map(|peer| &peer.connection);
                    pending.candidates.contains(member)
                        && pending.connections.get(&member.index) == connection
                };
                let acked = pending.acked == Some((round, hash)) && members.iter().all(known);
                let stopped = pending.stopped;
                self.pending = None;
                (acked, stopped)
            }
            _ => (false, 0),
        };
        let indexes: Vec<u32> = members.iter().map(|member| member.index).collect();
        let Some(rank) = rank else {
            if self.view.is_none() && self.has_state() {
                self.act(Action::View { number: ballot.number, members: indexes, joined: false });
            }
            return;
        };
        let here = |member: &Member| {
            *member == self.me()
                || self.peers.get(&member.index).is_some_and(|peer| peer.incarnation == member.incarnation)
        };
        let current = self.app.stage == Stage::Ready && self.app.round == round;
        if !acked || !current || !members.iter().all(here) {
            // They count on us, and must not wait for us; nor propose the same again.
            self.gossiped = None;
            self.early_keep();
            let me = self.me();
            for member in members.into_iter().filter(|member| *member != me) {
                self.send(member.index, Control::Abandon { ballot, round });
            }
            return;
        }
        self.break_view();
        self.stop_learning(Duration::ZERO);
        self.students.retain(|index, _| !members.iter().any(|member| member.index == *index));
        self.had_view = true;
        self.failures = 0;
        self.told = None;
        self.act(Action::View { number: ballot.number, members: indexes, joined: true });
        self.view = Some(View { ballot, members, shares, rank, round: None, stopped });
    }
}
