//! From the reduced vector to the next state: Adam and SGD on the flat buffers, and the running statistics.
//!
//! Only additions, multiplications, divisions and square roots, each rounded once (IEEE 754), by kernels that give the
//! same bits on every CPU. Every executor applies the same reduced vector to the same state.

use std::sync::Arc;

use lockstep_kernels::Isa;
use lockstep_kernels::optimizer::{Adam, Sgd, all_finite};
use snafu::{Snafu, ensure};

use crate::model::{Model, TensorInfo, Weights};
use crate::state::State;

/// Why a step was not made. The state is untouched.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum Error {
    /// The training diverged: a sum over all micro-batches is infinite or not a number.
    #[snafu(display("failed to make step {step}: the training diverged, {what} is not finite"))]
    Diverged {
        /// The update that was not made, from 1.
        step: u64,
        /// The first value that is not finite: a gradient, a statistic or the loss.
        what: String,
    },
    /// The vector, the state or the number of leaves does not belong to the model.
    #[snafu(display("failed to make step {step}: {what} is {found} long where {expected} was expected"))]
    WrongLength {
        /// The update that was not made, from 1.
        step: u64,
        /// What is wrong.
        what: &'static str,
        /// Values it should have.
        expected: usize,
        /// Values it has.
        found: usize,
    },
}

impl Error {
    /// Whether trying again may help: a step is a pure function of its inputs, so never.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Diverged { .. } | Self::WrongLength { .. } => false,
        }
    }
}

/// Which rule changes the parameters. The learning rate comes apart, from the schedule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// D. Kingma and J. Ba, "Adam: A Method for Stochastic Optimization", 2015, algorithm 1 (as PyTorch's).
    Adam {
        /// Decay of the first moment, in [0, 1).
        beta1: f64,
        /// Decay of the second moment, in [0, 1).
        beta2: f64,
        /// Added to the root of the corrected second moment; positive.
        epsilon: f64,
    },
    /// Stochastic gradient descent as PyTorch defines it: velocity = momentum * velocity + gradient.
    Sgd {
        /// Share of the velocity kept, in [0, 1); 0 for none.
        momentum: f64,
        /// Whether the gradient is taken where momentum leads.
        nesterov: bool,
        /// Times the parameters, added to the gradient.
        weight_decay: f64,
    },
}

impl Optimizer {
    /// Lengths of the two moment buffers.
    pub(crate) fn moment_lens(&self, parameter_len: usize) -> [usize; 2] {
        match *self {
            Self::Adam { .. } => [parameter_len; 2],
            Self::Sgd { momentum, .. } if momentum != 0.0 => [parameter_len, 0],
            Self::Sgd { .. } => [0; 2],
        }
    }
}

/// What a step tells besides the new state.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StepSummary {
    /// Mean loss over the global batch, before the update.
    pub loss: f32,
}

