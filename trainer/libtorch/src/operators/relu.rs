//! `max(x, 0)`, in place.

use lockstep_nn::Weights;
use tch::Tensor;

use super::{Backward, Operator, Pass, Result, Wanted};

#[derive(Debug)]
pub(crate) struct Relu;

impl Operator for Relu {
    fn evaluate(&self, _: &Weights, mut input: Tensor) -> Result<Tensor> {
        input.f_relu_()
    }

    /// Overwrites the input: of the other layers only a ReLU keeps its output, and that one is not changed by this.
    fn forward<'a>(
        &'a self,
        _: &'a Weights,
        _: &mut Pass<'_>,
        mut input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let output = input.f_relu_()?;
        let kept = output.shallow_clone();
        let backward = move |_: &mut Pass<'_>, gradient: Tensor, wanted| match wanted {
            Wanted::InputGradient => {
                kept.f_threshold_backward_grad_input(&gradient, &gradient, 0.0).map(Some)
            }
            Wanted::ParametersOnly => Ok(None),
        };
        Ok((output, Box::new(backward)))
    }
}
