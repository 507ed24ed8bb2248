//! Folds leaf sums into node sums as they come, whatever the order.

use std::collections::{BTreeMap, BTreeSet};

use super::{Node, Tree};

/// Something that the tree can sum.
pub trait Summand: Sized {
    /// `self + right`, elementwise, and a summand whose memory is free again; `self` is the left child's sum. Both have the
    /// same shape.
    #[must_use]
    fn merge(self, right: Self) -> (Self, Option<Self>);
}

/// The sum under one node: floats and, beside them, integers.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct NodeSum {
    /// Summed elementwise in f32.
    pub values: Vec<f32>,
    /// Summed elementwise; wraps, so that no input can end the process.
    pub counts: Vec<u64>,
}

impl NodeSum {
    /// `self + right`, elementwise.
    pub fn add(&mut self, right: &Self) {
        for (left, right) in self.values.iter_mut().zip(&right.values) {
            *left += *right;
        }
        add_counts(&mut self.counts, &right.counts);
    }
}

impl Summand for NodeSum {
    fn merge(mut self, right: Self) -> (Self, Option<Self>) {
        self.add(&right);
        (self, Some(right))
    }
}

/// Wraps, so that no input can end the process.
pub(crate) fn add_counts(left: &mut [u64], right: &[u64]) {
    for (left, right) in left.iter_mut().zip(right) {
        *left = left.wrapping_add(*right);
    }
}

/// Takes the sums of leaves or nodes in any order and yields the sums of the wanted nodes, bit-equal to the recursive
/// `left + right` from the leaves.
///
/// Keeps at most one partial sum per leaf and merges siblings as soon as both are there, so that a node over `n` leaves that
/// arrive in order needs `log2 n + 1` vectors.
#[derive(Debug, Clone)]
pub struct Folder<T> {
    tree: Tree,
    /// Nodes still to be yielded.
    wanted: BTreeSet<Node>,
    /// Disjoint partial sums, by node.
    partial: BTreeMap<Node, T>,
    /// Nodes that were yielded: their leaves are not missing any more.
    yielded: BTreeSet<Node>,
    /// Summands that were added to another, at most [`MOST_SPENT`].
    spent: Vec<T>,
}

/// A leaf that comes completes a few nodes; more than these nobody takes back.
const MOST_SPENT: usize = 2;

impl<T: Summand> Folder<T> {
    /// A folder that wants nothing yet.
    #[must_use]
    pub fn new(tree: Tree) -> Self {
        Self {
            tree,
            wanted: BTreeSet::new(),
            partial: BTreeMap::new(),
            yielded: BTreeSet::new(),
            spent: Vec::new(),
        }
    }

    /// The tree it folds over.
    #[must_use]
    pub fn tree(&self) -> Tree {
        self.tree
    }

    /// Replaces the wanted nodes and yields those that the partial sums already make up. What is no node of the tree is
    /// ignored; so are wanted nodes that overlap an earlier one of the list.
    #[must_use = "wanted nodes may be complete already"]
    pub fn want(&mut self, nodes: &[Node]) -> Vec<(Node, T)> {
        self.wanted.clear();
        let mut end = 0;
        let mut sorted = nodes.to_vec();
        sorted.sort_unstable();
        for node in sorted {
            if self.tree.has(node) && node.start >= end {
                end = node.end();
                self.wanted.insert(node);
                // Asked again: whoever asks does not have it any more.
                self.yielded.retain(|yielded| !node.contains(*yielded) && !yielded.contains(node));
                // A sum over more than is asked for cannot be taken apart.
                self.partial.retain(|partial, _| *partial == node || !partial.contains(node));
            }
        }
        let mut finished = Vec::new();
        let partial: Vec<Node> = self.partial.keys().copied().collect();
        for node in partial {
            if let Some(sum) = self.partial.remove(&node) {
                finished.extend(self.merge(node, sum));
            }
        }
        finished
    }

