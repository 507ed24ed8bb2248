//! Bad input is an error that says what is wrong; nothing hangs, and the engine goes on.

use std::sync::{Arc, mpsc};

use lockstep_nn::engine::Error;
use lockstep_nn::{
    FlatBuffer, Layer, Optimizer, Shape, State, Task, TaskKind, Weights, apply, backend, optimizer,
};

use crate::support::{NORM, engine, every_layer, images, leaf, model, whole};

const SHAPE: Shape = Shape { height: 7, width: 5, channels: 2 };

#[test]
fn wrong_micro_batches_are_refused_with_what_is_wrong() {
    let model = model(SHAPE, 3, &every_layer(3, 0.4));
    let engine = engine(&model, 1, 0.0);
    let weights = Arc::new(model.initial_weights(1));
    let (pixels, labels) = images(&model, 2, 0);
    for kind in [TaskKind::Train { step: 0 }, TaskKind::Evaluate] {
        let run = |weights: &Arc<Weights>, pixels: &[u8], labels: &[u32]| match leaf(
            &engine,
            kind,
            weights,
            5,
            (pixels.to_vec(), labels.to_vec()),
        ) {
            Err(error @ Error::Compute { .. }) => {
                assert!(!error.is_retryable());
                let Error::Compute { position: 5, source } = error else { panic!("{error}") };
                source
            }
            other => panic!("{other:?}"),
        };
        let short = run(&weights, &pixels[1..], &labels);
        assert!(matches!(short, backend::Error::PixelCount { labels: 2, expected: 140, found: 139 }));
        assert!(matches!(run(&weights, &[], &[]), backend::Error::NoImages));
        let label = run(&weights, &pixels, &[0, 3]);
        assert!(matches!(label, backend::Error::LabelRange { image: 1, label: 3, classes: 3 }));
        let other = Weights { parameters: FlatBuffer::zeros(3), ..(*weights).clone() };
        assert!(matches!(run(&Arc::new(other), &pixels, &labels), backend::Error::WrongWeights));
        assert!(leaf(&engine, kind, &weights, 0, (pixels.clone(), labels.clone())).is_ok());
    }
    assert!(matches!(engine.logits(Arc::clone(&weights), pixels[1..].to_vec()), Err(Error::Logits { .. })));
}

#[test]
fn weights_that_are_not_finite_reach_the_optimizer_as_a_divergence() {
    let model = model(SHAPE, 3, &every_layer(3, 0.4));
    let engine = engine(&model, 1, 0.0);
    let adam = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    for tensor in model.parameters() {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut weights = model.initial_weights(1);
            weights.parameters[tensor.range()].fill(bad);
            let mut state = State::new(&model, &adam, weights);
            let hash = state.hash();
            let leaf =
                leaf(&engine, TaskKind::Train { step: 0 }, &state.weights, 0, images(&model, 8, 0)).unwrap();
            let result = apply(&model, &adam, 1e-3, &mut state, &leaf.vector, 1);
            assert!(
                matches!(result, Err(optimizer::Error::Diverged { step: 1, .. })),
                "{} {bad}: {result:?}",
                tensor.name
            );
            assert_eq!(state.hash(), hash);
        }
    }
}

/// The executor waits for every leaf it submitted: one without an answer would hang the job.
#[test]
fn every_leaf_is_answered_also_when_the_engine_stops_or_a_callback_panics() {
    let model = model(SHAPE, 3, &[NORM, Layer::Flatten, Layer::Dense { units: 3 }]);
    let weights = Arc::new(model.initial_weights(1));
    let engine = engine(&model, 2, 0.0);
    let (sender, results) = mpsc::channel();
    for position in 0..200 {
        let (pixels, labels) = images(&model, 4, position);
        let sender = sender.clone();
        let answer = whole(move |leaf| {
            sender.send((position, leaf.map(|_| ()))).unwrap();
            if position % 7 == 0 {
                // A panic, without its message in the test's output.
                std::panic::resume_unwind(Box::new("a callback that panics"));
            }
        });
        let kind = TaskKind::Evaluate;
        engine.submit(Task { kind, weights: Arc::clone(&weights), position, pixels, labels, answer });
    }
    // Until some are done, the rest perhaps not.
    let first: Vec<_> = results.iter().take(20).collect();
    assert!(first.iter().all(|(_, leaf)| leaf.is_ok()));
    drop(sender);
    // Positions left in the queue are answered by `drop` on this thread, and it must survive their panics too.
    drop(engine);
    let rest: Vec<_> = results.iter().collect();
    let mut positions: Vec<_> = first.iter().chain(&rest).map(|(position, _)| *position).collect();
    positions.sort_unstable();
    assert_eq!(positions, (0..200).collect::<Vec<_>>());
    let stopped = |leaf: &Result<(), Error>| leaf.is_ok() || matches!(leaf, Err(Error::Stopped));
    assert!(rest.iter().all(|(_, leaf)| stopped(leaf)));
}

#[test]
fn weights_are_released_before_the_answer() {
    let model = model(SHAPE, 3, &every_layer(3, 0.4));
    let engine = engine(&model, 2, 0.0);
    let mut weights = Arc::new(model.initial_weights(1));
    for step in 0..20 {
        leaf(&engine, TaskKind::Train { step }, &weights, 0, images(&model, 2, 0)).unwrap();
        assert!(Arc::get_mut(&mut weights).is_some(), "the optimizer would copy them");
    }
}
