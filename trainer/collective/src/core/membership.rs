//! Views: when one is wanted, how it is agreed on, when it is over.
//!
//! Propose, Ack (version, state hash), Commit, each matched to the full ballot. A proposer asks its candidates to stop: at
//! once when nothing works, or at a round's end (`at`) when it only changes a working view, so that nothing is computed
//! twice. Whoever is a little behind learns the missing rounds from those ahead meanwhile ([`super::learning`]) and answers
//! again. A commit names members with equal versions and equal hashes only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::candidates::{candidate_set, proposer};
use super::message::{Ballot, Control, Member};
use super::round::Round;
use super::{Core, NEAR, Peer, Stage, Status};
use crate::{Action, Hash, Plan};

/// A view that this executor works in.
#[derive(Debug)]
pub(super) struct View {
    pub ballot: Ballot,
    /// By rank; ascending by index.
    pub members: Vec<Member>,
    /// By rank.
    pub weights: Vec<u32>,
    pub rank: usize,
    pub round: Option<Round>,
    /// First round that some member takes no part in.
    pub stopped: u64,
}

impl View {
    pub(super) fn has(&self, index: u32) -> bool {
        self.rank_of(index).is_some()
    }

    pub(super) fn rank_of(&self, index: u32) -> Option<usize> {
        self.members.iter().position(|member| member.index == index)
    }
}

/// A ballot that this executor promised and that is not committed here yet.
#[derive(Debug)]
pub(super) struct Pending {
    pub ballot: Ballot,
    pub proposer: u32,
    candidates: Vec<Member>,
    at: u64,
    /// Since when the old view is over because of it.
    frozen: Option<Duration>,
    acked: Option<(u64, Hash)>,
    /// Peers whose connection broke since, and may be back: what they sent in between is lost.
    pub lost: BTreeSet<u32>,
    /// First round that some candidate takes no part in; it may have had the commit before us.
    stopped: u64,
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
            lost: BTreeSet::new(),
            stopped: u64::MAX,
        }
    }
}

/// A ballot that this executor proposed.
#[derive(Debug)]
pub(super) struct Proposal {
    ballot: Ballot,
    pub candidates: Vec<Member>,
    /// Latest answer of each.
    acks: BTreeMap<u32, (u64, Hash)>,
    declined: BTreeSet<u32>,
    /// When to go on with the answers that are there; unknown while members still finish a round.
    pub deadline: Option<Duration>,
}

/// A view that should be proposed.
struct Wish {
    members: Vec<u32>,
    at: u64,
}

impl Core {
    /// Whether this executor's state is new enough to be asked into a view.
    pub(super) fn is_eligible(&self) -> bool {
        if !self.has_state() || self.left || self.failed || self.leaving.is_some() {
            return false;
        }
        if self.view.is_some() {
            return true;
        }
        let head = self.learning.as_ref().and_then(|learning| learning.head);
        // Next to a working view only the stream of its rounds tells how far it is.
        let follows = head.is_some() || self.working_views().next().is_none();
        follows && self.is_near()
    }

    fn is_near(&self) -> bool {
        let head = self.learning.as_ref().and_then(|learning| learning.head);
        let newest = self.linked_peers().filter_map(|(_, _, status)| status.round).chain(head).max();
        newest.is_none_or(|newest| newest <= self.version().saturating_add(NEAR))
    }

