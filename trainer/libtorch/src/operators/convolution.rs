//! Square convolution with stride 1, "same" padding and bias, by libtorch (oneDNN).

use lockstep_nn::{Slot, Weights};
use tch::{TchError, Tensor};

use super::{Backward, Operator, Pass, Result, Wanted};
use crate::ffi::{self, View};

#[derive(Debug)]
pub(crate) struct Convolution {
    /// Output channels, input channels, rows, columns.
    pub(crate) kernel: Slot,
    pub(crate) bias: Slot,
    /// Zeros on each side.
    pub(crate) padding: i64,
}

impl Convolution {
    /// The kernel with input channels innermost, as the activations are, and the bias.
    fn parameters<'a>(&self, weights: &'a Weights) -> Result<(View<'a>, View<'a>)> {
        let kernel = ffi::view(&weights.parameters[self.kernel.range.clone()], &self.kernel.dims)?;
        let bias = ffi::view(&weights.parameters[self.bias.range.clone()], &self.bias.dims)?;
        Ok((kernel.channels_last()?, bias))
    }

    fn apply(&self, kernel: &View<'_>, bias: &View<'_>, input: &Tensor) -> Result<Tensor> {
        let padding = [self.padding; 2];
        input.f_conv2d(kernel.tensor(), Some(bias.tensor()), [1, 1], padding, [1, 1], 1)
    }

    fn backward(
        &self,
        pass: &mut Pass<'_>,
        kernel: &View<'_>,
        input: &Tensor,
        gradient: &Tensor,
        wanted: Wanted,
    ) -> Result<Option<Tensor>> {
        pass.before_convolution();
        let input_gradient = wanted == Wanted::InputGradient;
        let gradients =
            ffi::convolution_backward(gradient, input, kernel.tensor(), self.padding, input_gradient)?;
        ffi::view_mut(pass.gradient(&self.kernel.range), &self.kernel.dims)?.copy_from(&gradients.weight)?;
        ffi::view_mut(pass.gradient(&self.bias.range), &self.bias.dims)?.copy_from(&gradients.bias)?;
        match (wanted, gradients.input) {
            (Wanted::InputGradient, None) => Err(TchError::Torch("no gradient of the input".into())),
            (_, gradient) => Ok(gradient),
        }
    }
}

impl Operator for Convolution {
    fn evaluate(&self, weights: &Weights, input: Tensor) -> Result<Tensor> {
        let (kernel, bias) = self.parameters(weights)?;
        self.apply(&kernel, &bias, &input)
    }

    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        _: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let (kernel, bias) = self.parameters(weights)?;
        let output = self.apply(&kernel, &bias, &input)?;
        let backward = move |pass: &mut Pass<'_>, gradient: Tensor, wanted| {
            self.backward(pass, &kernel, &input, &gradient, wanted)
        };
        Ok((output, Box::new(backward)))
    }
}
