//! Images that occur more than once: duplicates within a split, label conflicts, and leaks from one split into another.
//!
//! A duplicate has the same image and class as a record before it in its split. A conflict is one image with several
//! classes, wherever the records are. A leak is an image of a later split that stands in an earlier one, too, in the order
//! in which the splits were named. Each is counted; the first [`LISTED_GROUPS`] of each are listed, by place.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::{fingerprint::Fingerprint, tally::Tally};

/// Groups of each sort that are listed; the others are only counted.
pub const LISTED_GROUPS: usize = 10_000;
/// Records of a group that are listed.
pub const LISTED_RECORDS: usize = 100;

/// Where a record stands, and its class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// Place in the list of splits.
    pub split: usize,
    /// Place in the split's list of shards.
    pub shard: u32,
    /// Where the record begins in it, in bytes.
    pub offset: u64,
    /// Its class.
    pub label: u32,
}

/// Records with the same image, the first [`LISTED_RECORDS`] by place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// All of them, listed or not.
    pub records: u64,
    /// At least two.
    pub places: Vec<Place>,
}

/// Groups of one sort: counted, and the first ones by place.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// All groups, listed or not.
    pub groups: u64,
    /// Records too many: of duplicates all but the first, of leaks those of later splits, of conflicts all.
    pub records: u64,
    listed: BTreeMap<Place, Group>,
}

impl Groups {
    fn add(&mut self, places: Vec<Place>, surplus: usize) {
        self.groups += 1;
        self.records += surplus as u64;
        let records = places.len() as u64;
        let places: Vec<_> = places.into_iter().take(LISTED_RECORDS).collect();
        self.listed.insert(places[0], Group { records, places });
        if self.listed.len() > LISTED_GROUPS {
            self.listed.pop_last();
        }
    }

    /// In order of their first records' places.
    pub fn listed(&self) -> impl Iterator<Item = &Group> {
        self.listed.values()
    }
}

/// All images that occur more than once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Repeats {
    /// By split.
    pub duplicates: Vec<Groups>,
    /// Of all splits together.
    pub conflicts: Groups,
    /// By the earlier and the later split.
    pub leaks: BTreeMap<(usize, usize), Groups>,
}

/// Sorts the fingerprints and compares them.
pub fn find(tallies: &mut [Tally]) -> Repeats {
    tallies.iter_mut().for_each(|tally| tally.fingerprints.sort_unstable());
    let mut heads: Vec<_> = tallies.iter().map(|tally| &tally.fingerprints[..]).collect();
    let mut repeats = Repeats { duplicates: vec![Groups::default(); tallies.len()], ..Repeats::default() };
    while let Some(places) = next_group(&mut heads) {
        if places.len() > 1 {
            repeats.add(&places);
        }
    }
    repeats
}

/// The records with the least digest of all that are left, by place.
fn next_group(heads: &mut [&[Fingerprint]]) -> Option<Vec<Place>> {
    let digest = heads.iter().filter_map(|head| head.first()).map(|first| first.digest).min()?;
    let mut places = Vec::new();
    for (split, head) in heads.iter_mut().enumerate() {
        let same = head.iter().take_while(|fingerprint| fingerprint.digest == digest).count();
        let (taken, rest) = head.split_at(same);
        *head = rest;
        places.extend(taken.iter().map(|Fingerprint { digest: _, shard, offset, label }| Place {
            split,
            shard: *shard,
            offset: *offset,
            label: *label,
        }));
    }
    Some(places)
}

impl Repeats {
    /// Records of one image, by place.
    fn add(&mut self, places: &[Place]) {
        let labels: BTreeSet<u32> = places.iter().map(|place| place.label).collect();
        let splits: BTreeSet<usize> = places.iter().map(|place| place.split).collect();
        if labels.len() > 1 {
            self.conflicts.add(places.to_vec(), places.len());
        }
        let of = |keep: &dyn Fn(&Place) -> bool| {
            places.iter().filter(|place| keep(place)).copied().collect::<Vec<_>>()
        };
        for split in &splits {
            for label in &labels {
                let same = of(&|place| place.split == *split && place.label == *label);
                if same.len() > 1 {
                    let surplus = same.len() - 1;
                    self.duplicates[*split].add(same, surplus);
                }
            }
        }
        let mut splits = splits.into_iter();
        let Some(earliest) = splits.next() else { return };
        for later in splits {
            let leaked = of(&|place| place.split == later);
            let surplus = leaked.len();
            let original = places.iter().find(|place| place.split == earliest).copied();
            self.leaks
                .entry((earliest, later))
                .or_default()
                .add(original.into_iter().chain(leaked).collect(), surplus);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Records of one split: image and class, one after the other.
    fn tally(records: &[(u8, u32)]) -> Tally {
        let fingerprint = |(at, (image, label)): (usize, &(u8, u32))| Fingerprint {
            digest: [*image; 16],
            shard: 0,
            offset: at as u64,
            label: *label,
        };
        Tally { fingerprints: records.iter().enumerate().map(fingerprint).collect(), ..Tally::default() }
    }

    fn offsets(groups: &Groups) -> Vec<Vec<(usize, u64)>> {
        groups
            .listed()
            .map(|group| group.places.iter().map(|place| (place.split, place.offset)).collect())
            .collect()
    }

    #[test]
    fn duplicates_conflicts_and_leaks_are_told_apart() {
        let train = tally(&[(1, 0), (2, 0), (2, 0), (3, 0), (3, 1), (4, 0)]);
        let test = tally(&[(4, 0), (5, 0)]);
        let repeats = find(&mut [train, test]);
        assert_eq!(offsets(&repeats.duplicates[0]), [[(0, 1), (0, 2)]]);
        assert_eq!(offsets(&repeats.conflicts), [[(0, 3), (0, 4)]]);
        assert_eq!(repeats.leaks.keys().collect::<Vec<_>>(), [&(0, 1)]);
        assert_eq!(offsets(&repeats.leaks[&(0, 1)]), [[(0, 5), (1, 0)]]);
        assert_eq!(repeats.duplicates[1], Groups::default());
    }

    proptest! {
        #[test]
        fn the_order_of_the_fingerprints_does_not_matter(
            records in prop::collection::vec((0u8..6, 0u32..3), 0..40), rotation in 0usize..40,
        ) {
            let of = |rotation: usize| {
                let mut tally = tally(&records);
                let by = rotation.min(records.len());
                tally.fingerprints.rotate_left(by);
                find(&mut [tally])
            };
            let found = of(rotation);
            prop_assert_eq!(&found, &of(0));
            let distinct = records.iter().collect::<BTreeSet<_>>().len();
            prop_assert_eq!(found.duplicates[0].records as usize, records.len() - distinct);
        }
    }
}
