//! Sums of the open round that this executor has computed, for this view or a later one.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::tree::{Folder, Node, NodeSum, Tree};
use crate::{Part, PerPart};

/// A node's sum, shared with the messages that carry pieces of it.
#[derive(Debug, Clone)]
pub(super) struct SharedSum {
    pub values: Arc<Vec<f32>>,
    pub counts: Vec<u64>,
}

impl From<NodeSum> for SharedSum {
    fn from(NodeSum { values, counts }: NodeSum) -> Self {
        Self { values: Arc::new(values), counts }
    }
}

/// Sums of the open round that this executor has computed; they outlive views.
#[derive(Debug, Default)]
pub(super) struct Kept(PerPart<KeptPart>);

impl Kept {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Forgets all; the sums that nobody else holds, for their memory to be used again.
    pub(super) fn take_spent(&mut self) -> Vec<NodeSum> {
        let Self(PerPart { upper, lower }) = std::mem::take(self);
        let spent = |SharedSum { values, counts }| Some(NodeSum { values: Arc::into_inner(values)?, counts });
        upper.0.into_values().chain(lower.0.into_values()).filter_map(spent).collect()
    }

    pub(super) fn insert(&mut self, part: Part, node: Node, sum: NodeSum) {
        self.0[part].insert(node, sum);
    }

    pub(super) fn missing(&self, part: Part, node: Node) -> Vec<Node> {
        self.0[part].missing(node)
    }

    pub(super) fn take(&mut self, part: Part, node: Node) -> Option<SharedSum> {
        self.0[part].take(node)
    }
}

/// The kept sums of one part.
#[derive(Debug, Default)]
struct KeptPart(BTreeMap<Node, SharedSum>);

impl KeptPart {
    fn insert(&mut self, node: Node, sum: NodeSum) {
        self.0.entry(node).or_insert_with(|| sum.into());
    }

    /// What has to be computed so that `node` can be summed: nothing, parts of it, or all.
    fn missing(&self, node: Node) -> Vec<Node> {
        if self.0.contains_key(&node) {
            return Vec::new();
        }
        let begun = self.0.keys().any(|kept| node.contains(*kept));
        match node.children() {
            Some((left, right)) if begun => [self.missing(left), self.missing(right)].concat(),
            _ => vec![node],
        }
    }

    /// The sum of `node`, if it is here or can be put together from what is here.
    fn take(&mut self, node: Node) -> Option<SharedSum> {
        if let Some(sum) = self.0.get(&node) {
            return Some(sum.clone());
        }
        if !self.missing(node).is_empty() {
            return None;
        }
        let mut folder = Folder::new(Tree::new(node.len));
        let below = |kept: Node| Node { start: kept.start - node.start, len: kept.len };
        drop(folder.want(&[below(node)]));
        let mut whole = None;
        // A kept node may lie within another one: the folder ignores it if the larger one comes first.
        let mut parts: Vec<Node> = self.0.keys().copied().filter(|kept| node.contains(*kept)).collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.len));
        for part in parts {
            if let Some(sum) = self.0.get(&part) {
                let sum = NodeSum { values: sum.values.to_vec(), counts: sum.counts.clone() };
                whole = whole.or(folder.insert_node(below(part), sum).pop());
            }
        }
        let (_, sum) = whole?;
        self.0.retain(|kept, _| !node.contains(*kept));
        self.0.insert(node, sum.into());
        self.0.get(&node).cloned()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn leaf(leaf: u32, len: usize) -> NodeSum {
        let value =
            |at: usize| ((leaf as usize * 7919 + at * 104_729) % 10_007) as f32 / (1 + leaf % 13) as f32;
        NodeSum { values: (0..len).map(value).collect(), counts: vec![u64::from(leaf)] }
    }

    /// The sum of all leaves below `node`, each of `len` floats and its number as the only integer.
    pub(in crate::core) fn fold(node: Node, len: usize) -> NodeSum {
        let Some((left, right)) = node.children() else { return leaf(node.start, len) };
        let mut sum = fold(left, len);
        sum.add(&fold(right, len));
        sum
    }

    proptest! {
        /// After a view change only what is missing is computed, and the sums are the same.
        #[test]
        fn kept_sums_serve_later_wishes(leaves in 1u32..30, have in prop::collection::vec(any::<prop::sample::Index>(), 0..6), at: prop::sample::Index) {
            let mut all = vec![Tree::new(leaves).root().unwrap()];
            let mut next = 0;
            while next < all.len() {
                all.extend(all[next].children().into_iter().flat_map(|(left, right)| [left, right]));
                next += 1;
            }
            let mut kept = KeptPart::default();
            for index in have {
                let node = *index.get(&all);
                kept.insert(node, fold(node, 3));
            }
            let wanted = *at.get(&all);
            for node in kept.missing(wanted) {
                prop_assert!(wanted.contains(node));
                kept.insert(node, fold(node, 3));
            }
            let sum = kept.take(wanted).unwrap();
            prop_assert_eq!(sum.values.as_ref(), &fold(wanted, 3).values);
        }
    }
}
