//! Forward through the units.

use lockstep_kernels::{activation, dropout, normalisation, residual};

use super::memory::Layout;
use super::plan::{Block, DropoutPlace, Linear, Unit, Value, size};
use super::profile::Pass;
use super::worker::{Leaf, NativeWorker, reading};
use crate::backend::RandomKey;
use crate::model::Weights;

impl NativeWorker {
    /// Computes the logits of `images` images, whose pixels are loaded. `training`: draws dropout by this key, normalises
    /// by batch statistics and leaves them there.
    pub(super) fn forward(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        mut training: Option<(RandomKey, &mut Leaf<'_>)>,
    ) {
        for index in 0..self.plan.units.len() {
            match self.plan.units[index] {
                Unit::Block(_) => self.forward_block(layout, weights, images, index, &mut training),
                Unit::Flatten { kernel, input, output } => {
                    let (input, output) = (self.plan.values[input].buffer, self.plan.values[output].buffer);
                    let (output, others) = self.arena.write(layout, output);
                    kernel.forward(self.isa, images, others.get(input), output);
                    self.clock.spent(Pass::Flatten);
                }
                Unit::Add { x, inner, output } => {
                    let [x, inner, output] = [x, inner, output].map(|value| self.plan.values[value]);
                    let identity = (&*self.scratch.ones, &*self.scratch.zeros);
                    let (to, others) = self.arena.write(layout, output.buffer);
                    let read = |value: Value| {
                        (others.get(value.buffer), reading(&self.norms, identity, value.norm, value.relu))
                    };
                    residual::add(self.isa, output.size(images), read(inner), read(x), to);
                    self.clock.spent(Pass::Add);
                }
            }
        }
    }

    fn forward_block(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        unit: usize,
        training: &mut Option<(RandomKey, &mut Leaf<'_>)>,
    ) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        if let (Some(norm), true) = (block.norm, training.is_some()) {
            self.norms[norm].sums.clear();
        }
        match block.linear {
            Linear::Convolution(index) => {
                self.forward_convolution(layout, images, unit, index, training.is_some());
            }
            Linear::Dense { .. } => self.forward_dense(layout, weights, images, unit),
            Linear::Copy => self.forward_copy(layout, images, unit),
            Linear::None => {}
        }
        self.normalise(layout, weights, images, unit, training);
        self.forward_tail(layout, images, unit, training.as_ref().map(|(key, _)| *key));
    }

    fn forward_convolution(
        &mut self,
        layout: &Layout,
        images: usize,
        unit: usize,
        index: usize,
        training: bool,
    ) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let kernel = self.plan.convolutions[index].kernel;
        let packed = &self.packed.convolutions[index];
        let bordered = &mut self.scratch.inputs[self.scratch.borders[index].0];
        let input = self.plan.values[block.input];
        let identity = (&*self.scratch.ones, &*self.scratch.zeros);
        let (output, others) = self.arena.write(layout, block.stored);
        let values = others.get(input.buffer);
        let image_len = size(block.extent, 1).len();
        for start in (0..images).step_by(kernel.group()) {
            let count = kernel.group().min(images - start);
            let source = reading(&self.norms, identity, input.norm, input.relu);
            fill(self.isa, &self.plan, input, start, count, values, source, kernel.input(), bordered);
            self.clock.spent(Pass::Fill);
            let output = &mut output[start * image_len..(start + count) * image_len];
            let scratch = &mut self.scratch.kernel;
            let (forward, bias) = (&packed.forward, &packed.bias);
            kernel.forward(self.isa, count, bordered, forward, bias, block.relu_before, output, scratch);
            self.clock.spent(Pass::ConvolutionForward);
            if let (Some(norm), true) = (block.norm, training) {
                // While the output is in the cache.
                let extent = size(block.extent, count);
                normalisation::statistics(self.isa, extent, output, &mut self.norms[norm].sums);
                self.clock.spent(Pass::Statistics);
            }
        }
    }

