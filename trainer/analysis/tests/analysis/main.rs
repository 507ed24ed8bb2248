//! Whole analyses of data sets on a real file system.
#![allow(clippy::unwrap_used)]

mod browser;
mod foreign;
mod numpy;
mod parts;
mod planted;
mod support;
