//! What can go wrong with a run's folder and with one checkpoint.

use snafu::Snafu;

use super::{layout::CheckpointId, tensors};

/// A failed action on a run's folder.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub(crate) enum Error {
    /// Storage failed.
    #[snafu(display("failed to {action} in {uri}"))]
    Storage { action: &'static str, uri: String, source: lockstep_storage::Error },
    /// Another writer committed other bytes for the same step: one of the two is wrong.
    #[snafu(display(
        "failed to commit {uri}/{id}: a whole checkpoint of another state is there; one of its two writers computed wrong"
    ))]
    OtherContent { uri: String, id: CheckpointId, source: lockstep_storage::Error },
    /// The tensors of the state cannot be encoded.
    #[snafu(display("failed to encode {id}"))]
    Encode { id: CheckpointId, source: tensors::Error },
    /// A JSON object cannot be written.
    #[snafu(display("failed to encode {object}"))]
    EncodeJson { object: &'static str, source: serde_json::Error },
    /// RESULT.json is there and cannot be read.
    #[snafu(display("failed to understand {uri}/RESULT.json"))]
    DecodeResult { uri: String, source: serde_json::Error },
    /// The run ended with another result than ours.
    #[snafu(display(
        "failed to end the run in {uri}: RESULT.json names the weights {found}, ours are {ours}"
    ))]
    OtherResult { uri: String, found: String, ours: String },
}

impl Error {
    /// Whether trying again may help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Storage { source, .. } => source.is_retryable() || source.is_not_found(),
            Self::OtherContent { .. }
            | Self::Encode { .. }
            | Self::EncodeJson { .. }
            | Self::DecodeResult { .. }
            | Self::OtherResult { .. } => false,
        }
    }

    /// Whether somebody must free space or raise a quota first.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.is_full())
    }
}

pub(super) type Result<T, E = Error> = std::result::Result<T, E>;

/// Why one checkpoint cannot be loaded.
#[derive(Debug, Snafu)]
pub(super) enum LoadError {
    #[snafu(transparent)]
    Storage { source: lockstep_storage::Error },
    #[snafu(display("failed to understand its manifest"), context(false))]
    Manifest { source: serde_json::Error },
    #[snafu(transparent)]
    Tensors { source: tensors::Error },
    #[snafu(display("its {what} {problem}"))]
    Damaged { what: &'static str, problem: String },
}
