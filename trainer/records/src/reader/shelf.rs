//! Which records are in memory, which are on their way, and which give way to others. No I/O, no clock.
//!
//! The plan says which records will be asked for, and how often. Those stay until they were. All others are spare: kept
//! while there is room, since another epoch, or another plan, will want them.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;

/// What keeping a record costs beside its bytes: its place in the maps and the allocator's share.
pub(super) const RECORD_OVERHEAD: u64 = 128;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    limit: u64,
    /// Of what is kept or on its way, overhead included.
    used: u64,
    records: HashMap<u64, Entry>,
    /// Those that may give way, the first one first.
    spare: BTreeMap<Spare, u64>,
    clock: u64,
}

#[derive(Debug)]
struct Entry {
    /// How often the plan will still ask for it.
    asked: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// Of no use to anybody yet: wanted by the plan, or about to be forgotten.
    Absent,
    Fetching {
        bytes: u64,
    },
    Kept {
        bytes: Bytes,
        spare: Option<Spare>,
    },
}

/// Who gives way first. What was read goes before what was never read, since the order wants it later; of the first the
/// newest, since an epoch's order comes round to the oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Spare {
    Read { newest_first: u64 },
    Unread { oldest_first: u64 },
}

impl Shelf {
    /// `limit` bounds what is kept and on its way, in bytes.
    pub(super) fn new(limit: u64) -> Self {
        Self { limit, ..Self::default() }
    }

    pub(super) fn limit(&self) -> u64 {
        self.limit
    }

    /// Bytes of what is kept or on its way, overhead included; never above the limit.
    pub(super) fn used(&self) -> u64 {
        self.used
    }

    /// Replaces the plan: `records` will be asked for once for each time they stand there.
    pub(super) fn expect(&mut self, records: impl IntoIterator<Item = u64>) {
        self.records.values_mut().for_each(|entry| entry.asked = 0);
        for record in records {
            self.records.entry(record).or_insert(Entry { asked: 0, content: Content::Absent }).asked += 1;
        }
        self.records.retain(|_, entry| entry.asked > 0 || !matches!(entry.content, Content::Absent));
        for (record, Entry { asked, content }) in &mut self.records {
            let Content::Kept { spare, .. } = content else { continue };
            match (spare.is_some(), *asked > 0) {
                (true, true) => drop(spare.take().and_then(|place| self.spare.remove(&place))),
                (false, false) => {
                    self.clock += 1;
                    let place = Spare::Unread { oldest_first: self.clock };
                    self.spare.insert(place, *record);
                    *spare = Some(place);
                }
                (true, false) | (false, true) => {}
            }
        }
    }

    /// Whether the plan wants it, and it is neither kept nor on its way.
    pub(super) fn lacks(&self, record: u64) -> bool {
        self.records.get(&record).is_some_and(|entry| matches!(entry.content, Content::Absent))
    }

    /// Whether it is on its way.
    pub(super) fn is_fetching(&self, record: u64) -> bool {
        self.records.get(&record).is_some_and(|entry| matches!(entry.content, Content::Fetching { .. }))
    }

    /// Sets out to fetch those of `records`, given with their lengths, that the plan lacks; which they are. `None`, and
    /// nothing happens, where what the plan still wants leaves no room for them all.
    pub(super) fn reserve(&mut self, records: &[(u64, u64)]) -> Option<Vec<u64>> {
        let lacking: Vec<_> = records.iter().filter(|(record, _)| self.lacks(*record)).collect();
        let needed: u64 = lacking.iter().map(|(_, bytes)| cost(*bytes)).sum();
        while !self.has_room(needed) {
            self.give_way()?;
        }
        self.used += needed;
        for (record, bytes) in &lacking {
            if let Some(entry) = self.records.get_mut(record) {
                entry.content = Content::Fetching { bytes: *bytes };
            }
        }
        Some(lacking.into_iter().map(|(record, _)| *record).collect())
    }

    /// Whether this much more fits without anything giving way.
    pub(super) fn has_room(&self, bytes: u64) -> bool {
        self.used.saturating_add(bytes) <= self.limit
    }

    /// A record for which [`Shelf::reserve`] made room: it has come, or never will.
    pub(super) fn settle(&mut self, record: u64, came: Option<Bytes>) {
        let Some(entry) = self.records.get_mut(&record) else { return };
        let Content::Fetching { bytes } = entry.content else { return };
        match came {
            Some(bytes) if entry.asked > 0 => entry.content = Content::Kept { bytes, spare: None },
            _ => {
                self.used -= cost(bytes);
                entry.content = Content::Absent;
                if entry.asked == 0 {
                    self.records.remove(&record);
                }
                // Its room was made, and nobody needs it: as if it had come along.
                if let Some(bytes) = came {
                    self.offer(record, bytes, false);
                }
            }
        }
    }

    /// Keeps a record that came along with others, or was read without a plan, if there is room to spare.
    pub(super) fn offer(&mut self, record: u64, bytes: Bytes, was_read: bool) {
        let cost = cost(bytes.len() as u64);
        if !self.has_room(cost) {
            return;
        }
        let asked = match self.records.get(&record) {
            None => 0,
            Some(Entry { asked, content: Content::Absent }) => *asked,
            Some(_) => return,
        };
        self.used += cost;
        let spare = (asked == 0).then(|| self.spare_place(record, was_read));
        self.records.insert(record, Entry { asked, content: Content::Kept { bytes, spare } });
    }

    /// The record's bytes, if they are kept; asking counts against the plan either way.
    pub(super) fn take(&mut self, record: u64) -> Option<Bytes> {
        let entry = self.records.get_mut(&record)?;
        entry.asked = entry.asked.saturating_sub(1);
        let asked = entry.asked;
        match &mut entry.content {
            Content::Absent => {
                if asked == 0 {
                    self.records.remove(&record);
                }
                None
            }
            Content::Fetching { .. } => None,
            Content::Kept { bytes, spare } => {
                let (bytes, old) = (bytes.clone(), spare.take());
                if let Some(place) = old {
                    self.spare.remove(&place);
                }
                if asked == 0 {
                    let place = self.spare_place(record, true);
                    if let Some(Entry { content: Content::Kept { spare, .. }, .. }) =
                        self.records.get_mut(&record)
                    {
                        *spare = Some(place);
                    }
                }
                Some(bytes)
            }
        }
    }

    fn spare_place(&mut self, record: u64, was_read: bool) -> Spare {
        self.clock += 1;
        let place = match was_read {
            true => Spare::Read { newest_first: u64::MAX - self.clock },
            false => Spare::Unread { oldest_first: self.clock },
        };
        self.spare.insert(place, record);
        place
    }

    /// Forgets the first of those that may give way, if there is one.
    fn give_way(&mut self) -> Option<()> {
        let (_, record) = self.spare.pop_first()?;
        if let Some(Entry { content: Content::Kept { bytes, .. }, .. }) = self.records.remove(&record) {
            self.used -= cost(bytes.len() as u64);
        }
        Some(())
    }
}

/// What keeping a record of this length takes.
pub(super) fn cost(bytes: u64) -> u64 {
    bytes + RECORD_OVERHEAD
}

#[cfg(test)]
mod tests;
