//! Gradients against libtorch's autograd in f64, and against differences of the loss.

use std::collections::HashMap;
use std::sync::Arc;

use lockstep_nn::{Layer, Model, Shape, TaskKind, Weights, res_net_9, two_block};
use proptest::prelude::*;
use tch::{Kind, Tensor};

use crate::support::{NORM, engine, every_layer, images, leaf, model, uneven_weights};

/// The model as autograd sees it; without dropout. In f32 the forward functions are those of the crate, so that both
/// are on the same side of every kink of ReLU and max-pool.
fn reference_loss(
    model: &Model,
    layers: &[Layer],
    parameters: &HashMap<String, Tensor>,
    (pixels, labels): &(Vec<u8>, Vec<u32>),
    kind: Kind,
) -> Tensor {
    let Shape { height, width, channels } = model.input();
    let size = [labels.len() as i64, height as i64, width as i64, channels as i64];
    let mut x = (Tensor::from_slice(pixels).to_kind(kind).view(size) / 255.0).permute([0, 3, 1, 2]);
    x = through(x, layers, "", parameters);
    let labels: Vec<i64> = labels.iter().map(|&label| i64::from(label)).collect();
    let labels = Tensor::from_slice(&labels);
    x.cross_entropy_loss::<Tensor>(&labels, None, tch::Reduction::Mean, -100, 0.1)
}

/// `prefix`: of the parameters' names.
fn through(mut x: Tensor, layers: &[Layer], prefix: &str, parameters: &HashMap<String, Tensor>) -> Tensor {
    for (index, layer) in layers.iter().enumerate() {
        let parameter = |name: &str| &parameters[&format!("{prefix}{index}.{name}")];
        x = match *layer {
            Layer::Conv2D { kernel_size, .. } => {
                let padding = [kernel_size as i64 / 2; 2];
                x.conv2d(parameter("weight"), Some(parameter("bias")), [1, 1], padding, [1, 1], 1)
            }
            Layer::ReLU => x.relu(),
            Layer::BatchNorm { epsilon, .. } => {
                let (scale, offset) = (Some(parameter("weight")), Some(parameter("bias")));
                x.batch_norm(scale, offset, None, None, true, 0.0, epsilon, false)
            }
            Layer::MaxPool2D { size } => {
                let side = [size as i64; 2];
                x.max_pool2d(side, side, [0, 0], [1, 1], false)
            }
            Layer::AveragePool2D { size } => {
                let side = [size as i64; 2];
                x.avg_pool2d(side, side, [0, 0], false, true, None)
            }
            Layer::GlobalAveragePool2D => x.adaptive_avg_pool2d([1, 1]).flatten(1, -1),
            Layer::Residual { ref layers } => {
                let inner = through(x.shallow_clone(), layers, &format!("{prefix}{index}."), parameters);
                x + inner
            }
            Layer::Dropout { rate } => {
                assert_eq!(rate, 0.0);
                x
            }
            Layer::Flatten => x.flatten(1, -1),
            Layer::Dense { .. } => x.linear(parameter("weight"), Some(parameter("bias"))),
        };
    }
    x
}

fn check_against_autograd(
    (shape, classes, layers): (Shape, usize, &[Layer]),
    count: usize,
    seed: u64,
    kind: Kind,
) {
    lockstep_libtorch::pin_single_threaded();
    let model = model(shape, classes, layers);
    let weights = Arc::new(uneven_weights(&model, seed));
    let batch = images(&model, count, seed as u32);
    let parameters: HashMap<String, Tensor> = model
        .parameters()
        .iter()
        .map(|tensor| {
            let dims: Vec<i64> = tensor.dims.iter().map(|&dim| dim as i64).collect();
            let values = Tensor::from_slice(&weights.parameters[tensor.range()]).to_kind(kind);
            (tensor.name.clone(), values.view(dims.as_slice()).set_requires_grad(true))
        })
        .collect();
    let loss = reference_loss(&model, layers, &parameters, &batch, kind);
    loss.backward();
    let ours = leaf(&engine(&model, 1, 0.1), TaskKind::Train { step: 0 }, &weights, 0, batch).unwrap();

    let our_loss = f64::from(*ours.vector.last().unwrap());
    assert!((our_loss - loss.double_value(&[])).abs() < 1e-5 * our_loss.max(1.0), "{our_loss} {loss}");
    for tensor in model.parameters() {
        let gradient = parameters[&tensor.name].grad().to_kind(Kind::Double).reshape(-1);
        let reference = Vec::<f64>::try_from(gradient).unwrap();
        let largest = reference.iter().fold(0.0_f64, |largest, value| largest.max(value.abs()));
        for (index, (ours, reference)) in ours.vector[tensor.range()].iter().zip(&reference).enumerate() {
            // f32 sums of up to some thousand terms, each 6e-8 off, through a handful of layers; terms cancel, so the
            // bound is against the tensor's largest gradient. The second part is for biases before a batch norm, whose
            // true gradient is 0: a sum of hundreds of terms up to 1 that cancel.
            let bound = 1e-4 * largest + 1e-4;
            let difference = (f64::from(*ours) - reference).abs();
            assert!(difference <= bound, "{}[{index}]: {ours} for {reference}", tensor.name);
        }
    }
}

