//! The state as bytes: safetensors for storage, one flat block for a peer.
//!
//! `model.safetensors` has the names and layouts of PyTorch's `nn.Sequential`, so that `load_state_dict` takes
//! it as it is. Format: <https://github.com/huggingface/safetensors#format>.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use bytes::Bytes;
use lockstep_nn::{FlatBuffer, Model, TensorInfo};
use safetensors::{Dtype, SafeTensors, View};
use snafu::{OptionExt, ResultExt, Snafu, ensure};

use crate::{course::Cursor, network::Network, state::TrainingState};

mod by_name;

pub(super) use by_name::read_state;

/// Prefixes of the optimizer's two moments.
const MOMENTS: [&str; 2] = ["first_moment.", "second_moment."];

/// Bytes that are no state of this model.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    /// The state cannot be written as safetensors.
    #[snafu(display("failed to encode the tensors"))]
    Encode { source: safetensors::SafeTensorError },
    /// Not safetensors.
    #[snafu(display("failed to read the header of the tensors"))]
    Header { source: safetensors::SafeTensorError },
    /// A tensor of the model is not in the file.
    #[snafu(display("failed to find the tensor {name:?}"))]
    Missing { name: String, source: safetensors::SafeTensorError },
    /// A tensor has another shape or type.
    #[snafu(display("failed to take the tensor {name:?}: it is {found}, the model needs {wanted}"))]
    Mismatch { name: String, found: String, wanted: String },
    /// A tensor's name is none of ours.
    #[snafu(display("failed to place the tensor {name:?}: no layer has such a one"))]
    Foreign { name: String },
    /// The block from a peer does not fit.
    #[snafu(display("failed to decode a snapshot of {bytes} bytes: {reason}"))]
    Snapshot { bytes: usize, reason: &'static str },
    /// The cursor in the block from a peer is not readable.
    #[snafu(display("failed to decode the cursor of a snapshot"))]
    SnapshotCursor { source: serde_json::Error },
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// One tensor on its way into a file.
struct Tensor<'a> {
    dtype: Dtype,
    dims: Vec<usize>,
    bytes: Cow<'a, [u8]>,
}

