//! Records of images, from the files people have to the samples that training reads.
//!
//! The flow: [`prepare`] turns a source into TFRecord shards and a manifest; [`Dataset`] opens those; [`order`] says
//! which record stands at which position of an epoch; [`RecordReader`] gives any record by its number. Below them:
//! [`framing`] (TFRecord), [`compression`], [`example`] (`tf.train.Example`), [`pixels`] (the image in it), [`manifest`]
//! (`dataset.json`), [`shard_files`] (which files are shards, without it). Beside them: [`scan`], for shards that may be damaged; [`layout_check`], whether images stand as they are
//! said to.
//!
//! Neighbours: `lockstep-storage` holds the bytes, `lockstep-rng` orders the records, the trainer's loop reads them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod compression;
pub mod example;
pub mod framing;
pub mod layout_check;
pub mod manifest;
pub mod order;
pub mod pixels;
pub mod prepare;
pub mod scan;
pub mod shard_files;

mod dataset;
mod error;
mod reader;
mod shard_stream;

pub use compression::Compression;
pub use dataset::{Classes, Dataset, Format, Location, read_manifest};
pub use error::{Error, chain};
pub use example::FeatureNames;
pub use layout_check::{LayoutCheck, LayoutFinding};
pub use manifest::{Encoding, Layout, Shape};
pub use reader::{RecordReader, Sample};

/// What opening and reading a data set return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
