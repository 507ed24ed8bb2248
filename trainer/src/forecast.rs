//! Which micro-batches an executor will most probably compute in the rounds to come: the same share of each as of the one
//! that is open. A pure function of the course; nothing that is computed depends on it.

use crate::course::{Course, Cursor, Score, Stage};

/// A micro-batch's place in the course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub stage: Stage,
    /// Updates done before the round.
    pub step: u64,
    pub leaf: u32,
}

/// An executor's share of every round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// Stage of the round that it was seen in.
    stage: Stage,
    /// Its micro-batches there, ascending.
    leaves: Vec<u32>,
}

impl Share {
    /// The share that `leaves` are of a round of `stage`.
    pub(crate) fn new(stage: Stage, leaves: &[u32]) -> Self {
        let mut leaves = leaves.to_vec();
        leaves.sort_unstable();
        Self { stage, leaves }
    }

    /// Its micro-batches in the round after `cursor`.
    pub(crate) fn of(&self, course: &Course, cursor: &Cursor) -> Vec<Place> {
        let place = |leaf| Place { stage: cursor.stage, step: cursor.step, leaf };
        let (seen, all) = (course.leaves(self.stage), course.leaves(cursor.stage));
        if seen == all {
            return self.leaves.iter().copied().map(place).collect();
        }
        let (Some(first), Some(last)) = (self.leaves.first(), self.leaves.last()) else { return Vec::new() };
        // Another number of leaves, but the same part of them.
        let scaled = |leaf: u32| u64::from(leaf) * u64::from(all) / u64::from(seen.max(1));
        let range = scaled(*first)..scaled(last.saturating_add(1)).min(all.into());
        range.filter_map(|leaf| u32::try_from(leaf).ok()).map(place).collect()
    }
}

/// Where the job will most probably stand one round after `cursor`; none when that is its last.
pub(crate) fn next_round(course: &Course, cursor: &Cursor) -> Option<Cursor> {
    let next = match cursor.stage {
        Stage::Train => course.after_step(cursor.clone(), 0.0, 0, 0),
        // Rarely does an evaluation end a job early.
        Stage::Validate => {
            let best = Score { loss: f64::NEG_INFINITY, accuracy: f64::INFINITY };
            course.after_evaluation(cursor.clone(), best)
        }
        Stage::Test | Stage::Finished => return None,
    };
    (next.stage != Stage::Finished).then_some(next)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Three steps and an evaluation an epoch.
    pub(crate) fn course() -> Course {
        Course {
            training_records: 100,
            validation_records: 2560,
            test_records: 512,
            global_batch: 32,
            micro_batch: 4,
            epochs: 2,
            early_stopping: None,
        }
    }

    fn next(cursor: &Cursor, leaves: &[u32]) -> Vec<Place> {
        let share = Share::new(cursor.stage, leaves);
        next_round(&course(), cursor).map_or(Vec::new(), |next| share.of(&course(), &next))
    }

    #[test]
    fn the_next_step_asks_for_the_same_leaves() {
        let cursor = Cursor { step: 1, round: 1, ..Cursor::start() };
        let expected: Vec<_> = [4, 5].map(|leaf| Place { stage: Stage::Train, step: 2, leaf }).into();
        assert_eq!(next(&cursor, &[5, 4]), expected);
    }

    #[test]
    fn an_epoch_ends_with_the_same_share_of_its_evaluation_and_then_goes_on() {
        let cursor = Cursor { step: 2, round: 2, ..Cursor::start() };
        let evaluation = next(&cursor, &[4, 5, 6, 7]);
        let leaves = course().leaves(Stage::Validate);
        let expected: Vec<_> =
            (leaves / 2..leaves).map(|leaf| Place { stage: Stage::Validate, step: 3, leaf }).collect();
        assert_eq!(evaluation, expected);
        let cursor = Cursor { step: 3, round: 3, stage: Stage::Validate, ..Cursor::start() };
        let all: Vec<u32> = (0..leaves).collect();
        let training = next(&cursor, &all);
        let expected: Vec<_> = (0..8).map(|leaf| Place { stage: Stage::Train, step: 3, leaf }).collect();
        assert_eq!(training, expected);
    }

    #[test]
    fn nothing_follows_the_test() {
        let cursor = Cursor { step: 6, round: 8, stage: Stage::Test, ..Cursor::start() };
        assert!(next(&cursor, &[0]).is_empty());
    }
}
