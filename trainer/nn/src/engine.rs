//! The engine: persistent threads, each with a worker of the backend, computing one micro-batch at a time.
//!
//! The executor's loop submits leaves; their parts go through a callback to the collective. Which thread computes a leaf,
//! and after which other, does not enter its bits.

use std::any::Any;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use snafu::{ResultExt, Snafu};

use crate::backend::{self, Backend, Images, Part, Parts, RandomKey, Worker};
use crate::model::{Model, Weights};

/// Why the engine gave no result.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum Error {
    /// The system gave no thread.
    #[snafu(display("failed to start engine thread {thread}"))]
    Start {
        /// Number of the thread, from 0.
        thread: usize,
        /// What the system said.
        source: std::io::Error,
    },
    /// The backend gave a thread no worker.
    #[snafu(display("failed to prepare an engine thread"))]
    StartWorker {
        /// Why.
        source: backend::Error,
    },
    /// The micro-batch could not be computed.
    #[snafu(display("failed to compute micro-batch {position}"))]
    Compute {
        /// The leaf.
        position: u32,
        /// Why.
        source: backend::Error,
    },
    /// The logits could not be computed.
    #[snafu(display("failed to compute logits"))]
    Logits {
        /// Why.
        source: backend::Error,
    },
    /// A defect, here or in the backend; the thread goes on.
    #[snafu(display("failed to compute: the engine thread panicked with: {message}"))]
    Panicked {
        /// What the panic said.
        message: String,
    },
    /// The engine was dropped before the work was done.
    #[snafu(display("failed to compute: the engine was stopped"))]
    Stopped,
}

impl Error {
    /// Whether trying again, perhaps in a new process, may help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Start { .. } | Self::Panicked { .. } | Self::Stopped => true,
            Self::StartWorker { source } | Self::Compute { source, .. } | Self::Logits { source } => {
                source.is_retryable()
            }
        }
    }
}

/// What every leaf of a job shares.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EngineOptions {
    /// The job's seed: of the dropout masks.
    pub seed: u64,
    /// Share of the target spread over all classes, in [0, 1).
    pub label_smoothing: f64,
}

/// What to do with a micro-batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskKind {
    /// Gradients, for the update that leads from `step` to `step + 1`.
    Train {
        /// Updates done before this one.
        step: u64,
    },
    /// Loss and accuracy with running statistics and without dropout.
    Evaluate,
}

/// One leaf to compute.
pub struct Task {
    /// What to compute.
    pub kind: TaskKind,
    /// The weights; released before the last part is answered.
    pub weights: Arc<Weights>,
    /// Position of the micro-batch in the global batch (or in the evaluation): the leaf of the tree.
    pub position: u32,
    /// The images one after the other, each row, column, channel.
    pub pixels: Vec<u8>,
    /// One for each image.
    pub labels: Vec<u32>,
    /// Called on an engine thread with every part of the result: two for a training leaf of a model with a
    /// [`Model::reduction_cut`], else one; an error ends them. It should only hand the part on.
    ///
    /// Training: `[gradients | batch means and variances | mean loss]`, [`Model::reduction_len`] values, the upper part
    /// first. Evaluation: the sum of the images' losses.
    pub answer: Box<dyn FnMut(Result<Part, Error>) + Send>,
}

/// Threads that compute micro-batches. Dropping it lets them finish the current one; leaves not begun are answered with
/// [`Error::Stopped`].
#[derive(Debug)]
pub struct Engine {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    backend: Arc<dyn Backend>,
    model: Arc<Model>,
    options: EngineOptions,
    queue: Mutex<Queue>,
    changed: Condvar,
    /// Vectors given back, so that a warm step touches no fresh memory.
    vectors: Mutex<Vec<Vec<f32>>>,
    most_vectors: usize,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    stopped: bool,
}

enum Job {
    Leaf(Task),
    Logits { weights: Arc<Weights>, pixels: Vec<u8>, done: mpsc::SyncSender<Result<Vec<f32>, Error>> },
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Queue({} jobs, stopped: {})", self.jobs.len(), self.stopped)
    }
}

