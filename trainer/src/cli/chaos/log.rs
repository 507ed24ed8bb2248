//! What executors logged while they were disturbed.

use std::{fs, io, path::Path};

use jiff::Timestamp;
use serde::Deserialize;

use crate::cli::run::process;

/// An update of the weights that an executor did.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Step {
    pub at: Timestamp,
    pub executor: u32,
    /// Updates done, this one included.
    pub number: u64,
}

/// A view that an executor learnt of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    pub at: Timestamp,
    /// Grows with every view.
    pub number: u64,
    /// Ascending.
    pub members: Vec<u32>,
}

/// What all executors logged, each list in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Log {
    pub steps: Vec<Step>,
    pub views: Vec<View>,
    /// When evaluations ended.
    pub evaluations: Vec<Timestamp>,
}

#[derive(Deserialize)]
struct Line {
    timestamp: Timestamp,
    fields: Fields,
    target: String,
}

#[derive(Deserialize)]
struct Fields {
    message: Option<String>,
    step: Option<u64>,
    number: Option<u64>,
    members: Option<String>,
}

impl Log {
    /// Of the executors 0 to `executors`, from their files in `folder`.
    pub(super) fn read(folder: &Path, executors: u32) -> io::Result<Self> {
        let mut log = Self::default();
        for executor in 0..executors {
            let text = match fs::read(process::log(folder, executor)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                text => text?,
            };
            String::from_utf8_lossy(&text).lines().for_each(|line| log.add(executor, line));
        }
        log.steps.sort_by_key(|step| step.at);
        log.views.sort_by_key(|view| view.at);
        log.evaluations.sort();
        Ok(log)
    }

    /// Lines that tell of something else are left out, and so is half a line of a process that was killed.
    fn add(&mut self, executor: u32, line: &str) {
        let Ok(Line { timestamp: at, fields, target }) = serde_json::from_str(line) else { return };
        let Fields { message, step, number, members } = fields;
        match (message.as_deref(), step) {
            (None, Some(number)) if target == crate::executor::STEP_LOG => {
                self.steps.push(Step { at, executor, number })
            }
            (Some("evaluated"), _) => self.evaluations.push(at),
            (Some("view"), _) => {
                let members = members.and_then(|members| serde_json::from_str(&members).ok());
                if let (Some(number), Some(members)) = (number, members) {
                    self.views.push(View { at, number, members });
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_views_and_evaluations_are_found_among_other_lines() {
        let mut log = Log::default();
        let lines = [
            r#"{"timestamp":"2026-01-02T03:04:05.5Z","level":"DEBUG","fields":{"step":7,"loss":2.3,"waited_seconds":0.5},"target":"lockstep::step"}"#,
            r#"{"timestamp":"2026-01-02T03:04:06Z","level":"INFO","fields":{"message":"view","number":3,"members":"[0, 2]","joined":true},"target":"lockstep_trainer::executor"}"#,
            r#"{"timestamp":"2026-01-02T03:04:07Z","level":"INFO","fields":{"message":"evaluated","stage":"Validate","step":7},"target":"lockstep_trainer::executor"}"#,
            r#"{"timestamp":"2026-01-02T03:04:07Z","level":"INFO","fields":{"message":"took over a peer's state","step":6},"target":"lockstep_trainer::executor"}"#,
            r#"{"timestamp":"2026-01-02T03:0"#,
        ];
        lines.iter().for_each(|line| log.add(1, line));
        let at = |text: &str| text.parse().unwrap();
        let expected = Log {
            steps: vec![Step { at: at("2026-01-02T03:04:05.5Z"), executor: 1, number: 7 }],
            views: vec![View { at: at("2026-01-02T03:04:06Z"), number: 3, members: vec![0, 2] }],
            evaluations: vec![at("2026-01-02T03:04:07Z")],
        };
        assert_eq!(log, expected);
    }
}
