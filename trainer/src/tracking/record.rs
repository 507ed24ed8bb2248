//! One line of the run log.
//!
//! What stands outside `observed` is a function of (job, step): the same whoever wrote the line, and however often the step was
//! computed. `observed` holds the rest: when, by whom, how fast, with whom.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// Something that happened in a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Record {
    /// Optimizer updates done when it happened.
    pub step: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
    /// What is no function of (job, step).
    pub observed: Observed,
}

/// What happened. Losses are means per image, in nats; accuracies 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub(crate) enum Event {
    /// An optimizer update: the loss of its batch before it, and its learning rate.
    Step {
        #[serde(with = "number")]
        loss: f64,
        #[serde(with = "number")]
        learning_rate: f64,
    },
    /// The end of an epoch, counted from 1: means over its steps, each before its update.
    Epoch {
        epoch: u32,
        #[serde(with = "number")]
        loss: f64,
        #[serde(with = "number")]
        accuracy: f64,
    },
    /// An evaluation on the held-out records.
    Validation {
        epoch: u32,
        #[serde(with = "number")]
        loss: f64,
        #[serde(with = "number")]
        accuracy: f64,
    },
    /// A checkpoint was committed: its folder beside the run log.
    Checkpoint { checkpoint: String },
    /// Executors train together from here on; with whom is in `observed`.
    View,
    /// The evaluation on the test data.
    Test {
        #[serde(with = "number")]
        loss: f64,
        #[serde(with = "number")]
        accuracy: f64,
    },
    /// RESULT.json was written.
    Result { weights_sha256: String, checkpoint: String },
}

/// What is no function of (job, step).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Observed {
    /// When, by the clock of the executor.
    pub time: Timestamp,
    /// Index of the executor.
    pub executor: u32,
    /// Images all executors train on in a second, smoothed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub images_per_second: Option<f64>,
    /// Of [`Event::View`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub view: Option<ViewObserved>,
}

/// Who trains together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) struct ViewObserved {
    /// Number of the view.
    pub number: u64,
    /// Indices of its members, ascending.
    pub members: Vec<u32>,
    /// Members of the view before that are missing.
    pub lost: Vec<u32>,
}

impl Observed {
    /// Now, to the millisecond.
    pub(crate) fn now(executor: u32) -> Self {
        let now = Timestamp::now();
        let time = Timestamp::from_millisecond(now.as_millisecond()).unwrap_or(now);
        Self { time, executor, images_per_second: None, view: None }
    }
}

/// What a reader keeps one record of; in the order of a run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    step: u64,
    /// Place of its kind among those of one step.
    kind: u8,
    /// A step may meet several views, and be that of two checkpoints.
    which: Option<ViewObserved>,
    checkpoint: Option<String>,
}

impl Record {
    pub(crate) fn key(&self) -> Key {
        let kind = match self.event {
            Event::Step { .. } => 0,
            Event::Epoch { .. } => 1,
            Event::Validation { .. } => 2,
            Event::Checkpoint { .. } => 3,
            Event::View => 4,
            Event::Test { .. } => 5,
            Event::Result { .. } => 6,
        };
        let checkpoint = match &self.event {
            Event::Checkpoint { checkpoint } => Some(checkpoint.clone()),
            _ => None,
        };
        Key { step: self.step, kind, which: self.observed.view.clone(), checkpoint }
    }

    /// Whether it is one of the many of which some may be missing.
    pub(crate) fn is_step(&self) -> bool {
        matches!(self.event, Event::Step { .. })
    }
}

/// JSON knows no NaN and no infinity: they are null, which is read as NaN.
mod number {
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        // serde_json writes null for what is not finite.
        serializer.serialize_f64(*value)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(event: Event) -> Record {
        let time = Timestamp::from_millisecond(1_764_158_400_250).unwrap();
        Record {
            step: 7,
            event,
            observed: Observed { time, executor: 1, images_per_second: None, view: None },
        }
    }

    /// The format that people and other programs read.
    #[test]
    fn a_record_is_one_flat_object_with_what_was_observed_apart() {
        let mut step = record(Event::Step { loss: 2.5, learning_rate: 0.001 });
        step.observed.images_per_second = Some(800.5);
        assert_eq!(
            serde_json::to_string(&step).unwrap(),
            r#"{"step":7,"kind":"step","loss":2.5,"learningRate":0.001,"observed":{"time":"2025-11-26T12:00:00.25Z","executor":1,"imagesPerSecond":800.5}}"#
        );
        let mut view = record(Event::View);
        view.observed.view = Some(ViewObserved { number: 3, members: vec![1, 2], lost: vec![0] });
        assert_eq!(
            serde_json::to_string(&view).unwrap(),
            r#"{"step":7,"kind":"view","observed":{"time":"2025-11-26T12:00:00.25Z","executor":1,"view":{"number":3,"members":[1,2],"lost":[0]}}}"#
        );
    }

    #[test]
    fn a_loss_that_is_no_number_is_null() {
        let text = serde_json::to_string(&record(Event::Test { loss: f64::NAN, accuracy: 0.1 })).unwrap();
        assert!(text.contains(r#""loss":null"#), "{text}");
        let Event::Test { loss, accuracy } = serde_json::from_str::<Record>(&text).unwrap().event else {
            panic!("{text}")
        };
        assert!(loss.is_nan() && accuracy == 0.1);
    }
}
