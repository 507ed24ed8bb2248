//! The native backend's promises: the same bits with every instruction set and number of threads, whatever was computed
//! before; evaluation of an image whatever lies beside it; and no allocation in a warm step.
#![allow(clippy::unwrap_used, missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;

use lockstep_kernels::Isa;
use lockstep_nn::native::Native;
use lockstep_nn::{
    Backend, Images, Layer, Model, Optimizer, Part, Parts, RandomKey, Shape, State, Weights, Worker, apply,
    two_block,
};
use lockstep_rng::{Domain, Stream};

/// Counts what this thread allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[allow(unsafe_code, reason = "an allocator cannot be written without")]
// SAFETY: the system's allocator does the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // A thread that ends has no counter any more.
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promise.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Keeps the vectors of a leaf for the next one.
#[derive(Default)]
struct Kept {
    free: Vec<Vec<f32>>,
    parts: Vec<Part>,
}

impl Kept {
    fn recycle(&mut self) {
        self.free.extend(self.parts.drain(..).map(|part| part.vector));
    }

    fn vector(&self) -> Vec<f32> {
        self.parts.iter().rev().flat_map(|part| part.vector.iter().copied()).collect()
    }
}

impl Parts for Kept {
    fn vector(&mut self, len: usize) -> Vec<f32> {
        let place = self.free.iter().position(|vector| vector.len() == len);
        // What an earlier leaf left must not show.
        place.map_or_else(|| vec![f32::NAN; len], |place| self.free.swap_remove(place))
    }

    fn deliver(&mut self, part: Part) {
        self.parts.push(part);
    }
}

const SHAPE: Shape = Shape { height: 16, width: 13, channels: 3 };

fn models() -> Vec<Arc<Model>> {
    let norm = || Layer::BatchNorm { momentum: 0.9, epsilon: 1e-3 };
    let odd = vec![
        norm(),
        Layer::Conv2D { filters: 9, kernel_size: 5 },
        Layer::ReLU,
        Layer::Residual { layers: vec![norm(), Layer::ReLU, Layer::Conv2D { filters: 9, kernel_size: 3 }] },
        Layer::Dropout { rate: 0.3 },
        Layer::AveragePool2D { size: 3 },
        Layer::Conv2D { filters: 21, kernel_size: 1 },
        Layer::GlobalAveragePool2D,
        norm(),
        Layer::Dense { units: 10 },
    ];
    let unit = |filters| [Layer::Conv2D { filters, kernel_size: 3 }, norm(), Layer::ReLU];
    let residual = |filters| [Layer::Residual { layers: [unit(filters), unit(filters)].concat() }];
    let pool = [Layer::MaxPool2D { size: 2 }];
    // As ResNet9, narrower.
    let parts: [&[Layer]; 8] = [
        &unit(16),
        &unit(40),
        &pool,
        &residual(40),
        &unit(33),
        &pool,
        &residual(33),
        &[Layer::GlobalAveragePool2D, Layer::Dense { units: 10 }],
    ];
    [two_block(10), parts.concat(), odd]
        .iter()
        .map(|layers| Arc::new(Model::new(SHAPE, 10, layers).unwrap()))
        .collect()
}

fn images(count: usize, seed: u64) -> (Vec<u8>, Vec<u32>) {
    let mut stream = Stream::new(seed, Domain::Augmentation, 0, 0);
    let pixels = (0..count * SHAPE.values()).map(|_| (stream.next_u32() >> 24) as u8).collect();
    (pixels, (0..count).map(|_| stream.below(10) as u32).collect())
}

fn train(worker: &mut dyn Worker, weights: &Arc<Weights>, count: usize, kept: &mut Kept) {
    let (pixels, labels) = images(count, count as u64);
    let key = RandomKey { seed: 1, step: 2, position: 3 };
    worker.train(weights, Images { pixels: &pixels, labels: &labels }, key, 0.1, kept).unwrap();
}

fn trained(worker: &mut dyn Worker, weights: &Arc<Weights>, count: usize) -> Vec<u32> {
    let mut kept = Kept::default();
    train(worker, weights, count, &mut kept);
    kept.vector().iter().map(|value| value.to_bits()).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|value| value.to_bits()).collect()
}

