//! Makes a model's stages operators.

use lockstep_nn::{Operation, Stage};

use super::Operator;
use super::average_pool::{AveragePool, GlobalAveragePool};
use super::batch_norm::BatchNorm;
use super::convolution::Convolution;
use super::dense::Dense;
use super::dropout::Dropout;
use super::flatten::Flatten;
use super::max_pool::MaxPool;
use super::relu::Relu;
use super::residual::Residual;

/// One layer of a model at work.
#[derive(Debug)]
pub(crate) struct Layer {
    /// For messages: `layer 3 (Conv2D)`.
    pub(crate) name: String,
    pub(crate) operator: Box<dyn Operator>,
}

/// Operators for `stages`, in order.
pub(crate) fn build(stages: &[Stage]) -> Vec<Layer> {
    // Whether the activation is also kept by the layer that made it (only a ReLU keeps its output).
    let mut output_kept = false;
    let layer = |stage: &Stage| {
        let operator = operator(&stage.operation, output_kept);
        output_kept = match stage.operation {
            Operation::Relu => true,
            Operation::Flatten => output_kept,
            _ => false,
        };
        Layer { name: stage.name.clone(), operator }
    };
    stages.iter().map(layer).collect()
}

fn operator(operation: &Operation, input_kept: bool) -> Box<dyn Operator> {
    match operation.clone() {
        Operation::Convolution { kernel_size, kernel, bias } => {
            Box::new(Convolution { kernel, bias, padding: (kernel_size / 2) as i64 })
        }
        Operation::Relu => Box::new(Relu),
        Operation::BatchNorm { scale, offset, mean, variance, epsilon } => {
            Box::new(BatchNorm { scale, offset, mean, variance, epsilon })
        }
        Operation::MaxPool { size } => Box::new(MaxPool { size: size as i64 }),
        Operation::AveragePool { size } => Box::new(AveragePool { size: size as i64 }),
        Operation::GlobalAveragePool => Box::new(GlobalAveragePool),
        Operation::Residual { stages } => Box::new(Residual { layers: build(&stages) }),
        Operation::Dropout(rule) => Box::new(Dropout { rule, in_place: !input_kept }),
        Operation::Flatten => Box::new(Flatten),
        Operation::Dense { matrix, bias } => Box::new(Dense { matrix, bias }),
    }
}
