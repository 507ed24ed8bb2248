//! Image to features in PyTorch's order (channel, row, column), so that a dense layer's weights are PyTorch's.

use lockstep_nn::Weights;
use tch::Tensor;

use super::{Backward, Operator, Pass, Result, Wanted};
use crate::ffi;

#[derive(Debug)]
pub(crate) struct Flatten;

impl Flatten {
    fn apply(input: &Tensor) -> Result<Tensor> {
        let size = input.size();
        let features = size.iter().skip(1).product();
        input.f_contiguous()?.f_view([size[0], features])
    }
}

impl Operator for Flatten {
    fn evaluate(&self, _: &Weights, input: Tensor) -> Result<Tensor> {
        Self::apply(&input)
    }

    fn forward<'a>(
        &'a self,
        _: &'a Weights,
        _: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let size = input.size();
        let output = Self::apply(&input)?;
        let backward = move |_: &mut Pass<'_>, gradient: Tensor, wanted| match wanted {
            Wanted::InputGradient => ffi::channels_last(gradient.f_view(size.as_slice())?).map(Some),
            Wanted::ParametersOnly => Ok(None),
        };
        Ok((output, Box::new(backward)))
    }
}
