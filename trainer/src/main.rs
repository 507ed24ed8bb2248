//! `lockstep`: trains a job on this machine, prepares data sets, and is the program in executor pods.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod checkpoint;
mod cli;
mod course;
mod executor;
mod failure;
mod feed;
mod identity;
mod manifest_file;
mod network;
mod opened_job;
mod prefetch;
mod rendezvous;
mod state;
mod supervisor;

use std::{io::IsTerminal, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

/// Trains convolutional networks with bit-identical results on any number of executors.
#[derive(Debug, Parser)]
#[command(version, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a job on this machine.
    Run(cli::run::Arguments),
    /// Turn images into TFRecord shards and a dataset.json.
    Prepare(cli::prepare::Arguments),
    /// Train as one executor of a job: the entry point in a pod.
    Executor(cli::executor::Arguments),
}

fn main() -> ExitCode {
    // Before any thread exists, since libtorch's libraries read it once.
    lockstep_libtorch::pin_single_threaded();
    let arguments = Arguments::parse();
    start_logging();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match arguments.command {
            Command::Run(arguments) => cli::run::run(arguments).await,
            Command::Prepare(arguments) => cli::prepare::run(arguments).await,
            Command::Executor(arguments) => cli::executor::run(arguments).await,
        }
    });
    // A read of standard input cannot be cancelled, and nothing else is worth waiting for.
    runtime.shutdown_background();
    ExitCode::from(code)
}

/// Human text on a terminal, JSON otherwise; to standard error, by `LOCKSTEP_LOG` (`info` by default).
fn start_logging() {
    let filter = EnvFilter::try_from_env("LOCKSTEP_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    let subscriber = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        subscriber.init();
    } else {
        subscriber.json().init();
    }
}
