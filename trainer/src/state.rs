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

    /// SHA-256 over every bit of the state.
    pub(crate) fn hash(&self) -> [u8; 32] {
        let mut hasher = Sha256::new();
        hasher.update(b"lockstep state\0");
        for word in self.cursor.words() {
            hasher.update(word.to_le_bytes());
        }
        hasher.update(self.tensors.hash());
        hasher.finalize().into()
    }
}
