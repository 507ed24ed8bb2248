//! The only executor killed at the moments at which a job could end badly: each time it starts again and ends as it should.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use lockstep_crds::executor::ExecutorReport;
use lockstep_tests::machine;
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    executors::{Executor, write_job},
    lockstep::Data,
};

/// A moment lasts a millisecond or so: it may take some runs to hit it.
const TRIES: usize = 40;
const DEADLINE: Duration = Duration::from_secs(300);
const STEPS: u64 = 14;

/// What a run's folder holds, by path.
type Files = BTreeSet<String>;

fn manifest(step: u64) -> String {
    format!("step-{step:08}/MANIFEST.json")
}

fn model(step: u64) -> String {
    format!("step-{step:08}/model.safetensors")
}

fn has_result(files: &Files) -> bool {
    files.contains("RESULT.json")
}

pub(crate) fn a_job_killed_at_its_end_or_while_it_prunes_ends_with_the_same_result(
    data: &Data,
) -> Result<()> {
    let undisturbed = tempfile::tempdir()?;
    let (expected, files) = finish(data, undisturbed.path())?;
    type Moment = (&'static str, fn(&Files) -> bool);
    let moments: [Moment; 5] = [
        ("while the final checkpoint is written", |files| {
            files.contains(&model(STEPS)) && !files.contains(&manifest(STEPS)) && !has_result(files)
        }),
        ("after the final checkpoint, before the test evaluation", |files| {
            files.contains(&manifest(STEPS)) && !has_result(files)
        }),
        ("after the final checkpoint's pruning, before RESULT.json", |files| {
            files.contains(&manifest(STEPS)) && !files.contains(&manifest(STEPS - 2)) && !has_result(files)
        }),
        ("after RESULT.json", has_result),
        ("while an old checkpoint is removed", |files| {
            (1..STEPS).any(|step| {
                let newer = (step + 1..=STEPS).any(|newer| files.contains(&manifest(newer)));
                newer && files.contains(&model(step)) && !files.contains(&manifest(step))
            }) && !has_result(files)
        }),
    ];
    for (moment, holds) in moments {
        let folder = killed(data, holds).with_context(|| moment.to_owned())?;
        let (result, after) = finish(data, folder.path()).with_context(|| format!("killed {moment}"))?;
        ensure!(result == expected, "killed {moment}: {result}\nundisturbed: {expected}");
        ensure!(after == files, "killed {moment}: {after:?}\nundisturbed: {files:?}");
    }
    Ok(())
}

fn start(data: &Data, folder: &Path) -> Result<Executor> {
    let manifest = machine::repository().join("examples/demo.yaml");
    write_job(&manifest, data, folder, 1, |spec: &mut Value| {
        spec["training"]["epochs"] = json!(1);
        spec["checkpoint"]["everySteps"] = json!(2);
        spec["checkpoint"]["keep"] = json!(1);
        spec["checkpoint"]["keepBest"] = json!(false);
    })?;
    let lockstep = Command::new(machine::programs().join("lockstep"));
    Executor::start(lockstep, 0, folder, &[])
}

/// The folder of a job whose executor was killed while its files were such, and it was still alive.
fn killed(data: &Data, holds: impl Fn(&Files) -> bool) -> Result<tempfile::TempDir> {
    for _ in 0..TRIES {
        let folder = tempfile::tempdir()?;
        let mut executor = start(data, folder.path())?;
        let began = Instant::now();
        while executor.runs()? {
            ensure!(began.elapsed() < DEADLINE, "it neither ended nor came to this moment");
            if !holds(&files(folder.path())) {
                continue;
            }
            // It may have gone on meanwhile.
            executor.signal(Signal::STOP)?;
            if holds(&files(folder.path())) {
                executor.signal(Signal::KILL)?;
                return Ok(folder);
            }
            executor.signal(Signal::CONT)?;
        }
    }
    bail!("not hit in {TRIES} runs")
}

/// Starts the executor again, or for the first time; RESULT.json, and what the run's folder then holds.
fn finish(data: &Data, folder: &Path) -> Result<(Value, Files)> {
    let reports: Vec<ExecutorReport> = start(data, folder)?.reports()?;
    ensure!(reports.last().is_some_and(|last| last.result.is_some()), "it ended without a result");
    let run = run_folder(folder).context("no run")?;
    let mut files = files(folder);
    // The run log has a file for every start.
    files.retain(|file| !file.starts_with("events"));
    Ok((serde_json::from_slice(&fs::read(run.join("RESULT.json"))?)?, files))
}

fn run_folder(folder: &Path) -> Option<std::path::PathBuf> {
    Some(fs::read_dir(folder.join("checkpoints")).ok()?.next()?.ok()?.path())
}

/// Paths within the run's folder; what goes while it is listed may be among them or not.
fn files(folder: &Path) -> Files {
    let mut files = Files::new();
    let Some(run) = run_folder(folder) else { return files };
    for entry in fs::read_dir(run).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        match fs::read_dir(entry.path()) {
            Ok(inner) => files
                .extend(inner.flatten().map(|file| format!("{name}/{}", file.file_name().to_string_lossy()))),
            Err(_) => drop(files.insert(name)),
        }
    }
    files
}

/// Killed after every evaluation, a job with patience stops at the same step.
pub(crate) fn early_stopping_survives_a_kill_after_every_evaluation(data: &Data) -> Result<()> {
    let job = |folder: &Path| {
        let manifest = machine::repository().join("examples/demo.yaml");
        write_job(&manifest, data, folder, 1, |spec: &mut Value| {
            spec["training"]["epochs"] = json!(60);
            // On so few images it soon gets worse.
            spec["training"]["earlyStopping"] = json!({"metric": "ValidationLoss", "patience": 2});
            spec["checkpoint"]["everySteps"] = json!(5);
        })
    };
    let run = |folder: &Path| {
        let lockstep = Command::new(machine::programs().join("lockstep"));
        Executor::start(lockstep, 0, folder, &[])
    };
    let result = |reports: Vec<ExecutorReport>| {
        let last = reports.into_iter().next_back().context("it said nothing")?;
        let result = last.result.context("no result")?;
        anyhow::Ok((result.steps, result.weights_sha256, last.early_stopped))
    };
    let undisturbed = tempfile::tempdir()?;
    job(undisturbed.path())?;
    let expected = result(run(undisturbed.path())?.reports()?)?;
    ensure!(expected.2 && expected.0 < 60 * STEPS, "it did not stop early: {expected:?}");

    let disturbed = tempfile::tempdir()?;
    job(disturbed.path())?;
    let (mut evaluated, mut kills) = (0, 0);
    let last = loop {
        let mut executor = run(disturbed.path())?;
        let began = Instant::now();
        let ended = loop {
            ensure!(began.elapsed() < DEADLINE, "it hangs after {kills} kills");
            if !executor.runs()? {
                break true;
            }
            let report = executor.latest()?;
            if report.is_some_and(|report| report.epoch > evaluated && report.result.is_none()) {
                evaluated += 1;
                executor.signal(Signal::KILL)?;
                break false;
            }
            sleep(Duration::from_millis(5));
        };
        if ended {
            break result(executor.reports()?)?;
        }
        kills += 1;
    };
    println!("{kills} kills; stopped after step {}", last.0);
    ensure!(kills >= 3 && last == expected, "{kills} kills: {last:?}\nundisturbed: {expected:?}");
    Ok(())
}
