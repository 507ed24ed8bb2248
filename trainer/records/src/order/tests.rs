//! A permutation always; the same one always; near where its block was when windows are small.

use proptest::prelude::*;

use super::*;

const SINGLE: Batches = Batches { global: 1, micro: 1 };
const USUAL: Batches = Batches { global: 128, micro: 16 };

fn small(block_records: u64, window_records: u64) -> Shuffle {
    Shuffle { block_records, window_records }
}

fn all(order: &Order) -> Vec<u64> {
    order.records(0..u64::MAX)
}

/// The order over records `0..len`, none held out.
fn epoch_order(seed: u64, epoch: u64, len: u64, shuffle: Shuffle, batches: Batches) -> Order {
    Split::new(len, 0.0, 0).unwrap().epoch_order(seed, epoch, shuffle, batches)
}

/// Also computed once by an independent implementation of the definitions (in Python).
#[test]
fn golden_orders() {
    let found = all(&epoch_order(42, 0, 20, small(4, 8), SINGLE));
    assert_eq!(found, [17, 18, 14, 12, 16, 13, 19, 15, 4, 3, 6, 2, 7, 1, 5, 0, 11, 9, 8, 10]);
    let found = all(&epoch_order(42, 1, 22, small(4, 8), Batches { global: 6, micro: 2 }));
    assert_eq!(found, [1, 2, 16, 7, 14, 12, 0, 3, 6, 18, 13, 9, 5, 4, 19, 17, 15, 8]);
    let found = epoch_order(42, 7, 50_000, Shuffle::default(), USUAL).records(12..20);
    assert_eq!(found, [16777, 27088, 2193, 4518, 28937, 22860, 35658, 30234]);
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
fn one_window_over_one_lane_makes_every_order_equally_likely() {
    let mut counts = std::collections::BTreeMap::new();
    for epoch in 0..24_000 {
        *counts.entry(all(&epoch_order(3, epoch, 4, small(2, 4), SINGLE))).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 24);
    assert!(counts.values().all(|count| (850..1150).contains(count)), "{counts:?}");
}

/// A source sorted by class must not give batches of one class: every class is spread evenly.
#[test]
fn records_sorted_by_class_are_mixed_through_the_epoch() {
    let order = epoch_order(1, 0, 50_000, Shuffle::default(), USUAL);
    for tenth in 0..10 {
        let mut counts = [0; 10];
        order.records(tenth * 5000..(tenth + 1) * 5000).iter().for_each(|r| counts[*r as usize / 5000] += 1);
        let even = if tenth < 9 { 380..620 } else { 360..620 };
        assert!(counts.iter().all(|count| even.contains(count)), "{counts:?}");
    }
}

/// Over the epochs every lane reads every record: none is tied to a place in the batch.
#[test]
fn records_change_lanes_from_epoch_to_epoch() {
    let mut lanes = vec![std::collections::BTreeSet::new(); 512];
    for epoch in 0..100 {
        let order = all(&epoch_order(5, epoch, 512, small(16, 512), USUAL));
        for (position, record) in order.into_iter().enumerate() {
            lanes[record as usize].insert(position % 128 / 16);
        }
    }
    assert!(lanes.iter().all(|lanes| lanes.len() == 8), "{lanes:?}");
}

fn batches() -> impl Strategy<Value = Batches> {
    (1u64..20, 1u64..9).prop_map(|(micro, lanes)| Batches { global: micro * lanes, micro })
}

proptest! {
    #[test]
    fn an_epoch_reads_no_record_twice_and_leaves_out_less_than_a_batch(
        seed: u64, epoch: u64, len in 0u64..3000, block in 0u64..400, window in 0u64..4000, batches in batches()
    ) {
        let order = epoch_order(seed, epoch, len, small(block, window), batches);
        prop_assert_eq!(order.len(), len / batches.global * batches.global);
        prop_assert_eq!(&order, &epoch_order(seed, epoch, len, small(block, window), batches));
        let different: std::collections::BTreeSet<_> = all(&order).into_iter().collect();
        prop_assert_eq!(different.len() as u64, order.len());
        prop_assert!(different.last().is_none_or(|last| *last < len));
    }

    /// What bounds the memory of an executor, and what it fetches.
    #[test]
    fn a_window_of_a_lane_holds_few_blocks_and_lanes_share_hardly_any(
        seed: u64, len in 1u64..3000, block in 1u64..50, windows in 1u64..8, batches in batches()
    ) {
        let lanes = batches.global / batches.micro;
        let order = all(&epoch_order(seed, 0, len, small(block, block * windows * lanes), batches));
        let mut blocks_of_lanes = 0;
        for lane in 0..lanes {
            let own = order.chunks(batches.micro as usize).skip(lane as usize).step_by(lanes as usize);
            let own: Vec<u64> = own.flatten().map(|record| record / block).collect();
            for window in own.chunks((block * windows) as usize) {
                let blocks: std::collections::BTreeSet<_> = window.iter().collect();
                // The lane may begin inside a block, and the one short block may shift the others.
                prop_assert!(blocks.len() as u64 <= windows + 2);
            }
            blocks_of_lanes += own.iter().collect::<std::collections::BTreeSet<_>>().len() as u64;
        }
        prop_assert!(blocks_of_lanes <= len.div_ceil(block) + lanes);
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
        let order = split.epoch_order(seed, 3, small(16, 64), SINGLE);
        prop_assert_eq!(order.len(), split.training_len());
        let mut both = [all(&order), validation].concat();
        both.sort_unstable();
        prop_assert_eq!(both, (0..records).collect::<Vec<_>>());
    }

    #[test]
    fn other_epochs_and_seeds_give_other_orders(seed: u64, epoch in 0u64..1000) {
        let order = |seed, epoch| epoch_order(seed, epoch, 500, Shuffle::default(), SINGLE);
        prop_assert_ne!(order(seed, epoch), order(seed, epoch + 1));
        prop_assert_ne!(order(seed, epoch), order(seed.wrapping_add(1), epoch));
    }
}
