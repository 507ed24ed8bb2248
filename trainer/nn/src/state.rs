//! The training state: what a checkpoint holds and what executors must agree on.

use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::flat::{FlatBuffer, digest_values, each_bytes};
use crate::model::{Model, Weights};
use crate::optimizer::Optimizer;

/// Everything a step changes. Cloning is cheap: the buffers are shared until one of the clones is changed.
#[derive(Clone, Debug)]
pub struct State {
    /// Updates done.
    pub step: u64,
    /// Parameters and running statistics.
    pub weights: Arc<Weights>,
    /// The optimizer's, in the parameters' layout: Adam's first and second moment; SGD's velocity and nothing. A moment
    /// that the optimizer does not have is empty.
    pub moments: [Arc<FlatBuffer>; 2],
}

impl State {
    /// Step 0, moments zero.
    pub fn new(model: &Model, optimizer: &Optimizer, weights: Weights) -> Self {
        let moments =
            optimizer.moment_lens(model.parameter_len()).map(|len| Arc::new(FlatBuffer::zeros(len)));
        Self { step: 0, weights: Arc::new(weights), moments }
    }

    /// SHA-256 of the [bytes](Self::each_bytes).
    pub fn hash(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        self.each_bytes(|bytes| digest.update(bytes));
        digest.finalize().into()
    }

    /// The step and the bits of every buffer after its length, little-endian: the same bytes for the same state, whatever
    /// the pieces.
    pub fn each_bytes(&self, mut take: impl FnMut(&[u8])) {
        take(&self.step.to_le_bytes());
        let buffers = [&self.weights.parameters, &self.weights.running, &*self.moments[0], &*self.moments[1]];
        for buffer in buffers {
            take(&(buffer.len() as u64).to_le_bytes());
            each_bytes(buffer, &mut take);
        }
    }
}

/// SHA-256 over the bits (little-endian) of all parameters and then all running statistics in the model's order, padding
/// left out: the `weightsSha256` of a result.
pub fn weights_sha256(model: &Model, weights: &Weights) -> [u8; 32] {
    let mut digest = Sha256::new();
    for tensor in model.parameters() {
        digest_values(&mut digest, &weights.parameters[tensor.range()]);
    }
    for tensor in model.running_statistics() {
        digest_values(&mut digest, &weights.running[tensor.range()]);
    }
    digest.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layer::{Layer, Shape};

    fn state() -> (Model, State) {
        let shape = Shape { height: 5, width: 5, channels: 1 };
        let norm = Layer::BatchNorm { momentum: 0.9, epsilon: 1e-3 };
        let model = Model::new(shape, 3, &[norm, Layer::Flatten, Layer::Dense { units: 3 }]).unwrap();
        let weights = model.initial_weights(1);
        let state = State::new(&model, &crate::optimizer::tests::ADAM, weights);
        (model, state)
    }

    /// Executors compare these hashes: a bit that is left out could differ unseen.
    #[test]
    fn every_bit_of_the_state_changes_its_hash() {
        let (_, state) = state();
        let hash = state.hash();
        let changed = |change: fn(&mut State)| {
            let mut clone = state.clone();
            change(&mut clone);
            assert_ne!(clone.hash(), hash);
        };
        changed(|state| state.step += 1);
        changed(|state| Arc::make_mut(&mut state.weights).parameters[0] = 0.5);
        changed(|state| Arc::make_mut(&mut state.weights).running[0] = -0.0);
        changed(|state| Arc::make_mut(&mut state.moments[0])[5] = f32::MIN_POSITIVE / 2.0);
        changed(|state| Arc::make_mut(&mut state.moments[1])[5] = 1.0);
        changed(|state| state.moments[1] = Arc::new(FlatBuffer::zeros(0)));
        assert_eq!(state.hash(), hash, "a clone's change leaves the original alone");
    }

    #[test]
    fn the_hash_of_weights_leaves_padding_out_and_nothing_else() {
        let (model, state) = state();
        let hash = weights_sha256(&model, &state.weights);
        let mut bytes = Vec::new();
        for tensor in model.parameters() {
            bytes.extend(
                state.weights.parameters[tensor.range()].iter().flat_map(|value| value.to_le_bytes()),
            );
        }
        for tensor in model.running_statistics() {
            bytes.extend(state.weights.running[tensor.range()].iter().flat_map(|value| value.to_le_bytes()));
        }
        assert_eq!(bytes.len(), 4 * (model.trainable_parameters() + 2));
        assert_eq!(hash, <[u8; 32]>::from(Sha256::digest(bytes)));
        let mut padded = (*state.weights).clone();
        let padding = model.parameters()[0].range().end;
        padded.parameters[padding] = 7.0;
        assert_eq!(weights_sha256(&model, &padded), hash);
    }
}
