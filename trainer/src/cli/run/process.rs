//! Executor processes on this machine, which find each other in a folder.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
    process::Stdio,
};

use lockstep_crds::{ResolvedJob, executor::ExecutorReport};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStdout, Command},
    sync::mpsc,
};

/// This machine's cores shared among so many.
pub(crate) fn threads_each(executors: u32) -> NonZeroUsize {
    let cores = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    NonZeroUsize::new(cores / executors.max(1) as usize).unwrap_or(NonZeroUsize::MIN)
}

/// Writes what all executors read; the file's path.
pub(crate) fn write_job(folder: &Path, job: &ResolvedJob) -> std::io::Result<PathBuf> {
    let path = folder.join("job.json");
    std::fs::write(&path, serde_json::to_vec_pretty(job)?)?;
    Ok(path)
}

/// Where an executor's log is.
pub(crate) fn log(folder: &Path, index: u32) -> PathBuf {
    folder.join(format!("executor-{index}.log"))
}

/// The command that becomes executor `index`, with pipes for its standard input and output.
pub(crate) fn command(
    folder: &Path,
    job: &Path,
    index: u32,
    threads: NonZeroUsize,
) -> std::io::Result<Command> {
    let errors = std::fs::File::options().create(true).append(true).open(log(folder, index))?;
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args([
            "executor",
            "--unsupervised",
            "--index",
            &index.to_string(),
            "--threads",
            &threads.to_string(),
        ])
        .arg("--job")
        .arg(job)
        .arg("--rendezvous")
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors)
        .kill_on_drop(true);
    Ok(command)
}

/// Reports come one a line; a process that is killed may leave half a line.
pub(crate) async fn read_reports(output: ChildStdout, reports: mpsc::UnboundedSender<ExecutorReport>) {
    let mut lines = BufReader::new(output).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Ok(report) = serde_json::from_str(&line) {
            // Nobody listens any more when the command ends.
            let _ = reports.send(report);
        }
    }
}
