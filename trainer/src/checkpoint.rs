//! Checkpoints: what is durable of a run, and the rules by which any executor may write it.
//!
//! `layout` names the objects, `manifest` describes one checkpoint, `tensors` turns the state into
//! safetensors and back, `inventory` finds, verifies and prunes, `run_folder` commits and restores. A checkpoint exists once its
//! manifest was created; a job is done once `RESULT.json` was. Both hold only functions of (job, step), so
//! that two writers write the same bytes.

mod error;
mod inventory;
mod layout;
mod manifest;
mod run_folder;
mod tensors;

pub(crate) use error::Error;
pub(crate) use inventory::{Committed, Damage, Inventory, Retention};
pub(crate) use layout::CheckpointId;
pub(crate) use manifest::{JobResult, Manifest, Origin};
pub(crate) use run_folder::RunFolder;
pub(crate) use tensors::{decode_snapshot, encode_snapshot};
