//! Dropout by the masks of [`lockstep_nn::dropout`].

use lockstep_nn::Weights;
use lockstep_nn::dropout;
use tch::Tensor;

use super::{Backward, Operator, Pass, Result, Wanted};
use crate::ffi;

#[derive(Debug)]
pub(crate) struct Dropout {
    pub(crate) rule: dropout::Dropout,
    /// Whether no other layer keeps the input.
    pub(crate) in_place: bool,
}

impl Operator for Dropout {
    fn evaluate(&self, _: &Weights, input: Tensor) -> Result<Tensor> {
        Ok(input)
    }

    fn forward<'a>(
        &'a self,
        _: &'a Weights,
        pass: &mut Pass<'_>,
        input: Tensor,
    ) -> Result<(Tensor, Backward<'a>)> {
        let mut mask = pass.masks.pop().unwrap_or_default();
        mask.resize(input.numel(), 0);
        self.rule.stream(pass.key).fill_u16(&mut mask);
        let mut output = ffi::channels_last(input)?;
        if !self.in_place {
            let mut copy = output.f_empty_like()?;
            copy.f_copy_(&output)?;
            output = copy;
        }
        ffi::write(&mut output, |values| self.rule.apply(&mask, values))?;
        let backward = move |pass: &mut Pass<'_>, gradient: Tensor, wanted| {
            let result = match wanted {
                Wanted::InputGradient => {
                    let mut gradient = ffi::channels_last(gradient)?;
                    ffi::write(&mut gradient, |values| self.rule.apply(&mask, values))?;
                    Some(gradient)
                }
                Wanted::ParametersOnly => None,
            };
            pass.masks.push(mask);
            Ok(result)
        };
        Ok((output, Box::new(backward)))
    }
}
