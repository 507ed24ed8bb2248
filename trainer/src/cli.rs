//! The command line: one file a subcommand.

pub(crate) mod analyze;
pub(crate) mod chaos;
pub(crate) mod checkpoints;
pub(crate) mod executor;
pub(crate) mod job;
pub(crate) mod prepare;
pub(crate) mod run;

use std::hash::{BuildHasher, Hasher, RandomState};

/// A random number from the operating system, for ids; never for anything that enters the state.
pub(crate) fn random_id() -> u64 {
    RandomState::new().build_hasher().finish()
}
