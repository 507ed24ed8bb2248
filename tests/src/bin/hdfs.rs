//! An HDFS by hand: `hdfs up`, `hdfs shell dfs -ls /`, `hdfs down`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use lockstep_tests::hdfs::{Options, by_hand};

/// A real HDFS on this machine's loopback. Needs LOCKSTEP_HADOOP, which scripts/hadoop.sh prints.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Bring an HDFS up that stays, and print how to reach it.
    Up {
        #[arg(long, default_value_t = 3)]
        datanodes: usize,
        #[arg(long, default_value_t = 2)]
        replication: usize,
    },
    /// Hadoop's own shell: dfs, dfsadmin or fsck, and its arguments.
    Shell {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        arguments: Vec<String>,
    },
    /// Take down what `up` brought up, with its files.
    Down,
}

fn main() -> Result<ExitCode> {
    match Arguments::parse().command {
        Action::Up { datanodes, replication } => {
            let (uri, conf) = by_hand::up(&Options { datanodes, replication, ..Options::default() })?;
            println!("# {uri}\nexport HADOOP_CONF_DIR={}", conf.display());
        }
        Action::Shell { arguments } => {
            let code = by_hand::command(&arguments)?.status()?.code().unwrap_or(1);
            return Ok(u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from));
        }
        Action::Down => by_hand::down()?,
    }
    Ok(ExitCode::SUCCESS)
}
