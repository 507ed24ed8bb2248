//! Batch statistics, evaluation with running statistics, and a whole training.

use std::sync::Arc;

use lockstep_nn::{Layer, Optimizer, Shape, State, TaskKind, apply};

use crate::support::{NORM, bits, engine, every_layer, images, leaf, model, uneven_weights};

/// Batch norm as the first layer sees the pixels themselves, so that its statistics can be counted by hand.
#[test]
fn a_leaf_carries_the_batchs_mean_and_biased_variance() {
    let shape = Shape { height: 7, width: 5, channels: 2 };
    let model = model(shape, 3, &[NORM, Layer::Flatten, Layer::Dense { units: 3 }]);
    let (pixels, labels) = images(&model, 4, 0);
    let weights = Arc::new(model.initial_weights(1));
    let kind = TaskKind::Train { step: 0 };
    let leaf = leaf(&engine(&model, 1, 0.0), kind, &weights, 0, (pixels.clone(), labels)).unwrap();
    let statistics = &leaf.vector[model.parameter_len()..];
    for channel in 0..2 {
        let values: Vec<f64> =
            pixels.iter().skip(channel).step_by(2).map(|&pixel| f64::from(pixel) / 255.0).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / values.len() as f64;
        let [mean_info, variance_info] = model.running_statistics() else { panic!() };
        // f32 sums of 140 values; the variance comes back through the inverse deviation with twice its rounding.
        assert!((f64::from(statistics[mean_info.offset + channel]) - mean).abs() < 1e-6);
        assert!((f64::from(statistics[variance_info.offset + channel]) - variance).abs() < 1e-6);
    }
}

#[test]
fn a_constant_channel_has_variance_zero_not_below() {
    let shape = Shape { height: 4, width: 4, channels: 1 };
    let model = model(shape, 2, &[NORM, Layer::Flatten, Layer::Dense { units: 2 }]);
    let weights = Arc::new(model.initial_weights(1));
    for value in [0, 3, 77, 255] {
        let batch = (vec![value; 3 * 16], vec![0, 1, 0]);
        let kind = TaskKind::Train { step: 0 };
        let leaf = leaf(&engine(&model, 1, 0.0), kind, &weights, 0, batch).unwrap();
        let variance = leaf.vector[model.parameter_len() + model.running_statistics()[1].offset];
        // The root's inverse is rounded to f32, so a little above 0 is possible.
        assert!((0.0..1e-9).contains(&variance), "{variance}");
    }
}

/// Evaluation must not see which images it shares a batch with.
#[test]
fn evaluation_of_a_batch_is_that_of_its_images() {
    let shape = Shape { height: 7, width: 5, channels: 2 };
    let model = model(shape, 3, &every_layer(3, 0.4));
    let weights = Arc::new(uneven_weights(&model, 4));
    let engine = engine(&model, 2, 0.1);
    let (pixels, labels) = images(&model, 6, 0);
    let evaluate = |batch| leaf(&engine, TaskKind::Evaluate, &weights, 0, batch).unwrap();
    let whole = evaluate((pixels.clone(), labels.clone()));
    assert_eq!(whole.vector.len(), 1);
    let (mut loss, mut correct) = (0.0, 0);
    for (pixels, label) in pixels.chunks(shape.values()).zip(&labels) {
        let one = evaluate((pixels.to_vec(), vec![*label]));
        loss += f64::from(one.vector[0]);
        correct += one.counts[0];
        assert_eq!(one.counts[1], 1);
    }
    assert!((f64::from(whole.vector[0]) - loss).abs() < 1e-5 * loss);
    assert_eq!(whole.counts, [correct, 6]);

    let logits = engine.logits(Arc::clone(&weights), pixels).unwrap();
    let best = |logits: &[f32]| (0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap() as u32;
    let found = logits.chunks(3).zip(&labels).filter(|(logits, label)| best(logits) == **label).count();
    assert_eq!(logits.len(), 18);
    assert_eq!(found as u64, correct);
}

/// The whole loop: it learns, and weights shared with a checkpoint in the making are copied, not changed.
#[test]
fn a_small_model_learns_its_images_by_heart() {
    let shape = Shape { height: 8, width: 8, channels: 3 };
    let model = model(shape, 4, &every_layer(4, 0.1));
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let engine = engine(&model, 2, 0.0);
    let mut state = State::new(&model, &optimizer, model.initial_weights(8));
    let snapshot = state.clone();
    let before = snapshot.hash();
    let mut losses = Vec::new();
    for step in 0..150 {
        let leaf = leaf(&engine, TaskKind::Train { step }, &state.weights, 0, images(&model, 16, 0)).unwrap();
        losses.push(apply(&model, &optimizer, 0.01, &mut state, &leaf.vector, 1).unwrap().loss);
        engine.recycle(leaf.vector);
    }
    assert_eq!(state.step, 150);
    assert!(losses[149] < 0.3 * losses[0], "{losses:?}");
    assert_eq!(snapshot.hash(), before);
    let result = leaf(&engine, TaskKind::Evaluate, &state.weights, 0, images(&model, 16, 0)).unwrap();
    assert!(result.counts[0] >= 13, "{result:?}");
    assert_ne!(bits(&state.weights.running), bits(&snapshot.weights.running));
}
