//! Tests of the course of a job.

use super::*;

fn course() -> Course {
    Course {
        training_records: 100,
        validation_records: 250,
        test_records: 101,
        global_batch: 32,
        micro_batch: 8,
        epochs: 3,
        early_stopping: None,
    }
}

fn accuracy(accuracy: f64) -> Score {
    Score { loss: 1.0 - accuracy, accuracy }
}

/// Follows a course with the given validation accuracies; returns the stages and the last cursor.
fn follow(course: &Course, accuracies: &[f64]) -> (Vec<Stage>, Cursor) {
    let mut cursor = Cursor::start();
    let mut stages = Vec::new();
    let mut accuracies = accuracies.iter();
    while cursor.stage != Stage::Finished {
        stages.push(cursor.stage);
        cursor = match cursor.stage {
            Stage::Train => course.after_step(cursor, 1.0, 4, 32),
            _ => course.after_evaluation(cursor, accuracy(*accuracies.next().unwrap_or(&0.0))),
        };
    }
    (stages, cursor)
}

#[test]
fn every_epoch_ends_with_a_validation_and_the_job_with_one_test() {
    use Stage::{Test, Train, Validate};
    let (stages, cursor) = follow(&course(), &[0.1, 0.3, 0.2, 0.5]);
    let epoch = [Train, Train, Train, Validate];
    assert_eq!(stages, [&epoch[..], &epoch, &epoch, &[Test]].concat());
    assert_eq!((cursor.step, cursor.round), (9, 13));
    assert_eq!(cursor.best, Some(Best { epoch: 2, step: 6, validation: accuracy(0.3) }));
    assert_eq!(cursor.test, Some(accuracy(0.5)));
    assert_eq!(cursor.epoch_sums, EpochSums { loss: 3.0, steps: 3, correct: 12, images: 96 });
    assert!(!cursor.early_stopped);
}

#[test]
fn a_job_without_validation_and_test_data_only_trains() {
    let course = Course { validation_records: 0, test_records: 0, ..course() };
    let (stages, cursor) = follow(&course, &[]);
    assert_eq!(stages, [Stage::Train; 9]);
    assert_eq!((cursor.validation, cursor.best, cursor.test), (None, None, None));
}

#[test]
fn training_stops_when_patience_is_exhausted() {
    let rule = EarlyStopping { metric: Metric::ValidationAccuracy, patience: 2, min_delta: 0.05 };
    let course = Course { epochs: 50, early_stopping: Some(rule), ..course() };
    let (_, cursor) = follow(&course, &[0.1, 0.3, 0.34, 0.3, 0.9]);
    assert_eq!(cursor.step, 4 * 3, "0.34 is within min_delta of 0.3, so epochs 3 and 4 bring nothing");
    assert!(cursor.early_stopped);
    assert_eq!(cursor.test, Some(accuracy(0.9)), "the test follows an early stop as well");
}

#[test]
fn patience_that_ends_with_the_last_epoch_is_no_early_stop() {
    let rule = EarlyStopping { metric: Metric::ValidationLoss, patience: 2, min_delta: 0.0 };
    let (_, cursor) = follow(&Course { early_stopping: Some(rule), ..course() }, &[0.5, 0.4, 0.3]);
    assert_eq!(cursor.step, 9);
    assert!(!cursor.early_stopped);
}

#[test]
fn micro_batches_cover_every_batch_and_every_evaluation_exactly_once() {
    let course = course();
    let batch: Vec<_> =
        (0..course.leaves(Stage::Train)).flat_map(|leaf| course.positions(Stage::Train, 4, leaf)).collect();
    assert_eq!(batch, (32..64).collect::<Vec<_>>(), "step 4 is the second batch of the second epoch");
    for (stage, records) in [(Stage::Validate, 250), (Stage::Test, 101)] {
        let all: Vec<_> =
            (0..course.leaves(stage)).flat_map(|leaf| course.positions(stage, 4, leaf)).collect();
        assert_eq!(all, (0..records).collect::<Vec<_>>());
    }
}

#[test]
fn data_that_does_not_fill_one_batch_is_refused() {
    let course = Course { training_records: 31, ..course() };
    assert_eq!(course.check(), Err(TooFewRecords { training_records: 31, global_batch: 32 }));
}

#[test]
fn every_field_of_the_cursor_enters_its_hash() {
    let base = Cursor::start();
    let changes: [fn(&mut Cursor); 9] = [
        |cursor| cursor.round = 1,
        |cursor| cursor.step = 1,
        |cursor| cursor.stage = Stage::Test,
        |cursor| cursor.epoch_sums.loss = -0.0,
        |cursor| cursor.validation = Some(accuracy(0.5)),
        |cursor| cursor.best = Some(Best { epoch: 1, step: 1, validation: accuracy(0.5) }),
        |cursor| cursor.epochs_without_improvement = 1,
        |cursor| cursor.early_stopped = true,
        |cursor| cursor.test = Some(accuracy(0.5)),
    ];
    for (index, change) in changes.iter().enumerate() {
        let mut changed = base.clone();
        change(&mut changed);
        assert_ne!(base.words(), changed.words(), "change {index}");
    }
}
