//! The operator of Lockstep: watches CnnTrainingJobs, owns their children and reports their progress.
//!
//! Here is only wiring; `run` starts everything, `controller` is where a job's way through the operator can be read.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod controller;
mod events;
mod identity;
mod leader;
mod memory;
mod metrics;
mod names;
mod pods;
mod progress;
mod run;
mod server;
mod settings;
#[cfg(test)]
mod test_support;

use anyhow::Context;
use clap::Parser;
use settings::{Cli, Command};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Crd => {
            print!("{}", lockstep_crds::definition::yaml()?);
            Ok(())
        }
        Command::Run(settings) => {
            log()?;
            let runtime = tokio::runtime::Runtime::new().context("failed to start the runtime")?;
            runtime.block_on(run::run(settings))?;
            Ok(())
        }
    }
}

/// Text for people on a terminal, JSON for everybody else; `RUST_LOG` chooses what is logged.
fn log() -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env()?;
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let set = if std::io::stderr().is_terminal() { log.try_init() } else { log.json().try_init() };
    set.map_err(anyhow::Error::from_boxed).context("failed to set up logging")
}