#[test]
fn the_references_gradients_are_autograds() {
    let layers: Vec<_> = two_block(10)
        .into_iter()
        .map(|layer| if let Layer::Dropout { .. } = layer { Layer::Dropout { rate: 0.0 } } else { layer })
        .collect();
    let colour = Shape { height: 32, width: 32, channels: 3 };
    let grey = Shape { height: 28, width: 28, channels: 1 };
    check_against_autograd((colour, 10, &layers), 16, 1, Kind::Float);
    check_against_autograd((grey, 10, &layers), 16, 2, Kind::Float);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn every_layers_gradients_are_autograds_at_every_size(
        height in 2_usize..12, width in 2_usize..12, channels in 1_usize..5, classes in 2_usize..6,
        count in 2_usize..9, seed in 0_u64..1000,
    ) {
        let shape = Shape { height, width, channels };
        check_against_autograd((shape, classes, &every_layer(classes, 0.0)), count, seed, Kind::Float);
    }

    /// Against f64, for layers without kinks: a value that falls on another side of one changes gradients by whole parts.
    #[test]
    fn smooth_layers_gradients_are_those_in_f64(
        height in 1_usize..12, width in 1_usize..12, channels in 1_usize..5, classes in 2_usize..6,
        count in 4_usize..9, seed in 0_u64..1000,
    ) {
        let layers = [
            Layer::Conv2D { filters: 6, kernel_size: 3 },
            NORM,
            Layer::Conv2D { filters: 5, kernel_size: 1 },
            Layer::Flatten,
            Layer::Dense { units: 9 },
            Layer::Dense { units: classes },
        ];
        check_against_autograd((Shape { height, width, channels }, classes, &layers), count, seed, Kind::Double);
    }
}