    /// Leaves under the wanted nodes whose sums have not come yet, ascending.
    #[must_use]
    pub fn missing(&self) -> Vec<u32> {
        let held = |leaf: u32| {
            let leaf = Node::leaf(leaf);
            self.partial
                .range(..=Node { start: leaf.start, len: u32::MAX })
                .next_back()
                .is_some_and(|(node, _)| node.contains(leaf))
        };
        let wanted = self.wanted.iter().flat_map(|node| node.start..node.end());
        wanted.filter(|leaf| !held(*leaf)).collect()
    }

    /// Adds one leaf's sum; yields the wanted nodes that it completes. A leaf that is here already is ignored.
    pub fn insert(&mut self, leaf: u32, sum: T) -> Vec<(Node, T)> {
        self.insert_node(Node::leaf(leaf), sum)
    }

    /// Takes one summand that was added to another and is not needed any more, for its memory to be used again.
    pub fn take_spent(&mut self) -> Option<T> {
        self.spent.pop()
    }

    /// Adds the sum of a whole node; yields the wanted nodes that it completes. What is no node of the tree, or overlaps what
    /// is here already, is ignored.
    pub fn insert_node(&mut self, node: Node, sum: T) -> Vec<(Node, T)> {
        let overlaps = |other: &Node| other.contains(node) || node.contains(*other);
        if !self.tree.has(node) || self.yielded.iter().any(overlaps) || self.partial.keys().any(overlaps) {
            return Vec::new();
        }
        self.merge(node, sum).into_iter().collect()
    }

