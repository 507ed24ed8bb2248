//! The programs `lockstep` and `lockstep-libtorch`, which differ in the kernels they have: train a job on this machine,
//! prepare and analyse data sets, look after checkpoints, and are the program in executor pods.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod augmentation;
mod checkpoint;
mod cli;
mod course;
mod executor;
mod failure;
mod feed;
mod forecast;
mod identity;
mod job_data;
mod kernels;
mod manifest_file;
mod network;
mod opened_job;
mod prefetch;
mod read_ahead;
mod rendezvous;
mod state;
mod supervisor;
mod tracking;

use std::{
    io::IsTerminal,
    os::unix::process::CommandExt,
    process::{Command as Process, ExitCode},
    sync::Arc,
};

use clap::{Parser, Subcommand};
use lockstep_crds::{executor::exit_code, spec::Kernels};
use lockstep_nn::Backend;
use lockstep_storage::{Access, KRB5_CONFIG};
use tracing_subscriber::EnvFilter;

use kernels::Backends;

/// Trains convolutional networks with bit-identical results on any number of executors.
#[derive(Debug, Parser)]
#[command(name = "lockstep", version, propagate_version = true)]
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
    /// Show what is in data sets, and what is wrong with them.
    Analyze(cli::analyze::Arguments),
    /// List, verify or prune checkpoints.
    Checkpoints(cli::checkpoints::Arguments),
    /// Train a job through kills, freezes and scalings, and compare the weights.
    Chaos(cli::chaos::Arguments),
    /// Train as one executor of a job: the entry point in a pod.
    Executor(cli::executor::Arguments),
}

impl Command {
    /// The kernels of the job that the command trains; `None` also where the job cannot be read, which the command says.
    fn kernels(&self) -> Option<Kernels> {
        match self {
            Self::Run(arguments) => arguments.kernels(),
            Self::Chaos(arguments) => arguments.kernels(),
            Self::Prepare(_) | Self::Analyze(_) | Self::Checkpoints(_) => None,
            Self::Executor(arguments) => arguments.kernels(),
        }
    }
}

/// Becomes this program again with the `krb5.conf` of `LOCKSTEP_KERBEROS_DIR` in its environment, where only Kerberos' library
/// looks for it. An operator has set the variable already.
fn find_kerberos_realms() {
    let Some(files) = Access::from_env().missing_krb5_config() else { return };
    let this = match std::env::current_exe() {
        Ok(this) => this,
        Err(error) => return tracing::error!(%error, "failed to find this program"),
    };
    let error = Process::new(&this).args(std::env::args_os().skip(1)).env(KRB5_CONFIG, files).exec();
    tracing::error!(%error, "failed to become {}", this.display());
}

/// Runs the command line; `others` are kernels besides Lockstep's own.
///
/// To be called while the process has one thread: for a job with kernels that are not here, the process becomes the program
/// that has them.
pub fn main(others: Vec<Arc<dyn Backend>>) -> ExitCode {
    let Arguments { command } = Arguments::parse();
    start_logging();
    find_kerberos_realms();
    let backends = match Backends::new(others) {
        Ok(backends) => backends,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::from(exit_code::USAGE);
        }
    };
    if let Some(kernels) = command.kernels() {
        backends.hand_over(kernels);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: failed to start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match command {
            Command::Run(arguments) => cli::run::run(arguments, &backends).await,
            Command::Prepare(arguments) => cli::prepare::run(arguments).await,
            Command::Analyze(arguments) => cli::analyze::run(arguments).await,
            Command::Checkpoints(arguments) => cli::checkpoints::run(arguments).await,
            Command::Chaos(arguments) => cli::chaos::run(arguments, &backends).await,
            Command::Executor(arguments) => cli::executor::run(arguments, &backends).await,
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
