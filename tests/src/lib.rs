//! What crosses crates, on real servers: a Kubernetes of the tests' own on one Linux machine, and helpers for the
//! test programs under `tests/tests/`.
//!
//! [`cluster`] brings the cluster up and takes it down, [`kubectl`] and [`namespace`] are how tests talk to it,
//! [`hdfs`] is a real HDFS, [`s3`] an S3, [`lockstep`] the program under test on this machine,
//! [`tracking`] reads what a run tells,
//! [`process`] finds the processes behind pods, [`wait`] awaits conditions with a deadline, [`suite`] runs a test program.

#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod cluster;
pub mod hdfs;
pub mod kubectl;
pub mod lockstep;
pub mod machine;
pub mod namespace;
pub mod process;
pub mod s3;
pub mod suite;
pub mod tracking;
pub mod wait;
