//! Fully connected layer, by libtorch's matrix product (MKL).

use lockstep_nn::{Slot, Weights};
use tch::Tensor;

use super::{Backward, Operator, Pass, Result, Wanted};
use crate::ffi::{self, View};

#[derive(Debug)]
pub(crate) struct Dense {
    /// Output features, input features.
    pub(crate) matrix: Slot,
    pub(crate) bias: Slot,
}

impl Dense {
    fn parameters<'a>(&self, weights: &'a Weights) -> Result<(View<'a>, View<'a>)> {
        let matrix = ffi::view(&weights.parameters[self.matrix.range.clone()], &self.matrix.dims)?;
        let bias = ffi::view(&weights.parameters[self.bias.range.clone()], &self.bias.dims)?;
        Ok((matrix, bias))
    }

    fn apply(matrix: &View<'_>, bias: &View<'_>, input: &Tensor) -> Result<Tensor> {
        bias.tensor().f_addmm(input, &matrix.tensor().f_tr()?)
    }

    fn backward(
        &self,
        pass: &mut Pass<'_>,
        matrix: &View<'_>,
        input: &Tensor,
        gradient: &Tensor,
        wanted: Wanted,
    ) -> Result<Option<Tensor>> {
        {
            let target = ffi::view_mut(pass.gradient(&self.matrix.range), &self.matrix.dims)?;
            // What it returns is the target again.
            drop(gradient.f_tr()?.f_mm_out(target.tensor(), input)?);
        }
        // Images in sequence.
        let bias = pass.gradient(&self.bias.range);
        ffi::read(gradient, |gradient| {
            let mut images = gradient.chunks_exact(bias.len());
            if let Some(first) = images.next() {
                bias.copy_from_slice(first);
            }
            for image in images {
                bias.iter_mut().zip(image).for_each(|(sum, value)| *sum += value);
            }
        })?;
        match wanted {
            Wanted::InputGradient => gradient.f_mm(matrix.tensor()).map(Some),
            Wanted::ParametersOnly => Ok(None),
        }
    }
}

impl Operator for Dense {
    fn evaluate(&self, weights: &Weights, input: Tensor) -> Result<Tensor> {
        let (matrix, bias) = self.parameters(weights)?;
        Self::apply(&matrix, &bias, &input)
    }

    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        _: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let (matrix, bias) = self.parameters(weights)?;
        let output = Self::apply(&matrix, &bias, &input)?;
        let backward = move |pass: &mut Pass<'_>, gradient: Tensor, wanted| {
            self.backward(pass, &matrix, &input, &gradient, wanted)
        };
        Ok((output, Box::new(backward)))
    }
}