    /// Merges `node` upwards while its sibling is here and the parent is not larger than what is wanted.
    fn merge(&mut self, mut node: Node, mut sum: T) -> Option<(Node, T)> {
        loop {
            if self.wanted.remove(&node) {
                self.yielded.insert(node);
                return Some((node, sum));
            }
            // Past a wanted node there is nothing to merge for, and a larger sum could serve fewer later wishes.
            let inside = self.wanted.iter().any(|wanted| wanted.contains(node));
            let parent = self.tree.parent(node).filter(|_| inside).and_then(|(parent, is_left)| {
                let (left, right) = parent.children()?;
                let sibling = self.partial.remove(if is_left { &right } else { &left })?;
                Some((parent, is_left, sibling))
            });
            let Some((parent, is_left, sibling)) = parent else {
                self.partial.insert(node, sum);
                return None;
            };
            let (left, right) = if is_left { (sum, sibling) } else { (sibling, sum) };
            let (whole, spent) = left.merge(right);
            if self.spent.len() < MOST_SPENT {
                self.spent.extend(spent);
            }
            (node, sum) = (parent, whole);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Values whose sum depends on the order of additions.
    fn leaf_sum(leaf: u32) -> NodeSum {
        let mut bits = u64::from(leaf).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
        let mut next = || {
            bits = bits.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((bits >> 40) as f32 - 8_388_608.0) / (1 + (bits >> 20) % 1000) as f32
        };
        NodeSum { values: (0..16).map(|_| next()).chain([-0.0]).collect(), counts: vec![u64::from(leaf), 1] }
    }

    fn fold(node: Node) -> NodeSum {
        let Some((left, right)) = node.children() else { return leaf_sum(node.start) };
        let mut sum = fold(left);
        sum.add(&fold(right));
        sum
    }

    fn bits(sum: &NodeSum) -> (Vec<u32>, Vec<u64>) {
        (sum.values.iter().map(|value| value.to_bits()).collect(), sum.counts.clone())
    }

    fn shuffled(mut order: Vec<u32>, seed: u64) -> Vec<u32> {
        let mut state = seed | 1;
        for i in (1..order.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            order.swap(i, (state >> 33) as usize % (i + 1));
        }
        order
    }

    #[test]
    fn the_order_of_additions_matters_for_these_leaves() {
        let mut sequential = leaf_sum(0);
        for leaf in 1..7 {
            sequential.add(&leaf_sum(leaf));
        }
        assert_ne!(
            bits(&sequential),
            bits(&fold(Node { start: 0, len: 7 })),
            "the test below could not fail"
        );
    }

    #[test]
    fn sums_of_negative_zeros_stay_negative() {
        let mut folder = Folder::new(Tree::new(4));
        assert!(folder.want(&[Node { start: 0, len: 4 }]).is_empty());
        let zero = || NodeSum { values: vec![-0.0], counts: Vec::new() };
        let sums: Vec<_> = (0..4).flat_map(|leaf| folder.insert(leaf, zero())).collect();
        assert_eq!(sums[0].1.values[0].to_bits(), (-0.0f32).to_bits());
    }

    #[test]
    fn a_doubled_leaf_counts_once() {
        let mut folder = Folder::new(Tree::new(2));
        assert!(folder.want(&[Node { start: 0, len: 2 }]).is_empty());
        assert!(folder.insert(0, leaf_sum(0)).is_empty());
        assert!(folder.insert(0, leaf_sum(1)).is_empty());
        let sums = folder.insert(1, leaf_sum(1));
        assert_eq!(bits(&sums[0].1), bits(&fold(Node { start: 0, len: 2 })));
        assert!(folder.insert(1, leaf_sum(1)).is_empty());
    }

    proptest! {
        /// The promise of the whole project: any partition of the leaves, any order of arrival, the same bits.
        #[test]
        fn any_partition_and_any_order_give_the_bits_of_one_member(
            leaves in 1u32..70, cuts in prop::collection::vec(0u32..70, 0..6), seed: u64,
        ) {
            let tree = Tree::new(leaves);
            let root = tree.root().unwrap();
            let mut cuts: Vec<u32> = cuts.into_iter().map(|cut| cut.min(leaves)).chain([0, leaves]).collect();
            cuts.sort_unstable();
            let mut owner = Folder::new(tree);
            prop_assert!(owner.want(&[root]).is_empty());
            let mut result = Vec::new();
            let mut sums = Vec::new();
            for range in cuts.windows(2) {
                let mut member = Folder::new(tree);
                prop_assert!(member.want(&tree.maximal_subtrees(range[0]..range[1])).is_empty());
                for leaf in shuffled((range[0]..range[1]).collect(), seed) {
                    sums.extend(member.insert(leaf, leaf_sum(leaf)));
                }
                prop_assert!(member.missing().is_empty());
            }
            for at in shuffled((0..sums.len() as u32).collect(), seed ^ 99) {
                let (node, sum) = sums[at as usize].clone();
                result.extend(owner.insert_node(node, sum));
            }
            prop_assert_eq!(result.len(), 1);
            prop_assert_eq!(result[0].0, root);
            prop_assert_eq!(bits(&result[0].1), bits(&fold(root)));
        }

        /// A view change asks for other nodes in the middle of a round; what is there is used, what is missing is named.
        #[test]
        fn wishes_may_change_in_the_middle(leaves in 1u32..40, first in 0u32..40, wish in (0u32..40, 0u32..40), again in (0u32..40, 0u32..40), seed: u64) {
            let tree = Tree::new(leaves);
            let range = |(a, b): (u32, u32)| a.min(b).min(leaves)..a.max(b).min(leaves);
            let mut folder = Folder::new(tree);
            prop_assert!(folder.want(&tree.maximal_subtrees(range(wish))).is_empty());
            for leaf in shuffled((0..leaves).collect(), seed).into_iter().take(first as usize) {
                drop(folder.insert(leaf, leaf_sum(leaf)));
            }
            let nodes = tree.maximal_subtrees(range(again));
            let mut sums = folder.want(&nodes);
            let missing = folder.missing();
            for leaf in shuffled(missing, seed ^ 7) {
                sums.extend(folder.insert(leaf, leaf_sum(leaf)));
            }
            sums.sort_by_key(|(node, _)| *node);
            prop_assert_eq!(sums.iter().map(|(node, _)| *node).collect::<Vec<_>>(), nodes);
            for (node, sum) in &sums {
                prop_assert_eq!(bits(sum), bits(&fold(*node)));
            }
        }
    }
}
