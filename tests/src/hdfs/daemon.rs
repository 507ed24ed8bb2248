//! A daemon of HDFS: one JVM.

use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

use super::configuration::Configuration;

/// A NameNode or DataNode, killed when it is dropped.
pub struct Daemon {
    child: Child,
    /// To start it again.
    command: Vec<std::ffi::OsString>,
    log: PathBuf,
    dies_with_us: bool,
}

impl Daemon {
    pub(super) fn start(
        configuration: &Configuration,
        name: &str,
        class: &str,
        arguments: Vec<String>,
        dies_with_us: bool,
    ) -> Result<Self> {
        let java = configuration.java(class);
        let mut command = Vec::new();
        if dies_with_us {
            command.extend(["setpriv", "--pdeathsig", "KILL"].map(Into::into));
        }
        command.push(java.get_program().to_owned());
        command.extend(java.get_args().map(ToOwned::to_owned));
        command.extend(arguments.into_iter().map(Into::into));
        let log = configuration.logs().join(format!("{name}.log"));
        let child = spawn(&command, &log)?;
        Ok(Self { child, command, log, dies_with_us })
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its log, of all its lives.
    pub fn log(&self) -> Result<String> {
        std::fs::read_to_string(&self.log).with_context(|| format!("failed to read {}", self.log.display()))
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after [`Daemon::kill`], with the same data and ports. It is not ready yet when this returns.
    pub fn restart(&mut self) -> Result<()> {
        self.kill()?;
        self.child = spawn(&self.command, &self.log)?;
        Ok(())
    }

    /// Freezes it: connections stay open, nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Ends [`Daemon::freeze`].
    pub fn thaw(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("not a pid")?;
        kill_process(pid, signal).with_context(|| format!("failed to signal process {pid:?}"))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if self.dies_with_us {
            // It may have ended by itself.
            let _ = self.kill();
        }
    }
}

/// In a process group of its own: Ctrl-C of a terminal is for the program that started it.
fn spawn(command: &[std::ffi::OsString], log: &PathBuf) -> Result<Child> {
    let (program, arguments) = command.split_first().context("no program")?;
    let log: File = OpenOptions::new().create(true).append(true).open(log)?;
    Command::new(program)
        .args(arguments)
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("failed to start {}", program.display()))
}
