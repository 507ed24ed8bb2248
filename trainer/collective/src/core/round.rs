//! One reduction within one view: reduce-scatter of node sums to the owners of pieces, all-gather of finished pieces.
//!
//! Pure data flow: `super::training` feeds it sums and chunks and sends what it returns.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::assignment::{Piece, pieces};
use super::kept::SharedSum;
use super::values::Values;
use crate::part::Shape;
use crate::tree::{Folder, Node, Summand, Tree, add_counts};
use crate::{Part, PerPart};

/// A piece of a node's sum.
#[derive(Debug, Clone)]
struct PieceSum {
    values: Values,
    counts: Vec<u64>,
}

impl Summand for PieceSum {
    fn merge(self, right: Self) -> (Self, Option<Self>) {
        let mut counts = self.counts;
        add_counts(&mut counts, &right.counts);
        (Self { values: Values::sum(self.values, right.values), counts }, None)
    }
}

/// A chunk that breaks a rule of the round, as a reason to close the connection it came on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Broken {
    /// The node is not one that the sender computes.
    Node,
    /// The piece does not exist or is somebody else's.
    Piece,
    /// Too many or too few floats or integers.
    Shape,
}

impl Broken {
    pub(super) fn reason(self) -> &'static str {
        match self {
            Self::Node => "a sum of a node that is not the sender's",
            Self::Piece => "a chunk of a piece that does not exist or is not the sender's to send",
            Self::Shape => "a chunk of the wrong size",
        }
    }
}

/// A piece that is finished here and goes to everybody.
#[derive(Debug)]
pub(super) struct Finished {
    pub start: usize,
    pub values: Values,
    pub counts: Vec<u64>,
}

/// A piece of an own sum that goes to its owner.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub owner: usize,
    pub start: usize,
    pub values: Values,
    pub counts: Vec<u64>,
}

/// The open round of a view.
#[derive(Debug)]
pub(super) struct Round {
    pub number: u64,
    root: Node,
    rank: usize,
    shape: Shape,
    /// By rank.
    nodes: Vec<Vec<Node>>,
    pieces: Vec<Piece>,
    /// Places in `pieces` by owner and first float.
    places: BTreeMap<(usize, usize), usize>,
    /// By piece; `Some` for unfinished pieces of our own.
    folders: Vec<Option<Folder<PieceSum>>>,
    /// By piece.
    finished: Vec<bool>,
    /// How many are not finished.
    unfinished: usize,
    /// Own nodes whose sums went out.
    sent: PerPart<Vec<Node>>,
    result: Vec<f32>,
    result_counts: Vec<u64>,
    /// By rank: nanoseconds that a leaf takes it, as it said with the first of its finished pieces; 0: it does not know.
    paces: Vec<u64>,
}

impl Round {
    /// `nodes`: by rank, together all leaves of the tree under `root`. `result`: memory to use, whatever it holds.
    pub(super) fn new(
        number: u64,
        root: Node,
        rank: usize,
        nodes: Vec<Vec<Node>>,
        shape: Shape,
        chunk: usize,
        mut result: Vec<f32>,
    ) -> Self {
        // The pieces cover all of it.
        result.resize(shape.len, 0.0);
        let pieces = pieces(shape, nodes.len(), chunk);
        let folder = |piece: &Piece| {
            (piece.owner == rank).then(|| {
                let mut folder = Folder::new(Tree::new(root.len));
                drop(folder.want(&[root]));
                folder
            })
        };
        Self {
            number,
            root,
            rank,
            shape,
            folders: pieces.iter().map(folder).collect(),
            finished: vec![false; pieces.len()],
            unfinished: pieces.len(),
            places: pieces.iter().enumerate().map(|(at, piece)| ((piece.owner, piece.start), at)).collect(),
            sent: PerPart::default(),
            result,
            result_counts: Vec::new(),
            paces: vec![0; nodes.len()],
            nodes,
            pieces,
        }
    }

    pub(super) fn root(&self) -> Node {
        self.root
    }