impl View for Tensor<'_> {
    fn dtype(&self) -> Dtype {
        self.dtype
    }
    fn shape(&self) -> &[usize] {
        &self.dims
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// Parameters and running statistics, and PyTorch's counter beside each batch norm.
pub(super) fn encode_model(model: &Model, state: &TrainingState) -> Result<Bytes> {
    let weights = &state.tensors.weights;
    let mut tensors = collect(model.parameters(), &weights.parameters, "");
    tensors.extend(collect(model.running_statistics(), &weights.running, ""));
    for info in model.running_statistics() {
        if let Some(module) = info.name.strip_suffix("running_mean") {
            let bytes = Cow::Owned(state.cursor.step.to_le_bytes().to_vec());
            tensors.push((
                format!("{module}num_batches_tracked"),
                Tensor { dtype: Dtype::I64, dims: vec![], bytes },
            ));
        }
    }
    encode(tensors)
}

/// The optimizer's moments, each tensor under its parameter's name; those that the optimizer does not have are left out.
pub(super) fn encode_optimizer(model: &Model, state: &TrainingState) -> Result<Bytes> {
    let moments = MOMENTS.iter().zip(&state.tensors.moments).filter(|(_, moment)| !moment.is_empty());
    encode(moments.flat_map(|(prefix, moment)| collect(model.parameters(), moment, prefix)).collect())
}

/// The state that [`encode_model`] and [`encode_optimizer`] wrote at `cursor`.
pub(super) fn restore_state(
    network: &Network,
    cursor: Cursor,
    weights: &[u8],
    optimizer: &[u8],
) -> Result<TrainingState> {
    let model = &network.model;
    let mut state = TrainingState::zeros(network, cursor);
    let file = SafeTensors::deserialize(weights).context(HeaderSnafu)?;
    let loaded = Arc::make_mut(&mut state.tensors.weights);
    fill(&file, model.parameters(), "", &mut loaded.parameters)?;
    fill(&file, model.running_statistics(), "", &mut loaded.running)?;
    let file = SafeTensors::deserialize(optimizer).context(HeaderSnafu)?;
    for (prefix, moment) in
        MOMENTS.iter().zip(&mut state.tensors.moments).filter(|(_, moment)| !moment.is_empty())
    {
        let moment: &mut FlatBuffer = Arc::make_mut(moment);
        fill(&file, model.parameters(), prefix, moment)?;
    }
    Ok(state)
}

/// The state for a peer: length of the cursor (u32), cursor as JSON, then the four flat buffers, little-endian.
pub(crate) fn encode_snapshot(state: &TrainingState) -> Result<Vec<u8>> {
    let cursor = serde_json::to_vec(&state.cursor).context(SnapshotCursorSnafu)?;
    let values: usize = buffers(&state.tensors).iter().map(|buffer| buffer.len()).sum();
    let mut block = Vec::with_capacity(4 + cursor.len() + 4 * values);
    block.extend_from_slice(&(cursor.len() as u32).to_le_bytes());
    block.extend_from_slice(&cursor);
    for buffer in buffers(&state.tensors) {
        block.extend(buffer.iter().flat_map(|value| value.to_le_bytes()));
    }
    Ok(block)
}

/// Reads what [`encode_snapshot`] wrote for the same network.
pub(crate) fn decode_snapshot(network: &Network, block: &[u8]) -> Result<TrainingState> {
    let refuse = |reason| SnapshotSnafu { bytes: block.len(), reason };
    let (length, rest) = block.split_first_chunk::<4>().context(refuse("it has no length"))?;
    let length = u32::from_le_bytes(*length) as usize;
    let (cursor, mut rest) = rest.split_at_checked(length).context(refuse("its cursor is cut off"))?;
    let cursor: Cursor = serde_json::from_slice(cursor).context(SnapshotCursorSnafu)?;
    let mut state = TrainingState::zeros(network, cursor);
    let weights = Arc::make_mut(&mut state.tensors.weights);
    let [first, second] = &mut state.tensors.moments;
    for buffer in [&mut weights.parameters, &mut weights.running, Arc::make_mut(first), Arc::make_mut(second)]
    {
        let (values, after) =
            rest.split_at_checked(4 * buffer.len()).context(refuse("it ends within the tensors"))?;
        copy_values(values, buffer);
        rest = after;
    }
    ensure!(rest.is_empty(), refuse("it has bytes after its tensors"));
    Ok(state)
}

fn buffers(state: &lockstep_nn::State) -> [&FlatBuffer; 4] {
    let [first, second] = &state.moments;
    [&state.weights.parameters, &state.weights.running, first, second]
}

fn collect<'a>(infos: &[TensorInfo], values: &[f32], prefix: &str) -> Vec<(String, Tensor<'a>)> {
    let tensor = |info: &TensorInfo| {
        let bytes: Vec<u8> = values[info.range()].iter().flat_map(|value| value.to_le_bytes()).collect();
        (
            format!("{prefix}{}", info.name),
            Tensor { dtype: Dtype::F32, dims: info.dims.clone(), bytes: bytes.into() },
        )
    };
    infos.iter().map(tensor).collect()
}

/// One metadata key at most: several are written in random order.
fn encode(tensors: Vec<(String, Tensor<'_>)>) -> Result<Bytes> {
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    Ok(safetensors::serialize(tensors, Some(metadata)).context(EncodeSnafu)?.into())
}

fn fill(file: &SafeTensors<'_>, infos: &[TensorInfo], prefix: &str, values: &mut [f32]) -> Result<()> {
    for info in infos {
        let name = format!("{prefix}{}", info.name);
        let tensor = file.tensor(&name).context(MissingSnafu { name: &name })?;
        let fits = tensor.dtype() == Dtype::F32 && tensor.shape() == info.dims;
        let describe = |dtype, dims: &[usize]| format!("{dtype:?} {dims:?}");
        ensure!(
            fits,
            MismatchSnafu {
                name,
                found: describe(tensor.dtype(), tensor.shape()),
                wanted: describe(Dtype::F32, &info.dims),
            }
        );
        copy_values(tensor.data(), &mut values[info.range()]);
    }
    Ok(())
}

fn copy_values(bytes: &[u8], values: &mut [f32]) {
    for (value, bytes) in values.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *value = f32::from_le_bytes(*bytes);
    }
}

