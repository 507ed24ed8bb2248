//! Tests of the run folder, on a real file system.

use std::sync::Arc;

use lockstep_nn::{Layer, Shape};

use super::*;
use crate::{
    checkpoint::Error,
    course::{Best, Score, Stage},
};

fn network() -> Network {
    let layers = [Layer::Flatten, Layer::Dense { units: 2 }];
    Network::adam(Shape { height: 2, width: 2, channels: 1 }, 2, &layers)
}

fn state(network: &Network, step: u64) -> TrainingState {
    let mut state = TrainingState::initial(network, 7);
    (state.cursor.step, state.tensors.step) = (step, step);
    state
}

fn evaluated(network: &Network, step: u64, accuracy: f64) -> TrainingState {
    let mut state = state(network, step);
    let validation = Score { loss: 1.0 - accuracy, accuracy };
    state.cursor.validation = Some(validation);
    state.cursor.best = Some(Best { epoch: 1, step, validation });
    state
}

struct Fixture {
    folder: tempfile::TempDir,
    run: RunFolder,
    network: Network,
}

fn fixture(keep: usize, keep_best: bool) -> Fixture {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(folder.path().to_str().unwrap()).unwrap();
    let run = RunFolder::new(store, Origin::new(&[1; 32], &[2; 32], "test/1"), Retention { keep, keep_best });
    Fixture { folder, run, network: network() }
}