    fn forward_dense(&mut self, layout: &Layout, weights: &Weights, images: usize, unit: usize) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let Linear::Dense { kernel, matrix, bias } = &block.linear else { return };
        let input = self.plan.values[block.input].buffer;
        let (output, others) = self.arena.write(layout, block.stored);
        let matrix = &weights.parameters[matrix.range.clone()];
        let bias = &weights.parameters[bias.range.clone()];
        let scratch = &mut self.scratch.dense;
        kernel.forward(self.isa, images, others.get(input), matrix, bias, block.relu_before, output, scratch);
        self.clock.spent(Pass::DenseForward);
    }

    fn forward_copy(&mut self, layout: &Layout, images: usize, unit: usize) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let input = self.plan.values[block.input];
        let identity = (&*self.scratch.ones, &*self.scratch.zeros);
        let (output, others) = self.arena.write(layout, block.stored);
        // A ReLU before a batch norm; where the input is read with one already, a second one changes nothing.
        let relu = input.relu || block.relu_before;
        let source = reading(&self.norms, identity, input.norm, relu);
        let extent = input.size(images);
        activation::fill(self.isa, extent, others.get(input.buffer), source, extent.plain(), output);
        self.clock.spent(Pass::Fill);
    }

    /// Batch statistics and what follows from them.
    fn normalise(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        unit: usize,
        training: &mut Option<(RandomKey, &mut Leaf<'_>)>,
    ) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let (Some(index), Some((_, leaf))) = (block.norm, training) else { return };
        let (place, norm) = (&self.plan.norms[index], &mut self.norms[index]);
        let extent = size(block.extent, images);
        if !matches!(block.linear, Linear::Convolution(_)) {
            let stored = self.arena.get(layout, block.stored);
            normalisation::statistics(self.isa, extent, stored, &mut norm.sums);
        }
        let count = extent.images * extent.pixels();
        let gamma = &weights.parameters[place.gamma.range.clone()];
        let beta = &weights.parameters[place.beta.range.clone()];
        let (means, variances) = leaf.statistics(place.mean.range.clone(), place.variance.range.clone());
        let sums = &norm.sums;
        norm.normalisation.set_from_batch(sums, count, place.epsilon, gamma, beta, means, variances);
        self.clock.spent(Pass::Statistics);
    }

    /// Pool and dropout, which write the block's output.
    fn forward_tail(&mut self, layout: &Layout, images: usize, unit: usize, key: Option<RandomKey>) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let Block { pool, dropout, stored, norm, relu_after, .. } = *block;
        if pool.is_none() && dropout.is_none() {
            return;
        }
        let identity = (&*self.scratch.ones, &*self.scratch.zeros);
        let source = reading(&self.norms, identity, norm, relu_after);
        let (output, others) = self.arena.write(layout, self.plan.values[block.output].buffer);
        let extent = size(block.extent, images);
        match pool {
            Some(pool) => pool.forward(self.isa, extent, others.get(stored), source, output),
            None => activation::fill(self.isa, extent, others.get(stored), source, extent.plain(), output),
        }
        self.clock.spent(Pass::Pool);
        if let (Some(place), Some(key)) = (dropout, key) {
            let values = images * self.plan.values[block.output].extent.values();
            let numbers = &mut self.numbers[place.index];
            draw(place, key, values, numbers);
            drop_values(self.isa, place, numbers, output);
            self.clock.spent(Pass::Dropout);
        }
    }
}

/// The dropout's random numbers for one micro-batch; none where nothing is dropped.
fn draw(place: DropoutPlace, key: RandomKey, values: usize, numbers: &mut Vec<u16>) {
    if place.rule.threshold > 0 {
        numbers.resize(values, 0);
        place.rule.stream(key).fill_u16(numbers);
    }
}

/// Dropout by the numbers drawn, in place.
pub(super) fn drop_values(
    isa: lockstep_kernels::Isa,
    place: DropoutPlace,
    numbers: &[u16],
    values: &mut [f32],
) {
    if place.rule.threshold > 0 {
        let kernel = dropout::Dropout { threshold: place.rule.threshold, scale: place.rule.scale };
        kernel.apply(isa, place.channels, numbers, values);
    }
}

/// Fills a convolution's bordered scratch with images `start..start + count` of its input.
#[allow(clippy::too_many_arguments, reason = "the operands of a kernel")]
pub(super) fn fill(
    isa: lockstep_kernels::Isa,
    plan: &super::plan::Plan,
    input: Value,
    start: usize,
    count: usize,
    values: &[f32],
    source: activation::Reading<'_>,
    layout: lockstep_kernels::convolution::Bordered,
    bordered: &mut [f32],
) {
    if input.producer.is_none() && plan.unpadded_images() {
        let crate::model::Extent::Image(shape) = input.extent else { return };
        let values = &values[start * shape.values()..(start + count) * shape.values()];
        activation::fill_unpadded((shape.height, shape.width, shape.channels), values, layout, bordered);
    } else {
        let extent = input.size(count);
        activation::fill(isa, extent, &values[start * extent.image_len()..], source, layout, bordered);
    }
}
