//! The promise that everything else stands on: a leaf's bits depend on its inputs alone.

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};

use lockstep_libtorch::LibTorch;
use lockstep_nn::{Backend, Model, Shape, Task, TaskKind, Weights, two_block};

use crate::support::{LeafSum, bits, engine, every_layer, images, leaf, model, whole};

const IMAGES: usize = 16;
const LEAVES: u32 = 8;

/// Bits of all leaves of one global batch, submitted in the given order.
fn leaves(
    model: &Arc<Model>,
    weights: &Arc<Weights>,
    threads: usize,
    order: impl Iterator<Item = u32>,
) -> BTreeMap<u32, (Vec<u32>, Vec<u64>)> {
    let engine = engine(model, threads, 0.1);
    let (sender, results) = mpsc::channel();
    for position in order {
        let (pixels, labels) = images(model, IMAGES, position);
        let sender = sender.clone();
        engine.submit(Task {
            kind: TaskKind::Train { step: 3 },
            weights: Arc::clone(weights),
            position,
            pixels,
            labels,
            answer: whole(move |leaf| sender.send((position, leaf.unwrap())).unwrap()),
        });
    }
    drop(sender);
    results
        .iter()
        .map(|(position, LeafSum { vector, counts })| {
            let result = (bits(&vector), counts);
            engine.recycle(vector);
            (position, result)
        })
        .collect()
}

#[test]
fn leaves_are_the_same_bits_for_every_number_of_threads_and_order() {
    let small = Shape { height: 7, width: 5, channels: 2 };
    let reference = Shape { height: 32, width: 32, channels: 3 };
    for model in [model(reference, 10, &two_block(10)), model(small, 3, &every_layer(3, 0.4))] {
        let weights = Arc::new(model.initial_weights(1));
        let one = leaves(&model, &weights, 1, 0..LEAVES);
        assert_eq!(one.len(), LEAVES as usize);
        assert_ne!(one[&0], one[&1]);
        assert!(one == leaves(&model, &weights, 1, (0..LEAVES).rev()), "order");
        for threads in [2, 3, 4] {
            // Each position more than once, so that a thread also meets a batch it has just computed.
            let order = (0..2 * LEAVES).map(|index| index * 5 % LEAVES);
            assert!(one == leaves(&model, &weights, threads, order), "{threads} threads");
        }
    }
}

#[test]
fn evaluations_and_trainings_do_not_change_each_others_bits() {
    let shape = Shape { height: 28, width: 28, channels: 1 };
    let model = model(shape, 10, &two_block(10));
    let weights = Arc::new(model.initial_weights(1));
    let engine = engine(&model, 1, 0.0);
    let train =
        || leaf(&engine, TaskKind::Train { step: 0 }, &weights, 0, images(&model, IMAGES, 0)).unwrap();
    let evaluate = |count| leaf(&engine, TaskKind::Evaluate, &weights, 0, images(&model, count, 1)).unwrap();
    let (trained, full, short) = (train(), evaluate(20), evaluate(7));
    for _ in 0..3 {
        assert_eq!(bits(&evaluate(7).vector), bits(&short.vector));
        assert_eq!(bits(&train().vector), bits(&trained.vector));
        assert_eq!(bits(&evaluate(20).vector), bits(&full.vector));
    }
}

/// The mask belongs to the step and the position: a leaf computed again elsewhere must draw it again.
#[test]
fn dropout_depends_on_step_and_position_only() {
    let shape = Shape { height: 7, width: 5, channels: 2 };
    let with = model(shape, 3, &every_layer(3, 0.4));
    let without = model(shape, 3, &every_layer(3, 0.0));
    let run = |model: &Arc<Model>, step, position| {
        let weights = Arc::new(model.initial_weights(1));
        let kind = TaskKind::Train { step };
        bits(&leaf(&engine(model, 1, 0.0), kind, &weights, position, images(model, 4, 0)).unwrap().vector)
    };
    assert!(run(&with, 1, 2) == run(&with, 1, 2));
    assert!(run(&with, 1, 2) != run(&with, 2, 2));
    assert!(run(&with, 1, 2) != run(&with, 1, 3));
    assert!(run(&without, 1, 2) == run(&without, 2, 3));
}

#[test]
fn the_fingerprint_is_one_value_on_one_machine_and_covers_every_shape() {
    let shape = Shape { height: 7, width: 5, channels: 2 };
    let model = model(shape, 3, &every_layer(3, 0.4));
    let here = LibTorch.fingerprint(&model, 4, &[8, 3]).unwrap();
    let other = Arc::clone(&model);
    let there = std::thread::spawn(move || LibTorch.fingerprint(&other, 4, &[8, 3]).unwrap());
    assert_eq!(there.join().unwrap(), here);
    assert_ne!(LibTorch.fingerprint(&model, 5, &[8, 3]).unwrap(), here);
    assert_ne!(LibTorch.fingerprint(&model, 4, &[8, 2]).unwrap(), here);
    assert!(LibTorch.fingerprint(&model, 0, &[]).is_err());
}
