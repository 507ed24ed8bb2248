//! Micro-batches read before they are asked for: what the next round will most probably want of this executor, while the
//! threads still compute the open one.
//!
//! A guess is a hint: what is not asked for after all is dropped, and what was not guessed is read when it is wanted. All
//! reading and decoding happens on one thread of its own, so that it delays neither the network nor, where cores are as
//! many as computing threads, the computation.

use std::{collections::BTreeMap, future::Future, io, time::Duration};

use tokio::sync::{mpsc, oneshot};

use crate::{
    course::{Course, Cursor, Score, Stage},
    feed::{Error, MicroBatch},
};

/// Niceness of the reading thread, beside 0 of those that compute: it uses cores that are idle, or a tenth of a busy one.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// Bytes of pixels that may wait for a round that is not open yet.
const MOST_BYTES: usize = 64 << 20;

/// A micro-batch's place in the course.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub stage: Stage,
    /// Updates done before the round.
    pub step: u64,
    pub leaf: u32,
}

/// A micro-batch that is being read, or has been.
pub(crate) type Reading = oneshot::Receiver<Result<MicroBatch, Error>>;

/// Reads micro-batches on a thread of its own, which ends with this.
pub(crate) struct Prefetch {
    requests: mpsc::UnboundedSender<Request>,
    guesses: BTreeMap<Place, Reading>,
    /// Bytes of an image.
    image_bytes: usize,
}

struct Request {
    place: Place,
    delay: Duration,
    reply: oneshot::Sender<Result<MicroBatch, Error>>,
}

impl Prefetch {
    /// `read` reads one micro-batch; `image_bytes`: of one image.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start<F>(read: impl Fn(Place) -> F + Send + 'static, image_bytes: usize) -> io::Result<Self>
    where
        F: Future<Output = Result<MicroBatch, Error>> + Send + 'static,
    {
        let (requests, queue) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            yield_to_computation();
            runtime.block_on(serve(read, queue));
            // A read of a store that hangs is worth no waiting.
            runtime.shutdown_background();
        })?;
        Ok(Self { requests, guesses: BTreeMap::new(), image_bytes })
    }

    /// The micro-batch at `place`: the one that was read ahead, else one that is read now, after `delay`.
    pub(crate) fn read(&mut self, place: Place, delay: Duration) -> Reading {
        self.guesses.remove(&place).unwrap_or_else(|| self.request(place, delay))
    }

    /// Reads ahead what `places` name, in this order and as far as memory allows; drops all other guesses.
    pub(crate) fn guess(&mut self, course: &Course, places: &[Place]) {
        let mut bytes = 0;
        let fits = |place: &&Place| {
            bytes += course.positions(place.stage, place.step, place.leaf).len() * self.image_bytes;
            bytes <= MOST_BYTES
        };
        let places: Vec<Place> = places.iter().take_while(fits).copied().collect();
        self.guesses.retain(|place, _| places.contains(place));
        for place in places {
            if !self.guesses.contains_key(&place) {
                let reading = self.request(place, Duration::ZERO);
                self.guesses.insert(place, reading);
            }
        }
    }

    fn request(&self, place: Place, delay: Duration) -> Reading {
        let (reply, reading) = oneshot::channel();
        // Without its thread the reply is dropped, and whoever waits for it learns so.
        let _ = self.requests.send(Request { place, delay, reply });
        reading
    }
}

/// Reads until nobody asks any more. A reply that nobody waits for ends its reading.
async fn serve<F>(read: impl Fn(Place) -> F, mut queue: mpsc::UnboundedReceiver<Request>)
where
    F: Future<Output = Result<MicroBatch, Error>> + Send + 'static,
{
    while let Some(Request { place, delay, mut reply }) = queue.recv().await {
        let reading = read(place);
        tokio::spawn(async move {
            let read = async {
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                reading.await
            };
            let result = tokio::select! {
                biased;
                () = reply.closed() => return,
                result = read => result,
            };
            // It may have been given up in this very moment.
            let _ = reply.send(result);
        });
    }
}

/// Lowers the priority of the calling thread.
#[cfg(target_os = "linux")]
fn yield_to_computation() {
    // Linux keeps it for each thread.
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "failed to lower the reading thread's priority");
    }
}

#[cfg(not(target_os = "linux"))]
fn yield_to_computation() {}

/// The micro-batches that the round after `cursor`'s will most probably ask of an executor that computes `leaves` of
/// this one.
pub(crate) fn likely_next(course: &Course, cursor: &Cursor, leaves: &[u32]) -> Vec<Place> {
    let next = match cursor.stage {
        Stage::Train => course.after_step(cursor.clone(), 0.0, 0, 0),
        // Rarely does an evaluation end a job early.
        Stage::Validate => {
            let best = Score { loss: f64::NEG_INFINITY, accuracy: f64::INFINITY };
            course.after_evaluation(cursor.clone(), best)
        }
        Stage::Test | Stage::Finished => return Vec::new(),
    };
    let (Some(first), Some(last)) = (leaves.iter().min(), leaves.iter().max()) else { return Vec::new() };
    let (now, then) = (u64::from(course.leaves(cursor.stage)), u64::from(course.leaves(next.stage)));
    let place = |leaf| Place { stage: next.stage, step: next.step, leaf };
    if now == then {
        return leaves.iter().copied().map(place).collect();
    }
    // Another number of leaves, but the same share of them.
    let start = u64::from(*first) * then / now.max(1);
    let end = (u64::from(*last) + 1) * then / now.max(1);
    (start..end).filter_map(|leaf| u32::try_from(leaf).ok()).map(place).collect()
}

#[cfg(test)]
mod tests;
