//! `lockstep analyze` as users run it: what it prints, where it writes, and what it ends with.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use lockstep_tests::lockstep::{Data, lockstep, text};
use serde_json::Value;

pub(crate) fn one_process_and_parts_write_the_same_report(data: &Data) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let splits = ["train", "test"].map(|split| data.folder.join(split).display().to_string());
    let file = |name: &str| folder.path().join(name).display().to_string();
    let run = |arguments: &[&str]| -> Result<String> {
        let output = lockstep(["analyze"]).args(&splits).args(arguments).output()?;
        ensure!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        Ok(text(&output.stdout))
    };
    let whole = run(&["--json", &file("whole.json"), "--html", &file("whole.html")])?;
    let lines: Vec<_> = whole.lines().collect();
    ensure!(lines.len() <= 40 && lines.iter().all(|line| line.chars().count() <= 100), "too large: {whole}");
    for part in ["2/3", "0/3", "1/3"] {
        run(&["--part", part, "--partials", &file("partials"), "--threads", "1"])?;
    }
    let merge = ["--merge", "3", "--wait", "--partials", &file("partials")];
    let merged =
        run(&[&merge[..], &["--json", &file("merged.json"), "--html", &file("merged.html")]].concat())?;
    ensure!(merged == whole, "another summary: {merged}");
    for kind in ["json", "html"] {
        let read = |name: &str| fs::read(file(&format!("{name}.{kind}")));
        ensure!(read("whole")? == read("merged")?, "another {kind}");
    }
    let report: Value = serde_json::from_slice(&fs::read(file("whole.json"))?)?;
    ensure!(report["version"] == 1 && report["splits"][0]["name"] == "train", "{report}");
    Ok(())
}

pub(crate) fn missing_parts_are_named(data: &Data) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let train = data.folder.join("train");
    let partials = folder.path().join("partials");
    let run = |arguments: &[&str]| {
        lockstep(["analyze"]).arg(&train).arg("--partials").arg(&partials).args(arguments).output()
    };
    ensure!(run(&["--part", "1/3"])?.status.success());
    let output = run(&["--merge", "3"])?;
    let words = text(&output.stderr);
    ensure!(output.status.code() == Some(1) && words.contains("--part 0/3, --part 2/3"), "{words}");
    Ok(())
}

pub(crate) fn a_flipped_bit_is_told_and_fails_only_where_that_was_asked_for(data: &Data) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = data.copy(folder.path())?;
    let train = data.folder.join("train");
    let shard = fs::read_dir(&train)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "tfrecord"))
        .context("no shard")?;
    let mut bytes = fs::read(&shard)?;
    bytes[100] ^= 1;
    fs::write(&shard, bytes)?;
    let run = |arguments: &[&str]| lockstep(["analyze"]).arg(&train).args(arguments).output();
    let told = run(&[])?;
    ensure!(told.status.success(), "{}", text(&told.stderr));
    ensure!(
        text(&told.stdout).contains("1 record unreadable: checksum of a record's data ×1"),
        "{}",
        text(&told.stdout)
    );
    ensure!(run(&["--fail-on", "leakage,conflicts"])?.status.success(), "failed on what was not asked for");
    ensure!(run(&["--fail-on", "leakage,corrupt"])?.status.code() == Some(65), "did not fail");
    Ok(())
}
