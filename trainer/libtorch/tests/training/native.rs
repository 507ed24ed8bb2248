//! The native backend against libtorch: the same gradients, statistics, losses and logits within single precision, with
//! dropout, and the same course of a training.

use std::sync::Arc;

use lockstep_libtorch::LibTorch;
use lockstep_nn::native::Native;
use lockstep_nn::{
    Backend, Images, Layer, Model, Optimizer, Part, Parts, RandomKey, Shape, State, Weights, apply,
    res_net_9, two_block,
};

use crate::support::{NORM, every_layer, images, model, uneven_weights};

/// A leaf put together again.
#[derive(Default)]
struct Whole {
    vector: Vec<f32>,
    counts: Vec<u64>,
}

impl Parts for Whole {
    fn vector(&mut self, len: usize) -> Vec<f32> {
        vec![f32::NAN; len]
    }

    fn deliver(&mut self, mut part: Part) {
        self.counts.append(&mut part.counts);
        part.vector.append(&mut self.vector);
        self.vector = part.vector;
    }
}

fn train(
    backend: &dyn Backend,
    model: &Arc<Model>,
    weights: &Arc<Weights>,
    (pixels, labels): &(Vec<u8>, Vec<u32>),
) -> Whole {
    let key = RandomKey { seed: 42, step: 3, position: 1 };
    let mut whole = Whole::default();
    let mut worker = backend.worker(model).unwrap();
    worker.train(weights, Images { pixels, labels }, key, 0.1, &mut whole).unwrap();
    whole
}

/// Root of the mean square of the difference, relative to that of the reference plus `floor`.
fn distance(found: &[f32], reference: &[f32], floor: f64) -> f64 {
    let square = |sum: f64, value: f64| sum + value * value;
    let len = found.len() as f64;
    let pairs = found.iter().zip(reference);
    let difference = pairs.map(|(a, b)| f64::from(*a) - f64::from(*b)).fold(0.0, square);
    let size = reference.iter().map(|value| f64::from(*value)).fold(0.0, square);
    (difference / len).sqrt() / ((size / len).sqrt() + floor)
}

/// `bound`: of the relative distance of every tensor; gradients of biases before a batch norm are 0 but for rounding, so
/// that 1e-2 is added to what the distance is relative to.
fn check(shape: Shape, classes: usize, layers: &[Layer], count: usize, seed: u64, bound: f64) {
    lockstep_libtorch::pin_single_threaded();
    let model = model(shape, classes, layers);
    let weights = Arc::new(uneven_weights(&model, seed));
    let batch = images(&model, count, seed as u32);
    let (ours, theirs) =
        (train(&Native::default(), &model, &weights, &batch), train(&LibTorch, &model, &weights, &batch));
    assert_eq!((ours.vector.len(), ours.counts[1]), (theirs.vector.len(), theirs.counts[1]));
    for tensor in model.parameters() {
        let (ours, theirs) = (&ours.vector[tensor.range()], &theirs.vector[tensor.range()]);
        let distance = distance(ours, theirs, 1e-2);
        assert!(distance < bound, "gradient of {}: {distance:e}", tensor.name);
    }
    for tensor in model.running_statistics() {
        let range = model.parameter_len() + tensor.range().start..model.parameter_len() + tensor.range().end;
        let distance = distance(&ours.vector[range.clone()], &theirs.vector[range], 1e-3);
        assert!(distance < 1e-4, "statistic {}: {distance:e}", tensor.name);
    }
    let loss = |whole: &Whole| *whole.vector.last().unwrap();
    assert!((loss(&ours) - loss(&theirs)).abs() < 1e-4, "{} {}", loss(&ours), loss(&theirs));
    let gaps = ours.vector.iter().filter(|value| value.is_nan()).count();
    assert_eq!(gaps, 0, "gaps between tensors are zeros");

    let logits = |backend: &dyn Backend| backend.worker(&model).unwrap().logits(&weights, &batch.0).unwrap();
    let distance = distance(&logits(&Native::default()), &logits(&LibTorch), 1e-2);
    assert!(distance < 1e-4, "logits: {distance:e}");
    let images = Images { pixels: &batch.0, labels: &batch.1 };
    let evaluate =
        |backend: &dyn Backend| backend.worker(&model).unwrap().evaluate(&weights, images, 0.1).unwrap();
    let (ours, theirs) = (evaluate(&Native::default()), evaluate(&LibTorch));
    assert!((ours.0 - theirs.0).abs() < 1e-4 * theirs.0, "{ours:?} {theirs:?}");
}

/// A value on the other side of a kink (of a maximum or a ReLU, for a rounding's sake) moves one gradient of tens of
/// thousands elsewhere: 6e-3 of their root mean square for one of the second block's pool. One image meets none here.
#[test]
fn the_presets_gradients_are_libtorchs() {
    let shape = Shape { height: 32, width: 32, channels: 3 };
    check(shape, 10, &two_block(10), 1, 1, 1e-4);
    check(shape, 10, &two_block(10), 16, 1, 2e-2);
    check(Shape { channels: 1, height: 28, width: 28 }, 10, &two_block(10), 5, 2, 2e-2);
    check(Shape { height: 16, width: 16, channels: 3 }, 10, &res_net_9(10), 4, 3, 5e-2);
}

