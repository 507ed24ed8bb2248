//! The two parts of a training leaf.

use std::sync::{Arc, mpsc};

use lockstep_nn::{Layer, Model, Part, Shape, Task, TaskKind, two_block};

use crate::support::{engine, images, leaf, model};

/// The parts of one training leaf, in the order of their arrival.
fn parts(model: &Arc<Model>) -> Vec<Part> {
    let (sender, parts) = mpsc::channel();
    let (pixels, labels) = images(model, 4, 0);
    let engine = engine(model, 1, 0.1);
    engine.submit(Task {
        kind: TaskKind::Train { step: 0 },
        weights: Arc::new(model.initial_weights(1)),
        position: 0,
        pixels,
        labels,
        answer: Box::new(move |part| sender.send(part.unwrap()).unwrap()),
    });
    parts.iter().collect()
}

#[test]
fn what_follows_the_last_convolution_comes_first_and_the_parts_are_the_leaf() {
    let model = model(Shape { height: 16, width: 16, channels: 3 }, 10, &two_block(10));
    let weights = Arc::new(model.initial_weights(1));
    let kind = TaskKind::Train { step: 0 };
    let whole = leaf(&engine(&model, 1, 0.1), kind, &weights, 0, images(&model, 4, 0)).unwrap();
    let parts = parts(&model);
    let cut = model.reduction_cut();
    assert_eq!(parts.iter().map(|part| part.start).collect::<Vec<_>>(), [cut, 0]);
    assert_eq!(parts[0].vector, whole.vector[cut..]);
    assert_eq!(parts[1].vector, whole.vector[..cut]);
    assert_eq!(parts[0].counts, whole.counts);
    assert!(parts[1].counts.is_empty());
}

#[test]
fn a_model_without_convolutions_gives_one_part() {
    let layers = [Layer::Flatten, Layer::Dense { units: 3 }];
    let model = model(Shape { height: 5, width: 5, channels: 1 }, 3, &layers);
    let parts = parts(&model);
    assert_eq!(model.reduction_cut(), 0);
    assert_eq!(parts.len(), 1);
    assert_eq!((parts[0].start, parts[0].vector.len()), (0, model.reduction_len()));
    assert_eq!(parts[0].counts.len(), 2);
}
