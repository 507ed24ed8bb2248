//! From a list of layers to fused units: what the native backend computes, and in which buffers.
//!
//! A [`Block`] is as much of `linear layer - ReLU - batch norm - ReLU - pool - dropout` as the list has there. It stores
//! what its linear layer gives (after the first ReLU); batch norm and the second ReLU are applied by whoever reads that
//! ([`Value`]), so that nothing is written only to be normalised. A pool or dropout does write its output.

use lockstep_kernels::convolution::{self, Convolution};
use lockstep_kernels::dense::Dense;
use lockstep_kernels::flatten::Flatten;
use lockstep_kernels::pool::{Kind, Pool};
use lockstep_kernels::{activation, padded};

use crate::dropout::Dropout;
use crate::model::{Extent, Model, Operation, Slot, Stage};

/// Index of a buffer, whose values of one image lie together.
pub(super) type BufferId = usize;

/// Index of a [`Value`].
pub(super) type ValueId = usize;

/// A model as the native backend computes it.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) values: Vec<Value>,
    pub(super) units: Vec<Unit>,
    pub(super) convolutions: Vec<ConvolutionPlace>,
    pub(super) norms: Vec<NormPlace>,
    /// Values of one image in each buffer.
    pub(super) buffers: Vec<usize>,
    /// The logits; plain.
    pub(super) logits: ValueId,
    /// The first unit with parameters: the ones before it need no backward pass.
    pub(super) first_trainable: usize,
    /// The last unit with a convolution: before its own backward pass the upper part is complete.
    pub(super) last_convolution: Option<usize>,
}

/// What flows between units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Value {
    pub(super) extent: Extent,
    pub(super) buffer: BufferId,
    /// The batch norm that a reader applies.
    pub(super) norm: Option<usize>,
    /// Whether a reader applies a ReLU, after the batch norm.
    pub(super) relu: bool,
    /// The unit that computes it; none for the images.
    pub(super) producer: Option<usize>,
    /// Of its gradient, if some unit before needs it.
    pub(super) gradient: Option<BufferId>,
    /// Whether the gradient is also that of a residual connection, which nobody may write to.
    pub(super) gradient_shared: bool,
}

impl Value {
    /// Whether it is stored as it is.
    pub(super) fn is_plain(&self) -> bool {
        self.norm.is_none() && !self.relu
    }

    /// Its size in memory for so many images.
    pub(super) fn size(&self, images: usize) -> activation::Extent {
        size(self.extent, images)
    }
}

/// The size in memory of so many images.
pub(super) fn size(extent: Extent, images: usize) -> activation::Extent {
    match extent {
        Extent::Image(shape) => activation::Extent {
            images,
            height: shape.height,
            width: shape.width,
            channels: padded(shape.channels),
        },
        Extent::Features(features) => {
            activation::Extent { images: 1, height: 1, width: images, channels: padded(features) }
        }
    }
}

#[derive(Debug)]
#[allow(clippy::large_enum_variant, reason = "a few units a model, nearly all of them blocks")]
pub(super) enum Unit {
    Block(Block),
    Flatten {
        kernel: Flatten,
        input: ValueId,
        output: ValueId,
    },
    /// The end of a residual connection: `output = x + inner`.
    Add {
        x: ValueId,
        inner: ValueId,
        output: ValueId,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) input: ValueId,
    pub(super) linear: Linear,
    /// Of what the linear layer gives, and of `stored`.
    pub(super) extent: Extent,
    pub(super) relu_before: bool,
    pub(super) stored: BufferId,
    pub(super) norm: Option<usize>,
    pub(super) relu_after: bool,
    pub(super) pool: Option<Pool>,
    pub(super) dropout: Option<DropoutPlace>,
    pub(super) output: ValueId,
    /// Backward, the gradient before the pool.
    pub(super) unpooled: Option<BufferId>,
    /// Backward, the gradient after dropout, where the output's own is shared.
    pub(super) dropped: Option<BufferId>,
    /// Backward, the gradient of what a dense layer gives.
    pub(super) dense_gradient: Option<BufferId>,
    /// Backward, the gradient to be added to the input's: this is the first unit of a residual connection.
    pub(super) residual: Option<ValueId>,
}

