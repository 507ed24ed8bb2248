//! From the spec's model, optimizer and schedule to the typed ones of `lockstep-nn`.

use std::sync::Arc;

use lockstep_crds::{
    resolved::{ResolvedLayer, ResolvedModel, ResolvedOptimizer, ResolvedSchedule, ResolvedTraining},
    spec::ModelPreset,
};
use lockstep_nn::{Layer, Model, Optimizer, Schedule, Shape, Stretch, res_net_9, two_block};
use snafu::ResultExt;

use crate::{
    course::Course,
    failure::{BuildModelSnafu, Failure},
};

/// The model and the rule that updates it.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    /// Shapes and layout of the parameters.
    pub model: Arc<Model>,
    /// How gradients change them.
    pub optimizer: Optimizer,
}

impl Network {
    /// # Errors
    /// The layers do not fit the images or each other.
    pub(crate) fn new(
        model: &ResolvedModel,
        training: &ResolvedTraining,
        input: Shape,
        classes: usize,
    ) -> Result<Self, Failure> {
        let layers = match model {
            ResolvedModel::Preset(ModelPreset::TwoBlock) => two_block(classes),
            ResolvedModel::Preset(ModelPreset::ResNet9) => res_net_9(classes),
            ResolvedModel::Layers(layers) => layers.iter().map(layer).collect(),
        };
        let model = Model::new(input, classes, &layers).context(BuildModelSnafu)?;
        Ok(Self { model: Arc::new(model), optimizer: optimizer(&training.optimizer) })
    }

    #[cfg(test)]
    pub(crate) fn adam(input: Shape, classes: usize, layers: &[Layer]) -> Self {
        let model = Arc::new(Model::new(input, classes, layers).unwrap());
        Self { model, optimizer: Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-7 } }
    }
}

fn layer(layer: &ResolvedLayer) -> Layer {
    match *layer {
        ResolvedLayer::AveragePool2D { size } => Layer::AveragePool2D { size: size as usize },
        ResolvedLayer::GlobalAveragePool2D => Layer::GlobalAveragePool2D,
        ResolvedLayer::Residual { ref layers } => {
            Layer::Residual { layers: layers.iter().map(self::layer).collect() }
        }
        ResolvedLayer::Conv2D { filters, kernel_size } => {
            Layer::Conv2D { filters: filters as usize, kernel_size: kernel_size as usize }
        }
        ResolvedLayer::ReLU => Layer::ReLU,
        ResolvedLayer::BatchNorm { momentum, epsilon } => Layer::BatchNorm { momentum, epsilon },
        ResolvedLayer::MaxPool2D { size } => Layer::MaxPool2D { size: size as usize },
        ResolvedLayer::Dropout { rate } => Layer::Dropout { rate },
        ResolvedLayer::Flatten => Layer::Flatten,
        ResolvedLayer::Dense { units } => Layer::Dense { units: units as usize },
    }
}

fn optimizer(optimizer: &ResolvedOptimizer) -> Optimizer {
    match *optimizer {
        ResolvedOptimizer::Adam { learning_rate: _, beta1, beta2, epsilon } => {
            Optimizer::Adam { beta1, beta2, epsilon }
        }
        ResolvedOptimizer::Sgd { learning_rate: _, momentum, nesterov, weight_decay } => {
            Optimizer::Sgd { momentum, nesterov, weight_decay }
        }
    }
}

/// The learning rate of every step of a job.
#[derive(Clone, Debug)]
pub(crate) struct LearningRate {
    base: f64,
    schedule: Schedule,
    stretch: Stretch,
}

impl LearningRate {
    pub(crate) fn new(training: &ResolvedTraining, course: &Course) -> Self {
        let base = match training.optimizer {
            ResolvedOptimizer::Adam { learning_rate, .. } | ResolvedOptimizer::Sgd { learning_rate, .. } => {
                learning_rate
            }
        };
        let schedule = match training.schedule.clone() {
            ResolvedSchedule::Constant => Schedule::Constant,
            ResolvedSchedule::Cosine { final_factor } => Schedule::Cosine { final_factor },
            ResolvedSchedule::OneCycle { rise_fraction, initial_divisor, final_divisor } => {
                Schedule::OneCycle { rise_fraction, initial_divisor, final_divisor }
            }
            ResolvedSchedule::Piecewise { changes } => Schedule::Piecewise { changes },
        };
        let stretch = Stretch {
            total_steps: course.total_steps(),
            steps_per_epoch: course.steps_per_epoch(),
            warmup_steps: training.warmup_steps.into(),
        };
        Self { base, schedule, stretch }
    }

    /// Of the update that follows `step` updates.
    pub(crate) fn at(&self, step: u64) -> f64 {
        self.schedule.learning_rate(self.base, step, self.stretch)
    }
}
