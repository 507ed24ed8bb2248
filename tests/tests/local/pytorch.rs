//! PyTorch from PyPI takes what a job leaves behind.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use lockstep_tests::machine;

use crate::lockstep::{Data, Job, text};

/// Why it cannot run here, if it cannot.
pub(crate) fn lacks() -> Option<String> {
    let set = std::env::var_os("LOCKSTEP_PYTORCH_ENV").is_some_and(|folder| !folder.is_empty());
    (!set).then(|| "LOCKSTEP_PYTORCH_ENV is not set (scripts/python-env.sh pytorch prints it)".into())
}

/// The same logits give the same accuracy, and nearly the same loss: PyTorch's sums are in another order.
pub(crate) fn plain_pytorch_loads_a_checkpoint_and_finds_the_same_accuracy(data: &Data) -> Result<()> {
    let summary = Job::new(data)?.set("training.epochs=1");
    let run = summary.run(&["--executors", "2"])?;
    let model = run["modelUri"].as_str().and_then(|uri| uri.strip_prefix("file://")).context("no model")?;
    let python = std::path::PathBuf::from(std::env::var("LOCKSTEP_PYTORCH_ENV")?).join("bin/python");
    let output = Command::new(python)
        .arg(machine::repository().join("tests/python/evaluate_checkpoint.py"))
        .arg(model)
        .arg(data.folder.join("test"))
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    let theirs: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    ensure!(theirs["accuracy"] == run["testAccuracy"], "PyTorch: {theirs}\nours: {run}");
    let difference =
        (theirs["loss"].as_f64().unwrap_or(f64::NAN) - run["testLoss"].as_f64().unwrap_or(0.0)).abs();
    ensure!(difference < 1e-4, "PyTorch: {theirs}\nours: {run}");
    Ok(())
}
