//! One thread's part of the native backend: buffers, packed kernels, and micro-batches from pixels to results.

use std::sync::Arc;

use lockstep_kernels::activation::Reading;
use lockstep_kernels::convolution::Bordered;
use lockstep_kernels::normalisation::{Coefficients, Normalisation, Sums};
use lockstep_kernels::softmax_cross_entropy::{Loss, SoftmaxCrossEntropy};
use lockstep_kernels::{Isa, padded, pixels};

use super::memory::{Arena, Layout, Mode};
use super::packed::Packed;
use super::plan::{Linear, Plan, Unit, Value};
use super::profile::{Clock, Pass};
use crate::backend::{Error, Images, Part, Parts, RandomKey, Worker};
use crate::model::{Model, Weights};

/// Images evaluated at once: enough for every kernel, few enough for the caches.
const EVALUATED_AT_ONCE: usize = 32;

/// See the module.
#[derive(Debug)]
pub(super) struct NativeWorker {
    pub(super) isa: Isa,
    pub(super) model: Arc<Model>,
    pub(super) plan: Plan,
    pub(super) packed: Packed,
    pub(super) norms: Vec<Norm>,
    pub(super) scratch: Scratch,
    /// The random numbers of each dropout.
    pub(super) numbers: Vec<Vec<u16>>,
    pub(super) arena: Arena,
    layouts: [Option<Layout>; 2],
    loss: Option<(f64, SoftmaxCrossEntropy)>,
    pub(super) clock: Clock,
}

/// One batch norm's numbers of the current micro-batch.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) normalisation: Normalisation,
    pub(super) coefficients: Coefficients,
    pub(super) sums: Sums,
}

/// Buffers of a group of images or smaller, used by one kernel after the other.
#[derive(Debug)]
pub(super) struct Scratch {
    /// The bordered input and gradient of each convolution: indices of `inputs` and `gradients`.
    pub(super) borders: Vec<(usize, usize)>,
    pub(super) inputs: Vec<Vec<f32>>,
    pub(super) gradients: Vec<Vec<f32>>,
    pub(super) kernel: Vec<f32>,
    pub(super) accumulators: Vec<f32>,
    pub(super) dense: Vec<f32>,
    /// Sums for the gradient of a bias.
    pub(super) bias: Vec<f64>,
    /// Sums that nobody needs.
    pub(super) unused: Sums,
    pub(super) ones: Vec<f32>,
    pub(super) zeros: Vec<f32>,
}

impl Scratch {
    fn new(plan: &Plan) -> Self {
        let channels = plan.values.iter().map(|value| padded(value.extent.channels())).max().unwrap_or(0);
        let blocks = plan.units.iter().filter_map(|unit| match unit {
            Unit::Block(block) => Some(block),
            Unit::Flatten { .. } | Unit::Add { .. } => None,
        });
        let channels =
            blocks.clone().map(|block| padded(block.extent.channels())).max().unwrap_or(0).max(channels);
        let dense = blocks.map(|block| match &block.linear {
            Linear::Dense { kernel, .. } => kernel.scratch_len(),
            Linear::Convolution(_) | Linear::None | Linear::Copy => 0,
        });
        let mut scratch = Self {
            borders: Vec::new(),
            inputs: Vec::new(),
            gradients: Vec::new(),
            kernel: Vec::new(),
            accumulators: Vec::new(),
            dense: vec![0.0; dense.max().unwrap_or(0)],
            bias: vec![0.0; channels],
            unused: Sums::zeros(channels),
            ones: vec![1.0; channels],
            zeros: vec![0.0; channels],
        };
        scratch.add_convolutions(plan);
        scratch
    }

