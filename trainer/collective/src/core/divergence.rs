//! Equal versions with unequal hashes: all concerned go back to the newest checkpoint; a second time is permanent.

use super::ballots::Pending;
use super::message::{Ballot, Control};
use super::{Core, Stage};
use crate::{Action, Hash};

impl Core {
    /// Tells all who hold version `round` that their states differ.
    pub(super) fn declare_diverged(&mut self, round: u64, holders: &[(u32, u64, Hash)]) {
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
}