    /// Views that linked peers work in, with the index of who says so. One that we left ourselves is over.
    pub(super) fn working_views(&self) -> impl Iterator<Item = (u32, &super::ViewNote)> {
        let note = |(index, _, status): (u32, &Peer, &'_ Status)| (index, status.view.is_some());
        let working: Vec<u32> =
            self.linked_peers().map(note).filter(|(_, working)| *working).map(|(index, _)| index).collect();
        working.into_iter().filter_map(|index| {
            let note = self.peers.get(&index)?.status.as_ref()?.view.as_ref()?;
            (Some(note.ballot) != self.left_view).then_some((index, note))
        })
    }

    /// Peers that may be asked into a view.
    fn electors(&self) -> Vec<u32> {
        let fit = |(index, peer, status): (u32, &Peer, &Status)| {
            let fit = status.eligible && !status.leaving && !peer.declined && self.now >= peer.shunned_until;
            fit.then_some(index)
        };
        let mut electors: Vec<u32> = self.linked_peers().filter_map(fit).collect();
        electors.push(self.config.index);
        electors.sort_unstable();
        electors
    }

    fn wish(&self, electors: &[u32]) -> Option<Wish> {
        let members = candidate_set(self.config.index, electors, |a, b| self.is_linked(a, b));
        if members.len() < self.min_members() {
            return None;
        }
        if let Some(view) = &self.view {
            let stays = |member: &&Member| {
                let status = self.peers.get(&member.index).and_then(|peer| peer.status.as_ref());
                member.index == self.config.index || !status.is_some_and(|status| status.leaving)
            };
            let whole = view.members.iter().filter(stays).all(|member| members.contains(&member.index));
            let news = members.len() != view.members.len() || !members.iter().all(|index| view.has(*index));
            // Members are at most one round apart: nobody is past the end of the next round.
            return (whole && news).then_some(Wish { members, at: self.version() + 2 });
        }
        if let Some(largest) = self.working_views().map(|(_, note)| note.members.len()).max() {
            let head = self.learning.as_ref().and_then(|learning| learning.head)?.max(self.version());
            return (members.len() > largest).then_some(Wish { members, at: head + 2 });
        }
        self.barrier_is_open(&members).then_some(Wish { members, at: 0 })
    }

    /// Before the first view everybody waits for everybody, for a while.
    fn barrier_is_open(&self, members: &[u32]) -> bool {
        let started = |index: &u32| {
            self.peers.get(index).and_then(|peer| peer.status.as_ref()).is_some_and(|status| status.started)
        };
        if self.had_view || members.iter().any(started) {
            return true;
        }
        let all = members.len() >= self.config.executors as usize;
        (all || self.now >= self.started + self.config.join_grace) && self.foreigners(members).is_none()
    }

    /// Executors that cannot share a view with us and go first, as a reason to wait: those that work, else the larger group,
    /// else the one with the lowest index. Only before our first view, and only until none has worked for `start_timeout`.
    pub(super) fn foreigners(&self, members: &[u32]) -> Option<String> {
        let foreign = |(index, peer): (&u32, &Peer)| {
            (!self.is_same(*index)).then_some((peer.result_hash, peer.fingerprint, *index))
        };
        let since = self.foreign_seen.unwrap_or(self.started);
        if self.had_view || self.now >= since + self.config.start_timeout {
            return None;
        }
        let mut groups: BTreeMap<(Hash, Hash), Vec<u32>> = BTreeMap::new();
        for (result_hash, fingerprint, index) in self.peers.iter().filter_map(foreign) {
            groups.entry((result_hash, fingerprint)).or_default().push(index);
        }
        for ((result_hash, _), group) in groups {
            let first = group[0];
            let ahead = group
                .len()
                .cmp(&members.len())
                .then(members.first().copied().unwrap_or(u32::MAX).cmp(&first))
                .is_gt();
            if ahead || self.foreign_seen.is_some() {
                let what = if result_hash == self.config.result_hash {
                    "a CPU with other numerics"
                } else {
                    "another specification"
                };
                return Some(format!("executor {first} has {what}; waiting while it trains"));
            }
        }
        self.foreign_seen
            .map(|_| "executors of another kind were training until now; waiting for their return".to_owned())
    }

    /// Proposes a view if one is wanted and it is on us, or nobody else has done so for a while.
    pub(super) fn consider(&mut self) {
        let works = |peer: &Peer| peer.status.as_ref().is_some_and(|status| status.view.is_some());
        if self.peers.iter().any(|(index, peer)| !self.is_same(*index) && works(peer)) {
            self.foreign_seen = Some(self.now);
        }
        if !self.had_view && !self.start_timed_out && self.now >= self.started + self.config.start_timeout {
            self.start_timed_out = true;
            self.act(Action::StartTimedOut);
        }
        if self.proposal.is_some()
            || self.pending.is_some()
            || self.now < self.quiet_until
            || !self.is_eligible()
        {
            return;
        }
        let electors = self.electors();
        let Some(Wish { members, at }) = self.wish(&electors) else {
            self.patience = None;
            return;
        };
        let works = |index: u32| {
            let status = || self.peers.get(&index).and_then(|peer| peer.status.as_ref());
            if index == self.config.index {
                self.view.is_some()
            } else {
                status().is_some_and(|status| status.view.is_some())
            }
        };
        if proposer(&electors, |a, b| self.is_linked(a, b), works) != Some(self.config.index) {
            let interval = self.heartbeat_interval();
            let patience = self.jittered(interval);
            if self.now < *self.patience.get_or_insert(self.now + patience) {
                return;
            }
        }
        self.propose(&members, at);
    }

    fn propose(&mut self, members: &[u32], at: u64) {
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

    fn promise(&mut self, pending: Pending) {
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
    fn drop_pending(&mut self) {
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
    fn back_off(&mut self) {
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

    fn declare_diverged(&mut self, round: u64, holders: &[(u32, u64, Hash)]) {
        let Some(ballot) = self.proposal.as_ref().map(|proposal| proposal.ballot) else { return };
        for (index, _, _) in holders {
            if *index != self.config.index {
                self.send(*index, Control::Diverged { ballot, round });
            }
        }
        self.on_diverged(self.config.index, ballot, round);
        self.back_off();
    }

    pub(super) fn on_diverged(&mut self, from: u32, ballot: Ballot, round: u64) {
        let ours = |pending: &Pending| {
            pending.ballot == ballot
                && pending.proposer == from
                && pending.acked.is_some_and(|(acked, _)| acked == round)
        };
        if !self.pending.as_ref().is_some_and(ours)
            || self.app.stage != Stage::Ready
            || self.app.round != round
        {
            return;
        }
        if from != self.config.index {
            self.pending = None;
        }
        self.restores += 1;
        if self.restores > 1 {
            return self.fail(format!(
                "the states of version {round} differ between executors, for the second time"
            ));
        }
        self.replace_state();
        self.act(Action::RestoreCheckpoint);
    }

    /// The application's state is about to become another one.
    pub(super) fn replace_state(&mut self) {
        self.app.stage = Stage::Replacing;
        self.app.hash = None;
        self.app.hash_asked = false;
        self.app.last = None;
        self.app.kept.clear();
        self.snapshot_asked = None;
        self.dismiss_students();
        self.dirty = true;
    }

    fn commit(&mut self, members: &[u32], round: u64, hash: Hash) {
        let Some(Proposal { ballot, candidates, .. }) = self.proposal.take() else { return };
        let members: Vec<Member> =
            candidates.into_iter().filter(|member| members.contains(&member.index)).collect();
        let weights = vec![1; members.len()];
        let commit =
            Control::Commit { ballot, members: members.clone(), round, hash, weights: weights.clone() };
        // Also to the spares: it ends what they promised.
        let peers: Vec<u32> = self.peers.keys().copied().filter(|index| self.is_same(*index)).collect();
        for index in peers {
            self.send(index, commit.clone());
        }
        self.failures = 0;
        self.on_commit(self.config.index, ballot, members, (round, hash), weights);
    }

    pub(super) fn on_commit(
        &mut self,
        from: u32,
        ballot: Ballot,
        members: Vec<Member>,
        (round, hash): (u64, Hash),
        weights: Vec<u32>,
    ) {
        let sender = self.peers.get(&from).map_or(self.config.incarnation, |peer| peer.incarnation);
        let ascending = members.is_sorted_by(|a, b| a.index < b.index);
        if ballot.proposer != sender || !ascending || weights.len() != members.len() || members.is_empty() {
            return self.reject(from, "a commit that is not the sender's, or whose members make no sense");
        }
        self.highest = self.highest.max(ballot.number);
        self.dirty = true;
        let rank = members.iter().position(|member| *member == self.me());
        let (acked, stopped) = match &self.pending {
            Some(pending) if pending.ballot == ballot => {
                let known = |member: &Member| {
                    pending.candidates.contains(member) && !pending.lost.contains(&member.index)
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
            // They count on us, and must not wait for us.
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
        self.view = Some(View { ballot, members, weights, rank, round: None, stopped });
    }

    pub(super) fn on_abandon(&mut self, from: u32, ballot: Ballot, round: u64) {
        if let Some(view) = self.view.as_mut().filter(|view| view.ballot == ballot && view.has(from)) {
            view.stopped = view.stopped.min(round);
        }
        if let Some(pending) = self.pending.as_mut().filter(|pending| pending.ballot == ballot) {
            pending.stopped = pending.stopped.min(round);
        }
    }

    /// Leaves the view, if we are in one, and tells its members so.
    pub(super) fn break_view(&mut self) {
        let Some(View { ballot, members, .. }) = self.view.take() else { return };
        let (me, round) = (self.config.index, self.version());
        for member in members.into_iter().filter(|member| member.index != me) {
            if self.peers.get(&member.index).is_some_and(|peer| peer.incarnation == member.incarnation) {
                self.send(member.index, Control::Abandon { ballot, round });
            }
        }
        self.left_view = Some(ballot);
        self.patience = None;
        self.early_keep();
        if self.pending.as_ref().is_some_and(|pending| pending.frozen.is_none()) {
            self.drop_pending();
        }
        self.dirty = true;
    }

    /// Ends the view when a member has, or when somebody outside is further.
    pub(super) fn settle_view(&mut self) {
        let Some(view) = &self.view else { return };
        let version = self.version();
        let stopped = self.app.stage == Stage::Ready && version >= view.stopped;
        let newer = |(index, _, status): (u32, &Peer, &Status)| {
            !view.has(index) && status.round.is_some_and(|round| round > version + NEAR)
        };
        if stopped || self.linked_peers().any(newer) {
            self.break_view();
        } else {
            self.open_round();
        }
    }

    /// Tells the application where things stand, when that changes.
    pub(super) fn tell(&mut self) {
        if self.view.is_some() || self.left || self.failed || !self.has_state() {
            return;
        }
        let electors = self.electors();
        let members = candidate_set(self.config.index, &electors, |a, b| self.is_linked(a, b));
        let missing = self.min_members().saturating_sub(members.len());
        let what = if let Some(reason) = self.foreigners(&members).filter(|_| !self.had_view) {
            Action::Waiting { reason }
        } else if self.learning.is_some() {
            Action::Waiting { reason: "catching up with the other executors".to_owned() }
        } else if missing == 0 && self.had_view {
            return;
        } else if self.had_view {
            Action::Paused {
                reason: format!("fewer than minExecutors ({}) can reach each other", self.min_members()),
            }
        } else {
            Action::Waiting {
                reason: format!(
                    "waiting for executors: {} of {} are here",
                    members.len(),
                    self.config.executors
                ),
            }
        };
        if self.told.as_ref() != Some(&what) {
            self.told = Some(what.clone());
            self.act(what);
        }
    }
}
