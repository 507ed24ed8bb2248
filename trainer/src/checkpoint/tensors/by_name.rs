//! The state as its files tell it, without the job's model: names and shapes of the tensors give the model's layout.

use std::sync::Arc;

use lockstep_nn::{FlatBuffer, State, TensorInfo, Weights, flat::ALIGNMENT};
use safetensors::SafeTensors;
use sha2::{Digest, Sha256};
use snafu::{OptionExt, ResultExt};

use super::{ForeignSnafu, HeaderSnafu, MOMENTS, Result, fill};
use crate::{
    checkpoint::{error::LoadError, layout::MANIFEST, manifest::Manifest},
    course::Cursor,
    state::TrainingState,
};

/// A checkpoint's state and the tensors in it.
pub(in crate::checkpoint) struct StoredState {
    state: TrainingState,
    parameters: Layout,
    running: Layout,
}

/// The tensors of one flat buffer, in the model's order.
#[derive(Default)]
struct Layout {
    tensors: Vec<TensorInfo>,
    len: usize,
}

/// What [`super::encode_model`] and [`super::encode_optimizer`] wrote at `cursor`, for whatever model.
pub(in crate::checkpoint) fn read_state(
    cursor: Cursor,
    weights: &[u8],
    optimizer: &[u8],
) -> Result<StoredState> {
    let (weights, optimizer) = (
        SafeTensors::deserialize(weights).context(HeaderSnafu)?,
        SafeTensors::deserialize(optimizer).context(HeaderSnafu)?,
    );
    let parameters = Layout::of(&weights, ["weight", "bias"])?;
    let running = Layout::of(&weights, ["running_mean", "running_var"])?;
    let loaded = Weights { parameters: parameters.read(&weights, "")?, running: running.read(&weights, "")? };
    let mut moments = Vec::new();
    for prefix in MOMENTS {
        let is_there = optimizer.names().iter().any(|name| name.starts_with(prefix));
        moments.push(match is_there {
            true => parameters.read(&optimizer, prefix)?,
            false => FlatBuffer::zeros(0),
        });
    }
    let [first, second] = <[FlatBuffer; 2]>::try_from(moments).expect("there are two moments").map(Arc::new);
    let tensors = State { step: cursor.step, weights: Arc::new(loaded), moments: [first, second] };
    Ok(StoredState { state: TrainingState { cursor, tensors }, parameters, running })
}

impl Layout {
    /// Of the tensors that `kinds` names, `<layer>.<kind>`: by layer, then in the order of `kinds`.
    fn of(file: &SafeTensors<'_>, kinds: [&str; 2]) -> Result<Self> {
        let mut found = Vec::new();
        for (name, tensor) in file.iter() {
            let (layer, kind) = name.rsplit_once('.').context(ForeignSnafu { name })?;
            let Some(rank) = kinds.iter().position(|known| *known == kind) else { continue };
            let layer: Option<Vec<u32>> = layer.split('.').map(|number| number.parse().ok()).collect();
            found.push((layer.context(ForeignSnafu { name })?, rank, name, tensor.shape().to_vec()));
        }
        found.sort();
        let mut layout = Self::default();
        for (_, _, name, dims) in found {
            let len = dims.iter().product();
            layout.tensors.push(TensorInfo { name: name.to_owned(), dims, offset: layout.len, len });
            layout.len += len.next_multiple_of(ALIGNMENT / size_of::<f32>());
        }
        Ok(layout)
    }

    fn read(&self, file: &SafeTensors<'_>, prefix: &str) -> Result<FlatBuffer> {
        let mut values = FlatBuffer::zeros(self.len);
        fill(file, &self.tensors, prefix, &mut values)?;
        Ok(values)
    }
}

impl StoredState {
    /// Whether it is the state that `manifest` tells of.
    pub(in crate::checkpoint) fn check(&self, manifest: &Manifest) -> Result<(), LoadError> {
        for (what, told, found) in [
            ("stateHash", &manifest.state_hash, self.state.hash()),
            ("weightsSha256", &manifest.weights_sha256, self.weights_sha256()),
        ] {
            let found = hex::encode(found);
            let problem = || format!("tells of {what} {told}, the state's is {found}");
            if *told != found {
                return Err(LoadError::Damaged { what: MANIFEST, problem: problem() });
            }
        }
        Ok(())
    }

    /// As [`lockstep_nn::weights_sha256`].
    fn weights_sha256(&self) -> [u8; 32] {
        let weights = &self.state.tensors.weights;
        let mut digest = Sha256::new();
        for (layout, values) in [(&self.parameters, &weights.parameters), (&self.running, &weights.running)] {
            for value in layout.tensors.iter().flat_map(|tensor| &values[tensor.range()]) {
                digest.update(value.to_le_bytes());
            }
        }
        digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use lockstep_nn::{Layer, Shape, res_net_9, two_block, weights_sha256};

    use super::*;
    use crate::{
        checkpoint::tensors::{encode_model, encode_optimizer},
        network::Network,
    };

    /// Were a tensor taken for another, or in another order, the hashes would differ.
    #[test]
    fn a_state_read_by_its_names_has_the_hashes_of_the_one_that_was_written() {
        let cifar = Shape { height: 32, width: 32, channels: 3 };
        let many: Vec<Layer> = [Layer::Flatten, Layer::ReLU]
            .into_iter()
            .chain((0..12).map(|_| Layer::Dense { units: 3 }))
            .collect();
        for layers in [two_block(3), res_net_9(3), many] {
            let network = Network::adam(cifar, 3, &layers);
            let mut state = TrainingState::initial(&network, 7);
            (state.cursor.step, state.tensors.step) = (12, 12);
            for (index, moment) in state.tensors.moments.iter_mut().enumerate() {
                for (place, info) in network.model.parameters().iter().enumerate() {
                    Arc::make_mut(moment)[info.range()].fill((2 * place + index) as f32);
                }
            }
            let model = encode_model(&network.model, &state).unwrap();
            let optimizer = encode_optimizer(&network.model, &state).unwrap();
            let read = read_state(state.cursor.clone(), &model, &optimizer).unwrap();
            assert_eq!(read.state.hash(), state.hash());
            assert_eq!(read.weights_sha256(), weights_sha256(&network.model, &state.tensors.weights));
        }
    }
}