    /// Convolutions whose images lie alike share their scratch: its border is zero for all of them.
    fn add_convolutions(&mut self, plan: &Plan) {
        let (mut inputs, mut gradients) = (Vec::new(), Vec::new());
        let (mut kernel_len, mut accumulators_len) = (0, 0);
        for place in &plan.convolutions {
            let group = place.kernel.group();
            let index_of = |layouts: &mut Vec<_>, buffers: &mut Vec<Vec<f32>>, layout: Bordered| {
                let index = layouts.iter().position(|other| *other == layout).unwrap_or_else(|| {
                    layouts.push(layout);
                    buffers.push(Vec::new());
                    buffers.len() - 1
                });
                let len = buffers[index].len().max(group * layout.len());
                buffers[index].resize(len, 0.0);
                index
            };
            let input = index_of(&mut inputs, &mut self.inputs, place.kernel.input());
            let gradient = index_of(&mut gradients, &mut self.gradients, place.kernel.gradient());
            self.borders.push((input, gradient));
            kernel_len = kernel_len.max(place.kernel.scratch_len(group));
            accumulators_len = accumulators_len.max(place.kernel.accumulators_len());
        }
        self.kernel.resize(kernel_len, 0.0);
        self.accumulators.resize(accumulators_len, 0.0);
    }
}

/// How a value is read.
pub(super) fn reading<'a>(
    norms: &'a [Norm],
    (ones, zeros): (&'a [f32], &'a [f32]),
    norm: Option<usize>,
    relu: bool,
) -> Reading<'a> {
    match norm {
        Some(norm) => norms[norm].normalisation.reading(relu),
        None => Reading { scale: ones, shift: zeros, relu },
    }
}

/// Where the gradients of one leaf go: its two parts.
pub(super) struct Leaf<'a> {
    cut: usize,
    parameter_len: usize,
    running_len: usize,
    upper: Vec<f32>,
    lower: Vec<f32>,
    counts: Vec<u64>,
    parts: &'a mut dyn Parts,
}

impl<'a> Leaf<'a> {
    fn new(model: &Model, parts: &'a mut dyn Parts) -> Self {
        let cut = model.reduction_cut();
        let upper = parts.vector(model.reduction_len() - cut);
        let lower = if cut > 0 { parts.vector(cut) } else { Vec::new() };
        let (parameter_len, running_len) = (model.parameter_len(), model.running_len());
        let mut leaf = Self { cut, parameter_len, running_len, upper, lower, counts: Vec::new(), parts };
        leaf.clear_gaps(model);
        leaf
    }

    /// Zeros between tensors; the tensors themselves are written by their layers.
    fn clear_gaps(&mut self, model: &Model) {
        for tensor in model.parameters() {
            let end = tensor.range().end;
            self.gradient(end..crate::flat::aligned(end)).fill(0.0);
        }
        for tensor in model.running_statistics() {
            let end = tensor.range().end;
            self.statistic(end..crate::flat::aligned(end)).fill(0.0);
        }
    }

    /// The gradient of a tensor, which lies on one side of the cut.
    pub(super) fn gradient(&mut self, range: std::ops::Range<usize>) -> &mut [f32] {
        if range.start >= self.cut {
            &mut self.upper[range.start - self.cut..range.end - self.cut]
        } else {
            &mut self.lower[range]
        }
    }

    /// The gradients of two tensors, the second one above the first and on the same side.
    pub(super) fn gradients(
        &mut self,
        first: std::ops::Range<usize>,
        second: std::ops::Range<usize>,
    ) -> (&mut [f32], &mut [f32]) {
        let both = self.gradient(first.start..second.end);
        let (a, b) = both.split_at_mut(second.start - first.start);
        (&mut a[..first.end - first.start], b)
    }

    fn statistic(&mut self, range: std::ops::Range<usize>) -> &mut [f32] {
        let start = self.parameter_len - self.cut;
        &mut self.upper[start + range.start..start + range.end]
    }