/// Orders of layers that fuse differently: every one must be computed, also where nothing fuses.
fn orders() -> Vec<Vec<Layer>> {
    let convolution = |filters, kernel_size| Layer::Conv2D { filters, kernel_size };
    let residual = |layers| Layer::Residual { layers };
    let (dropout, relu) = (|| Layer::Dropout { rate: 0.3 }, || Layer::ReLU);
    let head = || vec![Layer::Flatten, Layer::Dense { units: 3 }];
    let bodies = [
        vec![],
        vec![dropout()],
        vec![NORM, relu(), NORM, NORM, convolution(4, 1)],
        vec![relu(), NORM, Layer::AveragePool2D { size: 2 }, relu(), convolution(20, 3), dropout(), NORM],
        vec![convolution(12, 3), NORM, relu(), convolution(9, 3), NORM, relu(), Layer::MaxPool2D { size: 3 }],
        vec![convolution(8, 5), relu(), relu(), NORM, relu(), NORM, dropout(), relu()],
        vec![
            convolution(10, 3),
            NORM,
            residual(vec![NORM, relu(), convolution(10, 3), NORM, relu(), convolution(10, 3)]),
            residual(vec![relu()]),
            residual(vec![convolution(10, 1), relu(), dropout()]),
            relu(),
            residual(vec![dropout()]),
            Layer::MaxPool2D { size: 2 },
            NORM,
        ],
        vec![
            residual(vec![relu(), dropout()]),
            convolution(17, 3),
            Layer::AveragePool2D { size: 3 },
            dropout(),
        ],
        vec![residual(vec![convolution(2, 3), NORM]), NORM, residual(vec![NORM])],
        vec![
            Layer::MaxPool2D { size: 1 },
            convolution(3, 3),
            Layer::MaxPool2D { size: 2 },
            convolution(4, 3),
        ],
    ];
    let mut all: Vec<Vec<Layer>> = bodies.into_iter().map(|body| [body, head()].concat()).collect();
    all.push(vec![
        convolution(9, 3),
        relu(),
        Layer::GlobalAveragePool2D,
        dropout(),
        Layer::Dense { units: 5 },
        NORM,
        residual(vec![Layer::Dense { units: 5 }, relu(), NORM]),
        relu(),
        Layer::Dense { units: 3 },
        NORM,
    ]);
    all.push(vec![NORM, relu(), Layer::GlobalAveragePool2D, dropout(), relu(), Layer::Dense { units: 3 }]);
    all.push(every_layer(3, 0.4));
    all
}

/// Sizes and seeds are fixed: at others a value may lie on a kink, see above.
#[test]
fn every_order_of_layers_is_computed_as_libtorch_does() {
    for layers in orders() {
        for (height, width, count, seed) in [(6, 9, 3, 1), (11, 7, 5, 2), (8, 8, 16, 3)] {
            check(Shape { height, width, channels: 2 }, 3, &layers, count, seed, 1e-3);
        }
    }
}

/// Roundings grow with the steps, so the courses of the loss are compared, not bits.
#[test]
fn fifty_steps_of_training_go_as_with_libtorch() {
    lockstep_libtorch::pin_single_threaded();
    let shape = Shape { height: 16, width: 16, channels: 3 };
    let model = model(shape, 4, &two_block(4));
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let run = |backend: &dyn Backend| {
        let mut worker = backend.worker(&model).unwrap();
        let mut state = State::new(&model, &optimizer, model.initial_weights(8));
        let mut losses = Vec::new();
        for step in 0..50 {
            let (pixels, labels) = images(&model, 16, step % 2);
            let key = RandomKey { seed: 42, step: step.into(), position: 0 };
            let mut leaf = Whole::default();
            let images = Images { pixels: &pixels, labels: &labels };
            worker.train(&state.weights, images, key, 0.0, &mut leaf).unwrap();
            losses.push(apply(&model, &optimizer, 5e-4, &mut state, &leaf.vector, 1).unwrap().loss);
        }
        let (pixels, labels) = images(&model, 16, 0);
        let images = Images { pixels: &pixels, labels: &labels };
        (losses, worker.evaluate(&state.weights, images, 0.0).unwrap())
    };
    let (ours, theirs) = (run(&Native::default()), run(&LibTorch));
    let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
    for steps in [0..5, 5..20, 20..35, 35..50] {
        let (ours, theirs) = (mean(&ours.0[steps.clone()]), mean(&theirs.0[steps.clone()]));
        println!("mean loss of steps {steps:?}: {ours} and {theirs}");
        assert!((ours - theirs).abs() < 0.1 * theirs + 0.02, "steps {steps:?}: {ours} and {theirs}");
    }
    assert!(ours.0[49] < 0.5 * ours.0[0], "it learns: {:?}", ours.0);
    println!("evaluated: {:?} and {:?}", ours.1, theirs.1);
    assert!(ours.1.1.abs_diff(theirs.1.1) <= 3, "correct of 16 images: {:?} and {:?}", ours.1, theirs.1);
}
