//! `lockstep chaos`: trains a job twice on this machine, once in peace and once while its executors are killed, frozen and
//! scaled, and says whether that made any difference.

mod disturbance;
mod log;
mod plan;
mod story;
mod verdict;

use std::{path::Path, time::Instant};

use lockstep_crds::{ResolvedJob, executor::exit_code, spec::Kernels};

use self::{
    log::Log,
    plan::Counts,
    verdict::{Faults, Verdict},
};
use super::{
    job::JobArguments,
    run::{Stopped, display::Display, process::threads_each, train_opened},
};
use crate::{checkpoint::JobResult, failure::Failure, kernels::Backends, opened_job::OpenedJob};

/// Trains a job while killing, freezing and scaling its executors, and compares the weights with those of a run in peace.
///
/// It takes two executors at least, to be scaled three. Ends with 0 where the weights are the same and no step was lost,
/// with 70 where not. Checkpoints go into a temporary folder; the job's own are not touched.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    job: JobArguments,
    /// Processes to kill by SIGKILL.
    #[arg(long, default_value_t = 10)]
    kills: u32,
    /// Processes to stop by SIGSTOP, for up to two heartbeat time-outs.
    #[arg(long, default_value_t = 0)]
    freezes: u32,
    /// Changes of the number of executors.
    #[arg(long, default_value_t = 0)]
    scales: u32,
    /// Decides what happens to whom, and when.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// End with one JSON object on standard output.
    #[arg(long)]
    json: bool,
}

impl Arguments {
    /// See [`crate::main`].
    pub(crate) fn kernels(&self) -> Option<Kernels> {
        self.job.kernels()
    }
}

/// Runs the subcommand; returns the exit code.
pub(crate) async fn run(arguments: Arguments, backends: &Backends) -> u8 {
    let json = arguments.json;
    match compare(arguments, backends).await {
        Ok(verdict) => {
            println!("{}", if json { verdict.json() } else { verdict.text() });
            if verdict.is_good() { exit_code::DONE } else { exit_code::DIVERGED }
        }
        Err(stopped) => stopped.tell("Interrupted."),
    }
}

async fn compare(arguments: Arguments, backends: &Backends) -> Result<Verdict, Stopped> {
    let job = arguments.job.load().map_err(Stopped::Invalid)?;
    let Arguments { job: JobArguments { threads, .. }, kills, freezes, scales, seed, .. } = arguments;
    let counts = Counts { kills, freezes, scales };
    check(job.executors, counts)?;
    let threads = threads.unwrap_or_else(|| threads_each(job.executors));
    let folder = tempfile::Builder::new().prefix("lockstep-chaos-").tempdir()?;

    let opened = open(&job, &folder.path().join("undisturbed"), backends).await?;
    eprintln!("undisturbed:");
    let started = Instant::now();
    let (reference, _) = train_opened(&opened, threads).await?;
    let in_peace = started.elapsed();

    let opened = open(&job, &folder.path().join("disturbed"), backends).await?;
    let faults = plan::plan(seed, counts, job.executors, opened.course.total_steps());
    eprintln!("disturbed:");
    let logs = folder.path().join("logs");
    std::fs::create_dir(&logs)?;
    let mut display = Display::new(&opened.course, job.executors, threads.get());
    let started = Instant::now();
    let disturbed = disturbance::disturb(&opened.job, threads, &logs, faults, &mut display).await;
    display.finish();
    let outcome = match disturbed {
        Ok(outcome) => outcome,
        Err(stopped) => return Err(keep_logs(stopped, folder, &logs)),
    };
    let disturbed = started.elapsed();
    let Some(result) = result(&opened).await? else {
        let words = "the executors ended without a result".into();
        return Err(Stopped::Executor { words, code: exit_code::RETRYABLE });
    };
    let costs = story::costs(&Log::read(&logs, job.executors)?, &outcome.struck);
    let faults = Faults::new(&outcome, seed);
    let verdict = Verdict::new(job.executors, reference, in_peace, result, disturbed, faults, costs);
    if !verdict.is_good() {
        let _ = folder.keep();
        eprintln!("the executors' logs are in {}", logs.display());
    }
    Ok(verdict)
}

/// With fewer there is nobody to go on.
fn check(executors: u32, counts: Counts) -> Result<(), Stopped> {
    let refuse = |reason: &str| Err(Failure::Spec { reason: reason.into() }.into());
    if executors < 2 {
        return refuse("chaos needs --executors 2 at least, so that one can go on while the other is killed");
    }
    if executors < 3 && counts.scales > 0 {
        return refuse("--scales needs --executors 3 at least, since it leaves two");
    }
    Ok(())
}

/// The job with checkpoints in a folder of this machine.
async fn open(job: &ResolvedJob, folder: &Path, backends: &Backends) -> Result<OpenedJob, Stopped> {
    let mut job = job.clone();
    job.checkpoint.uri = format!("file://{}", folder.display());
    job.tracking = Default::default();
    Ok(OpenedJob::open(job, backends).await?)
}

async fn result(opened: &OpenedJob) -> Result<Option<JobResult>, Stopped> {
    Ok(opened.run.result().await.map_err(|source| Failure::Checkpoint { source })?)
}

/// For whoever wants to know why an executor failed.
fn keep_logs(stopped: Stopped, folder: tempfile::TempDir, logs: &Path) -> Stopped {
    match stopped {
        Stopped::Executor { words, code } => {
            let _ = folder.keep();
            Stopped::Executor { words: format!("{words} (logs in {})", logs.display()), code }
        }
        other => other,
    }
}
