//! Models, images and an engine to compute them with.

use std::num::NonZeroUsize;
use std::sync::{Arc, mpsc};

use lockstep_libtorch::LibTorch;
use lockstep_nn::engine::Error;
use lockstep_nn::{Engine, EngineOptions, Layer, Model, Part, Shape, Task, TaskKind, Weights};
use lockstep_rng::{Domain, Stream};

pub(crate) const NORM: Layer = Layer::BatchNorm { momentum: 0.9, epsilon: 1e-3 };

pub(crate) fn engine(model: &Arc<Model>, threads: usize, label_smoothing: f64) -> Engine {
    let options = EngineOptions { seed: 42, label_smoothing };
    Engine::new(Arc::new(LibTorch), Arc::clone(model), NonZeroUsize::new(threads).unwrap(), options).unwrap()
}

pub(crate) fn model(shape: Shape, classes: usize, layers: &[Layer]) -> Arc<Model> {
    Arc::new(Model::new(shape, classes, layers).unwrap())
}

/// Two small blocks with every kind of layer, also for odd sides; `rate` for both dropouts.
pub(crate) fn every_layer(classes: usize, rate: f64) -> Vec<Layer> {
    let dropout = || Layer::Dropout { rate };
    vec![
        Layer::Conv2D { filters: 6, kernel_size: 3 },
        Layer::ReLU,
        NORM,
        Layer::Conv2D { filters: 5, kernel_size: 1 },
        NORM,
        Layer::MaxPool2D { size: 2 },
        dropout(),
        Layer::Conv2D { filters: 4, kernel_size: 5 },
        Layer::ReLU,
        Layer::Flatten,
        dropout(),
        Layer::Dense { units: 9 },
        NORM,
        Layer::ReLU,
        dropout(),
        Layer::Dense { units: classes },
    ]
}

/// Images and labels of micro-batch `position`.
pub(crate) fn images(model: &Model, count: usize, position: u32) -> (Vec<u8>, Vec<u32>) {
    let mut stream = Stream::new(11, Domain::Augmentation, u64::from(position), 0);
    let pixels = (0..count * model.input().values()).map(|_| (stream.next_u32() >> 24) as u8).collect();
    let labels = (0..count).map(|_| stream.below(model.classes() as u64) as u32).collect();
    (pixels, labels)
}

/// Initial weights with every bias, scale, offset and running statistic moved off its plain 0 or 1.
pub(crate) fn uneven_weights(model: &Model, seed: u64) -> Weights {
    let mut weights = model.initial_weights(seed);
    let mut stream = Stream::new(seed, Domain::Augmentation, 1 << 40, 0);
    for tensor in model.parameters().iter().filter(|tensor| tensor.dims.len() == 1) {
        weights.parameters[tensor.range()]
            .iter_mut()
            .for_each(|value| *value += stream.uniform_f32(-0.3, 0.3));
    }
    for tensor in model.running_statistics() {
        weights.running[tensor.range()].iter_mut().for_each(|value| *value += stream.uniform_f32(0.0, 0.5));
    }
    weights
}

/// The result of one leaf, put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct LeafSum {
    pub(crate) vector: Vec<f32>,
    pub(crate) counts: Vec<u64>,
}

/// Puts a leaf together from its parts and hands it on.
pub(crate) fn whole(
    mut hand_on: impl FnMut(Result<LeafSum, Error>) + Send + 'static,
) -> Box<dyn FnMut(Result<Part, Error>) + Send> {
    let mut leaf = LeafSum::default();
    Box::new(move |part| match part {
        Ok(mut part) => {
            let is_last = part.is_last();
            leaf.counts.append(&mut part.counts);
            part.vector.append(&mut leaf.vector);
            leaf.vector = part.vector;
            if is_last {
                hand_on(Ok(std::mem::take(&mut leaf)));
            }
        }
        Err(error) => hand_on(Err(error)),
    })
}

/// Computes one leaf and waits for it.
pub(crate) fn leaf(
    engine: &Engine,
    kind: TaskKind,
    weights: &Arc<Weights>,
    position: u32,
    (pixels, labels): (Vec<u8>, Vec<u32>),
) -> Result<LeafSum, Error> {
    let (sender, result) = mpsc::channel();
    let weights = Arc::clone(weights);
    let answer = whole(move |leaf| sender.send(leaf).unwrap());
    engine.submit(Task { kind, weights, position, pixels, labels, answer });
    result.recv().unwrap()
}

pub(crate) fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}
