//! Jobs on the TFRecords that TensorFlow writes, without a `dataset.json`.

use std::{path::PathBuf, process::Command};

use anyhow::{Context, Result, ensure};
use lockstep_tests::machine;
use serde_json::Value;

use crate::lockstep::{Data, Job, text};

const BAD_DATA: i32 = 65;
const BAD_SPEC: i32 = 78;
const SHAPE: &str = "height: 32, width: 32, channels: 3, classes: 10";

/// 300 soft pictures in colour that TensorFlow wrote in some form; the same ones in every form.
struct Theirs {
    folder: tempfile::TempDir,
    format: String,
}

impl Theirs {
    fn write(options: &[&str], format: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let python = PathBuf::from(std::env::var("LOCKSTEP_TENSORFLOW_ENV")?).join("bin/python");
        let output = Command::new(python)
            .arg(machine::repository().join("tests/python/tfrecords.py"))
            .arg("write")
            .arg(folder.path())
            .args(["32x32x3", "--pictures"])
            .args(options)
            .output()?;
        ensure!(output.status.success(), "{}", text(&output.stderr));
        Ok(Self { folder, format: format!("data.format={{{format}, {SHAPE}}}") })
    }

    fn job(&self, data: &Data, uri: &str, format: &str) -> Result<Job> {
        let uri = self.folder.path().join(uri).display().to_string();
        Ok(Job::new(data)?
            .set(&format!("data.training.uri={uri}"))
            .set(&format!("data.test.uri={uri}"))
            .set(format))
    }
}

fn weights(summary: &Value) -> Result<&str> {
    summary["weightsSha256"].as_str().context("no weights")
}

pub(crate) fn shards_that_tensorflow_wrote_give_the_same_weights_in_every_form(data: &Data) -> Result<()> {
    let raw = Theirs::write(&[], "encoding: Raw")?;
    let expected = raw.job(data, "theirs-*", &raw.format)?.run(&["--executors", "1"])?;
    let chw = Theirs::write(&["--layout", "CHW", "--compression", "ZLIB"], "encoding: Raw, layout: CHW")?;
    let png = Theirs::write(
        &[
            "--encoding",
            "png",
            "--compression",
            "GZIP",
            "--image",
            "image/encoded",
            "--label",
            "image/class/label",
        ],
        "encoding: Png",
    )?;
    let png_job = png
        .job(data, "", &png.format)?
        .set("data.features={image: image/encoded, label: image/class/label}")
        .set("data.cacheSize=4Mi");
    for (name, job) in [("CHW", chw.job(data, "", &chw.format)?), ("PNG", png_job)] {
        let found = job.run(&["--executors", "2"])?;
        ensure!(weights(&found)? == weights(&expected)?, "{name}: {found}\nraw: {expected}");
    }
    Ok(())
}

pub(crate) fn images_in_another_layout_than_said_are_refused_with_what_was_measured(
    data: &Data,
) -> Result<()> {
    let chw = Theirs::write(&["--layout", "CHW"], "encoding: Raw, layout: HWC")?;
    let (code, words) = chw.job(data, "", &chw.format)?.fail(&["--executors", "2"])?;
    ensure!(code == BAD_DATA, "exit code {code}: {words}");
    for part in [
        "look like CHW",
        "neighbouring pixels differ by",
        "set data.format.layout: CHW",
        "data.layoutCheck: Warn",
    ] {
        ensure!(words.contains(part), "no {part:?} in: {words}");
    }
    // A user who knows better has the last word.
    chw.job(data, "", &chw.format)?.set("data.layoutCheck=Warn").run(&["--executors", "1"])?;
    Ok(())
}

pub(crate) fn compressed_shards_larger_than_the_cache_are_refused_with_the_remedy(data: &Data) -> Result<()> {
    let packed = Theirs::write(&["--compression", "GZIP"], "encoding: Raw")?;
    // Twice 300 images of 3 KiB.
    let job = packed.job(data, "", &packed.format)?.set("data.cacheSize=1Mi");
    let (code, words) = job.fail(&["--executors", "1"])?;
    ensure!(code == BAD_SPEC && words.contains("cacheSize"), "exit code {code}: {words}");
    Ok(())
}