    pub(super) fn own_nodes(&self) -> &[Node] {
        &self.nodes[self.rank]
    }

    /// Integers beside a piece: the first one has all.
    fn counts_of(&self, piece: usize) -> usize {
        if piece == 0 { self.shape.counts } else { 0 }
    }

    /// Own sums that did not go out yet, the upper parts first.
    pub(super) fn unsent(&self) -> Vec<(Part, Node)> {
        let own = self.own_nodes();
        let unsent = |part: &Part| {
            let part = *part;
            own.iter().filter(move |node| !self.sent[part].contains(node)).map(move |node| (part, *node))
        };
        self.shape.parts().iter().flat_map(unsent).collect()
    }

    /// Takes a part of an own sum: what others need of it, and the pieces that it finishes here.
    pub(super) fn own_sum(
        &mut self,
        part: Part,
        node: Node,
        sum: &SharedSum,
    ) -> (Vec<Outgoing>, Vec<Finished>) {
        self.sent[part].push(node);
        let first = self.shape.range(part).start;
        let mut outgoing = Vec::new();
        let mut finished = Vec::new();
        for at in 0..self.pieces.len() {
            let Piece { part: of, owner, start, len } = self.pieces[at];
            if of != part {
                continue;
            }
            let range = start - first..start - first + len;
            let counts = if at == 0 { sum.counts.clone() } else { Vec::new() };
            if self.nodes.len() == 1 {
                // The only member's only node is the root.
                self.finish(at, &sum.values[range], counts);
            } else if owner == self.rank {
                let values = Values::new(Arc::clone(&sum.values), range);
                finished.extend(self.fold(at, node, PieceSum { values, counts }));
            } else {
                let values = Values::new(Arc::clone(&sum.values), range);
                outgoing.push(Outgoing { owner, start, values, counts });
            }
        }
        (outgoing, finished)
    }

    /// Takes a piece of another rank's sum; the piece, if that finishes it.
    pub(super) fn sum(
        &mut self,
        from: usize,
        node: Node,
        start: u64,
        values: Values,
        counts: Vec<u64>,
    ) -> Result<Option<Finished>, Broken> {
        if from == self.rank || !self.nodes.get(from).is_some_and(|nodes| nodes.contains(&node)) {
            return Err(Broken::Node);
        }
        let at = self.piece(self.rank, start, values.len(), counts.len())?;
        Ok(self.fold(at, node, PieceSum { values, counts }))
    }

    /// Takes a finished piece from its owner.
    pub(super) fn gathered(
        &mut self,
        from: usize,
        (start, pace): (u64, u64),
        values: &[f32],
        counts: Vec<u64>,
    ) -> Result<(), Broken> {
        if from == self.rank {
            return Err(Broken::Piece);
        }
        let at = self.piece(from, start, values.len(), counts.len())?;
        if !self.finished[at] {
            self.hear_pace(from, start, pace);
        }
        self.finish(at, values, counts);
        Ok(())
    }

    /// The pace of `rank` that came, or goes out, with its finished piece at `start`. That of its first piece counts, which
    /// is the same at everybody.
    pub(super) fn hear_pace(&mut self, rank: usize, start: u64, pace: u64) {
        let place = usize::try_from(start).ok().and_then(|start| self.places.get(&(rank, start)));
        if place.is_some_and(|at| self.is_first_of_owner(*at)) {
            self.paces[rank] = pace;
        }
    }

    /// Pieces come part by part, and within a part owner by owner.
    fn is_first_of_owner(&self, at: usize) -> bool {
        let Piece { part, owner, .. } = self.pieces[at];
        part == self.pieces[0].part && (at == 0 || self.pieces[at - 1].owner != owner)
    }

    /// By rank, nanoseconds that a leaf takes; complete when the result is.
    pub(super) fn paces(&self) -> &[u64] {
        &self.paces
    }

    /// The vector and the integers, once every piece is there.
    pub(super) fn take_result(&mut self) -> Option<(Vec<f32>, Vec<u64>)> {
        if self.unfinished > 0 {
            return None;
        }
        Some((std::mem::take(&mut self.result), std::mem::take(&mut self.result_counts)))
    }

