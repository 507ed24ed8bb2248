//! One HDFS with a small part of real images in it, for all tests, and jobs that train on it.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::{self, File},
    path::PathBuf,
    process::{Child, ExitStatus},
    sync::{Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lockstep_tests::{
    hdfs::{Hdfs, Options},
    lockstep::{Data, Job},
    process,
    wait::eventually,
};
use serde_json::Value;

const DATA: &str = "/datasets/slice";
/// Epochs of a job that is long enough for a fault to begin, to act, and to be overcome while it trains.
pub(crate) const LONG: u32 = 30;
/// The same for a fault that is overcome at once.
pub(crate) const MEDIUM: u32 = 12;
const STEPS_PER_EPOCH: u32 = 14;
const TRAINING: Duration = Duration::from_secs(600);

pub(crate) struct Bed {
    hdfs: Mutex<Hdfs>,
    data: Data,
    /// Summaries of undisturbed jobs from files, by epochs.
    references: Mutex<BTreeMap<u32, Value>>,
    /// Another HDFS with the same data, which wants Kerberos.
    secured: OnceLock<Box<Bed>>,
}

impl Bed {
    pub(crate) fn start() -> Result<Self> {
        Self::start_with(&Options::default())
    }

    pub(crate) fn start_with(options: &Options) -> Result<Self> {
        let data = Data::slice()?;
        let hdfs = Hdfs::start(options)?;
        // By Hadoop's own client: what it wrote we read.
        hdfs.shell(&["dfs", "-mkdir", "-p", "/datasets"])?;
        let folder = data.folder.to_str().context("the path is not UTF-8")?;
        hdfs.shell(&["dfs", "-put", folder, DATA])?;
        Ok(Self { hdfs: Mutex::new(hdfs), data, references: Mutex::default(), secured: OnceLock::new() })
    }

    /// The one that wants Kerberos, started by the first who asks.
    pub(crate) fn secured(&self) -> Result<&Self> {
        if self.secured.get().is_none() {
            let options = Options { datanodes: 1, replication: 1, kerberos: true, ..Options::default() };
            let _ = self.secured.set(Box::new(Self::start_with(&options)?));
        }
        self.secured.get().map(Box::as_ref).context("no HDFS with Kerberos")
    }

    pub(crate) fn hdfs(&self) -> MutexGuard<'_, Hdfs> {
        self.hdfs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A job with data and checkpoints in files.
    pub(crate) fn job_on_files(&self) -> Result<Job> {
        Job::new(&self.data)
    }

    /// The same job with data and checkpoints on HDFS, the latter in `/checkpoints/<name>`.
    pub(crate) fn job(&self, name: &str) -> Result<Job> {
        let hdfs = self.hdfs();
        let uri = hdfs.uri();
        Ok(Job::new(&self.data)?
            .set(&format!("data.training.uri={uri}{DATA}/train"))
            .set(&format!("data.test.uri={uri}{DATA}/test"))
            .set(&format!("checkpoint.uri={uri}/checkpoints/{name}"))
            .env("HADOOP_CONF_DIR", hdfs.conf_dir()))
    }

    /// The job that faults meet: it reads all the time, since hardly anything fits into its cache, and writes all the time.
    pub(crate) fn train(&self, name: &str, epochs: u32) -> Result<Training> {
        let job = self.job(name)?.set(&format!("training.epochs={epochs}"));
        let job = job.set("data.cacheSize=1Mi").set("checkpoint.everySteps=3");
        let mut training = Training::start(job, name, "2")?;
        training.last_step = Some(epochs * STEPS_PER_EPOCH);
        Ok(training)
    }

    /// Checks that a job has the weights of an undisturbed one.
    pub(crate) fn ensure_same_as_undisturbed(&self, summary: &Value) -> Result<()> {
        let epochs = summary["epochs"].as_u64().context("no epochs")?.try_into()?;
        let mut references = self.references.lock().unwrap_or_else(PoisonError::into_inner);
        let reference = match references.entry(epochs) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                let job = self.job_on_files()?.set(&format!("training.epochs={epochs}"));
                unknown.insert(job.run(&["--executors", "1"])?)
            }
        };
        for figure in ["weightsSha256", "testAccuracy", "testLoss"] {
            ensure!(
                !reference[figure].is_null() && summary[figure] == reference[figure],
                "{figure}: {summary}\nundisturbed: {reference}"
            );
        }
        Ok(())
    }

    /// Steps of the committed checkpoints of the only run in `/checkpoints/<name>`, ascending.
    pub(crate) fn committed(&self, name: &str) -> Result<Vec<u32>> {
        let (hdfs, folder) = (self.hdfs(), format!("/checkpoints/{name}"));
        let mut steps = Vec::new();
        for run in hdfs.names(&folder)? {
            for checkpoint in hdfs.names(&format!("{folder}/{run}"))? {
                let Some(step) = checkpoint.strip_prefix("step-").and_then(|step| step.parse().ok()) else {
                    continue;
                };
                let files = hdfs.names(&format!("{folder}/{run}/{checkpoint}"))?;
                if files.iter().any(|file| file == "MANIFEST.json") {
                    steps.push(step);
                }
            }
        }
        steps.sort_unstable();
        Ok(steps)
    }

    /// Awaits a committed checkpoint of at least `step` of a job that still trains.
    pub(crate) fn until_step(&self, training: &mut Training, step: u32) -> Result<u32> {
        let newest = eventually(&format!("a checkpoint of step {step} or later"), TRAINING, || {
            ensure!(training.child.try_wait()?.is_none(), "it ended: {}", training.words()?);
            // The NameNode may be away.
            Ok(self
                .committed(&training.name)
                .ok()
                .and_then(|steps| steps.last().copied())
                .filter(|newest| *newest >= step))
        })?;
        let over = training.last_step.is_some_and(|last| newest >= last);
        ensure!(!over, "training was over too early: step {newest}");
        Ok(newest)
    }
}

