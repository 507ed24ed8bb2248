//! Means over squares without overlap, or over all pixels of each channel, by libtorch.

use lockstep_nn::Weights;
use tch::{Kind, Tensor};

use super::{Backward, Operator, Pass, Result, Wanted};

#[derive(Debug)]
pub(crate) struct AveragePool {
    /// Side of the square, and the stride.
    pub(crate) size: i64,
}

impl Operator for AveragePool {
    fn evaluate(&self, _: &Weights, input: Tensor) -> Result<Tensor> {
        let side = [self.size; 2];
        input.f_avg_pool2d(side, side, [0, 0], false, true, None)
    }

    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        _: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let output = self.evaluate(weights, input.shallow_clone())?;
        let side = [self.size; 2];
        let backward = move |_: &mut Pass<'_>, gradient: Tensor, wanted| match wanted {
            Wanted::InputGradient => {
                input.f_avg_pool2d_backward(&gradient, side, side, [0, 0], false, true, None).map(Some)
            }
            Wanted::ParametersOnly => Ok(None),
        };
        Ok((output, Box::new(backward)))
    }
}

/// Image to features.
#[derive(Debug)]
pub(crate) struct GlobalAveragePool;

impl Operator for GlobalAveragePool {
    fn evaluate(&self, _: &Weights, input: Tensor) -> Result<Tensor> {
        input.f_mean_dim([2_i64, 3].as_slice(), false, Kind::Float)?.f_contiguous()
    }

    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        _: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let output = self.evaluate(weights, input.shallow_clone())?;
        let backward = move |_: &mut Pass<'_>, gradient: Tensor, wanted| match wanted {
            Wanted::InputGradient => {
                let size = input.size();
                let pixels = (size[2] * size[3]) as f64;
                let spread = gradient.f_div_scalar(pixels)?.f_unsqueeze(-1)?.f_unsqueeze(-1)?;
                // With the input's layout, and memory of its own for the layers before to overwrite.
                let mut whole = input.f_empty_like()?;
                whole.f_copy_(&spread.f_expand(size.as_slice(), false)?)?;
                Ok(Some(whole))
            }
            Wanted::ParametersOnly => Ok(None),
        };
        Ok((output, Box::new(backward)))
    }
}