/// Residual blocks that begin with each kind of layer, some of which work in place, and every kind of pooling.
fn residual_layers(classes: usize) -> Vec<Layer> {
    let convolution = || Layer::Conv2D { filters: 4, kernel_size: 3 };
    let residual = |layers: &[Layer]| Layer::Residual { layers: layers.to_vec() };
    vec![
        convolution(),
        Layer::ReLU,
        residual(&[convolution(), NORM, Layer::ReLU, convolution(), NORM, Layer::ReLU]),
        residual(&[Layer::ReLU, convolution()]),
        residual(&[NORM, Layer::ReLU]),
        Layer::ReLU,
        residual(&[Layer::Dropout { rate: 0.0 }, convolution(), Layer::Dropout { rate: 0.0 }]),
        residual(&[Layer::ReLU]),
        Layer::AveragePool2D { size: 2 },
        Layer::Conv2D { filters: 5, kernel_size: 3 },
        Layer::GlobalAveragePool2D,
        residual(&[Layer::Dense { units: 5 }, Layer::ReLU]),
        Layer::Dense { units: classes },
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn residual_blocks_and_average_pools_gradients_are_autograds(
        height in 2_usize..9, width in 2_usize..9, channels in 1_usize..5, classes in 2_usize..6,
        count in 2_usize..9, seed in 0_u64..1000,
    ) {
        let shape = Shape { height, width, channels };
        check_against_autograd((shape, classes, &residual_layers(classes)), count, seed, Kind::Float);
    }
}

/// A first block without a layer before it needs no gradient of its input.
#[test]
fn a_model_may_begin_with_a_residual_block() {
    let shape = Shape { height: 6, width: 5, channels: 3 };
    let layers = [
        Layer::Residual { layers: vec![Layer::ReLU, Layer::Conv2D { filters: 3, kernel_size: 3 }, NORM] },
        Layer::Flatten,
        Layer::Dense { units: 4 },
    ];
    check_against_autograd((shape, 4, &layers), 5, 3, Kind::Float);
}

#[test]
fn the_residual_networks_gradients_are_autograds() {
    let colour = Shape { height: 16, width: 16, channels: 3 };
    check_against_autograd((colour, 10, &res_net_9(10)), 4, 1, Kind::Float);
}

#[test]
fn models_without_convolutions_and_with_leading_plain_layers_train() {
    let dense = |units| Layer::Dense { units };
    let pool = Layer::MaxPool2D { size: 3 };
    let relu = || Layer::ReLU;
    let shape = Shape { height: 7, width: 5, channels: 2 };
    let check =
        |classes, layers: &[Layer]| check_against_autograd((shape, classes, layers), 4, 1, Kind::Float);
    check(3, &[Layer::Flatten, dense(3)]);
    check(3, &[pool, relu(), Layer::Flatten, dense(3)]);
    check(4, &[NORM, relu(), relu(), Layer::Flatten, dense(5), relu(), dense(4)]);
}

/// With dropout there is no second implementation to compare with, but the loss itself: for a fixed step and position it
/// is a fixed function of the weights, whose change along a direction is the gradient's part in it.
#[test]
fn with_dropout_the_gradient_is_the_slope_of_the_loss() {
    let shape = Shape { height: 9, width: 7, channels: 2 };
    let model = model(shape, 4, &every_layer(4, 0.4));
    let engine = engine(&model, 1, 0.0);
    let weights = uneven_weights(&model, 5);
    let run = |weights: Weights| {
        let kind = TaskKind::Train { step: 9 };
        leaf(&engine, kind, &Arc::new(weights), 2, images(&model, 16, 0)).unwrap().vector
    };
    let vector = run(weights.clone());
    let gradient = &vector[..model.parameter_len()];
    let norm = gradient.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt();
    // Along the gradient, for which the slope is its norm. Small enough for few kinks of ReLU and max-pool, large enough
    // that the f32 rounding of the loss (1e-7) stays below 1 %.
    let distance = 1e-3;
    let moved = |sign: f64| {
        let mut moved = weights.clone();
        for (parameter, &gradient) in moved.parameters.iter_mut().zip(gradient) {
            *parameter += (sign * distance * f64::from(gradient) / norm) as f32;
        }
        f64::from(*run(moved).last().unwrap())
    };
    let slope = (moved(1.0) - moved(-1.0)) / (2.0 * distance);
    assert!((slope / norm - 1.0).abs() < 0.02, "{slope} {norm}");
}

/// What the tree relies on: without batch norm and dropout, the mean over leaves is the gradient over all images.
#[test]
fn leaves_average_to_the_gradient_of_the_whole_batch() {
    let shape = Shape { height: 8, width: 8, channels: 3 };
    let layers = [
        Layer::Conv2D { filters: 4, kernel_size: 3 },
        Layer::ReLU,
        Layer::Flatten,
        Layer::Dense { units: 5 },
    ];
    let model = model(shape, 5, &layers);
    let weights = Arc::new(model.initial_weights(3));
    let engine = engine(&model, 2, 0.1);
    let kind = TaskKind::Train { step: 0 };
    let batches: Vec<_> = (0..4).map(|position| images(&model, 6, position)).collect();
    let whole = batches.iter().fold((Vec::new(), Vec::new()), |(pixels, labels), batch| {
        ([pixels, batch.0.clone()].concat(), [labels, batch.1.clone()].concat())
    });
    let whole = leaf(&engine, kind, &weights, 0, whole).unwrap();
    let mut sum = vec![0.0; model.reduction_len()];
    let mut counts = vec![0; 2];
    for (position, batch) in batches.into_iter().enumerate() {
        let leaf = leaf(&engine, kind, &weights, position as u32, batch).unwrap();
        sum.iter_mut().zip(&leaf.vector).for_each(|(sum, value)| *sum += f64::from(*value));
        counts.iter_mut().zip(&leaf.counts).for_each(|(sum, count)| *sum += count);
    }
    assert_eq!(counts, whole.counts);
    for (sum, whole) in sum.iter().zip(&whole.vector) {
        // f32 sums of 24 images' terms in another order.
        assert!((sum / 4.0 - f64::from(*whole)).abs() < 1e-6, "{} {whole}", sum / 4.0);
    }
}
