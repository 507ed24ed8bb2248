//! The state of a run: where it stands, its weights and the optimizer's moments. Hashed, transferred to peers
//! and checkpointed as one; a pure function of (job, round).

use lockstep_nn::{FlatBuffer, State, Weights};
use sha2::{Digest, Sha256};

use crate::{course::Cursor, network::Network};

/// Everything that the next round depends on. Cheap to clone: the tensors are shared until one clone changes.
#[derive(Clone, Debug)]
pub(crate) struct TrainingState {
    /// Where the job stands.
    pub cursor: Cursor,
    /// Weights and moments.
    pub tensors: State,
}

impl TrainingState {
    /// The state before the first step: weights drawn from the seed.
    pub(crate) fn initial(network: &Network, seed: u64) -> Self {
        let weights = network.model.initial_weights(seed);
        Self { cursor: Cursor::start(), tensors: State::new(&network.model, &network.optimizer, weights) }
    }

    /// A state at `cursor` whose tensors are still to be filled in.
    pub(crate) fn zeros(network: &Network, cursor: Cursor) -> Self {
        let weights = Weights {
            parameters: FlatBuffer::zeros(network.model.parameter_len()),
            running: FlatBuffer::zeros(network.model.running_len()),
        };
        let mut tensors = State::new(&network.model, &network.optimizer, weights);
        tensors.step = cursor.step;
        Self { cursor, tensors }
    }

    /// SHA-256 over every bit of the state: what a checkpoint's manifest says.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"lockstep state\0");
        for word in self.cursor.words() {
            hasher.update(word.to_le_bytes());
        }
        hasher.update(self.tensors.hash());
        hasher.finalize().into()
    }

    /// BLAKE3 over the same: what executors compare when they form a view. Others wait for it, and without the CPU's own
    /// instructions SHA-256 takes ten times as long.
    pub(crate) fn agreement_hash(&self) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new();
        for word in self.cursor.words() {
            hasher.update(&word.to_le_bytes());
        }
        self.tensors.each_bytes(|bytes| {
            hasher.update(bytes);
        });
        hasher.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use lockstep_nn::{Layer, Shape};

    use super::*;

    #[test]
    fn both_hashes_are_of_every_part_of_the_state() {
        let layers = [
            Layer::Conv2D { filters: 3, kernel_size: 3 },
            Layer::BatchNorm { momentum: 0.99, epsilon: 1e-3 },
            Layer::Flatten,
            Layer::Dense { units: 2 },
        ];
        let network = Network::adam(Shape { height: 4, width: 4, channels: 1 }, 2, &layers);
        let state = TrainingState::initial(&network, 1);
        let changed = |change: fn(&mut TrainingState)| {
            let mut other = state.clone();
            change(&mut other);
            other
        };
        let others = [
            changed(|state| state.cursor.round += 1),
            changed(|state| state.tensors.step += 1),
            changed(|state| Arc::make_mut(&mut state.tensors.weights).parameters[0] += 1.0),
            changed(|state| Arc::make_mut(&mut state.tensors.weights).running[0] += 1.0),
            changed(|state| Arc::make_mut(&mut state.tensors.moments[1])[0] += 1.0),
        ];
        let hashes = |state: &TrainingState| (state.hash(), state.agreement_hash());
        assert_eq!(hashes(&state), hashes(&state.clone()));
        for other in others {
            let ((hash, agreement), (other_hash, other_agreement)) = (hashes(&state), hashes(&other));
            assert!(hash != other_hash && agreement != other_agreement);
        }
    }
}
