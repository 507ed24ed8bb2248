//! Tests of the plan.

use proptest::prelude::*;

use super::*;
use crate::course::Stage;

/// Ten steps an epoch, then an evaluation; four epochs, then the test.
fn course() -> Course {
    Course {
        training_records: 320,
        validation_records: 800,
        test_records: 400,
        global_batch: 32,
        micro_batch: 4,
        epochs: 4,
        early_stopping: None,
    }
}

fn rounds(course: &Course) -> Vec<Cursor> {
    std::iter::successors(Some(Cursor::start()), |cursor| next_round(course, cursor)).collect()
}

fn opened(course: &Course, share: &Share, cursor: &Cursor) -> OpenRound {
    let leaves = share.of(course, cursor).into_iter().map(|place| place.leaf).collect();
    OpenRound { cursor: cursor.clone(), leaves }
}

proptest! {
    /// However large a micro-batch is: each round is planned once, in order, before it is opened, two portions at a time.
    #[test]
    fn an_undisturbed_job_is_planned_once_and_ahead_of_time(cost in 1e-6f64..2.0, first in 0u32..4, more in 1u32..5) {
        let course = course();
        let share = Share::new(Stage::Train, &(first..first + more).collect::<Vec<_>>());
        let rounds = rounds(&course);
        let mut plan = Plan::new(&course, &opened(&course, &share, &rounds[0]));
        let mut planned = Vec::new();
        for (number, cursor) in rounds.iter().enumerate() {
            let open = opened(&course, &share, cursor);
            prop_assert!(number == 0 || plan.foretold(&course, &open), "{cursor:?}");
            let known: Vec<u64> = plan.portions.iter().flat_map(|p| &p.rounds).map(|(round, _)| *round).collect();
            if plan.advance(&course, cursor.round, |_| cost) {
                let all = plan.portions.iter().flat_map(|p| &p.rounds);
                planned.extend(all.map(|(round, _)| *round).filter(|round| !known.contains(round)));
            }
            prop_assert!(plan.portions.len() <= 2);
            let is_last = number + 1 == rounds.len();
            prop_assert!(is_last || planned.last().is_some_and(|last| *last > cursor.round));
            for portion in plan.portions() {
                prop_assert!(portion.len() as f64 * cost <= LARGEST_PORTION || portion.len() <= 8);
            }
        }
        prop_assert_eq!(planned, (1..rounds.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn portions_grow_up_to_their_part_of_the_room() {
    let course = Course { training_records: 32 * 100_000, ..course() };
    let share = Share::new(Stage::Train, &[0]);
    let mut plan = Plan::new(&course, &opened(&course, &share, &Cursor::start()));
    let mut sizes = Vec::new();
    while sizes.len() < 6 {
        let last =
            plan.portions.front().and_then(|portion| portion.rounds.back()).map_or(0, |(round, _)| *round);
        plan.advance(&course, last, |_| 1.0 / 1024.0);
        sizes.push(plan.portions.front().unwrap().rounds.len());
    }
    assert_eq!(sizes, [12, 48, 192, 768, 768, 768]);
}

#[test]
fn another_share_and_a_round_that_was_not_planned_need_another_plan() {
    let course = course();
    let rounds = rounds(&course);
    let share = Share::new(Stage::Train, &[0, 1]);
    let mut plan = Plan::new(&course, &opened(&course, &share, &rounds[0]));
    plan.advance(&course, 0, |_| 1e-3);
    assert!(plan.foretold(&course, &opened(&course, &share, &rounds[1])));
    let other = Share::new(Stage::Train, &[0, 1, 2]);
    assert!(!plan.foretold(&course, &opened(&course, &other, &rounds[1])));
    // A snapshot of a peer lies further ahead, a restored checkpoint behind.
    assert!(!plan.foretold(&course, &opened(&course, &share, &rounds[40])));
    plan.advance(&course, 1, |_| 1e-3);
    assert!(plan.foretold(&course, &opened(&course, &share, &rounds[1])), "asked for again");
    assert!(!plan.foretold(&course, &opened(&course, &share, &rounds[0])));
}
