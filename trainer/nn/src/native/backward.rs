//! Backward through the units.

use lockstep_kernels::normalisation::{self, Through};
use lockstep_kernels::residual;

use super::forward::{drop_values, fill};
use super::memory::Layout;
use super::plan::{Block, BufferId, Linear, Unit, size};
use super::profile::Pass;
use super::worker::{Leaf, NativeWorker, Norm, reading};
use crate::model::Weights;

impl NativeWorker {
    /// Computes all gradients into `leaf`, from that of the logits; hands over the leaf's upper part on the way.
    pub(super) fn backward(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        leaf: &mut Leaf<'_>,
    ) {
        for index in (self.plan.first_trainable..self.plan.units.len()).rev() {
            match self.plan.units[index] {
                Unit::Block(_) => self.backward_block(layout, weights, images, index, leaf),
                Unit::Flatten { kernel, input, output } => {
                    let [input, output] = [input, output].map(|value| self.plan.values[value].gradient);
                    if let (Some(input), Some(output)) = (input, output) {
                        let (to, others) = self.arena.write(layout, input);
                        kernel.backward(self.isa, images, others.get(output), to);
                        self.clock.spent(Pass::Flatten);
                    }
                }
                // The inner branch has the same gradient, and its first unit adds it to that of `x`.
                Unit::Add { .. } => {}
            }
        }
    }

    fn backward_block(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        unit: usize,
        leaf: &mut Leaf<'_>,
    ) {
        let Some(gradient) = self.backward_tail(layout, images, unit) else { return };
        self.backward_norm(layout, weights, images, unit, gradient, leaf);
        if self.plan.last_convolution == Some(unit) {
            leaf.deliver_upper();
        }
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        match block.linear {
            Linear::Convolution(index) => {
                self.backward_convolution(layout, images, unit, index, gradient, leaf);
            }
            Linear::Dense { .. } => self.backward_dense(layout, weights, images, unit, gradient, leaf),
            Linear::None | Linear::Copy => self.backward_direct(layout, images, unit, gradient),
        }
        self.add_residual(layout, unit);
    }

    /// Back through dropout and pool; the buffer of the gradient before them. With a pool also back through the last ReLU,
    /// and the sums for the batch norm.
    fn backward_tail(&mut self, layout: &Layout, images: usize, unit: usize) -> Option<BufferId> {
        let Unit::Block(block) = &self.plan.units[unit] else { return None };
        let Block { pool, dropout, stored, norm, relu_after, dropped, unpooled, .. } = *block;
        let mut gradient = self.plan.values[block.output].gradient?;
        if let Some(place) = dropout {
            if let Some(copy) = dropped {
                let (to, others) = self.arena.write(layout, copy);
                to.copy_from_slice(others.get(gradient));
                gradient = copy;
            }
            let (values, _) = self.arena.write(layout, gradient);
            drop_values(self.isa, place, &self.numbers[place.index], values);
            self.clock.spent(Pass::Dropout);
        }
        if let (Some(pool), Some(unpooled)) = (pool, unpooled) {
            let identity = (&*self.scratch.ones, &*self.scratch.zeros);
            let (source, centre, sums);
            match norm {
                Some(index) => {
                    let norm = &mut self.norms[index];
                    norm.sums.clear();
                    source = norm.normalisation.reading(relu_after);
                    (centre, sums) = (&*norm.normalisation.centre, &mut norm.sums);
                }
                None => {
                    source = reading(&[], identity, None, relu_after);
                    (centre, sums) = (&*self.scratch.zeros, &mut self.scratch.unused);
                }
            }
            let (to, others) = self.arena.write(layout, unpooled);
            let extent = size(block.extent, images);
            let (values, gradients) = (others.get(stored), others.get(gradient));
            pool.backward(self.isa, extent, values, source, centre, gradients, to, sums);
            self.clock.spent(Pass::Unpool);
            gradient = unpooled;
        }
        Some(gradient)
    }

