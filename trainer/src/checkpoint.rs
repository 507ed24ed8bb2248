//! Checkpoints: what is durable of a run, and the rules by which any executor may write it.
//!
//! `layout` names the objects, `manifest` describes one checkpoint, `tensors` turns the state into
//! safetensors and back, `run_folder` commits, finds, restores and prunes. A checkpoint exists once its
//! manifest was created; a job is done once `RESULT.json` was. Both hold only functions of (job, step), so
//! that two writers write the same bytes.

mod layout;
mod manifest;
mod run_folder;
mod tensors;

pub(crate) use layout::CheckpointId;
pub(crate) use manifest::{JobResult, Origin};
pub(crate) use run_folder::{Error, Retention, RunFolder};
pub(crate) use tensors::{decode_snapshot, encode_snapshot};
