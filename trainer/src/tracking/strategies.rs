//! Made-up records for property tests.

use jiff::Timestamp;
use proptest::prelude::*;

use super::{Event, Observed, Record, ViewObserved};

fn number() -> impl Strategy<Value = f64> {
    prop_oneof![any::<f32>().prop_map(f64::from), -1e3..1e3_f64].prop_filter("finite", |x| x.is_finite())
}

fn event() -> impl Strategy<Value = Event> {
    let epoch = 1..1000_u32;
    prop_oneof![
        (number(), number()).prop_map(|(loss, learning_rate)| Event::Step { loss, learning_rate }),
        (epoch.clone(), number(), number()).prop_map(|(epoch, loss, accuracy)| Event::Epoch {
            epoch,
            loss,
            accuracy
        }),
        (epoch, number(), number()).prop_map(|(epoch, loss, accuracy)| Event::Validation {
            epoch,
            loss,
            accuracy
        }),
        (number(), number()).prop_map(|(loss, accuracy)| Event::Test { loss, accuracy }),
        "[a-z0-9-]{1,20}".prop_map(|checkpoint| Event::Checkpoint { checkpoint }),
        Just(Event::View),
        ("[0-9a-f]{64}", "[a-z0-9-]{1,20}")
            .prop_map(|(weights_sha256, checkpoint)| Event::Result { weights_sha256, checkpoint }),
    ]
}

fn view() -> impl Strategy<Value = ViewObserved> {
    let members = prop::collection::vec(0..1024_u32, 0..4);
    (any::<u64>(), members.clone(), members).prop_map(|(number, members, lost)| ViewObserved {
        number,
        members,
        lost,
    })
}

/// Any record of a step below `steps`.
pub(crate) fn record(steps: u64) -> impl Strategy<Value = Record> {
    let observed = (0..4_000_000_000_000_i64, 0..1024_u32, prop::option::of(number()), view());
    (0..steps, event(), observed).prop_map(|(step, event, (time, executor, images_per_second, view))| {
        let time = Timestamp::from_millisecond(time).expect("before the year 2100");
        let view = (event == Event::View).then_some(view);
        Record { step, event, observed: Observed { time, executor, images_per_second, view } }
    })
}
