//! The rounds of a view: ask the application for sums, exchange them, hand over the result.

use std::sync::Arc;

use super::message::{Chunk, Message};
use super::round::{Broken, Finished, Outgoing, Round};
use super::{Core, Stage, View};
use crate::tree::{Node, NodeSum, Tree};
use crate::{Action, Part, PerPart};

/// Floats that may wait for a round that is not open here yet, beside what a round of the longest vector so far needs.
const EARLY_FLOATS: usize = 16 << 20;

impl Core {
    /// Opens the next round of the view once the application is ready for it.
    pub(super) fn open_round(&mut self) {
        let Some((leaves, shape)) = self.app.plan.shape() else { return };
        let number = self.app.round;
        let Some(root) = Tree::new(leaves).root() else { return };
        let Some(view) = self.view.as_mut().filter(|view| view.round.is_none()) else { return };
        if self.app.stage != Stage::Ready {
            return;
        }
        let nodes = view.shares.nodes(leaves);
        let memory = std::mem::take(&mut self.app.spare);
        let round = Round::new(number, root, view.rank, nodes, shape, self.chunk, memory);
        let mut missing = PerPart::<Vec<Node>>::default();
        for (part, node) in round.unsent() {
            missing[part].extend(self.app.kept.missing(part, node));
        }
        let leaves_of = |nodes: &[Node]| nodes.iter().map(|node| node.len).sum::<u32>();
        let to_compute = leaves_of(&missing.upper);
        let is_whole = to_compute == leaves_of(round.own_nodes());
        // Others are evaluations, whose leaves take less.
        if is_whole && shape.len == self.app.longest {
            self.pace.begin(self.now, to_compute);
        } else {
            self.pace.forget();
        }
        view.round = Some(round);
        self.dirty = true;
        self.act(Action::Compute { round: number, nodes: missing });
        self.send_sums();
        let early = std::mem::take(&mut self.early);
        self.early_floats = 0;
        for (from, message) in early {
            self.on_chunk(from, message);
        }
    }

    /// A part of a sum that the application has computed. It is kept whether there is a view or not.
    pub(super) fn on_own_sum(&mut self, round: u64, part: Part, node: Node, sum: NodeSum) {
        let Some((leaves, shape)) = self.app.plan.shape() else { return };
        if self.app.stage != Stage::Ready || self.app.round != round {
            return;
        }
        let planned = (shape.range(part).len(), shape.counts(part));
        let found = (sum.values.len(), sum.counts.len());
        if !Tree::new(leaves).has(node) || !shape.parts().contains(&part) || found != planned {
            return self.fail(format!(
                "round {round} was planned with {leaves} leaves and {shape:?}; its sum of {node:?}, {part:?} part, has {} \
                 floats and {} integers",
                found.0, found.1
            ));
        }
        self.app.kept.insert(part, node, sum);
        self.send_sums();
    }

    /// Sends the own sums that are there and were not sent in this view.
    fn send_sums(&mut self) {
        let Some(round) = self.view.as_mut().and_then(|view| view.round.as_mut()) else { return };
        let mut outgoing: Vec<(Node, Outgoing)> = Vec::new();
        let mut finished = Vec::new();
        for (part, node) in round.unsent() {
            let Some(sum) = self.app.kept.take(part, node) else { continue };
            let (chunks, pieces) = round.own_sum(part, node, &sum);
            outgoing.extend(chunks.into_iter().map(|chunk| (node, chunk)));
            finished.extend(pieces);
        }
        let Some(View { ballot, members, round: Some(round), .. }) = &self.view else { return };
        let (ballot, number) = (*ballot, round.number);
        if round.unsent().is_empty() {
            self.pace.end(self.now);
        }
        let parts: Vec<(u32, Message)> = outgoing
            .into_iter()
            .map(|(node, Outgoing { owner, start, values, counts })| {
                let chunk =
                    Chunk { ballot, round: number, node, start: start as u64, pace: 0, counts, values };
                (members[owner].index, Message::Sum(chunk))
            })
            .collect();
        for (to, part) in parts {
            self.send(to, part);
        }
        self.broadcast(finished);
    }