    /// The mean and the variance of a batch norm.
    pub(super) fn statistics(
        &mut self,
        mean: std::ops::Range<usize>,
        variance: std::ops::Range<usize>,
    ) -> (&mut [f32], &mut [f32]) {
        let both = self.statistic(mean.start..variance.end);
        let (a, b) = both.split_at_mut(variance.start - mean.start);
        (&mut a[..mean.end - mean.start], b)
    }

    fn set_loss(&mut self, loss: Loss, images: usize) {
        let at = self.parameter_len + self.running_len - self.cut;
        self.upper[at] = (loss.sum / images as f64) as f32;
        self.counts = vec![loss.correct, images as u64];
    }

    /// Hands over the upper part, complete now; a leaf of one part waits for the end.
    pub(super) fn deliver_upper(&mut self) {
        if self.cut > 0 && !self.upper.is_empty() {
            let (vector, counts) = (std::mem::take(&mut self.upper), std::mem::take(&mut self.counts));
            self.parts.deliver(Part { start: self.cut, vector, counts });
        }
    }

    fn deliver_rest(mut self) {
        self.deliver_upper();
        let vector = if self.cut > 0 { self.lower } else { self.upper };
        self.parts.deliver(Part { start: 0, vector, counts: self.counts });
    }
}

impl NativeWorker {
    pub(super) fn new(isa: Isa, model: &Arc<Model>) -> Self {
        let plan = Plan::new(model);
        let norm = |place: &super::plan::NormPlace| {
            let channels = padded(place.gamma.range.len());
            Norm {
                normalisation: Normalisation::zeros(channels),
                coefficients: Coefficients::zeros(channels),
                sums: Sums::zeros(channels),
            }
        };
        let dropouts =
            plan.units.iter().filter(|unit| matches!(unit, Unit::Block(block) if block.dropout.is_some()));
        Self {
            isa,
            model: Arc::clone(model),
            packed: Packed::new(&plan),
            norms: plan.norms.iter().map(norm).collect(),
            scratch: Scratch::new(&plan),
            numbers: vec![Vec::new(); dropouts.count()],
            plan,
            arena: Arena::default(),
            layouts: [None, None],
            loss: None,
            clock: Clock::from_environment(),
        }
    }

    /// The layout for so many images, taken out of the worker; [`Self::put_back`] returns it.
    fn layout(&mut self, mode: Mode, images: usize) -> Layout {
        let kept = self.layouts[mode as usize].take().filter(|layout| layout.is_for(mode, images));
        let layout = kept.unwrap_or_else(|| Layout::new(&self.plan, mode, images));
        self.arena.fit(&layout);
        layout
    }

    fn put_back(&mut self, mode: Mode, layout: Layout) {
        self.layouts[mode as usize] = Some(layout);
    }

    /// The pixels as shares of 255.
    fn load(&mut self, layout: &Layout, pixels: &[u8]) {
        let shape = self.model.input();
        let Value { buffer, .. } = self.plan.values[0];
        let unpadded = self.plan.unpadded_images();
        let (values, _) = self.arena.write(layout, buffer);
        let stride = if unpadded { shape.channels } else { padded(shape.channels) };
        if stride > shape.channels {
            values.fill(0.0);
        }
        pixels::normalise(pixels, shape.width, shape.channels, stride, shape.width * stride, values);
        self.clock.spent(Pass::Pixels);
    }

    fn loss(&mut self, layout: &Layout, labels: &[u32], label_smoothing: f64, with_gradient: bool) -> Loss {
        let classes = self.model.classes();
        let kernel = match self.loss.take() {
            Some((smoothing, kernel)) if smoothing == label_smoothing => kernel,
            _ => SoftmaxCrossEntropy::new(classes, label_smoothing),
        };
        let (_, kernel) = self.loss.insert((label_smoothing, kernel));
        let logits = self.plan.values[self.plan.logits];
        let loss = match logits.gradient.filter(|_| with_gradient) {
            Some(gradient) => {
                let (gradient, others) = self.arena.write(layout, gradient);
                kernel.run(others.get(logits.buffer), labels, Some(gradient))
            }
            None => kernel.run(self.arena.get(layout, logits.buffer), labels, None),
        };
        self.clock.spent(Pass::Loss);
        loss
    }