#[derive(Debug)]
pub(super) enum Linear {
    /// Nothing: `stored` is the input's buffer.
    None,
    /// A copy of what is read: the input's buffer holds something else.
    Copy,
    /// Index in [`Plan::convolutions`].
    Convolution(usize),
    Dense {
        kernel: Dense,
        matrix: Slot,
        bias: Slot,
    },
}

#[derive(Debug)]
pub(super) struct ConvolutionPlace {
    pub(super) kernel: Convolution,
    pub(super) weights: Slot,
    pub(super) bias: Slot,
}

#[derive(Debug)]
pub(super) struct NormPlace {
    pub(super) gamma: Slot,
    pub(super) beta: Slot,
    pub(super) mean: Slot,
    pub(super) variance: Slot,
    pub(super) epsilon: f64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct DropoutPlace {
    pub(super) rule: Dropout,
    /// Index of its random numbers.
    pub(super) index: usize,
    /// Unpadded channels or features.
    pub(super) channels: usize,
}

impl Plan {
    pub(super) fn new(model: &Model) -> Self {
        let mut plan = Self::default();
        let images = plan.value(Extent::Image(model.input()), None);
        let logits = plan.chain(model.stages(), images, &mut 0);
        plan.logits = plan.plain(logits);
        plan.first_trainable = plan.units.iter().position(Unit::has_parameters).unwrap_or(plan.units.len());
        let convolution =
            |unit: &Unit| matches!(unit, Unit::Block(Block { linear: Linear::Convolution(_), .. }));
        plan.last_convolution = plan.units.iter().rposition(convolution);
        plan.lay_out_images();
        plan.add_gradients();
        plan
    }

    /// Values of one image in all buffers of activations at once; for messages.
    fn buffer(&mut self, extent: Extent) -> BufferId {
        self.buffers.push(size(extent, 1).len());
        self.buffers.len() - 1
    }

    /// A value with a buffer of its own.
    fn value(&mut self, extent: Extent, producer: Option<usize>) -> ValueId {
        let buffer = self.buffer(extent);
        self.view(extent, buffer, None, false, producer)
    }

    fn view(
        &mut self,
        extent: Extent,
        buffer: BufferId,
        norm: Option<usize>,
        relu: bool,
        producer: Option<usize>,
    ) -> ValueId {
        let (gradient, gradient_shared) = (None, false);
        self.values.push(Value { extent, buffer, norm, relu, producer, gradient, gradient_shared });
        self.values.len() - 1
    }

    /// `value`, copied if it is not stored as it is.
    fn plain(&mut self, value: ValueId) -> ValueId {
        if self.values[value].is_plain() {
            return value;
        }
        let (extent, producer) = (self.values[value].extent, Some(self.units.len()));
        let output = self.value(extent, producer);
        let stored = self.values[output].buffer;
        self.units.push(Unit::Block(Block::new(value, Linear::Copy, extent, stored, output)));
        output
    }

    /// `dropouts` counts the ones seen.
    fn chain(&mut self, stages: &[Stage], mut value: ValueId, dropouts: &mut usize) -> ValueId {
        let mut rest = stages;
        while let Some((stage, after)) = rest.split_first() {
            value = match &stage.operation {
                Operation::Residual { stages } => {
                    rest = after;
                    self.residual(stages, value, dropouts)
                }
                Operation::Flatten => {
                    rest = after;
                    self.flatten(stage, value)
                }
                _ => self.block(&mut rest, value, dropouts),
            };
        }
        value
    }

    fn residual(&mut self, stages: &[Stage], x: ValueId, dropouts: &mut usize) -> ValueId {
        let first = self.units.len();
        let inner = self.chain(stages, x, dropouts);
        let output = self.value(self.values[x].extent, Some(self.units.len()));
        if let Some(Unit::Block(block)) = self.units.get_mut(first) {
            block.residual = Some(output);
        }
        self.units.push(Unit::Add { x, inner, output });
        output
    }

