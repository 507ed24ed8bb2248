//! Records of images, from the files people have to the samples that training reads.
//!
//! The flow: [`prepare`] turns a source into TFRecord shards and a manifest; [`Dataset`] opens those; [`order`] says
//! which record stands at which position of an epoch; [`RecordReader`] gives any record by its number. Below them:
//! [`framing`] (TFRecord), [`example`] (`tf.train.Example`), [`pixels`] (the image in it), [`manifest`] (`dataset.json`).
//!
//! Neighbours: `lockstep-storage` holds the bytes, `lockstep-rng` orders the records, the trainer's loop reads them.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod example;
pub mod framing;
pub mod manifest;
pub mod order;
pub mod pixels;
pub mod prepare;

mod dataset;
mod error;
mod reader;

pub use dataset::{Dataset, Location};
pub use error::Error;
pub use example::FeatureNames;
pub use manifest::{Encoding, Layout, Shape};
pub use reader::{RecordReader, Sample};

/// What opening and reading a data set return.
pub type Result<T, E = Error> = std::result::Result<T, E>;
