//! Tests of reading ahead.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use super::*;
use crate::{course::Stage, forecast::tests::course};

type Counts = Arc<Mutex<BTreeMap<Place, u32>>>;

/// A prefetch whose micro-batches carry their leaf, and how often each was read.
fn prefetch(image_bytes: usize) -> (Prefetch, Counts) {
    let counts = Counts::default();
    let reads = Arc::clone(&counts);
    let read = move |place: Place| {
        *reads.lock().unwrap().entry(place).or_default() += 1;
        async move { Ok(MicroBatch { pixels: Vec::new(), labels: vec![place.leaf] }) }
    };
    (Prefetch::start(read, |_| async {}, image_bytes).unwrap(), counts)
}

fn place(leaf: u32) -> Place {
    Place { stage: Stage::Train, step: 3, leaf }
}

#[tokio::test]
async fn what_was_guessed_is_read_once_and_what_was_not_is_read_when_asked_for() {
    let (mut prefetch, counts) = prefetch(1);
    prefetch.guess(&course(), &[place(0), place(1)]);
    prefetch.guess(&course(), &[place(1), place(2)]);
    for leaf in [1, 2, 5] {
        let read = prefetch.read(place(leaf), Duration::ZERO).await.unwrap();
        assert_eq!(read.ok().unwrap().labels, vec![leaf]);
    }
    let counts = counts.lock().unwrap();
    for leaf in [1, 2, 5] {
        assert_eq!(counts[&place(leaf)], 1);
    }
}

#[tokio::test]
async fn a_guess_that_is_taken_back_is_forgotten() {
    let (mut prefetch, _) = prefetch(1);
    prefetch.guess(&course(), &[place(0), place(1)]);
    prefetch.guess(&course(), &[place(1)]);
    assert_eq!(prefetch.guesses.keys().copied().collect::<Vec<_>>(), vec![place(1)]);
}

#[tokio::test]
async fn guesses_stay_within_their_bytes() {
    let image_bytes = MOST_BYTES / 10;
    let (mut prefetch, _) = prefetch(image_bytes);
    prefetch.guess(&course(), &[place(0), place(1), place(2)]);
    assert_eq!(prefetch.guesses.len(), 2, "two micro-batches of four images fit, three do not");
}

#[tokio::test]
async fn a_reading_that_nobody_waits_for_ends() {
    let ended = Arc::new(tokio::sync::Notify::new());
    struct OnDrop(Arc<tokio::sync::Notify>);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let notify = Arc::clone(&ended);
    let read = move |_| {
        let guard = OnDrop(Arc::clone(&notify));
        async move {
            let _guard = guard;
            std::future::pending().await
        }
    };
    let mut prefetch = Prefetch::start(read, |_| async {}, 1).unwrap();
    prefetch.guess(&course(), &[place(0)]);
    prefetch.guess(&course(), &[]);
    ended.notified().await;
}
