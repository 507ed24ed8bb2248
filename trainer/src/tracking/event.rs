//! TensorBoard's event files: `tensorflow.Event` messages in TFRecord framing.
//!
//! Source: TensorFlow, `tensorflow/core/util/event.proto` and `tensorflow/core/framework/summary.proto`. What a reader does
//! with `SessionLog`: TensorBoard, `backend/event_processing/event_accumulator.py`, `_MaybePurgeOrphanedData`.

use lockstep_records::framing;
use prost::Message;

use super::record::{self, Record};

/// TensorBoard heeds [`SessionLog`] from this version on.
const FILE_VERSION: &str = "brain.Event:2";

#[derive(Clone, PartialEq, Message)]
struct Event {
    /// Seconds since 1970.
    #[prost(double, tag = "1")]
    wall_time: f64,
    #[prost(int64, tag = "2")]
    step: i64,
    #[prost(oneof = "What", tags = "3, 5, 7")]
    what: Option<What>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum What {
    #[prost(string, tag = "3")]
    FileVersion(String),
    #[prost(message, tag = "5")]
    Summary(Summary),
    #[prost(message, tag = "7")]
    SessionLog(SessionLog),
}

#[derive(Clone, PartialEq, Message)]
struct SessionLog {
    #[prost(enumeration = "SessionStatus", tag = "1")]
    status: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum SessionStatus {
    Unspecified = 0,
    Start = 1,
}

#[derive(Clone, PartialEq, Message)]
struct Summary {
    #[prost(message, repeated, tag = "1")]
    value: Vec<Value>,
}

#[derive(Clone, PartialEq, Message)]
struct Value {
    #[prost(string, tag = "1")]
    tag: String,
    /// One of a oneof, whose other members we never write.
    #[prost(float, optional, tag = "2")]
    simple_value: Option<f32>,
}

/// A part of an event file with the scalars of `records`.
///
/// One that `begins` says that everything before it is overtaken: readers drop it, and take what follows instead.
pub(crate) fn encode(begins: bool, wall_time: f64, records: &[Record]) -> Vec<u8> {
    let mut part = Vec::new();
    let mut add = |event: Event| framing::append(&event.encode_to_vec(), &mut part);
    add(Event { wall_time, step: 0, what: Some(What::FileVersion(FILE_VERSION.to_owned())) });
    if begins {
        let status = SessionStatus::Start.into();
        add(Event { wall_time, step: 0, what: Some(What::SessionLog(SessionLog { status })) });
    }
    records.iter().filter_map(summary).for_each(add);
    part
}

fn summary(record: &Record) -> Option<Event> {
    let scalars = scalars(record);
    if scalars.is_empty() {
        return None;
    }
    let value = scalars
        .into_iter()
        .map(|(tag, value)| Value { tag: tag.to_owned(), simple_value: Some(value as f32) })
        .collect();
    Some(Event {
        wall_time: record.observed.time.as_millisecond() as f64 / 1e3,
        step: i64::try_from(record.step).unwrap_or(i64::MAX),
        what: Some(What::Summary(Summary { value })),
    })
}

fn scalars(record: &Record) -> Vec<(&'static str, f64)> {
    use record::Event;
    match record.event {
        Event::Step { loss, learning_rate } => {
            let rate = record.observed.images_per_second.map(|rate| ("train/images_per_second", rate));
            [("train/loss", loss), ("train/learning_rate", learning_rate)].into_iter().chain(rate).collect()
        }
        Event::Epoch { epoch: _, loss, accuracy } => {
            vec![("train/epoch_loss", loss), ("train/epoch_accuracy", accuracy)]
        }
        Event::Validation { epoch: _, loss, accuracy } => {
            vec![("validation/loss", loss), ("validation/accuracy", accuracy)]
        }
        Event::Test { loss, accuracy } => vec![("test/loss", loss), ("test/accuracy", accuracy)],
        Event::Checkpoint { .. } | Event::View | Event::Result { .. } => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tracking::strategies;

    fn decode(part: &[u8]) -> Vec<Event> {
        let mut frames = framing::Frames::new(part);
        let mut events = Vec::new();
        while let Some(data) = frames.next_record().unwrap() {
            events.push(Event::decode(data).unwrap());
        }
        events
    }

    proptest! {
        #[test]
        fn every_scalar_is_in_the_part_with_its_step(
            records in prop::collection::vec(strategies::record(1 << 40), 0..20),
            begins in any::<bool>(),
        ) {
            let events = decode(&encode(begins, 1.5, &records));
            prop_assert_eq!(&events[0].what, &Some(What::FileVersion("brain.Event:2".into())));
            let start = Some(What::SessionLog(SessionLog { status: 1 }));
            prop_assert_eq!(events.get(1).is_some_and(|event| event.what == start), begins);
            let found: Vec<_> = events[1 + usize::from(begins)..]
                .iter()
                .flat_map(|event| match &event.what {
                    Some(What::Summary(summary)) => summary.value.iter().map(|value| {
                        (event.step, value.tag.clone(), value.simple_value.map(f32::to_bits))
                    }).collect(),
                    _ => vec![],
                })
                .collect();
            let wanted: Vec<_> = records
                .iter()
                .flat_map(|record| scalars(record).into_iter().map(|(tag, value)| {
                    (record.step as i64, tag.to_owned(), Some((value as f32).to_bits()))
                }))
                .collect();
            prop_assert_eq!(found, wanted);
        }
    }

    /// The first bytes of every file that TensorFlow's own writer makes: field 1 a double, field 3 the version.
    #[test]
    fn the_version_is_encoded_as_tensorflow_encodes_it() {
        let part = encode(false, 1.0, &[]);
        let data = framing::decode(&part).unwrap();
        assert_eq!(data, b"\x09\x00\x00\x00\x00\x00\x00\xf0\x3f\x1a\x0dbrain.Event:2");
    }
}
