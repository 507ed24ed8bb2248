//! Batch normalisation over the micro-batch, by libtorch, without running statistics in the forward pass: the batch
//! statistics leave through the reduced vector and are merged once a step (`optimizer`).

use lockstep_nn::{Slot, Weights};
use tch::{TchError, Tensor};

use super::{Backward, Operator, Pass, Result, Wanted};
use crate::ffi::{self, View};

#[derive(Debug)]
pub(crate) struct BatchNorm {
    /// Keras's gamma.
    pub(crate) scale: Slot,
    /// Keras's beta.
    pub(crate) offset: Slot,
    pub(crate) mean: Slot,
    pub(crate) variance: Slot,
    pub(crate) epsilon: f64,
}

impl BatchNorm {
    fn parameters<'a>(&self, weights: &'a Weights) -> Result<(View<'a>, View<'a>)> {
        let scale = ffi::view(&weights.parameters[self.scale.range.clone()], &self.scale.dims)?;
        let offset = ffi::view(&weights.parameters[self.offset.range.clone()], &self.offset.dims)?;
        Ok((scale, offset))
    }

    /// Mean and biased variance of this micro-batch, the variance taken back out of the saved inverse deviation.
    fn leave_statistics(&self, pass: &mut Pass<'_>, mean: &Tensor, inverse_deviation: &Tensor) -> Result<()> {
        ffi::read(mean, |mean| pass.statistic(&self.mean.range).copy_from_slice(mean))?;
        let variance = pass.statistic(&self.variance.range);
        ffi::read(inverse_deviation, |inverse_deviation| {
            for (variance, &inverse_deviation) in variance.iter_mut().zip(inverse_deviation) {
                let inverse_deviation = f64::from(inverse_deviation);
                let biased = 1.0 / (inverse_deviation * inverse_deviation) - self.epsilon;
                // Not `max`, which would turn NaN into 0 and hide a divergence.
                *variance = if biased < 0.0 { 0.0 } else { biased as f32 };
            }
        })
    }

    fn backward(
        &self,
        pass: &mut Pass<'_>,
        scale: &View<'_>,
        saved: &Saved,
        gradient: &Tensor,
        wanted: Wanted,
    ) -> Result<Option<Tensor>> {
        let gradients = ffi::batch_norm_backward(
            gradient,
            &saved.input,
            scale.tensor(),
            &saved.mean,
            &saved.inverse_deviation,
            self.epsilon,
            wanted == Wanted::InputGradient,
        )?;
        ffi::read(&gradients.weight, |gradient| {
            pass.gradient(&self.scale.range).copy_from_slice(gradient);
        })?;
        ffi::read(&gradients.bias, |gradient| {
            pass.gradient(&self.offset.range).copy_from_slice(gradient);
        })?;
        match (wanted, gradients.input) {
            (Wanted::InputGradient, None) => Err(TchError::Torch("no gradient of the input".into())),
            (_, gradient) => Ok(gradient),
        }
    }
}

struct Saved {
    input: Tensor,
    mean: Tensor,
    inverse_deviation: Tensor,
}

impl Operator for BatchNorm {
    fn evaluate(&self, weights: &Weights, input: Tensor) -> Result<Tensor> {
        let (scale, offset) = self.parameters(weights)?;
        let mean = ffi::view(&weights.running[self.mean.range.clone()], &self.mean.dims)?;
        let variance = ffi::view(&weights.running[self.variance.range.clone()], &self.variance.dims)?;
        let (output, _, _) = input.f_native_batch_norm(
            Some(scale.tensor()),
            Some(offset.tensor()),
            Some(mean.tensor()),
            Some(variance.tensor()),
            false,
            0.0,
            self.epsilon,
        )?;
        Ok(output)
    }

    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        pass: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let (scale, offset) = self.parameters(weights)?;
        let (output, mean, inverse_deviation) = input.f_native_batch_norm(
            Some(scale.tensor()),
            Some(offset.tensor()),
            None,
            None,
            true,
            0.0,
            self.epsilon,
        )?;
        self.leave_statistics(pass, &mean, &inverse_deviation)?;
        let saved = Saved { input, mean, inverse_deviation };
        let backward = move |pass: &mut Pass<'_>, gradient: Tensor, wanted| {
            self.backward(pass, &scale, &saved, &gradient, wanted)
        };
        Ok((output, Box::new(backward)))
    }
}
