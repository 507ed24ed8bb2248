//! What must hold between a ballot and the view that it becomes, seen from outside.

use std::collections::{BTreeMap, BTreeSet};

use lockstep_collective::core::{Ballot, ConnectionId, Control};

/// One life of one executor.
type Life = (u32, u64);

/// Knows what every executor promised and heard. Only for runs whose messages all come from those who sent them.
#[derive(Default)]
pub struct Watch {
    /// Connections that were open when an executor first answered (or sent) a proposal.
    promises: BTreeMap<Life, BTreeMap<Ballot, BTreeSet<ConnectionId>>>,
    /// First round of a view that some member takes no part in, as an executor was told.
    abandoned: BTreeMap<(Life, Ballot), u64>,
    /// The ballot of the view that an executor works in.
    works_in: BTreeMap<Life, Ballot>,
}

impl Watch {
    pub fn sends(&mut self, who: Life, control: &Control, open: impl FnOnce() -> BTreeSet<ConnectionId>) {
        if let Control::Ack { ballot, .. } | Control::Propose { ballot, .. } = control {
            self.promises.entry(who).or_default().entry(*ballot).or_insert_with(open);
        }
    }

    pub fn hears(&mut self, who: Life, control: &Control) {
        if let Control::Abandon { ballot, round } = control {
            let first = self.abandoned.entry((who, *ballot)).or_insert(u64::MAX);
            *first = (*first).min(*round);
        }
    }

    /// What a member sent on a connection that broke in between is lost, so the view is entered without it or not at all.
    pub fn enters(
        &mut self,
        who: Life,
        number: u64,
        open: &BTreeMap<u32, BTreeSet<ConnectionId>>,
        members: &[u32],
    ) {
        self.works_in.remove(&who);
        let promises = self.promises.entry(who).or_default();
        let promise = promises.iter().rev().find(|(ballot, _)| ballot.number == number);
        let Some((ballot, then)) = promise else {
            assert_eq!(members.len(), 1, "executor {} enters a view that it promised nobody", who.0);
            return;
        };
        self.works_in.insert(who, *ballot);
        for member in members.iter().filter(|member| **member != who.0) {
            let lasted = open.get(member).is_some_and(|now| !now.is_disjoint(then));
            assert!(
                lasted,
                "executor {} enters view {number} though its connection to {member} broke meanwhile",
                who.0
            );
        }
    }

    /// Nobody begins a round that a member of the view will not finish.
    pub fn begins(&self, who: Life, round: u64) {
        let Some(ballot) = self.works_in.get(&who) else { return };
        let stopped = self.abandoned.get(&(who, *ballot)).copied().unwrap_or(u64::MAX);
        assert!(
            round < stopped,
            "executor {} begins round {round} of {ballot:?}, which ends at {stopped}",
            who.0
        );
    }
}
