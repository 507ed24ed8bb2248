//! The fixed binary tree over a round's leaves: which nodes exist, which of them cover a range, and their sums.
//!
//! A node over `n > 1` leaves splits at the largest power of two below `n`, and its sum is `left + right` elementwise. So a
//! sum depends on the leaves alone, never on who computed them or in which order they came: floating-point addition is
//! not associative, and this fixes the association. Used by the executor (leaves to node sums) and by [`crate::core`]
//! (node sums to the root).

mod folder;
mod part_folders;

pub(crate) use folder::add_counts;
pub use folder::{Folder, NodeSum, Summand};
pub use part_folders::{PartFolders, Sums};

use std::ops::Range;

use serde::{Deserialize, Serialize};

/// A node of a [`Tree`]: the `len` leaves from `start`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Node {
    /// First leaf.
    pub start: u32,
    /// Leaves under the node, at least 1.
    pub len: u32,
}

impl Node {
    /// The node of one leaf.
    #[must_use]
    pub const fn leaf(leaf: u32) -> Self {
        Self { start: leaf, len: 1 }
    }

    /// One past the last leaf.
    #[must_use]
    pub const fn end(self) -> u32 {
        self.start.saturating_add(self.len)
    }

    /// Whether `other`'s leaves are all under this node.
    #[must_use]
    pub const fn contains(self, other: Self) -> bool {
        self.start <= other.start && other.end() <= self.end()
    }

    /// The two children; `None` for a leaf.
    #[must_use]
    pub const fn children(self) -> Option<(Self, Self)> {
        if self.len < 2 {
            return None;
        }
        let left = 1 << (31 - (self.len - 1).leading_zeros());
        Some((Self { start: self.start, len: left }, Self { start: self.start + left, len: self.len - left }))
    }
}

/// The fixed binary tree over leaves `0..leaves`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tree {
    leaves: u32,
}

impl Tree {
    /// The tree over `leaves` leaves; an empty tree has no node.
    #[must_use]
    pub const fn new(leaves: u32) -> Self {
        Self { leaves }
    }

    /// Number of leaves.
    #[must_use]
    pub const fn leaves(self) -> u32 {
        self.leaves
    }

    /// The node over all leaves.
    #[must_use]
    pub const fn root(self) -> Option<Node> {
        if self.leaves == 0 { None } else { Some(Node { start: 0, len: self.leaves }) }
    }

    /// Whether `node` is a node of this tree (and not just any range of leaves).
    #[must_use]
    pub fn has(self, node: Node) -> bool {
        let Some(mut at) = self.root() else { return false };
        if node.len == 0 || node.start >= self.leaves || node.len > self.leaves - node.start {
            return false;
        }
        loop {
            if at == node {
                return true;
            }
            match at.children() {
                Some((left, _)) if left.contains(node) => at = left,
                Some((_, right)) if right.contains(node) => at = right,
                _ => return false,
            }
        }
    }

    /// Parent of `node` and whether `node` is its left child; `None` for the root and for what is no node.
    #[must_use]
    pub fn parent(self, node: Node) -> Option<(Node, bool)> {
        let mut at = self.root()?;
        loop {
            let (left, right) = at.children()?;
            if left == node || right == node {
                return Some((at, left == node));
            }
            at = if left.contains(node) {
                left
            } else if right.contains(node) {
                right
            } else {
                return None;
            };
        }
    }

    /// The fewest nodes whose leaves are exactly `range`, ascending: the maximal complete subtrees within it.
    #[must_use]
    pub fn maximal_subtrees(self, range: Range<u32>) -> Vec<Node> {
        let mut nodes = Vec::new();
        if let Some(root) = self.root() {
            collect(root, &range, &mut nodes);
        }
        nodes
    }
}

fn collect(node: Node, range: &Range<u32>, nodes: &mut Vec<Node>) {
    if node.end() <= range.start || range.end <= node.start {
        return;
    }
    if range.start <= node.start && node.end() <= range.end {
        nodes.push(node);
    } else if let Some((left, right)) = node.children() {
        collect(left, range, nodes);
        collect(right, range, nodes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_node_splits_at_the_largest_power_of_two_below_its_leaves() {
        let split = |len| Node { start: 0, len }.children().map(|(left, right)| (left.len, right.len));
        assert_eq!(split(1), None);
        assert_eq!(split(2), Some((1, 1)));
        assert_eq!(split(3), Some((2, 1)));
        assert_eq!(split(4), Some((2, 2)));
        assert_eq!(split(5), Some((4, 1)));
        assert_eq!(split(12), Some((8, 4)));
        assert_eq!(split(u32::MAX), Some((1 << 31, u32::MAX - (1 << 31))));
    }

    #[test]
    fn an_empty_tree_has_no_nodes() {
        let tree = Tree::new(0);
        assert_eq!(tree.root(), None);
        assert!(!tree.has(Node { start: 0, len: 0 }));
        assert!(tree.maximal_subtrees(0..0).is_empty());
    }

    proptest! {
        /// Executors exchange exactly these nodes: a gap or an overlap would lose or double a micro-batch.
        #[test]
        fn maximal_subtrees_cover_their_range_exactly(leaves in 1u32..300, a in 0u32..300, b in 0u32..300) {
            let range = a.min(b).min(leaves)..a.max(b).min(leaves);
            let tree = Tree::new(leaves);
            let nodes = tree.maximal_subtrees(range.clone());
            let mut at = range.start;
            for node in &nodes {
                prop_assert!(tree.has(*node));
                prop_assert_eq!(node.start, at);
                at = node.end();
                if let Some((parent, _)) = tree.parent(*node) {
                    prop_assert!(parent.start < range.start || parent.end() > range.end, "not maximal");
                }
            }
            prop_assert_eq!(at, range.end.max(range.start));
            prop_assert!(nodes.len() as u32 <= 2 * (u32::BITS - leaves.leading_zeros()));
        }

        /// A range that is no node must be refused, or a peer could inject sums that belong nowhere.
        #[test]
        fn only_ranges_of_the_tree_are_nodes(leaves in 1u32..100, start in 0u32..120, len in 0u32..120) {
            let tree = Tree::new(leaves);
            let node = Node { start, len };
            let single = start.checked_add(len).is_some_and(|end| end <= leaves)
                && len > 0
                && tree.maximal_subtrees(start..start + len) == vec![node];
            prop_assert_eq!(tree.has(node), single);
        }
    }
}