#[cfg(test)]
mod tests {
    use lockstep_nn::{Layer, Shape};

    use super::*;

    fn network() -> Network {
        let layers = [
            Layer::Conv2D { filters: 3, kernel_size: 3 },
            Layer::BatchNorm { momentum: 0.99, epsilon: 1e-3 },
            Layer::Flatten,
            Layer::Dense { units: 2 },
        ];
        Network::adam(Shape { height: 4, width: 4, channels: 1 }, 2, &layers)
    }

    fn state(network: &Network) -> TrainingState {
        let mut state = TrainingState::initial(network, 7);
        (state.cursor.step, state.tensors.step, state.cursor.epoch_sums.loss) = (12, 12, 0.1 + 0.2);
        for (index, moment) in state.tensors.moments.iter_mut().enumerate() {
            for info in network.model.parameters() {
                Arc::make_mut(moment)[info.range()].fill(index as f32 + 0.25);
            }
        }
        state
    }

    #[test]
    fn a_state_survives_storage_bit_for_bit() {
        let network = network();
        let state = state(&network);
        let (weights, optimizer) = (
            encode_model(&network.model, &state).unwrap(),
            encode_optimizer(&network.model, &state).unwrap(),
        );
        let cursor: Cursor = serde_json::from_slice(&serde_json::to_vec(&state.cursor).unwrap()).unwrap();
        assert_eq!(restore_state(&network, cursor, &weights, &optimizer).unwrap().hash(), state.hash());
        assert_eq!(
            weights,
            encode_model(&network.model, &state).unwrap(),
            "two writers write the same bytes"
        );
    }

    #[test]
    fn a_state_survives_the_way_to_a_peer_and_any_cut_is_an_error() {
        let network = network();
        let state = state(&network);
        let block = encode_snapshot(&state).unwrap();
        assert_eq!(decode_snapshot(&network, &block).unwrap().hash(), state.hash());
        for end in 0..block.len() {
            assert!(decode_snapshot(&network, &block[..end]).is_err(), "cut at {end}");
        }
        let longer: Vec<u8> = block.iter().copied().chain([0]).collect();
        assert!(decode_snapshot(&network, &longer).is_err());
    }

    #[test]
    fn the_model_has_the_names_that_pytorch_expects() {
        let network = network();
        let bytes = encode_model(&network.model, &state(&network)).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let mut names: Vec<_> = file.names().into_iter().collect();
        names.sort_unstable();
        let norm = ["1.bias", "1.num_batches_tracked", "1.running_mean", "1.running_var", "1.weight"];
        assert_eq!(names, [&["0.bias", "0.weight"][..], &norm, &["3.bias", "3.weight"]].concat());
        assert_eq!(file.tensor("3.weight").unwrap().shape(), [2, 48]);
    }

    #[test]
    fn weights_of_another_model_are_refused_by_name_and_shape() {
        let network = network();
        let state = state(&network);
        let (weights, optimizer) = (
            encode_model(&network.model, &state).unwrap(),
            encode_optimizer(&network.model, &state).unwrap(),
        );
        let layers =
            [Layer::Conv2D { filters: 4, kernel_size: 3 }, Layer::Flatten, Layer::Dense { units: 2 }];
        let other = Network::adam(Shape { height: 4, width: 4, channels: 1 }, 2, &layers);
        let error = restore_state(&other, Cursor::start(), &weights, &optimizer).unwrap_err();
        assert!(
            error.to_string().contains("0.weight") && error.to_string().contains("[4, 1, 3, 3]"),
            "{error}"
        );
        assert!(restore_state(&network, Cursor::start(), &weights[..40], &optimizer).is_err());
    }
}
