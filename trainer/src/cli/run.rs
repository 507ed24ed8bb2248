//! `lockstep run`: trains a job on this machine, with executors of its own over loopback.

pub(super) mod display;
pub(super) mod process;
mod summary;

use std::{num::NonZeroUsize, path::PathBuf, time::Instant};

use lockstep_crds::{
    ResolvedJob,
    executor::{ExecutorReport, exit_code},
    spec::Kernels,
};
use tokio::{
    process::Child,
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::{
    display::{Display, Figures},
    process::{command, read_reports, threads_each, write_job},
    summary::Summary,
};
use super::job::JobArguments;
use crate::{
    checkpoint::JobResult,
    failure::{Failure, chain},
    kernels::Backends,
    manifest_file,
    opened_job::OpenedJob,
    supervisor,
};

/// Ctrl-C, as shells count it.
const INTERRUPTED: u8 = 130;

/// Trains a job on this machine.
///
/// An existing run of the same job is resumed, a finished one reported. Ctrl-C commits a checkpoint.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    job: JobArguments,
    /// Delete an earlier run of the same job and start over.
    #[arg(long)]
    fresh: bool,
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
    match train(arguments, backends).await {
        Ok(summary) => {
            println!("{}", if json { summary.json() } else { summary.text() });
            exit_code::DONE
        }
        Err(stopped) => stopped.tell("Interrupted; the run is saved. The same command resumes it."),
    }
}

/// Why there is no result.
pub(super) enum Stopped {
    Invalid(manifest_file::Error),
    Failed(Failure),
    Executor { words: String, code: u8 },
    Interrupted,
    System(std::io::Error),
}

impl Stopped {
    /// Says why on standard error; returns the exit code.
    pub(super) fn tell(self, interrupted: &str) -> u8 {
        match self {
            Self::Invalid(error) => {
                eprintln!("error: {}", chain(&error));
                exit_code::CONFIG
            }
            Self::Failed(failure) => {
                eprintln!("error: {}", chain(&failure));
                failure.exit_code()
            }
            Self::Executor { words, code } => {
                eprintln!("error: {words}");
                code
            }
            Self::Interrupted => {
                eprintln!("{interrupted}");
                INTERRUPTED
            }
            Self::System(error) => {
                eprintln!("error: {error}");
                exit_code::RETRYABLE
            }
        }
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::System(error)
    }
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

async fn train(arguments: Arguments, backends: &Backends) -> Result<Summary, Stopped> {
    let job = arguments.job.load().map_err(Stopped::Invalid)?;
    let Arguments { job: JobArguments { threads, .. }, fresh, .. } = arguments;
    let opened = OpenedJob::open(job, backends).await?;
    if fresh {
        opened.run.clear().await.map_err(|source| Failure::Checkpoint { source })?;
    }
    if let Some(result) = opened.run.result().await.map_err(|source| Failure::Checkpoint { source })? {
        return Ok(Summary::earlier(&opened, result));
    }

    let started = Instant::now();
    let threads = threads.unwrap_or_else(|| threads_each(opened.job.executors));
    let (result, figures) = train_opened(&opened, threads).await?;
    Ok(Summary::new(&opened, result, figures, started.elapsed(), threads.get()))
}

/// Trains a job that has no result yet.
pub(super) async fn train_opened(
    opened: &OpenedJob,
    threads: NonZeroUsize,
) -> Result<(JobResult, Figures), Stopped> {
    let mut display = Display::new(&opened.course, opened.job.executors, threads.get());
    let ended = Executors::start(&opened.job, threads)?.watch(&mut display).await?;
    let figures = display.finish();
    match opened.run.result().await.map_err(|source| Failure::Checkpoint { source })? {
        Some(result) => Ok((result, figures)),
        None if ended.interrupted => Err(Stopped::Interrupted),
        None => Err(Stopped::Executor { words: ended.words(), code: ended.code }),
    }
}

/// The running executor processes of a job.
struct Executors {
    processes: JoinSet<(u32, std::io::Result<i32>)>,
    reports: mpsc::UnboundedReceiver<ExecutorReport>,
    stop: watch::Sender<bool>,
    /// Addresses and logs of the executors.
    folder: tempfile::TempDir,
}

/// How the executors ended.
struct Ended {
    /// The worst exit code: a permanent one if there is any.
    code: u8,
    interrupted: bool,
    failure: Option<String>,
    logs: PathBuf,
}

impl Ended {
    fn words(&self) -> String {
        let code = self.code;
        let logs = self.logs.display();
        match &self.failure {
            Some(words) => format!("{words} (exit code {code}; logs in {logs})"),
            None => format!(
                "the executors ended without a result, with exit code {code}; their logs are in {logs}"
            ),
        }
    }
}

impl Executors {
    fn start(job: &ResolvedJob, threads: NonZeroUsize) -> std::io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("lockstep-run-").tempdir()?;
        let job_file = write_job(folder.path(), job)?;
        let (sender, reports) = mpsc::unbounded_channel();
        let (stop, stopping) = watch::channel(false);
        let mut processes = JoinSet::new();
        for index in 0..job.executors {
            let command = command(folder.path(), &job_file, index, threads)?;
            let (sender, stopping) = (sender.clone(), stopping.clone());
            processes.spawn(async move {
                let started = |child: &mut Child| {
                    if let Some(output) = child.stdout.take() {
                        tokio::spawn(read_reports(output, sender.clone()));
                    }
                };
                (index, supervisor::supervise(command, started, stopping).await)
            });
        }
        Ok(Self { processes, reports, stop, folder })
    }