    /// The piece of `owner` that starts at `start`.
    fn piece(&self, owner: usize, start: u64, len: usize, counts: usize) -> Result<usize, Broken> {
        let start = usize::try_from(start).map_err(|_| Broken::Piece)?;
        let at = *self.places.get(&(owner, start)).ok_or(Broken::Piece)?;
        if self.pieces[at].len == len && self.counts_of(at) == counts { Ok(at) } else { Err(Broken::Shape) }
    }

    fn fold(&mut self, at: usize, node: Node, sum: PieceSum) -> Option<Finished> {
        let (_, root) = self.folders[at].as_mut()?.insert_node(node, sum).pop()?;
        self.folders[at] = None;
        let PieceSum { values, counts } = root;
        self.finish(at, &values, counts.clone());
        Some(Finished { start: self.pieces[at].start, values, counts })
    }

    /// The first one stays: a second copy would have the same bits anyway.
    fn finish(&mut self, at: usize, values: &[f32], counts: Vec<u64>) {
        if !self.finished[at] {
            self.finished[at] = true;
            self.unfinished -= 1;
            let start = self.pieces[at].start;
            self.result[start..start + values.len()].copy_from_slice(values);
            if at == 0 {
                self.result_counts = counts;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::assignment::Shares;
    use crate::core::kept::tests::fold;
    use crate::tree::NodeSum;
    use proptest::prelude::*;

    fn cut(sum: &NodeSum, shape: Shape, part: Part) -> SharedSum {
        let counts = if part == Part::Upper { sum.counts.clone() } else { Vec::new() };
        NodeSum { values: sum.values[shape.range(part)].to_vec(), counts }.into()
    }

    /// To, from, the summed node (`None`: finished), start, values, counts.
    type Sent = (usize, usize, Option<Node>, usize, Values, Vec<u64>);

    proptest! {
        /// The all-reduce over any number of members, cut anywhere, with parts and messages in any order, is the fold of one
        /// member.
        #[test]
        fn all_members_get_the_bits_of_one(
            leaves in 1u32..20, (len, at) in (0usize..40, 0usize..40), chunk in 1usize..9,
            paces in prop::collection::vec(1u64..9, 1..6), seed: u64,
        ) {
            let shape = Shape { len, cut: at.min(len), counts: 1 };
            let root = Tree::new(leaves).root().unwrap();
            let nodes = Shares::from_announced(paces.clone(), paces.len()).unwrap().nodes(leaves);
            let mut rounds: Vec<Round> = (0..paces.len())
                .map(|rank| Round::new(0, root, rank, nodes.clone(), shape, chunk, vec![f32::NAN; 3])).collect();
            let mut wire: Vec<Sent> = Vec::new();
            let members = paces.len();
            let broadcast = |wire: &mut Vec<_>, from: usize, finished: Vec<Finished>| for piece in finished {
                for to in (0..members).filter(|to| *to != from) {
                    wire.push((to, from, None, piece.start, piece.values.clone(), piece.counts.clone()));
                }
            };
            let mut to_compute: Vec<(usize, Part, Node)> = Vec::new();
            for round in &rounds {
                to_compute.extend(round.unsent().into_iter().map(|(part, node)| (round.rank, part, node)));
            }
            let mut state = seed | 1;
            while !(wire.is_empty() && to_compute.is_empty()) {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let at = (state >> 33) as usize % (wire.len() + to_compute.len());
                if at >= wire.len() {
                    let (rank, part, node) = to_compute.swap_remove(at - wire.len());
                    let (outgoing, finished) = rounds[rank].own_sum(part, node, &cut(&fold(node, len), shape, part));
                    prop_assert!(!rounds[rank].unsent().contains(&(part, node)));
                    wire.extend(outgoing.into_iter().map(|part| (part.owner, rank, Some(node), part.start, part.values, part.counts)));
                    broadcast(&mut wire, rank, finished);
                    continue;
                }
                let (to, from, node, start, values, counts) = wire.swap_remove(at);
                match node {
                    Some(node) => {
                        // A duplicate changes nothing.
                        let copy = rounds[to].sum(from, node, start as u64, values.clone(), counts.clone()).unwrap();
                        prop_assert!(rounds[to].sum(from, node, start as u64, values, counts).unwrap().is_none());
                        broadcast(&mut wire, to, copy.into_iter().collect());
                    }
                    None => rounds[to].gathered(from, (start as u64, paces[from]), &values, counts).unwrap(),
                }
            }
            let expected = fold(root, len);
            for round in &mut rounds {
                let heard = (0..members).filter(|rank| *rank != round.rank).all(|rank| round.paces()[rank] == paces[rank]);
                prop_assert!(heard, "everybody's pace is known at the end: {:?} of {paces:?}", round.paces());
                let (values, counts) = round.take_result().unwrap();
                prop_assert!(Values::from(values) == Values::from(expected.values.clone()));
                prop_assert_eq!(&counts, &expected.counts);
            }
        }
    }

    #[test]
    fn chunks_that_break_a_rule_change_nothing() {
        let root = Tree::new(4).root().unwrap();
        let nodes = Shares::even(2).nodes(4);
        let mut round = Round::new(0, root, 0, nodes.clone(), Shape { len: 6, cut: 0, counts: 1 }, 8, vec![]);
        let zeros = |len: usize| Values::from(vec![0.0; len]);
        assert_eq!(round.sum(1, nodes[0][0], 0, zeros(3), vec![1]).unwrap_err(), Broken::Node);
        assert_eq!(round.sum(7, nodes[1][0], 0, zeros(3), vec![1]).unwrap_err(), Broken::Node);
        assert_eq!(round.sum(1, nodes[1][0], 1, zeros(3), vec![1]).unwrap_err(), Broken::Piece);
        assert_eq!(round.sum(1, nodes[1][0], 3, zeros(3), vec![]).unwrap_err(), Broken::Piece);
        assert_eq!(round.sum(1, nodes[1][0], 0, zeros(2), vec![1]).unwrap_err(), Broken::Shape);
        assert_eq!(round.sum(1, nodes[1][0], 0, zeros(3), vec![]).unwrap_err(), Broken::Shape);
        assert_eq!(round.gathered(1, (0, 1), &zeros(3), vec![1]).unwrap_err(), Broken::Piece);
        assert_eq!(round.gathered(1, (3, 1), &zeros(4), vec![]).unwrap_err(), Broken::Shape);
        assert!(round.take_result().is_none());
    }

    /// What the cut is for: a part is summed and gathered while nobody has the rest.
    #[test]
    fn the_upper_part_is_finished_before_anybody_has_the_lower_one() {
        let shape = Shape { len: 10, cut: 4, counts: 1 };
        let root = Tree::new(2).root().unwrap();
        let nodes = Shares::even(2).nodes(2);
        let mut round = Round::new(0, root, 0, nodes.clone(), shape, 8, vec![]);
        let sum = fold(nodes[0][0], 10);
        let (outgoing, finished) = round.own_sum(Part::Upper, nodes[0][0], &cut(&sum, shape, Part::Upper));
        assert_eq!(
            outgoing.iter().map(|out| (out.owner, out.start, out.values.len())).collect::<Vec<_>>(),
            [(1, 7, 3)]
        );
        assert!(finished.is_empty());
        let other = fold(nodes[1][0], 10);
        let finished = round
            .sum(1, nodes[1][0], 4, other.values[4..7].to_vec().into(), other.counts.clone())
            .unwrap()
            .expect("the upper part's own piece is whole");
        assert_eq!(finished.values[..], fold(root, 10).values[4..7]);
        assert_eq!(finished.counts, fold(root, 10).counts);
        assert_eq!(round.unsent(), vec![(Part::Lower, nodes[0][0])]);
        assert!(round.take_result().is_none());
    }
}
