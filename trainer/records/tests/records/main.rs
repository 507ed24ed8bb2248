//! Data sets on a real file system, whole and damaged, ours and TensorFlow's.
#![allow(clippy::unwrap_used)]

mod cifar10;
mod damage;
mod foreign;
mod numpy;
mod reading;
mod support;
mod tensorflow;
mod tfrecords;