/// `lockstep run` under way.
pub(crate) struct Training {
    child: Child,
    output: PathBuf,
    words: PathBuf,
    name: String,
    /// Where that is known.
    last_step: Option<u32>,
    _files: tempfile::TempDir,
    _job: Job,
}

impl Training {
    /// Trains a job whose checkpoints are in `/checkpoints/<name>`.
    pub(crate) fn start(job: Job, name: &str, executors: &str) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let (output, words) = (files.path().join("stdout"), files.path().join("stderr"));
        let mut command = job.command(&["--executors", executors]);
        let child = command.stdout(File::create(&output)?).stderr(File::create(&words)?).spawn()?;
        Ok(Self { child, output, words, name: name.into(), last_step: None, _files: files, _job: job })
    }

    /// What it has said on standard error.
    pub(crate) fn words(&self) -> Result<String> {
        Ok(fs::read_to_string(&self.words)?)
    }

    /// Awaits words on standard error.
    pub(crate) fn until_it_says(&self, wanted: &str) -> Result<()> {
        eventually(&format!("{wanted:?} on standard error"), TRAINING, || {
            Ok(self.words()?.contains(wanted).then_some(()))
        })
        .with_context(|| self.words().unwrap_or_default())
    }

    /// Awaits the end; the summary, and the most memory that one executor had at a time, in bytes.
    pub(crate) fn summary_and_peak(mut self) -> Result<(Value, u64)> {
        let mut peak = 0;
        eventually("the end of training", TRAINING, || {
            for executor in process::children(self.child.id())? {
                // It may have ended in this moment.
                peak = peak.max(process::peak_memory(executor).unwrap_or(0));
            }
            Ok(self.child.try_wait()?)
        })?;
        Ok((self.summary()?, peak))
    }

    /// Awaits the end; the summary.
    pub(crate) fn summary(mut self) -> Result<Value> {
        let status: ExitStatus =
            eventually("the end of training", TRAINING, || Ok(self.child.try_wait()?))?;
        let words = self.words()?;
        ensure!(status.success(), "{status}: {words}");
        let output = fs::read_to_string(&self.output)?;
        let last = output.lines().last().with_context(|| format!("no summary: {words}"))?;
        serde_json::from_str(last).with_context(|| format!("no JSON: {last}"))
    }
}

impl Drop for Training {
    fn drop(&mut self) {
        // Its executors see the end of their standard input and leave.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