impl Engine {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// [`Error::Start`] when the system gives no thread, [`Error::StartWorker`] when the backend gives no worker; the
    /// threads started before are ended.
    pub fn new(
        backend: Arc<dyn Backend>,
        model: Arc<Model>,
        threads: NonZeroUsize,
        options: EngineOptions,
    ) -> Result<Self, Error> {
        let shared = Arc::new(Shared {
            backend,
            model,
            options,
            queue: Mutex::default(),
            changed: Condvar::new(),
            vectors: Mutex::default(),
            // Two parts being filled and a few on their way through the collective, for each thread.
            most_vectors: threads.get() * 8,
        });
        let mut engine = Self { shared, threads: Vec::new() };
        let (started, starts) = mpsc::channel();
        for thread in 0..threads.get() {
            let (shared, started) = (Arc::clone(&engine.shared), started.clone());
            let work = move || {
                let worker = caught(|| shared.worker().context(StartWorkerSnafu));
                let (worker, start) =
                    worker.map_or_else(|error| (None, Err(error)), |worker| (Some(worker), Ok(())));
                drop(started.send(start));
                // A thread that starts late must not keep `new` waiting for its end.
                drop(started);
                shared.work(worker);
            };
            let builder = std::thread::Builder::new().name(format!("engine-{thread}"));
            engine.threads.push(builder.spawn(work).context(StartSnafu { thread })?);
        }
        drop(started);
        starts.iter().collect::<Result<(), Error>>()?;
        Ok(engine)
    }

    /// Queues a leaf; threads take them in this order.
    pub fn submit(&self, task: Task) {
        self.queue(Job::Leaf(task));
    }

    /// Computes logits, `[images, classes]`, as evaluation does; waits for them.
    ///
    /// `pixels`: as in [`Task`].
    ///
    /// # Errors
    /// When the pixels are no whole number of images (or none), or the backend fails.
    pub fn logits(&self, weights: Arc<Weights>, pixels: Vec<u8>) -> Result<Vec<f32>, Error> {
        let (done, result) = mpsc::sync_channel(1);
        self.queue(Job::Logits { weights, pixels, done });
        result.recv().unwrap_or(StoppedSnafu.fail())
    }

    /// Takes back the vector of a part that is not needed any more, for a later leaf to be written into.
    pub fn recycle(&self, vector: Vec<f32>) {
        let mut vectors = unpoisoned(self.shared.vectors.lock());
        if vectors.len() < self.shared.most_vectors {
            vectors.push(vector);
        }
    }

    /// Number of threads.
    pub fn threads(&self) -> usize {
        self.threads.len()
    }

    fn queue(&self, job: Job) {
        unpoisoned(self.shared.queue.lock()).jobs.push_back(job);
        self.shared.changed.notify_one();
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let left = {
            let mut queue = unpoisoned(self.shared.queue.lock());
            queue.stopped = true;
            std::mem::take(&mut queue.jobs)
        };
        self.shared.changed.notify_all();
        for job in left {
            match job {
                // One panicking callback must not keep the others from their answer.
                Job::Leaf(mut task) => answered(|| (task.answer)(StoppedSnafu.fail())),
                // Its receiver sees the sender go.
                Job::Logits { .. } => {}
            }
        }
        for thread in self.threads.drain(..) {
            if let Err(panic) = thread.join() {
                tracing::error!(message = panic_message(&*panic), "an engine thread ended by a panic");
            }
        }
    }
}

impl Shared {
    fn worker(&self) -> Result<Box<dyn Worker>, backend::Error> {
        self.backend.worker(&self.model)
    }

