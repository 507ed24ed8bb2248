//! `lockstep executor`: the entry point in a pod, and of the processes that `lockstep run` starts.
//!
//! The first process supervises; the second one, started by it with `--unsupervised`, trains.

use std::{
    io::Write,
    net::{IpAddr, Ipv4Addr},
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use lockstep_collective::AddressBook;
use lockstep_crds::{
    ResolvedJob,
    executor::{
        ENV_INDEX, ENV_JOB_NAME, ENV_JOB_UID, ExecutorReport, JOB_FILE, PEER_PORT, TERMINATION_LOG, TLS_DIR,
        exit_code, peer_host,
    },
    spec::Kernels,
};
use snafu::ResultExt;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    process::Command,
    signal::unix::{SignalKind, signal},
    sync::watch,
    time::sleep,
};

use super::random_id;
use crate::{
    executor::{self, Ending, Place, Reporter, servers},
    failure::{DecodeJobSnafu, Failure, ReadFileSnafu, SystemSnafu, chain},
    kernels::Backends,
    opened_job::OpenedJob,
    rendezvous, supervisor,
};

/// Time between two reports on standard output.
pub(super) const REPORT_INTERVAL: Duration = Duration::from_millis(100);

/// Trains as one of a job's executors.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The resolved job.
    #[arg(long, default_value = JOB_FILE)]
    job: PathBuf,
    /// This executor's index.
    #[arg(long, env = ENV_INDEX)]
    index: u32,
    /// Name of the job: the other executors are `<name>-<index>.<name>`.
    #[arg(long, env = ENV_JOB_NAME, default_value = "local")]
    job_name: String,
    /// Id of the job: executors of another one are refused.
    #[arg(long, env = ENV_JOB_UID, default_value = "local")]
    job_uid: String,
    /// Meet the others by addresses in this folder, without TLS.
    #[arg(long)]
    rendezvous: Option<PathBuf>,
    /// Address of this machine at which the others of the folder reach this executor.
    #[arg(long, requires = "rendezvous", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Threads that compute, instead of the job's number.
    #[arg(long)]
    threads: Option<NonZeroUsize>,
    /// Train in this process, without a supervising parent.
    #[arg(long, hide = true)]
    unsupervised: bool,
}

impl Arguments {
    /// See [`crate::main`].
    pub(crate) fn kernels(&self) -> Option<Kernels> {
        Some(read_job(&self.job).ok()?.result.training.kernels)
    }
}

/// Runs the subcommand; returns the exit code.
pub(crate) async fn run(arguments: Arguments, backends: &Backends) -> u8 {
    if arguments.unsupervised {
        return train(arguments, backends).await;
    }
    let supervise =
        async { supervisor::supervise(supervised_command()?, |_| {}, supervisor::asked_to_stop()?).await };
    match supervise.await {
        Ok(code) => u8::try_from(code).unwrap_or(exit_code::RETRYABLE),
        Err(error) => {
            tracing::error!(%error, "failed to supervise the executor process");
            exit_code::RETRYABLE
        }
    }
}

/// This very command line, unsupervised.
fn supervised_command() -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1)).arg("--unsupervised").stdin(Stdio::piped());
    Ok(command)
}

async fn train(arguments: Arguments, backends: &Backends) -> u8 {
    let reporter = Reporter::new(arguments.index, random_id());
    let (leave, leaving) = watch::channel(false);
    let in_pod = arguments.rendezvous.is_none();
    let printing = (!in_pod).then(|| tokio::spawn(print_reports(reporter.subscribe())));
    tokio::spawn(async move {
        asked_to_leave().await;
        leave.send_replace(true);
        // Keeps the channel open: its end would mean that nobody can ask.
        std::future::pending::<()>().await;
    });

    let code = match start(arguments, backends, reporter.clone(), leaving).await {
        Ok(Ending::Done) => exit_code::DONE,
        Ok(Ending::Left) => exit_code::TERMINATED,
        Err(failure) => {
            let words = chain(&failure);
            tracing::error!("{words}");
            reporter.failed(words);
            failure.exit_code()
        }
    };
    let last = reporter.subscribe().borrow().clone();
    if let Some(printing) = printing {
        printing.abort();
        print_report(&last);
    }
    if in_pod
        && Path::new(TERMINATION_LOG).exists()
        && let Err(error) = std::fs::write(TERMINATION_LOG, last.termination_message())
    {
        tracing::warn!(%error, "failed to write the termination message");
    }
    code
}

async fn start(
    arguments: Arguments,
    backends: &Backends,
    reporter: Reporter,
    leave: watch::Receiver<bool>,
) -> Result<Ending, Failure> {
    let Arguments { job, index, job_name, job_uid, rendezvous, host, threads, unsupervised: _ } = arguments;
    let incarnation = reporter.subscribe().borrow().incarnation;
    let (listener, peers, tls) = match rendezvous {
        Some(folder) => {
            let listener = bind(host, 0).await?;
            let address = listener.local_addr().context(SystemSnafu { action: "listen for executors" })?;
            rendezvous::publish(&folder, index, address)
                .context(SystemSnafu { action: "publish this address" })?;
            let peers: AddressBook = Arc::new(move |index| rendezvous::look_up(&folder, index));
            (listener, peers, None)
        }
        None => {
            let tls = servers::read_tls(Path::new(TLS_DIR))?;
            servers::start(reporter.subscribe(), &tls).await?;
            let peers: AddressBook =
                Arc::new(move |index| format!("{}:{PEER_PORT}", peer_host(&job_name, index)));
            (bind(Ipv4Addr::UNSPECIFIED.into(), PEER_PORT).await?, peers, Some(tls))
        }
    };
    let job = read_job(&job)?;
    let opened = OpenedJob::open(job, backends).await?;
    let place = Place { job_uid, index, incarnation, threads, listener, peers, tls };
    executor::run(opened, place, reporter, leave).await
}

fn read_job(path: &Path) -> Result<ResolvedJob, Failure> {
    let name = path.display().to_string();
    let bytes = std::fs::read(path).context(ReadFileSnafu { path: &name })?;
    serde_json::from_slice(&bytes).context(DecodeJobSnafu { path: name })
}

async fn bind(host: IpAddr, port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind((host, port)).await.context(SystemSnafu { action: "listen for executors" })
}

/// Waits for SIGTERM, or for the end of the supervising parent, whose pipe is our standard input.
///
/// SIGINT is taken and ignored: a terminal sends it to the whole process group, and the parent decides.
async fn asked_to_leave() {
    let (Ok(mut terminate), Ok(_interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::warn!("failed to listen for SIGTERM");
        return std::future::pending().await;
    };
    let mut input = tokio::io::stdin();
    let parent_ended = async {
        let mut byte = [0];
        while !matches!(input.read(&mut byte).await, Ok(0) | Err(_)) {}
    };
    tokio::select! {
        _ = terminate.recv() => {}
        () = parent_ended => tracing::warn!("the supervising parent has ended"),
    }
}

/// One line of JSON for every change, for `lockstep run`.
async fn print_reports(mut report: watch::Receiver<ExecutorReport>) {
    while report.changed().await.is_ok() {
        print_report(&report.borrow_and_update().clone());
        sleep(REPORT_INTERVAL).await;
    }
}

fn print_report(report: &ExecutorReport) {
    if let Ok(mut line) = serde_json::to_string(report) {
        line.push('\n');
        // A reader that is gone needs no report.
        let _ = std::io::stdout().lock().write_all(line.as_bytes());
    }
}