fn folders(fixture: &Fixture) -> Vec<String> {
    let manifests = fixture.folder.path().read_dir().unwrap().map(|entry| entry.unwrap());
    let mut names: Vec<_> = manifests
        .filter(|entry| entry.path().join(MANIFEST).exists())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn the_newest_checkpoint_is_restored_bit_for_bit_and_committing_again_changes_nothing() {
    let fixture = fixture(3, false);
    let Fixture { run, network, .. } = &fixture;
    assert!(run.restore(network).await.unwrap().is_none());
    for step in [5, 10] {
        run.commit(network, &state(network, step)).await.unwrap();
    }
    run.commit(network, &state(network, 10)).await.unwrap();
    let (id, restored) = run.restore(network).await.unwrap().unwrap();
    assert_eq!(id.step, 10);
    assert_eq!(restored.hash(), state(network, 10).hash());
}

#[tokio::test]
async fn a_state_before_its_evaluation_is_older_than_the_one_after_it() {
    let fixture = fixture(3, false);
    let Fixture { run, network, .. } = &fixture;
    let mut before = state(network, 5);
    before.cursor.stage = Stage::Validate;
    run.commit(network, &evaluated(network, 5, 0.5)).await.unwrap();
    run.commit(network, &before).await.unwrap();
    assert_eq!(folders(&fixture), ["step-00000005", "step-00000005-unevaluated"]);
    assert!(run.restore(network).await.unwrap().unwrap().0.evaluated);
}

#[tokio::test]
async fn what_a_dead_writer_left_is_overwritten_and_never_restored() {
    let fixture = fixture(3, false);
    let Fixture { run, network, folder } = &fixture;
    std::fs::create_dir(folder.path().join("step-00000005")).unwrap();
    std::fs::write(folder.path().join("step-00000005").join(MODEL), b"half").unwrap();
    assert!(run.restore(network).await.unwrap().is_none());
    run.commit(network, &state(network, 5)).await.unwrap();
    assert_eq!(run.restore(network).await.unwrap().unwrap().1.hash(), state(network, 5).hash());
}

#[tokio::test]
async fn other_weights_for_a_committed_step_are_a_permanent_error_and_lose_nothing() {
    let fixture = fixture(3, false);
    let Fixture { run, network, .. } = &fixture;
    run.commit(network, &state(network, 5)).await.unwrap();
    let mut other = state(network, 5);
    Arc::make_mut(&mut other.tensors.weights).parameters[0] += 1.0;
    let error = run.commit(network, &other).await.unwrap_err();
    assert!(matches!(error, Error::OtherContent { .. }) && !error.is_retryable(), "{error:?}");
    assert_eq!(run.restore(network).await.unwrap().unwrap().1.hash(), state(network, 5).hash());
}

#[tokio::test]
async fn every_damaged_byte_range_of_a_checkpoint_makes_restore_take_the_older_one() {
    let fixture = fixture(3, false);
    let Fixture { run, network, folder } = &fixture;
    run.commit(network, &state(network, 5)).await.unwrap();
    run.commit(network, &state(network, 10)).await.unwrap();
    for object in [MODEL, OPTIMIZER, MANIFEST] {
        let path = folder.path().join("step-00000010").join(object);
        let good = std::fs::read(&path).unwrap();
        let mut flipped = good.clone();
        flipped[good.len() / 2] ^= 1;
        for damaged in [&good[..good.len() - 1], &flipped] {
            // A flip in the manifest's white space or digits may leave valid JSON; the digests still disagree.
            std::fs::write(&path, damaged).unwrap();
            let (id, restored) = run.restore(network).await.unwrap().unwrap();
            let wanted = state(network, id.step).hash();
            assert_eq!(restored.hash(), wanted, "{object}");
            assert!(object == MANIFEST || id.step == 5, "{object} restored {id}");
        }
        std::fs::write(&path, &good).unwrap();
    }
}

#[tokio::test]
async fn pruning_keeps_the_newest_and_the_best_and_removes_leftovers() {
    let fixture = fixture(2, true);
    let Fixture { run, network, folder } = &fixture;
    let mut best = None;
    for (step, accuracy) in [(1, 0.2), (2, 0.7), (3, 0.7), (4, 0.1), (5, 0.3)] {
        let mut state = evaluated(network, step, accuracy);
        if best.is_some_and(|best: Best| best.validation.accuracy >= accuracy) {
            state.cursor.best = best;
        }
        best = state.cursor.best;
        run.commit(network, &state).await.unwrap();
    }
    std::fs::create_dir(folder.path().join("step-00000000")).unwrap();
    std::fs::write(folder.path().join("step-00000000").join(MODEL), b"half").unwrap();
    std::fs::create_dir(folder.path().join("step-00000009")).unwrap();
    std::fs::write(folder.path().join("step-00000009").join(MODEL), b"being written").unwrap();
    run.prune().await.unwrap();
    assert_eq!(folders(&fixture), ["step-00000002", "step-00000004", "step-00000005"]);
    assert!(!folder.path().join("step-00000000").join(MODEL).exists());
    assert!(folder.path().join("step-00000009").join(MODEL).exists(), "a newer one may be in the making");
}

#[tokio::test]
async fn a_run_ends_once_and_a_second_finisher_with_the_same_weights_agrees() {
    let fixture = fixture(2, false);
    let Fixture { run, network, .. } = &fixture;
    assert!(run.result().await.unwrap().is_none());
    let state = state(network, 5);
    let result =
        |weights| JobResult::new(run.origin().clone(), weights, "step-00000005".into(), 1, &state.cursor);
    run.finish(&result([1; 32])).await.unwrap();
    run.finish(&result([1; 32])).await.unwrap();
    assert_eq!(run.result().await.unwrap(), Some(result([1; 32])));
    let error = run.finish(&result([2; 32])).await.unwrap_err();
    assert!(matches!(error, Error::OtherResult { .. }), "{error:?}");
}

#[tokio::test]
async fn a_cleared_run_is_a_fresh_one() {
    let fixture = fixture(2, false);
    let Fixture { run, network, .. } = &fixture;
    run.commit(network, &state(network, 5)).await.unwrap();
    run.clear().await.unwrap();
    assert!(run.restore(network).await.unwrap().is_none());
    assert!(run.store.list("").await.unwrap().is_empty());
}

#[tokio::test]
async fn the_checkpoint_of_a_finished_job_is_the_one_before_its_test() {
    let fixture = fixture(2, false);
    let Fixture { run, network, .. } = &fixture;
    let mut last = state(network, 5);
    (last.cursor.stage, last.cursor.round) = (Stage::Test, 6);
    let mut finished = last.clone();
    (finished.cursor.stage, finished.cursor.round) = (Stage::Finished, 7);
    finished.cursor.test = Some(Score { loss: 1.0, accuracy: 0.5 });
    run.commit(network, &finished).await.unwrap();
    run.commit(network, &last).await.unwrap();
    assert_eq!(run.restore(network).await.unwrap().unwrap().1.hash(), last.hash());
}

#[tokio::test]
async fn committing_a_damaged_checkpoint_again_repairs_it() {
    let fixture = fixture(3, false);
    let Fixture { run, network, folder } = &fixture;
    run.commit(network, &state(network, 10)).await.unwrap();
    for object in [MODEL, OPTIMIZER, MANIFEST] {
        let path = folder.path().join("step-00000010").join(object);
        let good = std::fs::read(&path).unwrap();
        for damaged in [&good[..good.len() / 2], b"", b"other"] {
            std::fs::write(&path, damaged).unwrap();
            assert!(run.restore(network).await.unwrap().is_none(), "{object}");
            run.commit(network, &state(network, 10)).await.unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), good, "{object}");
            assert_eq!(run.restore(network).await.unwrap().unwrap().0.step, 10);
        }
    }
}

#[tokio::test]
async fn temporary_files_of_older_steps_go_at_a_prune_and_all_go_at_the_end() {
    let fixture = fixture(3, false);
    let Fixture { run, network, folder } = &fixture;
    run.commit(network, &state(network, 5)).await.unwrap();
    for step in ["step-00000004", "step-00000006"] {
        std::fs::create_dir(folder.path().join(step)).unwrap();
        std::fs::write(folder.path().join(step).join(format!("{MODEL}#1")), b"half").unwrap();
    }
    let left = async || run.store.unfinished("").await.unwrap().len();
    assert_eq!(left().await, 2);
    run.prune().await.unwrap();
    assert_eq!(left().await, 1, "a newer one may be in the making");
    run.clean_up().await.unwrap();
    assert_eq!(left().await, 0);
    assert_eq!(run.restore(network).await.unwrap().unwrap().0.step, 5);
}