    fn flatten(&mut self, stage: &Stage, input: ValueId) -> ValueId {
        let input = self.plain(input);
        let output = self.value(stage.output, Some(self.units.len()));
        let channels = stage.input.channels();
        let kernel = Flatten { pixels: stage.input.values() / channels, channels };
        self.units.push(Unit::Flatten { kernel, input, output });
        output
    }

    /// Takes as many stages as one block computes.
    fn block(&mut self, stages: &mut &[Stage], input: ValueId, dropouts: &mut usize) -> ValueId {
        let mut take = |wanted: fn(&Operation) -> bool| {
            let (first, rest) = stages.split_first()?;
            wanted(&first.operation).then(|| {
                *stages = rest;
                first
            })
        };
        let linear = take(|stage| matches!(stage, Operation::Convolution { .. } | Operation::Dense { .. }));
        let mut relu_before = take(|stage| matches!(stage, Operation::Relu)).is_some();
        let norm = take(|stage| matches!(stage, Operation::BatchNorm { .. }));
        let mut relu_after = take(|stage| matches!(stage, Operation::Relu)).is_some();
        if linear.is_none() && norm.is_none() {
            (relu_before, relu_after) = (false, relu_before || relu_after);
        }
        let pool = take(|stage| {
            matches!(
                stage,
                Operation::MaxPool { .. } | Operation::AveragePool { .. } | Operation::GlobalAveragePool
            )
        });
        let dropout = take(|stage| matches!(stage, Operation::Dropout(_)));

        let (input, linear, extent, stored) = self.linear(linear, relu_before, input);
        let norm = norm.map(|stage| self.norm(stage));
        let last = pool.or(dropout);
        let producer = Some(self.units.len());
        let output = match last {
            Some(stage) => self.value(stage.output, producer),
            None => self.view(extent, stored, norm, relu_after, producer),
        };
        let mut block = Block::new(input, linear, extent, stored, output);
        block.relu_before = relu_before;
        block.norm = norm;
        block.relu_after = relu_after;
        block.pool = pool.map(pool_of);
        block.dropout = dropout.and_then(|stage| match &stage.operation {
            Operation::Dropout(rule) => {
                *dropouts += 1;
                let channels = stage.output.channels();
                Some(DropoutPlace { rule: *rule, index: *dropouts - 1, channels })
            }
            _ => None,
        });
        self.units.push(Unit::Block(block));
        output
    }

    fn linear(
        &mut self,
        stage: Option<&Stage>,
        relu: bool,
        input: ValueId,
    ) -> (ValueId, Linear, Extent, BufferId) {
        let Some(stage) = stage else {
            let Value { extent, buffer, .. } = self.values[input];
            return if self.values[input].is_plain() && !relu {
                (input, Linear::None, extent, buffer)
            } else {
                (input, Linear::Copy, extent, self.buffer(extent))
            };
        };
        let (input, linear) = match (&stage.operation, stage.input) {
            (Operation::Convolution { kernel_size, kernel, bias }, Extent::Image(shape)) => {
                let kernel_shape = convolution::Shape {
                    height: shape.height,
                    width: shape.width,
                    input_channels: shape.channels,
                    output_channels: stage.output.channels(),
                    kernel: *kernel_size,
                };
                let (weights, bias) = (kernel.clone(), bias.clone());
                let kernel = Convolution::new(kernel_shape);
                self.convolutions.push(ConvolutionPlace { kernel, weights, bias });
                (input, Linear::Convolution(self.convolutions.len() - 1))
            }
            (Operation::Dense { matrix, bias }, _) => {
                let kernel = Dense::new(stage.input.values(), stage.output.values());
                let (matrix, bias) = (matrix.clone(), bias.clone());
                (self.plain(input), Linear::Dense { kernel, matrix, bias })
            }
            _ => unreachable!("a checked model's convolutions take images, and only linear stages come here"),
        };
        (input, linear, stage.output, self.buffer(stage.output))
    }

    fn norm(&mut self, stage: &Stage) -> usize {
        if let Operation::BatchNorm { scale, offset, mean, variance, epsilon } = &stage.operation {
            self.norms.push(NormPlace {
                gamma: scale.clone(),
                beta: offset.clone(),
                mean: mean.clone(),
                variance: variance.clone(),
                epsilon: *epsilon,
            });
        }
        self.norms.len() - 1
    }

