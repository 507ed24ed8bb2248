//! The operator's command line.

use clap::{Args, Parser, Subcommand};
use std::{net::SocketAddr, time::Duration};

/// Turns CnnTrainingJobs into executor pods and reports their progress.
#[derive(Debug, Parser)]
#[command(name = "lockstep-operator", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Runs the operator.
    Run(Settings),
    /// Prints the CustomResourceDefinition as YAML.
    Crd,
}

/// Settings of `run`.
#[derive(Clone, Debug, Args)]
pub(crate) struct Settings {
    /// Image of executors whose job names none.
    #[arg(long, env = "LOCKSTEP_TRAINER_IMAGE")]
    pub(crate) trainer_image: Option<String>,
    /// Image of executors whose job asks for the LibTorch kernels and names none.
    #[arg(long, env = "LOCKSTEP_TRAINER_LIBTORCH_IMAGE")]
    pub(crate) trainer_libtorch_image: Option<String>,
    /// Looks after the jobs of this namespace only.
    #[arg(long, env = "LOCKSTEP_WATCH_NAMESPACE")]
    pub(crate) watch_namespace: Option<String>,
    /// The operator's own namespace: of its lease, and the one that may ask executors for reports.
    #[arg(long, env = "POD_NAMESPACE")]
    pub(crate) namespace: Option<String>,
    /// The operator's own name, in its lease and its events.
    #[arg(long, env = "POD_NAME")]
    pub(crate) name: Option<String>,
    /// Whether only one of several operators works at a time.
    #[arg(long, env = "LOCKSTEP_LEADER_ELECTION", default_value_t = true, action = clap::ArgAction::Set)]
    pub(crate) leader_election: bool,
    /// How often executors are asked for their progress, and at most how often it is written.
    #[arg(long, env = "LOCKSTEP_PROGRESS_INTERVAL", default_value = "10s", value_parser = duration)]
    pub(crate) progress_interval: Duration,
    /// How long an executor may take to answer.
    #[arg(long, env = "LOCKSTEP_REPORT_TIMEOUT", default_value = "2s", value_parser = duration)]
    pub(crate) report_timeout: Duration,
    /// Where /healthz, /readyz and /metrics are served.
    #[arg(long, env = "LOCKSTEP_LISTEN", default_value = "0.0.0.0:8080")]
    pub(crate) listen: SocketAddr,
    /// Jobs that are worked on at the same time.
    #[arg(long, env = "LOCKSTEP_CONCURRENCY", default_value_t = 16)]
    pub(crate) concurrency: u16,
}

/// "500ms", "10s" or "2m".
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let number: u64 = number.parse().map_err(|_| format!("{text:?} is not a duration such as 10s"))?;
    let duration = match unit {
        "ms" => Duration::from_millis(number),
        "s" => Duration::from_secs(number),
        "m" => Duration::from_secs(60 * number),
        _ => return Err(format!("{text:?} has no unit ms, s or m")),
    };
    if duration.is_zero() { Err("must be longer than nothing".to_owned()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10s"), Ok(Duration::from_secs(10)));
        assert_eq!(duration("2m"), Ok(Duration::from_secs(120)));
        for wrong in ["10", "s", "0s", "1h", "-1s", ""] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
