//! The JSON objects of a run: `MANIFEST.json`, one a checkpoint, and `RESULT.json`.

use std::{collections::BTreeMap, fmt};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::course::{Best, Cursor, Score};

const FORMAT: u32 = 1;

/// Where a run's numbers come from; the same in everything it writes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Origin {
    /// Hash of everything that determines the result, hex.
    pub result_hash: String,
    /// Numeric fingerprint of the CPUs, hex.
    pub fingerprint: String,
    /// See [`lockstep_nn::Backend::numerics_version`].
    pub numerics_version: String,
}

impl Origin {
    pub(crate) fn new(result_hash: &[u8; 32], fingerprint: &[u8; 32], numerics_version: &str) -> Self {
        Self {
            result_hash: hex::encode(result_hash),
            fingerprint: hex::encode(fingerprint),
            numerics_version: numerics_version.to_owned(),
        }
    }
}

/// Size and digest of one object of a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FileDigest {
    pub(super) bytes: u64,
    /// Hex.
    pub(super) sha256: String,
}

impl FileDigest {
    pub(super) fn of(content: &Bytes) -> Self {
        Self { bytes: content.len() as u64, sha256: hex::encode(Sha256::digest(content)) }
    }
}

impl fmt::Display for FileDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes with sha256 {}", self.bytes, self.sha256)
    }
}

/// What a committed checkpoint holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub(super) format: u32,
    #[serde(flatten)]
    pub(super) origin: Origin,
    /// Hash of the whole state, hex.
    pub(super) state_hash: String,
    /// Hash of the weights alone, hex.
    pub(super) weights_sha256: String,
    pub(crate) cursor: Cursor,
    pub(super) files: BTreeMap<String, FileDigest>,
}

impl Manifest {
    pub(super) fn new(
        origin: Origin,
        state_hash: [u8; 32],
        weights_sha256: [u8; 32],
        cursor: Cursor,
        files: BTreeMap<String, FileDigest>,
    ) -> Self {
        let (state_hash, weights_sha256) = (hex::encode(state_hash), hex::encode(weights_sha256));
        Self { format: FORMAT, origin, state_hash, weights_sha256, cursor, files }
    }
}

/// What a finished job produced: `RESULT.json`, the only end marker of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct JobResult {
    format: u32,
    #[serde(flatten)]
    pub(crate) origin: Origin,
    /// SHA-256 of the final weights, hex.
    pub(crate) weights_sha256: String,
    /// Folder of the final checkpoint, relative to the run's.
    pub(crate) checkpoint: String,
    /// Optimizer updates done.
    pub(crate) steps: u64,
    /// Epochs finished.
    pub(crate) epochs: u32,
    pub(crate) early_stopped: bool,
    pub(crate) test: Option<Score>,
    pub(crate) validation: Option<Score>,
    pub(crate) best: Option<Best>,
}

impl JobResult {
    pub(crate) fn new(
        origin: Origin,
        weights_sha256: [u8; 32],
        checkpoint: String,
        epochs: u32,
        cursor: &Cursor,
    ) -> Self {
        Self {
            format: FORMAT,
            origin,
            weights_sha256: hex::encode(weights_sha256),
            checkpoint,
            steps: cursor.step,
            epochs,
            early_stopped: cursor.early_stopped,
            test: cursor.test,
            validation: cursor.validation,
            best: cursor.best,
        }
    }
}

/// JSON as it is stored: indented, since people read it, and a function of its value alone.
pub(super) fn to_json(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut text = serde_json::to_vec_pretty(value)?;
    text.push(b'\n');
    Ok(text.into())
}