    fn work(&self, mut worker: Option<Box<dyn Worker>>) {
        while let Some(job) = self.next_job() {
            self.run(job, &mut worker);
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = unpoisoned(self.queue.lock());
        loop {
            if queue.stopped {
                return None;
            }
            if let Some(job) = queue.jobs.pop_front() {
                return Some(job);
            }
            queue = unpoisoned(self.changed.wait(queue));
        }
    }

    /// Does a job with the thread's worker; one that panicked is not used again.
    fn run(&self, job: Job, worker: &mut Option<Box<dyn Worker>>) {
        match job {
            Job::Leaf(Task { kind, weights, position, pixels, labels, mut answer }) => {
                let mut parts = Answers { shared: self, answer: &mut *answer, last: None };
                let images = Images { pixels: &pixels, labels: &labels };
                let result = self.with_worker(worker, |worker| {
                    let leaf = self.leaf(kind, &weights, position, images, worker, &mut parts);
                    leaf.context(ComputeSnafu { position })
                });
                let last = parts.last;
                // So that the optimizer may change them in place as soon as the last leaf is in.
                drop(weights);
                match (result, last) {
                    (Ok(()), Some(part)) => answered(|| answer(Ok(part))),
                    (Ok(()), None) => {
                        answered(|| answer(PanickedSnafu { message: "a leaf without an end" }.fail()));
                    }
                    (Err(error), _) => answered(|| answer(Err(error))),
                }
            }
            Job::Logits { weights, pixels, done } => {
                let result =
                    self.with_worker(worker, |worker| worker.logits(&weights, &pixels).context(LogitsSnafu));
                drop(weights);
                // The receiver waits; if its thread is gone nobody wants the result.
                drop(done.send(result));
            }
        }
    }

    fn with_worker<T>(
        &self,
        kept: &mut Option<Box<dyn Worker>>,
        body: impl FnOnce(&mut dyn Worker) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let taken = kept.take();
        let (worker, result) = caught(|| {
            let mut worker = taken.map_or_else(|| self.worker().context(StartWorkerSnafu), Ok)?;
            let result = body(&mut *worker);
            Ok((worker, result))
        })?;
        *kept = Some(worker);
        result
    }

    fn leaf(
        &self,
        kind: TaskKind,
        weights: &Arc<Weights>,
        position: u32,
        images: Images<'_>,
        worker: &mut dyn Worker,
        parts: &mut Answers<'_>,
    ) -> Result<(), backend::Error> {
        let EngineOptions { seed, label_smoothing } = self.options;
        match kind {
            TaskKind::Train { step } => {
                let key = RandomKey { seed, step, position };
                worker.train(weights, images, key, label_smoothing, parts)
            }
            TaskKind::Evaluate => {
                let (loss, correct) = worker.evaluate(weights, images, label_smoothing)?;
                let counts = vec![correct, images.labels.len() as u64];
                parts.deliver(Part { start: 0, vector: vec![loss], counts });
                Ok(())
            }
        }
    }
}

/// Hands the parts of one leaf on as they come; the last one waits until the weights are released.
struct Answers<'a> {
    shared: &'a Shared,
    answer: &'a mut (dyn FnMut(Result<Part, Error>) + Send),
    last: Option<Part>,
}

impl Parts for Answers<'_> {
    fn vector(&mut self, len: usize) -> Vec<f32> {
        let mut vectors = unpoisoned(self.shared.vectors.lock());
        let fitting = vectors.iter().enumerate().filter(|(_, vector)| vector.capacity() >= len);
        let smallest = fitting.min_by_key(|(_, vector)| vector.capacity()).map(|(index, _)| index);
        let mut vector = smallest.map(|index| vectors.swap_remove(index)).unwrap_or_default();
        drop(vectors);
        vector.resize(len, 0.0);
        vector
    }

    fn deliver(&mut self, part: Part) {
        if part.is_last() {
            self.last = Some(part);
        } else {
            answered(|| (self.answer)(Ok(part)));
        }
    }
}

/// Calls a callback; its panic ends neither the thread nor the other leaves.
fn answered(callback: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
        tracing::error!(message = panic_message(&*panic), "the callback of a micro-batch panicked");
    }
}

/// Makes a panic (of a library that offers no error) an error.
fn caught<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(body))
        .unwrap_or_else(|panic| PanickedSnafu { message: panic_message(&*panic) }.fail())
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "something that is no text".to_owned())
}

/// What the locks guard is whole at every moment, so a panic elsewhere does no harm.
fn unpoisoned<'a, T>(result: Result<MutexGuard<'a, T>, PoisonError<MutexGuard<'a, T>>>) -> MutexGuard<'a, T> {
    result.unwrap_or_else(PoisonError::into_inner)
}
