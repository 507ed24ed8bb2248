//! One object-store handle for everything that Lockstep reads and writes: data sets, checkpoints, run logs.
//!
//! `uri` turns a user's URI into a location, [`Store`] reads and writes below it, [`Error`] says what was
//! being done to which object and whether trying again can help. Neighbours: `lockstep-records` reads shards
//! through a [`Store`], the trainer writes checkpoints through one.
//!
//! `access` holds how stores are reached, `hadoop`, `kerberos` and `namenodes` the clients of HDFS, `objects` the three kinds
//! of stores (`hdfs` and `s3` what is particular to two of them), `retry` the attempts of a call, `cause` what an error means,
//! `remedy` what to do about it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod cause;
mod error;
mod hadoop;
mod hdfs;
mod io_runtime;
mod kerberos;
mod namenodes;
mod objects;
mod remedy;
mod retry;
mod s3;
mod store;
mod uri;

pub use access::{Access, KRB5_CONFIG, Patience};
pub use error::Error;
pub use store::{Created, Entry, Store};

/// What every fallible function of this crate returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;
