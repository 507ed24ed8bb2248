//! Names of a run's objects: `step-00001000/{model,optimizer}.safetensors`, `MANIFEST.json`, `RESULT.json`, and the folder
//! `events` of the run log.

use std::{fmt, str::FromStr};

use crate::course::Cursor;

pub(super) const MODEL: &str = "model.safetensors";
pub(super) const OPTIMIZER: &str = "optimizer.safetensors";
pub(super) const MANIFEST: &str = "MANIFEST.json";
pub(super) const RESULT: &str = "RESULT.json";
pub(super) const EVENTS: &str = "events";

const UNEVALUATED: &str = "-unevaluated";

/// Which state of a run a checkpoint holds. Ordered by age.
///
/// A step that closes an epoch has two states: before and after its evaluation on the held-out records.
/// The first is only written when the last executor leaves between the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct CheckpointId {
    /// Optimizer updates done.
    pub step: u64,
    /// Whether the evaluation that belongs to the step is part of the state.
    pub evaluated: bool,
}

impl CheckpointId {
    pub(crate) fn of(cursor: &Cursor) -> Self {
        Self { step: cursor.step, evaluated: cursor.is_evaluated() }
    }

    /// Path of one of its objects, relative to the run's folder.
    pub(super) fn path(self, object: &str) -> String {
        format!("{self}/{object}")
    }
}

impl fmt::Display for CheckpointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step-{:08}{}", self.step, if self.evaluated { "" } else { UNEVALUATED })
    }
}

impl FromStr for CheckpointId {
    type Err = ();

    fn from_str(name: &str) -> Result<Self, ()> {
        let rest = name.strip_prefix("step-").ok_or(())?;
        let (digits, evaluated) = match rest.strip_suffix(UNEVALUATED) {
            Some(digits) => (digits, false),
            None => (rest, true),
        };
        let id = Self { step: digits.parse().map_err(|_| ())?, evaluated };
        (id.to_string() == name).then_some(id).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_sort_by_age() {
        let ids = [(0, true), (390, false), (390, true), (123_456_789, true)]
            .map(|(step, evaluated)| CheckpointId { step, evaluated });
        for id in ids {
            assert_eq!(id.to_string().parse(), Ok(id));
        }
        assert!(ids.is_sorted());
        assert_eq!(ids[2].path(MANIFEST), "step-00000390/MANIFEST.json");
    }

    #[test]
    fn other_names_are_no_checkpoints() {
        for name in
            ["", "step-", "step-390", "step-0000039x", "step-00000390-new", "RESULT.json", "step--0000390"]
        {
            assert_eq!(name.parse::<CheckpointId>(), Err(()), "{name}");
        }
    }
}
