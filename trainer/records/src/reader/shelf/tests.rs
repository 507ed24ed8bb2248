//! The bound holds, the books balance, and what the plan wants stays until it was asked for.

use proptest::prelude::*;

use super::*;

const BYTES: u64 = 10;
const COST: u64 = BYTES + RECORD_OVERHEAD;

fn frame(record: u64) -> Bytes {
    vec![record as u8; BYTES as usize].into()
}

fn reserve(shelf: &mut Shelf, records: &[u64]) -> Option<Vec<u64>> {
    shelf.reserve(&records.iter().map(|record| (*record, BYTES)).collect::<Vec<_>>())
}

fn fetch(shelf: &mut Shelf, records: &[u64]) -> bool {
    let Some(reserved) = reserve(shelf, records) else { return false };
    reserved.into_iter().for_each(|record| shelf.settle(record, Some(frame(record))));
    true
}

/// A shelf with room for this many records.
fn shelf(records: u64) -> Shelf {
    Shelf::new(records * COST)
}

impl Shelf {
    fn check(&self) {
        assert!(self.used <= self.limit);
        let mut used = 0;
        let mut spare = BTreeMap::new();
        for (record, Entry { asked, content }) in &self.records {
            match content {
                Content::Absent => assert!(*asked > 0, "an absent record that nobody wants"),
                Content::Fetching { bytes } => used += cost(*bytes),
                Content::Kept { bytes, spare: place } => {
                    used += cost(bytes.len() as u64);
                    assert_eq!(place.is_some(), *asked == 0);
                    spare.extend(place.map(|place| (place, *record)));
                }
            }
        }
        assert_eq!((self.used, &self.spare), (used, &spare));
    }
}

#[derive(Clone, Debug)]
enum Operation {
    Expect(Vec<u64>),
    Reserve(Vec<u64>),
    Settle(u64, bool),
    Offer(u64),
    Take(u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    let record = 0u64..24;
    let records = || prop::collection::vec(0u64..24, 0..12);
    prop_oneof![
        records().prop_map(Operation::Expect),
        records().prop_map(Operation::Reserve),
        (record.clone(), any::<bool>()).prop_map(|(record, came)| Operation::Settle(record, came)),
        record.clone().prop_map(Operation::Offer),
        record.prop_map(Operation::Take),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_books_balance_and_the_plan_keeps_what_came(
        room in 0u64..20, operations in prop::collection::vec(operation(), 0..200)
    ) {
        let mut shelf = shelf(room);
        for operation in operations {
            let wanted = |shelf: &Shelf| -> Vec<u64> {
                let kept = shelf.records.iter().filter(|(_, entry)| {
                    entry.asked > 0 && matches!(entry.content, Content::Kept { .. })
                });
                kept.map(|(record, _)| *record).collect()
            };
            let before = wanted(&shelf);
            let mut given_up = None;
            match operation {
                Operation::Expect(records) => {
                    shelf.expect(records);
                    given_up = Some(before.clone());
                }
                Operation::Reserve(mut records) => {
                    records.sort_unstable();
                    records.dedup();
                    let _ = reserve(&mut shelf, &records);
                }
                Operation::Settle(record, came) => shelf.settle(record, came.then(|| frame(record))),
                Operation::Offer(record) => shelf.offer(record, frame(record), false),
                Operation::Take(record) => {
                    let found = shelf.take(record);
                    prop_assert!(found.is_none_or(|bytes| bytes == frame(record)));
                    given_up = Some(vec![record]);
                }
            }
            shelf.check();
            let after = wanted(&shelf);
            let lost = before.iter().find(|record| {
                !after.contains(record) && !given_up.as_ref().is_some_and(|records| records.contains(record))
            });
            prop_assert_eq!(lost, None);
        }
    }
}

#[test]
fn what_the_plan_wants_twice_stays_until_it_was_asked_for_twice() {
    let mut shelf = shelf(2);
    shelf.expect([1, 2, 1]);
    assert!(fetch(&mut shelf, &[1, 2]));
    assert!(shelf.take(1).is_some());
    shelf.offer(9, frame(9), false);
    assert!(shelf.take(9).is_none(), "there was no room to spare");
    assert!(shelf.take(1).is_some());
    assert_eq!(shelf.spare.len(), 1);
}

#[test]
fn what_was_read_gives_way_the_newest_first_and_before_what_nobody_read() {
    let mut shelf = shelf(4);
    shelf.offer(0, frame(0), false);
    shelf.expect([1, 2, 3]);
    assert!(fetch(&mut shelf, &[1, 2, 3]));
    for record in [1, 2, 3] {
        assert!(shelf.take(record).is_some());
    }
    let mut order = Vec::new();
    for new in 10..14 {
        shelf.expect(10..=new);
        assert!(fetch(&mut shelf, &[new]));
        order.extend(
            (0..4).filter(|old| !shelf.records.contains_key(old) && !order.contains(old)).collect::<Vec<_>>(),
        );
    }
    assert_eq!(order, [3, 2, 1, 0]);
    assert!(!fetch(&mut shelf, &[10]) || shelf.used() == 4 * COST);
    shelf.expect(10..15);
    assert!(!fetch(&mut shelf, &[14]), "the plan wants all that is there");
}

#[test]
fn another_plan_makes_room_of_what_the_last_one_wanted() {
    let mut shelf = shelf(2);
    shelf.expect([1, 2]);
    assert!(fetch(&mut shelf, &[1, 2]));
    shelf.expect([2, 3]);
    assert!(fetch(&mut shelf, &[3]));
    assert!(shelf.take(1).is_none() && shelf.take(2).is_some() && shelf.take(3).is_some());
}

#[test]
fn what_never_comes_leaves_its_room_and_is_still_lacking() {
    let mut shelf = shelf(1);
    shelf.expect([1]);
    assert_eq!(reserve(&mut shelf, &[1]), Some(vec![1]));
    assert!(shelf.is_fetching(1) && !shelf.lacks(1));
    shelf.settle(1, None);
    assert!(shelf.lacks(1) && shelf.used() == 0);
}