    /// Batch norms as maps by running statistics.
    fn set_running(&mut self, weights: &Weights) {
        for (place, norm) in self.plan.norms.iter().zip(&mut self.norms) {
            norm.normalisation.set_from_running(
                &weights.running[place.mean.range.clone()],
                &weights.running[place.variance.range.clone()],
                place.epsilon,
                &weights.parameters[place.gamma.range.clone()],
                &weights.parameters[place.beta.range.clone()],
            );
        }
    }

    /// Evaluates images a few at a time: `done` gets the worker, the layout of the logits and the images' indices.
    fn evaluate_groups(
        &mut self,
        weights: &Arc<Weights>,
        pixels: &[u8],
        mut done: impl FnMut(&mut Self, &Layout, std::ops::Range<usize>),
    ) {
        let size = self.model.input().values();
        let images = pixels.len() / size;
        self.packed.update(self.isa, &self.plan, weights, false);
        self.set_running(weights);
        for start in (0..images).step_by(EVALUATED_AT_ONCE) {
            let range = start..images.min(start + EVALUATED_AT_ONCE);
            let count = range.len();
            let layout = self.layout(Mode::Evaluate, count);
            self.load(&layout, &pixels[range.start * size..range.end * size]);
            self.forward(&layout, weights, count, None);
            done(self, &layout, range);
            self.put_back(Mode::Evaluate, layout);
        }
    }
}

impl Worker for NativeWorker {
    fn train(
        &mut self,
        weights: &Arc<Weights>,
        images: Images<'_>,
        key: RandomKey,
        label_smoothing: f64,
        parts: &mut dyn Parts,
    ) -> Result<(), Error> {
        images.check(&self.model, weights)?;
        self.clock.start();
        let count = images.labels.len();
        let model = Arc::clone(&self.model);
        let mut leaf = Leaf::new(&model, parts);
        self.packed.update(self.isa, &self.plan, weights, true);
        self.clock.spent(Pass::Pack);
        let layout = self.layout(Mode::Train, count);
        self.load(&layout, images.pixels);
        self.forward(&layout, weights, count, Some((key, &mut leaf)));
        let loss = self.loss(&layout, images.labels, label_smoothing, true);
        leaf.set_loss(loss, count);
        self.backward(&layout, weights, count, &mut leaf);
        self.put_back(Mode::Train, layout);
        leaf.deliver_rest();
        Ok(())
    }

    fn evaluate(
        &mut self,
        weights: &Arc<Weights>,
        images: Images<'_>,
        label_smoothing: f64,
    ) -> Result<(f32, u64), Error> {
        images.check(&self.model, weights)?;
        let mut all = Loss { sum: 0.0, correct: 0 };
        self.evaluate_groups(weights, images.pixels, |worker, layout, range| {
            let loss = worker.loss(layout, &images.labels[range], label_smoothing, false);
            all.sum += loss.sum;
            all.correct += loss.correct;
        });
        Ok((all.sum as f32, all.correct))
    }

    fn logits(&mut self, weights: &Arc<Weights>, pixels: &[u8]) -> Result<Vec<f32>, Error> {
        let classes = self.model.classes();
        let count = pixels.len() / self.model.input().values();
        Images { pixels, labels: &vec![0; count] }.check(&self.model, weights)?;
        let mut logits = Vec::with_capacity(count * classes);
        self.evaluate_groups(weights, pixels, |worker, layout, range| {
            let buffer = worker.plan.values[worker.plan.logits].buffer;
            let rows = worker.arena.get(layout, buffer).chunks_exact(padded(classes)).take(range.len());
            rows.for_each(|row| logits.extend_from_slice(&row[..classes]));
        });
        Ok(logits)
    }
}