#[test]
fn every_instruction_set_gives_the_same_bits_whatever_was_computed_before() {
    for model in models() {
        let weights = Arc::new(model.initial_weights(1));
        let other = Arc::new(model.initial_weights(2));
        let fresh = |isa, count| trained(&mut *Native::new(isa).worker(&model).unwrap(), &weights, count);
        let expected = [1, 3, 5].map(|count| fresh(Isa::best(), count));
        let (pixels, _) = images(3, 9);
        let logits = Native::default().worker(&model).unwrap().logits(&weights, &pixels).unwrap();
        for isa in Isa::available() {
            let mut worker = Native::new(isa).worker(&model).unwrap();
            for (count, index) in [(5, 2), (1, 0), (3, 1), (5, 2)] {
                trained(&mut *worker, &other, 2);
                assert!(trained(&mut *worker, &weights, count) == expected[index], "{isa}: {count} images");
                let found = worker.logits(&weights, &pixels).unwrap();
                assert_eq!(bits(&found), bits(&logits), "{isa}");
            }
        }
    }
}

#[test]
fn an_image_is_evaluated_alike_whatever_lies_beside_it() {
    for model in models() {
        let weights = Arc::new(model.initial_weights(1));
        let mut worker = Native::default().worker(&model).unwrap();
        // More than are computed at once.
        let (pixels, labels) = images(70, 5);
        let all = worker.logits(&weights, &pixels).unwrap();
        for image in [0, 31, 32, 69] {
            let one = &pixels[image * SHAPE.values()..(image + 1) * SHAPE.values()];
            let logits = worker.logits(&weights, one).unwrap();
            assert_eq!(bits(&logits), bits(&all[image * 10..(image + 1) * 10]), "image {image}");
        }
        let evaluated = worker.evaluate(&weights, Images { pixels: &pixels, labels: &labels }, 0.0).unwrap();
        let correct = all.chunks(10).zip(&labels).filter(|(logits, label)| {
            let best = (0..10).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
            best == **label as usize
        });
        assert_eq!(evaluated.1, correct.count() as u64);
    }
}

/// Fresh memory costs page faults, every step anew.
#[test]
fn a_warm_step_allocates_nothing_but_its_two_counts() {
    for model in models() {
        let weights = Arc::new(model.initial_weights(1));
        let mut worker = Native::default().worker(&model).unwrap();
        let mut kept = Kept { free: Vec::with_capacity(4), parts: Vec::with_capacity(4) };
        let (pixels, labels) = images(4, 1);
        let images = Images { pixels: &pixels, labels: &labels };
        let mut counts = Vec::new();
        for step in 0..4 {
            let key = RandomKey { seed: 1, step, position: 0 };
            let before = ALLOCATIONS.get();
            worker.train(&weights, images, key, 0.1, &mut kept).unwrap();
            counts.push(ALLOCATIONS.get() - before);
            kept.recycle();
        }
        assert!(counts[0] > 1, "the first step allocates: {counts:?}");
        assert_eq!(counts[1..], [1; 3], "{counts:?}");
    }
}

#[test]
fn the_upper_part_comes_first_and_a_step_with_changed_weights_sees_them() {
    let model = &models()[0];
    let optimizer = Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 };
    let mut state = State::new(model, &optimizer, model.initial_weights(1));
    let mut worker = Native::default().worker(model).unwrap();
    let mut losses = Vec::new();
    for _ in 0..8 {
        let mut kept = Kept::default();
        train(&mut *worker, &state.weights, 6, &mut kept);
        let starts: Vec<_> = kept.parts.iter().map(|part| part.start).collect();
        assert_eq!(starts, [model.reduction_cut(), 0]);
        assert_eq!((kept.parts[0].counts[1], kept.parts[1].counts.len()), (6, 0));
        let vector = kept.vector();
        assert!(vector.iter().all(|value| value.is_finite()), "gaps are zeros");
        losses.push(apply(model, &optimizer, 1e-3, &mut state, &vector, 1).unwrap().loss);
        let fresh = trained(&mut *Native::default().worker(model).unwrap(), &state.weights, 6);
        assert!(trained(&mut *worker, &state.weights, 6) == fresh, "packed kernels are the new weights'");
    }
    assert!(losses[7] < 0.7 * losses[0], "{losses:?}");
}

#[test]
fn the_fingerprint_is_one_constant_for_every_model_and_instruction_set() {
    let models = models();
    let expected = Native::default().fingerprint(&models[0], 16, &[32]).unwrap();
    for isa in Isa::available() {
        assert_eq!(Native::new(isa).fingerprint(&models[1], 3, &[]).unwrap(), expected);
    }
    assert_ne!(expected, [0; 32]);
}
