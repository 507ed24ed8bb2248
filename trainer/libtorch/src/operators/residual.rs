//! `x + layers(x)`.

use lockstep_nn::Weights;
use tch::{TchError, Tensor};

use super::{Backward, Layer, Operator, Pass, Result, Wanted};

#[derive(Debug)]
pub(crate) struct Residual {
    pub(crate) layers: Vec<Layer>,
}

impl Operator for Residual {
    fn evaluate(&self, weights: &Weights, input: Tensor) -> Result<Tensor> {
        let mut inner = copy(&input)?;
        for layer in &self.layers {
            inner = layer.operator.evaluate(weights, inner)?;
        }
        inner.f_add(&input)
    }

    fn forward<'a>(
        &'a self,
        weights: &'a Weights,
        pass: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let mut inner = copy(&input)?;
        let mut backwards = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let backward;
            (inner, backward) = layer.operator.forward(weights, pass, inner)?;
            backwards.push(backward);
        }
        let output = inner.f_add(&input)?;
        let backward = move |pass: &mut Pass<'_>, gradient: Tensor, wanted| {
            let mut inner = copy(&gradient)?;
            for (index, backward) in backwards.into_iter().enumerate().rev() {
                let wanted = if index > 0 { Wanted::InputGradient } else { wanted };
                match (backward(pass, inner, wanted)?, wanted) {
                    (Some(gradient), _) => inner = gradient,
                    (None, Wanted::ParametersOnly) => return Ok(None),
                    (None, Wanted::InputGradient) => {
                        return Err(TchError::Torch("no gradient of the input".into()));
                    }
                }
            }
            match wanted {
                Wanted::InputGradient => inner.f_add(&gradient).map(Some),
                Wanted::ParametersOnly => Ok(None),
            }
        };
        Ok((output, Box::new(backward)))
    }
}

/// With memory of its own, which the first layer inside may overwrite.
fn copy(tensor: &Tensor) -> Result<Tensor> {
    let mut copy = tensor.f_empty_like()?;
    copy.f_copy_(tensor)?;
    Ok(copy)
}
