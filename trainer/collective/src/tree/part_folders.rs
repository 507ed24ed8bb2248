//! Folds both parts of a round's leaves: what an executor keeps for the open round.

use super::{Folder, Node, NodeSum, Tree};
use crate::{Part, PerPart};

/// A [`Folder`] for each part of the leaves' vectors.
///
/// A leaf delivers its parts one after the other, and a view may change in between: each part has its own wishes, and a
/// leaf is missing while any part of it is.
#[derive(Debug, Clone)]
pub struct PartFolders(PerPart<Folder<NodeSum>>);

/// Finished nodes: what to send as [`crate::Command::Sum`].
pub type Sums = Vec<(Part, Node, NodeSum)>;

impl PartFolders {
    /// Folders that want nothing yet.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self(PerPart::new(|_| Folder::new(tree)))
    }

    /// The tree they fold over.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.0.upper.tree()
    }

    /// Replaces the wanted nodes by those of [`crate::Action::Compute`]; yields those that are complete already.
    #[must_use = "wanted nodes may be complete already"]
    pub fn want(&mut self, nodes: &PerPart<Vec<Node>>) -> Sums {
        let want = |part: &Part| named(*part, self.0[*part].want(&nodes[*part]));
        Part::ALL.iter().flat_map(want).collect()
    }

    /// Leaves under the wanted nodes of which a part has not come yet, ascending.
    #[must_use]
    pub fn missing(&self) -> Vec<u32> {
        let mut leaves = [self.0.upper.missing(), self.0.lower.missing()].concat();
        leaves.sort_unstable();
        leaves.dedup();
        leaves
    }

    /// Adds one part of one leaf; yields the wanted nodes that it completes. What is here already is ignored.
    pub fn insert(&mut self, part: Part, leaf: u32, sum: NodeSum) -> Sums {
        named(part, self.0[part].insert(leaf, sum))
    }

    /// Takes one summand of a part that was added to another, for its memory to be used again.
    pub fn take_spent(&mut self, part: Part) -> Option<NodeSum> {
        self.0[part].take_spent()
    }
}

fn named(part: Part, sums: Vec<(Node, NodeSum)>) -> Sums {
    sums.into_iter().map(|(node, sum)| (part, node, sum)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(value: f32) -> NodeSum {
        NodeSum { values: vec![value], counts: Vec::new() }
    }

    #[test]
    fn a_leaf_is_missing_while_any_part_of_it_is() {
        let mut folders = PartFolders::new(Tree::new(2));
        let root = Node { start: 0, len: 2 };
        assert!(folders.want(&PerPart::new(|_| vec![root])).is_empty());
        assert_eq!(folders.missing(), vec![0, 1]);
        assert!(folders.insert(Part::Upper, 0, sum(1.0)).is_empty());
        assert_eq!(folders.missing(), vec![0, 1]);
        assert_eq!(folders.insert(Part::Upper, 1, sum(2.0)), vec![(Part::Upper, root, sum(3.0))]);
        assert!(folders.insert(Part::Lower, 1, sum(5.0)).is_empty());
        assert_eq!(folders.missing(), vec![0]);
        assert_eq!(folders.insert(Part::Lower, 0, sum(4.0)), vec![(Part::Lower, root, sum(9.0))]);
        assert!(folders.missing().is_empty());
    }

    #[test]
    fn a_new_wish_for_one_part_asks_for_nothing_of_the_other() {
        let mut folders = PartFolders::new(Tree::new(2));
        assert!(folders.want(&PerPart::new(|_| vec![Node::leaf(0)])).is_empty());
        assert_eq!(folders.insert(Part::Upper, 0, sum(1.0)).len(), 1);
        let nodes = PerPart { upper: vec![Node::leaf(1)], lower: vec![Node::leaf(0), Node::leaf(1)] };
        assert!(folders.want(&nodes).is_empty());
        assert!(folders.insert(Part::Upper, 0, sum(1.0)).is_empty(), "it was handed over before");
        assert_eq!(folders.insert(Part::Lower, 0, sum(1.0)), vec![(Part::Lower, Node::leaf(0), sum(1.0))]);
        assert_eq!(folders.missing(), vec![1]);
    }
}
