//! Keras's initial weights: Glorot-uniform kernels, zero biases, batch-norm scale 1 and offset 0, running mean 0 and
//! variance 1. A pure function of (model, seed).

use lockstep_rng::{Domain, Stream};

use super::{Initialiser, Model, TensorInfo, Weights};
use crate::flat::FlatBuffer;

impl Model {
    /// The weights a training starts from.
    pub fn initial_weights(&self, seed: u64) -> Weights {
        let fill = |len, tensors: &[TensorInfo], initialisers: &[Initialiser]| {
            let mut buffer = FlatBuffer::zeros(len);
            for (tensor, initialiser) in tensors.iter().zip(initialisers) {
                initialiser.fill(seed, &mut buffer[tensor.range()]);
            }
            buffer
        };
        Weights {
            parameters: fill(self.parameter_len, &self.parameters, &self.initialisers),
            running: fill(self.running_len, &self.running, &self.running_initialisers),
        }
    }
}

impl Initialiser {
    /// Source of the limit: X. Glorot and Y. Bengio, "Understanding the difficulty of training deep feedforward neural
    /// networks", 2010, equation 16; fans as Keras counts them (kernel area times channels).
    fn fill(self, seed: u64, values: &mut [f32]) {
        match self {
            Self::Zeros => values.fill(0.0),
            Self::Ones => values.fill(1.0),
            Self::GlorotUniform { layer, fan_in, fan_out } => {
                let limit = (6.0 / (fan_in as f64 + fan_out as f64)).sqrt() as f32;
                let mut stream = Stream::new(seed, Domain::Initialisation, layer, 0);
                values.fill_with(|| stream.uniform_f32(-limit, limit));
            }
        }
    }
}