    /// Images of few channels lie unpadded if only a convolution reads them, and wants them so.
    fn lay_out_images(&mut self) {
        if self.unpadded_images() {
            self.buffers[0] = self.values[0].extent.values();
        }
    }

    /// Whether the images' buffer has no padding lanes.
    pub(super) fn unpadded_images(&self) -> bool {
        let first = match self.units.first() {
            Some(Unit::Block(Block { linear: Linear::Convolution(index), input: 0, .. })) => *index,
            _ => return false,
        };
        let others = self.units[1..].iter().any(|unit| unit.reads(0));
        !others && self.convolutions[first].kernel.input().channel_stride == self.values[0].extent.channels()
    }

    /// Gives a buffer to the gradient of every value that has one, and to what is needed on the way.
    fn add_gradients(&mut self) {
        for value in 0..self.values.len() {
            if self.values[value].producer.is_some_and(|unit| unit >= self.first_trainable) {
                self.values[value].gradient = Some(self.buffer(self.values[value].extent));
            }
        }
        for unit in self.first_trainable..self.units.len() {
            if let Unit::Add { inner, output, .. } = self.units[unit] {
                // The inner branch's gradient is the sum's. Inner values of a unit before the first with parameters
                // have none; the branch that has none either is not visited.
                if self.values[inner].gradient.is_some() {
                    self.values[inner].gradient = self.values[output].gradient;
                    self.values[inner].gradient_shared = true;
                }
            }
        }
        for unit in self.first_trainable..self.units.len() {
            let Unit::Block(block) = &self.units[unit] else { continue };
            let (input, output) = (self.values[block.input], self.values[block.output]);
            let (extent, dense) = (block.extent, matches!(block.linear, Linear::Dense { .. }));
            let direct = matches!(block.linear, Linear::None | Linear::Copy);
            let passes = direct && block.norm.is_none() && !block.relu_before;
            let pooled = block.pool.is_some();
            let copied = block.dropout.is_some() && output.gradient_shared;
            let dropped = copied.then(|| self.buffer(output.extent));
            let unpooled = pooled.then(|| match input.gradient {
                Some(gradient) if passes => gradient,
                _ => self.buffer(extent),
            });
            let dense_gradient = dense.then(|| self.buffer(extent));
            if let Unit::Block(block) = &mut self.units[unit] {
                (block.dropped, block.unpooled, block.dense_gradient) = (dropped, unpooled, dense_gradient);
            }
        }
    }
}

fn pool_of(stage: &Stage) -> Pool {
    let square = |kind, size: usize| Pool { kind, rows: size, columns: size };
    match (&stage.operation, stage.input) {
        (Operation::MaxPool { size }, _) => square(Kind::Maximum, *size),
        (Operation::AveragePool { size }, _) => square(Kind::Average, *size),
        (_, Extent::Image(shape)) => Pool { kind: Kind::Average, rows: shape.height, columns: shape.width },
        (_, Extent::Features(_)) => unreachable!("a checked model pools images only"),
    }
}

impl Unit {
    fn has_parameters(&self) -> bool {
        match self {
            Self::Block(block) => {
                block.norm.is_some() || matches!(block.linear, Linear::Convolution(_) | Linear::Dense { .. })
            }
            Self::Flatten { .. } | Self::Add { .. } => false,
        }
    }

    fn reads(&self, value: ValueId) -> bool {
        match *self {
            Self::Block(Block { input, .. }) | Self::Flatten { input, .. } => input == value,
            Self::Add { x, inner, .. } => x == value || inner == value,
        }
    }
}

impl Block {
    /// A linear layer and nothing else.
    fn new(input: ValueId, linear: Linear, extent: Extent, stored: BufferId, output: ValueId) -> Self {
        Self {
            input,
            linear,
            extent,
            relu_before: false,
            stored,
            norm: None,
            relu_after: false,
            pool: None,
            dropout: None,
            output,
            unpooled: None,
            dropped: None,
            dense_gradient: None,
            residual: None,
        }
    }
}
