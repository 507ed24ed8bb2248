//! Whom executors are connected to: as each one says it, and as all that is said adds up.

use serde::{Deserialize, Serialize};

use super::message::Member;
use super::{Core, MAX_EXECUTORS};

/// Whom one executor is connected to, small enough to be in every heartbeat.
///
/// By index a tag of the peer's incarnation, 0 where there is none. The tag tells a restarted executor from what it was before;
/// where two of its incarnations share one (1 in 65,535), a view may be proposed in vain until the next status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Connected(Vec<u16>);

fn tag(incarnation: u64) -> u16 {
    // At most 65,534, so there is room for the one that keeps it from 0.
    (incarnation % u64::from(u16::MAX)) as u16 + 1
}

impl Connected {
    /// Whether this incarnation of this executor is among them.
    #[must_use]
    pub fn contains(&self, member: Member) -> bool {
        self.has(member.index, tag(member.incarnation))
    }

    /// How many they are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.iter().filter(|tag| **tag != 0).count()
    }

    /// Whether all of `others` are among them.
    #[must_use]
    pub fn includes(&self, others: &Self) -> bool {
        let mut tags = (0..).zip(&others.0);
        tags.all(|(index, tag)| *tag == 0 || self.has(index, *tag))
    }

    fn has(&self, index: u32, tag: u16) -> bool {
        self.0.get(index as usize) == Some(&tag)
    }
}

/// Indexes from [`MAX_EXECUTORS`] on are left out: nobody can be connected to them.
impl FromIterator<Member> for Connected {
    fn from_iter<I: IntoIterator<Item = Member>>(members: I) -> Self {
        let mut tags = Vec::new();
        for Member { index, incarnation } in members.into_iter().filter(|member| member.index < MAX_EXECUTORS)
        {
            let at = index as usize;
            if tags.len() <= at {
                tags.resize(at + 1, 0);
            }
            tags[at] = tag(incarnation);
        }
        Self(tags)
    }
}

/// Links among us and our peers, for many questions: each takes the same short time.
#[derive(Debug)]
pub(super) struct Mesh<'a> {
    me: u32,
    own: Connected,
    /// By index: the tag of the executor, and what it says. Nothing for ourselves.
    peers: Vec<Option<(u16, Option<&'a Connected>)>>,
    tag: u16,
}

impl Mesh<'_> {
    /// Whether both `a` and `b` report their link.
    pub(super) fn is_linked(&self, a: u32, b: u32) -> bool {
        let known = |index: u32| {
            if index == self.me {
                return Some((self.tag, Some(&self.own)));
            }
            *self.peers.get(index as usize)?
        };
        let (Some((tag_a, Some(of_a))), Some((tag_b, Some(of_b)))) = (known(a), known(b)) else {
            return false;
        };
        of_a.has(b, tag_b) && of_b.has(a, tag_a)
    }
}

impl Core {
    /// Whom we are connected to.
    pub(super) fn connected(&self) -> Connected {
        self.peers
            .iter()
            .map(|(index, peer)| Member { index: *index, incarnation: peer.incarnation })
            .collect()
    }

    /// The links that we know of.
    pub(super) fn mesh(&self) -> Mesh<'_> {
        let mut peers = Vec::new();
        for (index, peer) in &self.peers {
            peers.resize(*index as usize, None);
            peers.push(Some((tag(peer.incarnation), peer.status.as_ref().map(|status| &status.connected))));
        }
        Mesh { me: self.config.index, own: self.connected(), peers, tag: tag(self.config.incarnation) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn whoever_is_connected_is_found_and_nobody_else(
            peers in prop::collection::btree_map(0..MAX_EXECUTORS, any::<u64>(), 0..40),
            other in (0..2 * MAX_EXECUTORS, any::<u64>()),
        ) {
            let members = |peers: &BTreeMap<u32, u64>| -> Vec<Member> {
                peers.iter().map(|(index, incarnation)| Member { index: *index, incarnation: *incarnation }).collect()
            };
            let connected: Connected = members(&peers).into_iter().collect();
            prop_assert_eq!(connected.count(), peers.len());
            for member in members(&peers) {
                prop_assert!(connected.contains(member));
                let restarted = Member { incarnation: member.incarnation ^ 1 << 20, ..member };
                prop_assert!(!connected.contains(restarted));
            }
            let other = Member { index: other.0, incarnation: other.1 };
            if !peers.contains_key(&other.index) {
                prop_assert!(!connected.contains(other));
                let more: Connected = members(&peers).into_iter().chain([other]).collect();
                prop_assert!(more.includes(&connected));
                prop_assert_eq!(connected.includes(&more), other.index >= MAX_EXECUTORS);
            }
        }
    }

    #[test]
    fn an_index_that_nobody_can_have_takes_no_room() {
        let connected: Connected = [Member { index: u32::MAX, incarnation: 1 }].into_iter().collect();
        assert_eq!(connected, Connected::default());
    }
}