    /// Shows what the executors report until all have ended.
    async fn watch(mut self, display: &mut Display) -> std::io::Result<Ended> {
        let mut asked = supervisor::asked_to_stop()?;
        let mut ended =
            Ended { code: exit_code::DONE, interrupted: false, failure: None, logs: PathBuf::new() };
        loop {
            tokio::select! {
                Some(report) = self.reports.recv() => {
                    ended.failure = failure_words(&report).or(ended.failure);
                    display.show(&report);
                }
                joined = self.processes.join_next() => match joined {
                    Some(Ok((index, code))) => self.process_ended(index, code?, &mut ended),
                    // Asked twice to stop.
                    Some(Err(error)) if error.is_cancelled() => {}
                    Some(Err(error)) => return Err(std::io::Error::other(error)),
                    None => break,
                },
                Ok(()) = asked.changed() => {
                    if ended.interrupted {
                        display.note("stopping at once");
                        // Dropping the processes kills them.
                        self.processes.abort_all();
                    } else {
                        ended.interrupted = true;
                        display.note("stopping: waiting for a checkpoint (again to stop at once)");
                        self.stop.send_replace(true);
                    }
                }
            }
        }
        while let Ok(report) = self.reports.try_recv() {
            ended.failure = failure_words(&report).or(ended.failure);
            display.show(&report);
        }
        ended.logs =
            if ended.code == exit_code::DONE { self.folder.path().into() } else { self.folder.keep() };
        Ok(ended)
    }

    /// A permanent failure of one ends all: the others would fail alike.
    fn process_ended(&self, index: u32, code: i32, ended: &mut Ended) {
        let code = u8::try_from(code).unwrap_or(exit_code::RETRYABLE);
        tracing::debug!(index, code, "an executor ended for good");
        let permanent = |code: u8| matches!(code, exit_code::USAGE | 64..=74 | 76..=78);
        if permanent(code) {
            self.stop.send_replace(true);
        }
        if code != exit_code::DONE && !permanent(ended.code) {
            ended.code = code;
        }
    }
}

pub(super) fn failure_words(report: &ExecutorReport) -> Option<String> {
    let failed = report.phase == lockstep_crds::executor::ExecutorPhase::Failed;
    failed.then(|| report.message.clone()).flatten()
}
