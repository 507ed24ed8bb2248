//! Micro-batches read before they are asked for: what the next round will most probably want of this executor, while the
//! threads still compute the open one.
//!
//! A guess is a hint: what is not asked for after all is dropped, and what was not guessed is read when it is wanted. All
//! reading and decoding happens on one thread of its own, so that it delays neither the network nor, where cores are as
//! many as computing threads, the computation.

use std::{collections::BTreeMap, future::Future, io, time::Duration};

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    course::Course,
    feed::{Error, MicroBatch},
    forecast::{Place, Share, next_round},
    read_ahead::OpenRound,
};

/// Niceness of the reading thread, beside 0 of those that compute: it uses cores that are idle, or a tenth of a busy one.
#[cfg(target_os = "linux")]
const NICENESS: i32 = 10;
/// Bytes of pixels that may wait for a round that is not open yet.
const MOST_BYTES: usize = 64 << 20;

/// A micro-batch that is being read, or has been.
pub(crate) type Reading = oneshot::Receiver<Result<MicroBatch, Error>>;

/// Reads micro-batches on a thread of its own, which ends with this.
pub(crate) struct Prefetch {
    requests: mpsc::UnboundedSender<Request>,
    guesses: BTreeMap<Place, Reading>,
    /// For reading further ahead.
    opened: watch::Sender<Option<OpenRound>>,
    /// Bytes of an image.
    image_bytes: usize,
}

struct Request {
    place: Place,
    delay: Duration,
    reply: oneshot::Sender<Result<MicroBatch, Error>>,
}

impl Prefetch {
    /// `read` reads one micro-batch, `read_ahead` follows the rounds that are opened; `image_bytes`: of one image.
    ///
    /// # Errors
    /// The system gives no thread.
    pub(crate) fn start<F, A>(
        read: impl Fn(Place) -> F + Send + 'static,
        read_ahead: impl FnOnce(watch::Receiver<Option<OpenRound>>) -> A + Send + 'static,
        image_bytes: usize,
    ) -> io::Result<Self>
    where
        F: Future<Output = Result<MicroBatch, Error>> + Send + 'static,
        A: Future<Output = ()> + Send + 'static,
    {
        let (requests, queue) = mpsc::unbounded_channel();
        let (opened, openings) = watch::channel(None);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
            yield_to_computation();
            runtime.spawn(read_ahead(openings));
            runtime.block_on(serve(read, queue));
            // A read of a store that hangs is worth no waiting.
            runtime.shutdown_background();
        })?;
        Ok(Self { requests, guesses: BTreeMap::new(), opened, image_bytes })
    }

    /// The micro-batch at `place`: the one that was read ahead, else one that is read now, after `delay`.
    pub(crate) fn read(&mut self, place: Place, delay: Duration) -> Reading {
        self.guesses.remove(&place).unwrap_or_else(|| self.request(place, delay))
    }

    /// Reads what will most probably be asked for in the round after `open`, whose micro-batches the threads have all got.
    pub(crate) fn follow(&mut self, course: &Course, open: OpenRound) {
        let next = next_round(course, &open.cursor);
        let share = Share::new(open.cursor.stage, &open.leaves);
        self.guess(course, &next.map_or(Vec::new(), |next| share.of(course, &next)));
        self.opened.send_replace(Some(open));
    }

    /// Reads ahead what `places` name, in this order and as far as memory allows; drops all other guesses.
    fn guess(&mut self, course: &Course, places: &[Place]) {
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

#[cfg(test)]
mod tests;
