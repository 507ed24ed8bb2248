//! Executors of one job started one by one, each with instructions or a CPU of its own, as `lockstep run` starts them
//! alike.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use lockstep_crds::{
    executor::{ExecutorPhase, ExecutorReport},
    manifest, resolve,
};
use lockstep_kernels::Isa;
use lockstep_tests::{machine, wait::eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::lockstep::Data;

/// Emulated executors take a minute or two.
const DEADLINE: Duration = Duration::from_secs(600);

/// What an executor computes on.
#[derive(Clone, Debug)]
pub(crate) enum Cpu {
    /// This machine's, with these instructions.
    This(Isa),
    /// One that this machine has not got.
    Emulated {
        /// The emulator and its arguments.
        emulator: Vec<String>,
        /// `lockstep`, built for that CPU.
        program: PathBuf,
    },
}

impl Cpu {
    /// All that `scripts/other-cpus.sh` computes on, as far as `lockstep` was built for them.
    pub(crate) fn emulated() -> Result<Vec<Self>> {
        let text = machine::script("other-cpus.sh", &["--list"])?;
        let cpu = |line: &str| {
            let (program, emulator) = line.split_once(' ').with_context(|| format!("no emulator: {line}"))?;
            let emulator = emulator.split(' ').map(str::to_owned).collect();
            let program =
                if program == "this" { machine::programs().join("lockstep") } else { program.into() };
            Ok(Self::Emulated { emulator, program })
        };
        text.lines().map(cpu).collect()
    }

    /// Why there are none, if there are none.
    pub(crate) fn lacks_emulated() -> Option<String> {
        let output = Command::new(machine::repository().join("scripts/emulators.sh")).arg("--where").output();
        match output {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(format!("scripts/emulators.sh does not run: {error}")),
        }
    }

    fn lockstep(&self) -> Command {
        match self {
            Self::This(isa) => {
                let mut command = Command::new(machine::programs().join("lockstep"));
                command.env("LOCKSTEP_ISA", isa.name());
                command
            }
            Self::Emulated { emulator, program } => {
                let mut command = Command::new(&emulator[0]);
                command.args(&emulator[1..]).arg(program).env_remove("LOCKSTEP_ISA");
                command
            }
        }
    }
}

/// Trains the job of `manifest` on `data` with one executor for each of `cpus`, all of them members of one view from the
/// first step on; returns `weightsSha256`.
pub(crate) fn train(manifest: &Path, data: &Data, cpus: &[Cpu]) -> Result<String> {
    let folder = tempfile::tempdir()?;
    let all_of_them = |spec: &mut Value| spec["elastic"] = json!({"minExecutors": cpus.len()});
    write_job(manifest, data, folder.path(), cpus.len(), all_of_them)?;
    let mut executors = Vec::new();
    for (index, cpu) in cpus.iter().enumerate() {
        let executor = Executor::start(cpu.lockstep(), index, folder.path(), &[]);
        executors.push(executor.with_context(|| format!("{cpu:?}"))?);
    }
    let members: Vec<u32> = (0..).take(cpus.len()).collect();
    let mut weights = None;
    for (executor, cpu) in executors.iter_mut().zip(cpus) {
        let reports = executor.reports().with_context(|| format!("{cpu:?}"))?;
        let trained = reports
            .iter()
            .filter(|report| report.phase == ExecutorPhase::Training)
            .all(|report| report.view.as_ref().is_none_or(|view| view.members == members));
        ensure!(trained, "{cpu:?} trained without some of {members:?}: {reports:?}");
        let result = reports.last().and_then(|last| last.result.as_ref()).context("no result")?;
        let weights = weights.get_or_insert_with(|| result.weights_sha256.clone());
        ensure!(*weights == result.weights_sha256, "{cpu:?} ends with other weights: {reports:?}");
    }
    weights.context("no executor")
}

/// Writes the job, its spec changed by `edit`, as executors read it and the operator would write it.
pub(crate) fn write_job(
    manifest: &Path,
    data: &Data,
    folder: &Path,
    executors: usize,
    edit: impl FnOnce(&mut Value),
) -> Result<()> {
    let mut value: Value = serde_saphyr::from_str(&fs::read_to_string(manifest)?)?;
    let spec = &mut value["spec"];
    spec["executors"] = executors.into();
    for (pointer, path) in [
        ("/data/training/uri", data.folder.join("train")),
        ("/data/test/uri", data.folder.join("test")),
        ("/checkpoint/uri", folder.join("checkpoints")),
    ] {
        *spec.pointer_mut(pointer).context(pointer)? = format!("file://{}", path.display()).into();
    }
    edit(spec);
    match resolve(&manifest::from_value(value)?.spec) {
        Ok(job) => Ok(fs::write(folder.join("job.json"), serde_json::to_vec(&job)?)?),
        Err(violations) => bail!("{}: {violations:?}", manifest.display()),
    }
}

/// A running executor; killed if the test ends before it.
pub(crate) struct Executor {
    child: Child,
    log: PathBuf,
    reports: PathBuf,
}

impl Executor {
    /// `lockstep` as one of the job in `folder`, with these options beside the usual ones.
    pub(crate) fn start(
        mut lockstep: Command,
        index: usize,
        folder: &Path,
        options: &[&str],
    ) -> Result<Self> {
        let (log, reports) = (folder.join(format!("{index}.log")), folder.join(format!("{index}.reports")));
        let child = lockstep
            .args(["executor", "--unsupervised", "--threads", "1", "--index", &index.to_string(), "--job"])
            .arg(folder.join("job.json"))
            .arg("--rendezvous")
            .arg(folder)
            .args(options)
            // Its end would tell the executor to leave.
            .stdin(Stdio::piped())
            .stdout(File::create(&reports)?)
            .stderr(File::create(&log)?)
            .spawn()
            .context("failed to start an executor")?;
        Ok(Self { child, log, reports })
    }

    /// What it last reported.
    pub(crate) fn latest(&self) -> Result<Option<ExecutorReport>> {
        let reports = fs::read_to_string(&self.reports)?;
        let whole = reports.rsplit_once('\n').map_or("", |(whole, _)| whole);
        Ok(whole.lines().next_back().map(serde_json::from_str).transpose()?)
    }

    /// Whether it has not ended.
    pub(crate) fn runs(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_none())
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("no process id")?;
        Ok(kill_process(pid, signal)?)
    }

    pub(crate) fn log(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&fs::read(&self.log)?).into_owned())
    }

    /// All that it reported, once it has ended.
    pub(crate) fn reports(&mut self) -> Result<Vec<ExecutorReport>> {
        let status = eventually("the end of an executor", DEADLINE, || Ok(self.child.try_wait()?))?;
        ensure!(status.success(), "an executor ended with {status}: {}", self.log()?);
        let reports = fs::read_to_string(&self.reports)?;
        Ok(reports.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
    }
}

impl Drop for Executor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
