//! What a run tells besides its checkpoints, as others read it: the run log as JSON lines, the event files by TensorBoard itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::{lockstep::text, machine};

/// Scalars of TensorBoard, and where the run log has them: kind and field.
const SCALARS: [(&str, &str, &str); 8] = [
    ("train/loss", "step", "loss"),
    ("train/learning_rate", "step", "learningRate"),
    ("train/epoch_loss", "epoch", "loss"),
    ("train/epoch_accuracy", "epoch", "accuracy"),
    ("validation/loss", "validation", "loss"),
    ("validation/accuracy", "validation", "accuracy"),
    ("test/loss", "test", "loss"),
    ("test/accuracy", "test", "accuracy"),
];

/// Why TensorBoard cannot run here, if it cannot.
pub fn lacks() -> Option<String> {
    let set = std::env::var_os("LOCKSTEP_TENSORFLOW_ENV").is_some_and(|folder| !folder.is_empty());
    (!set).then(|| "LOCKSTEP_TENSORFLOW_ENV is not set (scripts/python-env.sh tensorflow prints it)".into())
}

/// The lines of a run log.
pub struct RunLog(Vec<Value>);

impl RunLog {
    /// Reads all parts in a folder `events`.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut parts: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(folder).with_context(|| format!("no run log in {}", folder.display()))? {
            parts.push(entry?.path());
        }
        parts.sort();
        let mut lines = Vec::new();
        for part in parts {
            for line in fs::read_to_string(&part)?.lines() {
                lines
                    .push(serde_json::from_str(line).with_context(|| format!("{}: {line}", part.display()))?);
            }
        }
        Ok(Self(lines))
    }

    /// The lines of a kind by step. What was written twice must be the same, but for what was observed.
    pub fn by_step(&self, kind: &str) -> Result<BTreeMap<u64, Value>> {
        let mut found: BTreeMap<u64, Value> = BTreeMap::new();
        for line in self.lines(kind) {
            let mut line = line.clone();
            line.as_object_mut().context("no object")?.remove("observed").context("nothing observed")?;
            let step = line["step"].as_u64().with_context(|| format!("no step: {line}"))?;
            if let Some(other) = found.insert(step, line.clone()) {
                ensure!(other == line, "two of one step: {other} and {line}");
            }
        }
        Ok(found)
    }

    /// The lines of a kind as they were written.
    pub fn lines<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.0.iter().filter(move |line| line["kind"] == kind)
    }
}

/// Checks that TensorBoard reads from the event files in `folder` exactly what `log` has: every step once, in order, with the
/// same values; and that both have all of `steps` steps.
pub fn ensure_tensorboard_shows(folder: &Path, log: &RunLog, steps: u64) -> Result<()> {
    let script = machine::repository().join("tests/python/tensorboard_scalars.py");
    let python = PathBuf::from(std::env::var("LOCKSTEP_TENSORFLOW_ENV")?).join("bin/python");
    let output = Command::new(python).arg(script).arg(folder).output()?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    let scalars: Value = serde_json::from_slice(&output.stdout)?;
    for (tag, kind, field) in SCALARS {
        // TensorBoard's values are single precision.
        let single = |value: &Value| value.as_f64().map(|value| value as f32);
        let logged: Vec<_> =
            log.by_step(kind)?.into_iter().map(|(step, line)| (Some(step), single(&line[field]))).collect();
        let shown = scalars[tag].as_array().with_context(|| format!("no {tag}"))?;
        let shown: Vec<_> = shown.iter().map(|point| (point[0].as_u64(), single(&point[2]))).collect();
        ensure!(
            shown == logged && logged.iter().all(|(_, value)| value.is_some()),
            "{tag}\nin TensorBoard: {shown:?}\nin the run log: {logged:?}"
        );
    }
    let seen: Vec<u64> = log.by_step("step")?.into_keys().collect();
    ensure!(seen.iter().copied().eq(1..=steps), "not every step is told: {seen:?}");
    let rates = scalars["train/images_per_second"].as_array().context("no images/s")?;
    ensure!(
        !rates.is_empty() && rates.iter().all(|point| point[2].as_f64() > Some(0.0)),
        "images/s: {rates:?}"
    );
    Ok(())
}
