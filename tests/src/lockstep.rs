//! The program under test, the data it trains on, and a job of each test's own.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use crate::{machine, process, wait::eventually};
use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// Real images that `lockstep prepare` can read.
pub struct Images {
    /// The subcommand that reads them.
    pub kind: String,
    /// Their file or folder.
    pub path: String,
    /// Which data it is.
    pub description: String,
}

impl Images {
    /// A small part of them.
    pub fn slice() -> Result<Self> {
        Self::find(&["--slice"])
    }

    fn find(options: &[&str]) -> Result<Self> {
        let source = machine::script("data.sh", options)?;
        let [kind, path, description] = source.lines().collect::<Vec<_>>()[..] else {
            anyhow::bail!("scripts/data.sh printed {source:?}");
        };
        Ok(Self { kind: kind.into(), path: path.into(), description: description.into() })
    }
}

/// A data set that `lockstep prepare` wrote.
pub struct Data {
    /// Holds `train` and `test`.
    pub folder: PathBuf,
}

impl Data {
    /// A small part of real images.
    pub fn slice() -> Result<Self> {
        Self::prepare(&["--slice"])
    }

    /// All images.
    pub fn whole() -> Result<Self> {
        Self::prepare(&[])
    }

    fn prepare(options: &[&str]) -> Result<Self> {
        let Images { kind, path, description } = Images::find(options)?;
        println!("data: {description}");
        let folder = machine::repository()
            .join("target/test-data")
            .join(Path::new(&path).file_name().context("no name")?);
        if !folder.join("test/dataset.json").exists() {
            let output =
                lockstep(["prepare".as_ref(), kind.as_ref(), path.as_ref(), folder.as_os_str()]).output()?;
            ensure!(output.status.success(), "lockstep prepare failed: {}", text(&output.stderr));
        }
        Ok(Self { folder })
    }

    /// A copy whose files a test may damage.
    pub fn copy(&self, target: &Path) -> Result<Self> {
        for split in ["train", "test"] {
            fs::create_dir_all(target.join(split))?;
            for entry in fs::read_dir(self.folder.join(split))? {
                let entry = entry?;
                fs::copy(entry.path(), target.join(split).join(entry.file_name()))?;
            }
        }
        Ok(Self { folder: target.into() })
    }
}

/// A job with a checkpoint folder of its own, deleted at the end.
pub struct Job {
    /// Holds its checkpoints and logs.
    pub folder: tempfile::TempDir,
    settings: Vec<String>,
    environment: Vec<(String, PathBuf)>,
}

impl Job {
    /// The reference CNN for two epochs.
    pub fn new(data: &Data) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let settings = vec![
            format!("data.training.uri={}", data.folder.join("train").display()),
            format!("data.test.uri={}", data.folder.join("test").display()),
            format!("checkpoint.uri={}", folder.path().join("checkpoints").display()),
            "checkpoint.everySteps=5".into(),
        ];
        Ok(Self { folder, settings, environment: Vec::new() })
    }

    /// With a field changed, as `--set` does.
    pub fn set(mut self, change: &str) -> Self {
        self.settings.push(change.into());
        self
    }

    /// With a variable in the program's environment.
    pub fn env(mut self, name: &str, value: impl Into<PathBuf>) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The command line that trains it.
    pub fn command(&self, options: &[&str]) -> Command {
        let mut command = lockstep(["run", "--json", "--file"]);
        command.arg(machine::repository().join("examples/demo.yaml")).args(options);
        if !options.contains(&"--threads") {
            command.args(["--threads", "1"]);
        }
        command.args(self.settings.iter().flat_map(|change| ["--set", change]));
        // Logs of executors that failed stay in the job's own folder.
        command.env("TMPDIR", self.folder.path());
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Trains to the end; the summary.
    pub fn run(&self, options: &[&str]) -> Result<Value> {
        let output = self.command(options).output()?;
        ensure!(
            output.status.success(),
            "lockstep run {options:?} ended with {}: {}",
            output.status,
            text(&output.stderr)
        );
        summary(&output)
    }

    /// Trains, expecting failure; exit code and standard error.
    pub fn fail(&self, options: &[&str]) -> Result<(i32, String)> {
        let output = self.command(options).output()?;
        ensure!(!output.status.success(), "lockstep run {options:?} succeeded: {}", text(&output.stdout));
        Ok((output.status.code().context("a signal ended it")?, text(&output.stderr)))
    }

    /// Starts training.
    pub fn start(&self, options: &[&str]) -> Result<Running> {
        let child = self.command(options).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        Ok(Running { child: Some(child) })
    }

    /// Committed checkpoints of the job's only run, oldest first.
    pub fn checkpoints(&self) -> Result<Vec<String>> {
        let Ok(runs) = fs::read_dir(self.folder.path().join("checkpoints")) else { return Ok(Vec::new()) };
        let mut names = Vec::new();
        for run in runs {
            for checkpoint in fs::read_dir(run?.path())? {
                let checkpoint = checkpoint?;
                if checkpoint.path().join("MANIFEST.json").exists() {
                    names.push(checkpoint.file_name().to_string_lossy().into_owned());
                }
            }
        }
        names.sort();
        Ok(names)
    }

    /// Waits until a checkpoint of at least this step is committed.
    pub fn reaches(&self, step: u32) -> Result<()> {
        let name = format!("step-{step:08}");
        eventually(&format!("checkpoint {name}"), Duration::from_secs(120), || {
            Ok(self.checkpoints()?.iter().any(|checkpoint| *checkpoint >= name).then_some(()))
        })
    }
}

/// `lockstep run` under way; killed if the test ends before it.
pub struct Running {
    child: Option<Child>,
}

impl Running {
    /// Its pid.
    pub fn id(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// Pid of executor `index`.
    pub fn executor(&self, index: u32) -> Result<u32> {
        let wanted = index.to_string();
        eventually(&format!("executor {index}"), Duration::from_secs(30), || {
            Ok(process::children(self.id())?.into_iter().find(|pid| {
                let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                let arguments: Vec<_> =
                    arguments.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
                arguments.windows(2).any(|pair| pair[0] == "--index" && pair[1] == wanted)
            }))
        })
    }

    /// Waits for the end.
    pub fn output(mut self) -> Result<Output> {
        Ok(self.child.take().context("ended already")?.wait_with_output()?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Its executors see the end of their standard input and leave.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The JSON object that `run --json` ends with.
pub fn summary(output: &Output) -> Result<Value> {
    let stdout = text(&output.stdout);
    let last = stdout.lines().last().with_context(|| format!("no summary; {}", text(&output.stderr)))?;
    serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))
}

/// The program under test.
pub fn lockstep<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(machine::programs().join("lockstep"));
    command.args(arguments);
    command
}

/// What a program printed.
pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
