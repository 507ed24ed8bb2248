//! What was found, for people and for programs.

use jiff::Timestamp;
use serde::Serialize;

use crate::{
    checkpoint::{Committed, Damage, JobResult, Manifest},
    course::Cursor,
};

/// Everything below one URI.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Listing {
    pub(super) uri: String,
    /// Whether all objects were read and compared.
    pub(super) verified: bool,
    /// Whether `deleted` are paths that are still there.
    pub(super) only_would_delete: bool,
    pub(super) runs: Vec<Run>,
}

/// One run; `None` where it is not known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Run {
    uri: String,
    /// Whether it has its RESULT.json.
    finished: bool,
    weights_sha256: Option<String>,
    test_accuracy: Option<f64>,
    /// Why its RESULT.json cannot be understood.
    result_damage: Option<String>,
    /// Oldest first.
    checkpoints: Vec<Checkpoint>,
    /// Paths below the run's URI.
    deleted: Vec<String>,
}

/// One committed checkpoint; `None` where it is not known.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Checkpoint {
    name: String,
    step: u64,
    /// The epoch that the step belongs to, counted from 1.
    epoch: Option<u64>,
    time: Option<Timestamp>,
    bytes: u64,
    /// Of the last evaluation before it.
    validation_accuracy: Option<f64>,
    /// Whether it holds the best epoch's weights, of those that are there.
    best: bool,
    damage: Vec<DamagedObject>,
}

#[derive(Debug, Serialize)]
struct DamagedObject {
    object: &'static str,
    problem: String,
}

impl Checkpoint {
    pub(super) fn new(
        committed: Committed,
        manifest: Option<&Manifest>,
        best: bool,
        damage: Vec<Damage>,
    ) -> Self {
        let Committed { id, bytes, modified } = committed;
        let cursor = manifest.map(|manifest| &manifest.cursor);
        Self {
            name: id.to_string(),
            step: id.step,
            epoch: cursor.and_then(epoch),
            // To the second: stores differ in what they keep beyond it.
            time: modified.and_then(|time| {
                let since = time.duration_since(std::time::SystemTime::UNIX_EPOCH).ok()?;
                Timestamp::from_second(since.as_secs().try_into().ok()?).ok()
            }),
            bytes,
            validation_accuracy: cursor.and_then(|cursor| Some(cursor.validation?.accuracy)),
            best,
            damage: damage
                .into_iter()
                .map(|Damage { object, problem }| DamagedObject { object, problem })
                .collect(),
        }
    }

    fn cells(&self) -> [String; 7] {
        let known = |cell: Option<String>| cell.unwrap_or_else(|| "-".into());
        [
            self.name.clone(),
            self.step.to_string(),
            known(self.epoch.map(|epoch| epoch.to_string())),
            known(self.time.map(|time| time.to_string())),
            mebibytes(self.bytes),
            known(self.validation_accuracy.map(|share| format!("{:.2} %", 100.0 * share))),
            if self.best { "best".into() } else { String::new() },
        ]
    }
}

/// Evaluations done tell how many epochs are; a job without them only tells its first one.
fn epoch(cursor: &Cursor) -> Option<u64> {
    let (finished, steps) = (cursor.round - cursor.step, cursor.epoch_sums.steps);
    if finished == 0 {
        return (steps == cursor.step).then_some(1);
    }
    // The sums are over a whole epoch exactly if it is closed.
    Some(if finished * steps == cursor.step { finished } else { finished + 1 })
}

impl Run {
    pub(super) fn new(
        uri: &str,
        result: Option<&JobResult>,
        result_damage: Option<String>,
        checkpoints: Vec<Checkpoint>,
        deleted: Vec<String>,
    ) -> Self {
        Self {
            uri: uri.to_owned(),
            finished: result.is_some(),
            weights_sha256: result.map(|result| result.weights_sha256.clone()),
            test_accuracy: result.and_then(|result| Some(result.test?.accuracy)),
            result_damage,
            checkpoints,
            deleted,
        }
    }

    fn damages(&self) -> impl Iterator<Item = String> {
        let objects = self.checkpoints.iter().flat_map(|checkpoint| {
            let told = |damaged: &DamagedObject| {
                format!("{}/{}/{} {}", self.uri, checkpoint.name, damaged.object, damaged.problem)
            };
            checkpoint.damage.iter().map(told)
        });
        self.result_damage.iter().cloned().chain(objects)
    }

    fn heading(&self) -> String {
        let end = if self.finished { "finished" } else { "not finished" };
        let bytes = self.checkpoints.iter().map(|checkpoint| checkpoint.bytes).sum();
        format!("{}  {end}, {} checkpoints, {}", self.uri, self.checkpoints.len(), mebibytes(bytes))
    }
}

