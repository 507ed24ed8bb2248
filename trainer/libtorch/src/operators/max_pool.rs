//! Maximum over squares without overlap, by libtorch.

use lockstep_nn::Weights;
use tch::Tensor;

use super::{Backward, Operator, Pass, Result, Wanted};

#[derive(Debug)]
pub(crate) struct MaxPool {
    /// Side of the square, and the stride.
    pub(crate) size: i64,
}

impl Operator for MaxPool {
    fn evaluate(&self, _: &Weights, input: Tensor) -> Result<Tensor> {
        let side = [self.size; 2];
        input.f_max_pool2d(side, side, [0, 0], [1, 1], false)
    }

    fn forward<'a>(
        &'a self,
        _: &'a Weights,
        _: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let side = [self.size; 2];
        let (output, indices) = input.f_max_pool2d_with_indices(side, side, [0, 0], [1, 1], false)?;
        let backward = move |_: &mut Pass<'_>, gradient: Tensor, wanted| match wanted {
            Wanted::InputGradient => input
                .f_max_pool2d_with_indices_backward(&gradient, side, side, [0, 0], [1, 1], false, &indices)
                .map(Some),
            Wanted::ParametersOnly => Ok(None),
        };
        Ok((output, Box::new(backward)))
    }
}
