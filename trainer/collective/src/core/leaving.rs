//! Going without losing what only we know.
//!
//! Normally the others agree on a view without us at the end of a round, and we go. If too few would remain to train, the work
//! stops, and the executor with the lowest index among those that hold the newest state commits a checkpoint of it first.

use super::{Core, Peer, Stage, Status};
use crate::{Action, Plan};

impl Core {
    pub(super) fn settle_leaving(&mut self) {
        if self.left || self.failed {
            return;
        }
        let survivors =
            self.linked_peers().filter(|(_, _, status)| !status.leaving && status.round.is_some()).count();
        if let Some(since) = self.leaving {
            if self.app.stage == Stage::Empty {
                return self.leave();
            }
            let enough = survivors >= self.min_members();
            if enough && self.goes_on_without_us() {
                return self.leave();
            }
            // Survivors who cannot agree in a long time might never: then the checkpoint is the safe way.
            if enough && self.now < since + 4 * self.config.heartbeat_timeout {
                return;
            }
            self.break_view();
        } else {
            let somebody_leaves = self.linked_peers().any(|(_, _, status)| status.leaving);
            if self.view.is_some() || !somebody_leaves || survivors + 1 >= self.min_members() {
                return;
            }
        }
        self.save();
    }

    /// Whether a linked peer works in a view without us whose state is not behind ours.
    fn goes_on_without_us(&self) -> bool {
        if self.view.is_some() {
            return false;
        }
        let me = self.config.index;
        let working: Vec<u32> = self
            .working_views()
            .filter(|(_, note)| !note.members.contains(&me))
            .map(|(index, _)| index)
            .collect();
        working.iter().any(|index| {
            let status = self.peers.get(index).and_then(|peer| peer.status.as_ref());
            status.is_some_and(|status| !status.leaving && status.round >= Some(self.version()))
        })
    }

    /// Sees to it that a checkpoint holds our state; then we may go.
    fn save(&mut self) {
        let version = self.version();
        let saved = self.linked_peers().map(|(_, _, status)| status.saved).chain([self.app.saved]).max();
        if saved >= Some(version) {
            if self.leaving.is_some() {
                self.leave();
            }
            return;
        }
        let key = |(index, _, status): (u32, &Peer, &Status)| Some((status.round?, std::cmp::Reverse(index)));
        let ours = (version, std::cmp::Reverse(self.config.index));
        let newest = self.linked_peers().filter_map(key).chain([ours]).max();
        let round = self.app.round;
        if newest == Some(ours) && self.app.stage == Stage::Ready && self.commit_asked != Some(round) {
            self.commit_asked = Some(round);
            self.act(Action::CommitCheckpoint { round });
        }
    }

    fn leave(&mut self) {
        self.left = true;
        self.break_view();
        self.stop_learning(std::time::Duration::ZERO);
        self.dirty = true;
        self.act(Action::Left);
    }

    /// Whether the job is over for this executor.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.app.stage == Stage::Ready && self.app.plan == Plan::Finished
    }
}