    /// The gradients of the batch norm's parameters, and what [`through`] needs.
    fn backward_norm(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        unit: usize,
        gradient: BufferId,
        leaf: &mut Leaf<'_>,
    ) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let Some(index) = block.norm else { return };
        let (place, norm) = (&self.plan.norms[index], &mut self.norms[index]);
        let extent = size(block.extent, images);
        if block.pool.is_none() {
            norm.sums.clear();
            let (stored, gradients) =
                (self.arena.get(layout, block.stored), self.arena.get(layout, gradient));
            let source = norm.normalisation.reading(block.relu_after);
            let centre = &norm.normalisation.centre;
            normalisation::backward_sums(self.isa, extent, stored, source, centre, gradients, &mut norm.sums);
        }
        let count = extent.images * extent.pixels();
        let gamma = &weights.parameters[place.gamma.range.clone()];
        let (gammas, betas) = leaf.gradients(place.gamma.range.clone(), place.beta.range.clone());
        let Norm { normalisation, coefficients, sums } = norm;
        normalisation.finish_backward(sums, count, gamma, gammas, betas, coefficients);
        self.clock.spent(Pass::NormSums);
    }

    fn backward_convolution(
        &mut self,
        layout: &Layout,
        images: usize,
        unit: usize,
        index: usize,
        gradient: BufferId,
        leaf: &mut Leaf<'_>,
    ) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let place = &self.plan.convolutions[index];
        let kernel = place.kernel;
        let (input_border, gradient_border) = self.scratch.borders[index];
        let input = self.plan.values[block.input];
        let image_len = size(block.extent, 1).len();
        let input_len = input.size(1).len();
        self.scratch.bias.fill(0.0);
        for start in (0..images).step_by(kernel.group()) {
            let count = kernel.group().min(images - start);
            let range = start * image_len..(start + count) * image_len;
            let bordered = &mut self.scratch.gradients[gradient_border];
            let stored = &self.arena.get(layout, block.stored)[range.clone()];
            let gradients = &self.arena.get(layout, gradient)[range];
            let through = through(block, &self.norms);
            let (extent, border) = (size(block.extent, count), kernel.gradient());
            let bias = &mut self.scratch.bias;
            normalisation::propagate(self.isa, extent, stored, gradients, through, border, bordered, bias);
            self.clock.spent(Pass::Propagate);
            let scratch = &mut self.scratch.kernel;
            if let Some(input_gradient) = input.gradient {
                let (to, _) = self.arena.write(layout, input_gradient);
                let to = &mut to[start * input_len..(start + count) * input_len];
                let packed = &self.packed.convolutions[index].backward;
                kernel.backward_data(self.isa, count, bordered, packed, to, scratch);
                self.clock.spent(Pass::ConvolutionData);
            }
            let source = &mut self.scratch.inputs[input_border];
            let identity = (&*self.scratch.ones, &*self.scratch.zeros);
            let read = reading(&self.norms, identity, input.norm, input.relu);
            let values = self.arena.get(layout, input.buffer);
            fill(self.isa, &self.plan, input, start, count, values, read, kernel.input(), source);
            self.clock.spent(Pass::Fill);
            let sums = &mut self.scratch.accumulators;
            kernel.accumulate_weights(self.isa, count, source, bordered, start == 0, sums, scratch);
            self.clock.spent(Pass::ConvolutionWeights);
        }
        let weights = leaf.gradient(place.weights.range.clone());
        kernel.finish_weights(self.isa, &self.scratch.accumulators, weights, &mut self.scratch.kernel);
        for (to, &sum) in leaf.gradient(place.bias.range.clone()).iter_mut().zip(&self.scratch.bias) {
            *to = sum as f32;
        }
        self.clock.spent(Pass::Finish);
    }

    fn backward_dense(
        &mut self,
        layout: &Layout,
        weights: &Weights,
        images: usize,
        unit: usize,
        gradient: BufferId,
        leaf: &mut Leaf<'_>,
    ) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let Linear::Dense { kernel, matrix, bias } = &block.linear else { return };
        let mut gradient = gradient;
        if let (Some(own), true) =
            (block.dense_gradient, !matches!(through(block, &self.norms), Through::Nothing))
        {
            let (to, others) = self.arena.write(layout, own);
            let extent = size(block.extent, images);
            let (stored, gradients) = (others.get(block.stored), others.get(gradient));
            let sums = &mut self.scratch.bias;
            let through = through(block, &self.norms);
            normalisation::propagate(self.isa, extent, stored, gradients, through, extent.plain(), to, sums);
            self.clock.spent(Pass::Propagate);
            gradient = own;
        }
        let input = self.plan.values[block.input];
        if let Some(input_gradient) = input.gradient {
            let (to, others) = self.arena.write(layout, input_gradient);
            let matrix = &weights.parameters[matrix.range.clone()];
            kernel.backward_data(self.isa, images, others.get(gradient), matrix, to, &mut self.scratch.dense);
        }
        let (values, gradients) = (self.arena.get(layout, input.buffer), self.arena.get(layout, gradient));
        let (matrices, biases) = leaf.gradients(matrix.range.clone(), bias.range.clone());
        let scratch = &mut self.scratch.dense;
        kernel.backward_weights(self.isa, images, values, gradients, matrices, biases, scratch);
        self.clock.spent(Pass::DenseBackward);
    }

    /// Where there is no linear layer the gradient goes straight on to the input.
    fn backward_direct(&mut self, layout: &Layout, images: usize, unit: usize, gradient: BufferId) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let Some(input_gradient) = self.plan.values[block.input].gradient else { return };
        if gradient == input_gradient {
            return;
        }
        let (to, others) = self.arena.write(layout, input_gradient);
        let extent = size(block.extent, images);
        let (stored, gradients) = (others.get(block.stored), others.get(gradient));
        let (through, bias) = (through(block, &self.norms), &mut self.scratch.bias);
        normalisation::propagate(self.isa, extent, stored, gradients, through, extent.plain(), to, bias);
        self.clock.spent(Pass::Propagate);
    }

    /// The gradient of a residual connection's input is its branch's plus its output's.
    fn add_residual(&mut self, layout: &Layout, unit: usize) {
        let Unit::Block(block) = &self.plan.units[unit] else { return };
        let input = self.plan.values[block.input].gradient;
        let output = block.residual.and_then(|output| self.plan.values[output].gradient);
        if let (Some(input), Some(output)) = (input, output) {
            let (to, others) = self.arena.write(layout, input);
            residual::accumulate(self.isa, others.get(output), to);
            self.clock.spent(Pass::Add);
        }
    }
}

/// What lies between a block's linear layer and the gradient that [`NativeWorker::backward_tail`] gives.
fn through<'a>(block: &Block, norms: &'a [Norm]) -> Through<'a> {
    let relu_after = block.relu_after && block.pool.is_none();
    match block.norm {
        Some(index) => Through::Normalisation {
            normalisation: &norms[index].normalisation,
            coefficients: &norms[index].coefficients,
            relu_before: block.relu_before,
            relu_after,
        },
        None if block.relu_before || relu_after => Through::Relu,
        None => Through::Nothing,
    }
}
