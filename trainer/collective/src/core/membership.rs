//! Views: when one is wanted and by whom, and when it is over. `super::ballots` agrees on it.

use std::collections::BTreeMap;

use super::assignment::Shares;
use super::candidates::{candidate_set, proposer};
use super::connected::Mesh;
use super::message::{Ballot, Control, Member};
use super::round::Round;
use super::{Core, NEAR, Peer, Stage, Status};
use crate::{Action, Hash};

/// A view that this executor works in.
#[derive(Debug)]
pub(super) struct View {
    pub ballot: Ballot,
    /// By rank; ascending by index.
    pub members: Vec<Member>,
    pub shares: Shares,
    pub rank: usize,
    pub round: Option<Round>,
    /// First round that some member takes no part in.
    pub stopped: u64,
}

impl View {
    pub(super) fn has(&self, index: u32) -> bool {
        self.rank_of(index).is_some()
    }

    /// All members but this executor.
    pub(super) fn others(&self) -> impl Iterator<Item = &Member> {
        let rank = self.rank;
        self.members.iter().enumerate().filter_map(move |(at, member)| (at != rank).then_some(member))
    }

    pub(super) fn rank_of(&self, index: u32) -> Option<usize> {
        self.members.binary_search_by_key(&index, |member| member.index).ok()
    }
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

    pub(super) fn is_near(&self) -> bool {
        let head = self.learning.as_ref().and_then(|learning| learning.head);
        let newest = self.linked_peers().filter_map(|(_, _, status)| status.round).chain(head).max();
        newest.is_none_or(|newest| newest <= self.version().saturating_add(NEAR))
    }

    /// Linked peers that hold the result of the next round here, and not from a view of ours.
    fn overtaken_by(&self) -> impl Iterator<Item = u32> {
        let version = self.version();
        self.linked_peers().filter_map(move |(index, _, status)| {
            let ahead = status.round.map_or(0, |round| round.saturating_sub(version));
            // Who follows a view may be a round ahead of its slowest member, but not more.
            let follows = status.eligible || status.leaving || status.view.is_some();
            (ahead > 1 || (ahead == 1 && !follows)).then_some(index)
        })
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

    fn wish(&self, electors: &[u32], mesh: &Mesh<'_>) -> Option<Wish> {
        if self.waits_for_all() && electors.len() < self.config.executors as usize {
            return None;
        }
        let stays = |member: &&Member| {
            let status = self.peers.get(&member.index).and_then(|peer| peer.status.as_ref());
            member.index == self.config.index || !status.is_some_and(|status| status.leaving)
        };
        let settled = |view: &View| {
            electors.iter().all(|index| view.has(*index)) && view.members.iter().all(|member| stays(&member))
        };
        if self.view.as_ref().is_some_and(settled) {
            // Nobody is to be taken in or let go.
            return None;
        }
        let members = candidate_set(self.config.index, electors, |a, b| mesh.is_linked(a, b));
        if members.len() < self.min_members() {
            return None;
        }
        if let Some(view) = &self.view {
            let whole = view.members.iter().filter(stays).all(|member| members.contains(&member.index));
            let news = members.len() != view.members.len() || !members.iter().all(|index| view.has(*index));
            // Members are at most one round apart: nobody is past the end of the next round.
            return (whole && news).then_some(Wish { members, at: self.version() + 2 });
        }
        if let Some(largest) = self.working_views().map(|(_, note)| note.members.len()).max() {
            let head = self.learning.as_ref().and_then(|learning| learning.head)?.max(self.version());
            return (members.len() > largest).then_some(Wish { members, at: head + 2 });
        }
        let overtaken = self.overtaken_by().any(|index| !members.contains(&index));
        (!overtaken && self.barrier_is_open(&members)).then_some(Wish { members, at: 0 })
    }

    /// Whether there is no first view yet, as far as we know, and it will have all executors or be none.
    pub(super) fn waits_for_all(&self) -> bool {
        let started = |peer: &Peer| peer.status.as_ref().is_some_and(|status| status.started);
        !self.had_view
            && self.now < self.started + self.config.join_grace
            && !self.peers.values().any(started)
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
        let mesh = self.mesh();
        let Some(Wish { members, at }) = self.wish(&electors, &mesh) else {
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
        if proposer(&electors, |a, b| mesh.is_linked(a, b), works) != Some(self.config.index) {
            let interval = self.heartbeat_interval();
            let patience = self.jittered(interval);
            if self.now < *self.patience.get_or_insert(self.now + patience) {
                return;
            }
        }
        self.propose(&members, at);
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
        let overtaken = self.overtaken_by().any(|index| !view.has(index));
        if stopped || overtaken {
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
        let mesh = self.mesh();
        let members = candidate_set(self.config.index, &electors, |a, b| mesh.is_linked(a, b));
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
