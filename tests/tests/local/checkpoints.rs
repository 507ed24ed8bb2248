//! `lockstep checkpoints` on what a job has left.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::lockstep::{Data, Job, lockstep, text};

const DAMAGED: i32 = 65;

/// A job that keeps many checkpoints, trained to its end; the summary.
fn trained(data: &Data) -> Result<(Job, Value)> {
    let job = Job::new(data)?.set("checkpoint.keep=4");
    let summary = job.run(&["--executors", "2"])?;
    Ok((job, summary))
}

/// Of `lockstep checkpoints` on the job's folder: exit code, standard output, standard error.
fn checkpoints(job: &Job, options: &[&str]) -> Result<(Option<i32>, String, String)> {
    let folder = job.folder.path().join("checkpoints");
    let output = lockstep(["checkpoints".as_ref(), folder.as_os_str()]).args(options).output()?;
    Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
}

/// The only run in the JSON that it prints.
fn run(job: &Job, options: &[&str]) -> Result<Value> {
    let (code, output, words) = checkpoints(job, &[&["--json"], options].concat())?;
    ensure!(code == Some(0), "{options:?}: exit code {code:?}: {output}{words}");
    let listing: Value = serde_json::from_str(&output)?;
    ensure!(listing["runs"].as_array().is_some_and(|runs| runs.len() == 1), "{listing}");
    Ok(listing["runs"][0].clone())
}

fn names(run: &Value) -> Vec<String> {
    let checkpoints = run["checkpoints"].as_array().into_iter().flatten();
    checkpoints.filter_map(|checkpoint| Some(checkpoint["name"].as_str()?.to_owned())).collect()
}

pub(crate) fn checkpoints_are_listed_with_what_their_run_says_of_them(data: &Data) -> Result<()> {
    let (job, summary) = trained(data)?;
    let listed = run(&job, &[])?;
    ensure!(names(&listed) == job.checkpoints()?, "{listed}");
    ensure!(listed["finished"] == true && listed["weightsSha256"] == summary["weightsSha256"], "{listed}");
    let newest = listed["checkpoints"].as_array().and_then(|all| all.last()).context("no checkpoint")?;
    ensure!(
        newest["step"] == summary["steps"] && newest["epoch"] == summary["epochs"],
        "{newest}\n{summary}"
    );
    ensure!(newest["validationAccuracy"] == summary["validationAccuracy"], "{newest}\n{summary}");
    ensure!(newest["time"].is_string() && newest["bytes"].as_u64() > Some(1000), "{newest}");
    let best = listed["checkpoints"].as_array().into_iter().flatten().filter(|one| one["best"] == true);
    ensure!(best.count() == 1, "not one is the best: {listed}");

    let (_, table, _) = checkpoints(&job, &[])?;
    for name in names(&listed) {
        ensure!(table.contains(&name), "{name} is not in the table:\n{table}");
    }
    Ok(())
}

/// A finished run with a damaged file would otherwise show only when somebody needs it.
pub(crate) fn a_damaged_or_missing_object_is_found_and_named(data: &Data) -> Result<()> {
    let (job, _) = trained(data)?;
    let (code, words, _) = checkpoints(&job, &["--verify"])?;
    ensure!(code == Some(0) && words.contains("every object"), "exit code {code:?}: {words}");
    let name = job.checkpoints()?.pop().context("no checkpoint")?;
    let folder =
        fs::read_dir(job.folder.path().join("checkpoints"))?.next().context("no run")??.path().join(name);
    let flip = |path: &Path, place: usize| -> Result<()> {
        let mut bytes = fs::read(path)?;
        bytes[place] ^= 1;
        Ok(fs::write(path, bytes)?)
    };
    let found = |wanted: &[&str]| -> Result<()> {
        let (code, words, errors) = checkpoints(&job, &["--verify"])?;
        ensure!(code == Some(DAMAGED), "exit code {code:?}: {words}{errors}");
        let damages: Vec<_> = words.lines().filter(|line| line.starts_with("damaged: ")).collect();
        ensure!(damages.len() == 1, "{words}");
        let uri = format!("file://{}/", folder.display());
        for part in wanted.iter().chain([&uri.as_str()]) {
            ensure!(damages[0].contains(part), "no {part:?} in {damages:?}");
        }
        Ok(())
    };
    for object in ["model.safetensors", "optimizer.safetensors"] {
        let path = folder.join(object);
        let whole = fs::read(&path)?;
        flip(&path, whole.len() / 2)?;
        found(&[object, "sha256"])?;
        fs::remove_file(&path)?;
        found(&[object, "is missing"])?;
        fs::write(&path, whole)?;
    }
    // Of a manifest in which one digit of a sum differs only the state's hash can know.
    let path = folder.join("MANIFEST.json");
    let whole = fs::read(&path)?;
    let place = text(&whole).find("\"correct\": ").context("no sums in the manifest")?;
    flip(&path, place + "\"correct\": ".len())?;
    found(&["MANIFEST.json", "stateHash"])?;
    fs::write(&path, whole)?;
    let (code, words, _) = checkpoints(&job, &["--verify"])?;
    ensure!(code == Some(0), "exit code {code:?}: {words}");
    Ok(())
}

pub(crate) fn pruning_keeps_what_it_is_told_to_and_a_dry_run_keeps_all(data: &Data) -> Result<()> {
    let (job, summary) = trained(data)?;
    let before = job.checkpoints()?;
    ensure!(before.len() >= 4, "{before:?}");
    let best = run(&job, &[])?["checkpoints"]
        .as_array()
        .and_then(|all| all.iter().find(|one| one["best"] == true))
        .and_then(|one| Some(one["name"].as_str()?.to_owned()))
        .context("no best")?;
    let prune = ["--prune", "--keep", "1", "--keep-best"];
    let would = run(&job, &[&prune[..], &["--dry-run"]].concat())?;
    ensure!(job.checkpoints()? == before, "a dry run deleted");
    let done = run(&job, &prune)?;
    ensure!(done["deleted"] == would["deleted"], "{done}\n{would}");
    let deleted = done["deleted"].as_array().context("nothing was deleted")?;
    ensure!(deleted[0].as_str().is_some_and(|path| path.ends_with("MANIFEST.json")), "{deleted:?}");
    let newest = before.last().context("no checkpoint")?.clone();
    let mut wanted = vec![best, newest];
    wanted.dedup();
    ensure!(job.checkpoints()? == wanted && names(&done) == wanted, "{wanted:?}: {done}");
    // The run is as finished as before.
    let again = job.run(&["--executors", "1"])?;
    ensure!(
        again["alreadyFinished"] == true && again["weightsSha256"] == summary["weightsSha256"],
        "{again}"
    );
    Ok(())
}
