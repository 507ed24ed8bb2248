//! The test cluster by hand: `cluster up`, `cluster enter kubectl get pods`, `cluster down`.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use lockstep_tests::cluster::{Cluster, node, supervisor};
use lockstep_tests::machine;

/// A real Kubernetes on this machine, in namespaces of its own.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring a cluster up that stays; the tests then use it too.
    Up,
    /// Run a command in the cluster's network, with kubectl and helm on its path (default: a shell).
    Enter {
        /// Enter all namespaces, as if on the node (for ctr, nft, ps).
        #[arg(long)]
        node: bool,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Make docker archives' images known to the node.
    Import { archives: Vec<PathBuf> },
    /// Take down the cluster that `up` brought up.
    Down,
    /// Outside the cluster's namespaces (used by the others).
    #[command(hide = true)]
    Supervise {
        #[arg(long)]
        detached: bool,
    },
    /// Inside the cluster's namespaces (used by init.sh).
    #[command(hide = true)]
    Node,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Action::Up => {
            if let Some(reason) = machine::lacks_for_cluster() {
                bail!(reason);
            }
            let start = Instant::now();
            let cluster = Cluster::up(&std::env::current_exe()?)?;
            println!("up after {:.1} s; logs in {}", start.elapsed().as_secs_f64(), cluster.logs().display());
        }
        Action::Enter { node, command } => {
            let cluster = Cluster::attach()?.context("no cluster is up; bring it up with: cluster up")?;
            let (program, arguments) = match command.split_first() {
                Some((program, arguments)) => (program.clone(), arguments.to_vec()),
                None => ("bash".to_owned(), Vec::new()),
            };
            let mut command = if node { cluster.on_node(program) } else { cluster.command(program) };
            let status = command.args(arguments).status()?;
            return Ok(u8::try_from(status.code().unwrap_or(1)).map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Action::Import { archives } => {
            let cluster = Cluster::attach()?.context("no cluster is up; bring it up with: cluster up")?;
            archives.iter().try_for_each(|archive| cluster.import(archive))?;
        }
        Action::Down => Cluster::down()?,
        Action::Supervise { detached } => supervisor::supervise(detached)?,
        Action::Node => node::run()?,
    }
    Ok(ExitCode::SUCCESS)
}