    /// Sends finished pieces to all members and ends the round when all are there.
    fn broadcast(&mut self, finished: Vec<Finished>) {
        let pace = self.pace.nanoseconds();
        let Some(view) = self.view.as_mut() else { return };
        let (ballot, rank) = (view.ballot, view.rank);
        let others: Vec<u32> = view.others().map(|member| member.index).collect();
        let Some(round) = view.round.as_mut() else { return };
        let (number, node) = (round.number, round.root());
        let mut chunks = Vec::new();
        for Finished { start, values, counts } in finished {
            let start = start as u64;
            round.hear_pace(rank, start, pace);
            chunks.push(Chunk { ballot, round: number, node, start, pace, counts, values });
        }
        let result = round.take_result();
        if result.is_some() {
            let paces = round.paces().to_vec();
            self.hear_paces(paces);
        }
        for chunk in chunks {
            for to in &others {
                self.send(*to, Message::Finished(chunk.clone()));
            }
        }
        if let Some((values, counts)) = result {
            self.reduced(Arc::new(values), counts);
        }
    }

    /// Remembers how fast the members of the view are, by rank, and shares the leaves of the next rounds by it.
    fn hear_paces(&mut self, paces: Vec<u64>) {
        let (Some((leaves, _)), Some(view)) = (self.app.plan.shape(), self.view.as_mut()) else { return };
        view.shares.revise(leaves, &paces);
        self.paces = view.members.iter().copied().zip(paces).collect();
    }

    /// A round is over: hands its result to the application and to whoever learns from us.
    pub(super) fn reduced(&mut self, values: Arc<Vec<f32>>, counts: Vec<u64>) {
        let round = self.app.round;
        self.app.stage = Stage::Applying;
        let spent = self.app.kept.take_spent();
        let last = self.app.last.replace((round, Arc::clone(&values), counts.clone()));
        // The application is done with it; only a learner may still need it.
        self.app.spare = last.and_then(|(_, values, _)| Arc::into_inner(values)).unwrap_or_default();
        if let Some(view) = &mut self.view {
            view.round = None;
        }
        self.dirty = true;
        self.teach(round, &values, &counts);
        self.act(Action::Reduced { round, values, counts, spent });
    }

    /// A chunk from a peer: used, kept for later, or dropped.
    pub(super) fn on_chunk(&mut self, from: u32, message: Message) {
        let (Message::Sum(chunk) | Message::Finished(chunk)) = &message else { return };
        let (ballot, number) = (chunk.ballot, chunk.round);
        let Some(view) = self.view.as_mut().filter(|view| view.ballot == ballot) else {
            // Its view is promised, but the commit travels on another connection.
            if self.pending.as_ref().is_some_and(|pending| pending.ballot == ballot) {
                self.keep_early(from, message);
            }
            return;
        };
        let Some(rank) = view.rank_of(from) else { return };
        let open = view.round.as_mut().filter(|round| round.number == number);
        let Some(round) = open else {
            let next = self.app.round + u64::from(self.app.stage == Stage::Applying);
            // A peer is at most one round ahead: it needs our part of every round.
            if number == next || number == next + 1 {
                self.keep_early(from, message);
            }
            return;
        };
        let outcome = match message {
            Message::Sum(Chunk { node, start, counts, values, .. }) => {
                round.sum(rank, node, start, values, counts)
            }
            Message::Finished(Chunk { node, .. }) if node != round.root() => Err(Broken::Node),
            Message::Finished(Chunk { start, pace, counts, values, .. }) => {
                round.gathered(rank, (start, pace), &values, counts).map(|()| None)
            }
            _ => return,
        };
        match outcome {
            Ok(finished) => self.broadcast(finished.into_iter().collect()),
            Err(broken) => self.reject(from, broken.reason()),
        }
    }

    fn keep_early(&mut self, from: u32, message: Message) {
        let (Message::Sum(chunk) | Message::Finished(chunk)) = &message else { return };
        let limit = EARLY_FLOATS + 16 * self.app.longest;
        // Small chunks cost too.
        self.early_floats += chunk.values.len() + 64;
        if self.early_floats > limit {
            self.early_keep();
            return self.reject(from, "too many chunks of rounds to come");
        }
        self.early.push((from, message));
    }

    /// Forgets chunks of views that are neither worked in nor promised.
    pub(super) fn early_keep(&mut self) {
        let ballots =
            [self.view.as_ref().map(|view| view.ballot), self.pending.as_ref().map(|pending| pending.ballot)];
        let mut floats = 0;
        self.early.retain(|(_, message)| {
            let (Message::Sum(chunk) | Message::Finished(chunk)) = message else { return false };
            let keep = ballots.contains(&Some(chunk.ballot));
            floats += if keep { chunk.values.len() + 64 } else { 0 };
            keep
        });
        self.early_floats = floats;
    }
}