/// Makes one step: `state` becomes its successor.
///
/// `reduced`: the tree sum of `leaves` training leaves; multiplied once by 1 / `leaves`. The state's buffers are changed
/// in place where nobody else holds them, else copied first.
///
/// # Errors
/// [`Error::Diverged`] when a reduced value is not finite; then, as with every error, the state is as it was.
pub fn apply(
    model: &Model,
    optimizer: &Optimizer,
    learning_rate: f64,
    state: &mut State,
    reduced: &[f32],
    leaves: u32,
) -> Result<StepSummary, Error> {
    let step = state.step + 1;
    let check = |what, found: usize, expected| {
        ensure!(found == expected, WrongLengthSnafu { step, what, expected, found });
        Ok(())
    };
    check("the reduced vector", reduced.len(), model.reduction_len())?;
    check("the parameter buffer", state.weights.parameters.len(), model.parameter_len())?;
    check("the running buffer", state.weights.running.len(), model.running_len())?;
    let [first, second] = optimizer.moment_lens(model.parameter_len());
    check("the first moment", state.moments[0].len(), first)?;
    check("the second moment", state.moments[1].len(), second)?;
    check("the list of leaves", usize::from(leaves > 0), 1)?;
    let isa = Isa::best();
    if !all_finite(isa, reduced) {
        return DivergedSnafu { step, what: first_not_finite(model, reduced) }.fail();
    }

    let mean = (1.0 / f64::from(leaves)) as f32;
    let (gradients, rest) = reduced.split_at(model.parameter_len());
    let (statistics, loss) = rest.split_at(model.running_len());
    let weights = Arc::make_mut(&mut state.weights);
    let [first, second] = &mut state.moments;
    match *optimizer {
        Optimizer::Adam { beta1, beta2, epsilon } => {
            let (first, second) = (Arc::make_mut(first), Arc::make_mut(second));
            let rule = adam(beta1, beta2, epsilon, learning_rate, mean, step);
            for range in model.parameters().iter().map(TensorInfo::range) {
                rule.update(
                    isa,
                    &mut weights.parameters[range.clone()],
                    &mut first[range.clone()],
                    &mut second[range.clone()],
                    &gradients[range],
                );
            }
        }
        Optimizer::Sgd { momentum, nesterov, weight_decay } => {
            let rule = Sgd {
                mean,
                momentum: momentum as f32,
                weight_decay: weight_decay as f32,
                learning_rate: learning_rate as f32,
                nesterov,
            };
            let velocity = Arc::make_mut(first);
            for range in model.parameters().iter().map(TensorInfo::range) {
                let velocity = if velocity.is_empty() { &mut [] } else { &mut velocity[range.clone()] };
                rule.update(isa, &mut weights.parameters[range.clone()], velocity, &gradients[range]);
            }
        }
    }
    move_running(model, weights, statistics, mean);
    state.step = step;
    Ok(StepSummary { loss: loss[0] * mean })
}

/// One update a step of the exponential moving averages, from the mean of the micro-batches' statistics.
fn move_running(model: &Model, weights: &mut Weights, statistics: &[f32], mean: f32) {
    for norm in model.momenta() {
        let (kept, new) = (norm.momentum as f32, (1.0 - norm.momentum) as f32);
        for range in &norm.ranges {
            let running = &mut weights.running[range.clone()];
            for (running, &statistic) in running.iter_mut().zip(&statistics[range.clone()]) {
                *running = *running * kept + statistic * mean * new;
            }
        }
    }
}

/// Adam's constants of step `step`.
fn adam(beta1: f64, beta2: f64, epsilon: f64, learning_rate: f64, mean: f32, step: u64) -> Adam {
    Adam {
        mean,
        beta1: beta1 as f32,
        one_minus_beta1: (1.0 - beta1) as f32,
        beta2: beta2 as f32,
        one_minus_beta2: (1.0 - beta2) as f32,
        rate: (learning_rate / (1.0 - power(beta1, step))) as f32,
        root_correction: (1.0 / (1.0 - power(beta2, step)).sqrt()) as f32,
        epsilon: epsilon as f32,
    }
}

/// `base` to the power of `exponent`, by squaring from the lowest bit up: always the same sequence of roundings.
fn power(base: f64, mut exponent: u64) -> f64 {
    let (mut result, mut square) = (1.0, base);
    while exponent > 0 {
        if exponent & 1 == 1 {
            result *= square;
        }
        square *= square;
        exponent >>= 1;
    }
    result
}

fn first_not_finite(model: &Model, reduced: &[f32]) -> String {
    let Some(place) = reduced.iter().position(|value| !value.is_finite()) else {
        return "nothing".to_owned();
    };
    let within = |tensors: &[TensorInfo], place: usize| {
        tensors.iter().find(|tensor| tensor.range().contains(&place)).map(|tensor| tensor.name.clone())
    };
    if place < model.parameter_len() {
        let name = within(model.parameters(), place);
        name.map_or_else(|| "padding".to_owned(), |name| format!("the gradient of {name}"))
    } else if place < model.parameter_len() + model.running_len() {
        let name = within(model.running_statistics(), place - model.parameter_len());
        name.map_or_else(|| "padding".to_owned(), |name| format!("the batch statistic for {name}"))
    } else {
        "the loss".to_owned()
    }
}

#[cfg(test)]
pub(crate) mod tests;
