//! Kernels packed as the convolutions want them: once for all micro-batches of a step.

use std::sync::{Arc, Weak};

use lockstep_kernels::{Isa, padded};

use super::plan::Plan;
use crate::model::Weights;

/// The packed kernels of some weights.
#[derive(Debug)]
pub(super) struct Packed {
    /// Weights that were changed are another allocation, see [`Worker`](crate::Worker).
    of: Weak<Weights>,
    backward_too: bool,
    pub(super) convolutions: Vec<PackedConvolution>,
}

#[derive(Debug, Default)]
pub(super) struct PackedConvolution {
    pub(super) forward: Vec<f32>,
    pub(super) backward: Vec<f32>,
    /// Padded.
    pub(super) bias: Vec<f32>,
}

impl Packed {
    pub(super) fn new(plan: &Plan) -> Self {
        let convolution = |place: &super::plan::ConvolutionPlace| PackedConvolution {
            forward: vec![0.0; place.kernel.forward_weights_len()],
            backward: Vec::new(),
            bias: vec![0.0; padded(place.kernel.shape().output_channels)],
        };
        Self {
            of: Weak::new(),
            backward_too: false,
            convolutions: plan.convolutions.iter().map(convolution).collect(),
        }
    }

    /// Packs `weights` unless they are the ones packed last. `backward`: also for the backward pass.
    pub(super) fn update(&mut self, isa: Isa, plan: &Plan, weights: &Arc<Weights>, backward: bool) {
        let of = Arc::downgrade(weights);
        let same = of.ptr_eq(&self.of);
        if same && (self.backward_too || !backward) {
            return;
        }
        for (place, packed) in plan.convolutions.iter().zip(&mut self.convolutions) {
            let kernel = &weights.parameters[place.weights.range.clone()];
            if !same {
                place.kernel.pack_forward(isa, kernel, &mut packed.forward);
                let bias = &weights.parameters[place.bias.range.clone()];
                packed.bias[..bias.len()].copy_from_slice(bias);
            }
            if backward {
                packed.backward.resize(place.kernel.backward_weights_len(), 0.0);
                place.kernel.pack_backward(isa, kernel, &mut packed.backward);
            }
        }
        self.of = of;
        self.backward_too = backward;
    }
}