impl Listing {
    pub(super) fn is_damaged(&self) -> bool {
        self.runs.iter().any(|run| run.damages().next().is_some())
    }

    pub(super) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_else(|error| format!("{{\"error\":\"{error}\"}}"))
    }

    pub(super) fn text(&self) -> String {
        if self.runs.is_empty() {
            return format!("no runs below {}", self.uri);
        }
        let mut lines = Vec::new();
        for run in &self.runs {
            lines.push(run.heading());
            let mut rows =
                vec![["CHECKPOINT", "STEP", "EPOCH", "WRITTEN", "SIZE", "VALIDATION", ""].map(String::from)];
            rows.extend(run.checkpoints.iter().map(Checkpoint::cells));
            lines.extend(aligned(&rows).into_iter().map(|line| format!("  {line}")));
            let verb = if self.only_would_delete { "would delete" } else { "deleted" };
            lines.extend(run.deleted.iter().map(|path| format!("  {verb} {path}")));
        }
        let damages: Vec<_> = self.runs.iter().flat_map(Run::damages).collect();
        if self.verified && damages.is_empty() {
            lines.push("every object is what was committed".into());
        }
        lines.extend(damages.into_iter().map(|damage| format!("damaged: {damage}")));
        lines.join("\n")
    }
}

/// Columns as wide as their widest cell: names to the left, figures to the right.
fn aligned(rows: &[[String; 7]]) -> Vec<String> {
    const TO_THE_RIGHT: [bool; 7] = [false, true, true, false, true, true, false];
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 7] = std::array::from_fn(width);
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).zip(TO_THE_RIGHT).map(|((cell, width), right)| match right {
            true => format!("{cell:>width$}"),
            false => format!("{cell:<width$}"),
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        checkpoint::CheckpointId,
        course::{Course, Score, Stage},
    };

    fn checkpoint(step: u64, accuracy: Option<f64>, best: bool, damage: Vec<Damage>) -> Checkpoint {
        let id = CheckpointId { step, evaluated: true };
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_500);
        let committed = Committed { id, bytes: 7 << 20, modified: Some(time) };
        Checkpoint { validation_accuracy: accuracy, ..Checkpoint::new(committed, None, best, damage) }
    }

    fn listing(damage: Vec<Damage>) -> Listing {
        let checkpoints =
            vec![checkpoint(5, None, false, Vec::new()), checkpoint(1000, Some(0.5), true, damage)];
        let run =
            Run::new("file:///c/8f95", None, None, checkpoints, vec!["step-00000001/MANIFEST.json".into()]);
        Listing { uri: "file:///c".into(), verified: true, only_would_delete: true, runs: vec![run] }
    }

    #[test]
    fn a_listing_is_a_table_with_aligned_columns() {
        let wanted = "\
file:///c/8f95  not finished, 2 checkpoints, 14.0 MiB
  CHECKPOINT     STEP  EPOCH  WRITTEN                  SIZE  VALIDATION
  step-00000005     5      -  2023-11-14T22:13:20Z  7.0 MiB           -
  step-00001000  1000      -  2023-11-14T22:13:20Z  7.0 MiB     50.00 %  best
  would delete step-00000001/MANIFEST.json
every object is what was committed";
        assert_eq!(listing(Vec::new()).text(), wanted);
    }

    #[test]
    fn damage_is_told_with_its_object_and_a_program_reads_the_same() {
        let damage = Damage { object: "model.safetensors", problem: "is missing".into() };
        let listing = listing(vec![damage]);
        assert!(listing.is_damaged());
        let line = "damaged: file:///c/8f95/step-00001000/model.safetensors is missing";
        assert_eq!(listing.text().lines().last(), Some(line));
        let json: serde_json::Value = serde_json::from_str(&listing.json()).unwrap();
        let told = &json["runs"][0]["checkpoints"][1];
        assert_eq!((&told["step"], &told["best"]), (&1000.into(), &true.into()));
        assert_eq!(told["damage"][0]["object"], "model.safetensors");
    }

    #[test]
    fn the_epoch_is_told_from_a_cursor_wherever_it_stands() {
        let course = Course {
            training_records: 50,
            validation_records: 10,
            test_records: 0,
            global_batch: 10,
            micro_batch: 10,
            epochs: 4,
            early_stopping: None,
        };
        let mut cursor = Cursor::start();
        while cursor.stage != Stage::Finished {
            cursor = match cursor.stage {
                Stage::Train => course.after_step(cursor, 1.0, 1, 10),
                _ => course.after_evaluation(cursor, Score { loss: 1.0, accuracy: 0.5 }),
            };
            assert_eq!(epoch(&cursor), Some((cursor.step - 1) / 5 + 1), "{cursor:?}");
        }
    }
}
