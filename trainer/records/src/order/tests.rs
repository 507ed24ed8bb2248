//! A permutation always; the same one always; near where its block was when windows are small.

use proptest::prelude::*;

use super::*;

fn small(block_records: u64, window_records: u64) -> Shuffle {
    Shuffle { block_records, window_records }
}

fn all(order: &Order) -> Vec<u64> {
    order.records(0..u64::MAX)
}

/// Also computed once by an independent implementation of the definitions (in Python).
#[test]
fn golden_orders() {
    let found = all(&epoch_order(42, 0, 20, small(4, 8)).unwrap());
    assert_eq!(found, [17, 18, 14, 12, 16, 13, 19, 15, 4, 3, 6, 2, 7, 1, 5, 0, 11, 9, 8, 10]);
    let found = all(&epoch_order(42, 1, 20, small(4, 8)).unwrap());
    assert_eq!(found, [4, 0, 3, 5, 6, 1, 7, 2, 14, 11, 12, 8, 10, 13, 9, 15, 19, 17, 18, 16]);
    let found = epoch_order(42, 7, 50_000, Shuffle::default()).unwrap().records(0..8);
    assert_eq!(found, [21983, 41100, 20457, 14884, 32596, 29603, 6991, 247]);
    assert_eq!(Split::new(20, 0.25, 42).unwrap().validation(0..20), [2, 5, 11, 15, 16]);
}

#[test]
fn a_split_that_cannot_be_made_says_why() {
    let refused = |records, fraction| Split::new(records, fraction, 1).unwrap_err().to_string();
    assert!(refused(4, 0.1).contains("leaves 0 of them for validation"), "{}", refused(4, 0.1));
    assert!(refused(2, 0.9).contains("and 0 for training"));
    for fraction in [1.0, -0.1, f64::NAN, f64::INFINITY] {
        assert!(refused(100, fraction).contains("must be in 0..1"));
    }
    assert!(refused(1 << 32, 0.1).contains("limit"));
    assert_eq!(Split::new(7, 0.0, 1).unwrap().training_len(), 7);
}

/// Every one of the 24 orders of four records must come up about as often as any other.
#[test]
fn one_window_over_everything_makes_every_order_equally_likely() {
    let mut counts = std::collections::BTreeMap::new();
    for epoch in 0..24_000 {
        *counts.entry(all(&epoch_order(3, epoch, 4, small(2, 4)).unwrap())).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}

/// A source sorted by class must not give batches of one class: a full shuffle spreads every class evenly.
#[test]
fn records_sorted_by_class_are_mixed_through_the_epoch() {
    let order = epoch_order(1, 0, 50_000, Shuffle::default()).unwrap();
    for tenth in 0..10 {
        let mut counts = [0; 10];
        order.records(tenth * 5000..(tenth + 1) * 5000).iter().for_each(|r| counts[*r as usize / 5000] += 1);
        assert!(counts.iter().all(|count| (380..620).contains(count)), "{counts:?}");
    }
}

proptest! {
    #[test]
    fn an_epoch_reads_every_record_once(
        seed: u64, epoch: u64, len in 0u64..3000, block in 0u64..400, window in 0u64..4000
    ) {
        let order = epoch_order(seed, epoch, len, small(block, window)).unwrap();
        prop_assert_eq!(order.len(), len);
        prop_assert_eq!(&order, &epoch_order(seed, epoch, len, small(block, window)).unwrap());
        let mut sorted = all(&order);
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..len).collect::<Vec<_>>());
    }

    #[test]
    fn a_window_holds_few_blocks(seed: u64, len in 1u64..3000, block in 1u64..50, windows in 1u64..8) {
        let window = block * windows;
        let order = epoch_order(seed, 0, len, small(block, window)).unwrap();
        for start in (0..len).step_by(window as usize) {
            let blocks: std::collections::BTreeSet<_> =
                order.records(start..start + window).iter().map(|record| record / block).collect();
            // The one short block may shift the others, so that a window ends inside a block.
            prop_assert!(blocks.len() as u64 <= windows + 2);
        }
    }

    #[test]
    fn a_split_divides_exactly(records in 0u64..5000, per_mille in 1u64..1000, seed: u64) {
        let fraction = per_mille as f64 / 1000.0;
        let Ok(split) = Split::new(records, fraction, seed) else {
            let held_out = (records as f64 * fraction).round();
            prop_assert!(held_out == 0.0 || held_out == records as f64);
            return Ok(());
        };
        prop_assert_eq!(split.validation_len(), (records as f64 * fraction).round() as u64);
        let validation = split.validation(0..records);
        prop_assert!(validation.is_sorted());
        let order = split.epoch_order(seed, 3, small(16, 64));
        prop_assert_eq!(order.len(), split.training_len());
        let mut both = [all(&order), validation].concat();
        both.sort_unstable();
        prop_assert_eq!(both, (0..records).collect::<Vec<_>>());
    }

    #[test]
    fn other_epochs_and_seeds_give_other_orders(seed: u64, epoch in 0u64..1000) {
        let order = |seed, epoch| epoch_order(seed, epoch, 500, Shuffle::default()).unwrap();
        prop_assert_ne!(order(seed, epoch), order(seed, epoch + 1));
        prop_assert_ne!(order(seed, epoch), order(seed.wrapping_add(1), epoch));
    }
}
