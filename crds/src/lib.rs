//! The API of Lockstep: the `CnnTrainingJob` resource, its rules and its defaults.
//!
//! A manifest flows through this crate once: [`manifest::parse`] (or the API server) yields a [`CnnTrainingJobSpec`], [`resolve()`]
//! turns it into a [`ResolvedJob`] in which every default is decided, and both the operator and the trainer work from that.
//! Nothing here does I/O or knows a client; [`executor`] is what operator and executor pods share.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod canonical;
pub mod definition;
pub mod executor;
pub mod manifest;
pub mod quantity;
pub mod resolve;
pub mod resolved;
mod schema;
pub mod spec;
pub mod status;

pub use quantity::Quantity;
pub use resolve::{Violation, resolve};
pub use resolved::ResolvedJob;
pub use spec::{CnnTrainingJob, CnnTrainingJobSpec};
pub use status::CnnTrainingJobStatus;

/// The API group of every resource of Lockstep.
pub const GROUP: &str = "lockstep.dev";
/// The version of the API that this crate implements.
pub const VERSION: &str = "v1alpha1";
/// The kind of the resource.
pub const KIND: &str = "CnnTrainingJob";
