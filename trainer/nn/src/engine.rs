//! The engine: persistent threads, each computing one micro-batch at a time on one intra-op thread.
//!
//! The executor's loop submits leaves; the results go through a callback to the collective. Which thread computes a leaf,
//! and after which other, does not enter its bits.

use std::any::Any;
use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;

use snafu::{ResultExt, Snafu};
use tch::TchError;

use crate::ffi;
use crate::micro_batch::{self, Images, Workspace};
use crate::model::{Model, Weights};
use crate::operators::RandomKey;

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
    /// libtorch took no other allocator.
    #[snafu(display("failed to set libtorch's allocator"))]
    Allocator {
        /// What libtorch said.
        source: TchError,
    },
    /// The micro-batch could not be computed.
    #[snafu(display("failed to compute micro-batch {position}"))]
    Compute {
        /// The leaf.
        position: u32,
        /// Why.
        source: micro_batch::Error,
    },
    /// The logits could not be computed.
    #[snafu(display("failed to compute logits"))]
    Logits {
        /// Why.
        source: micro_batch::Error,
    },
    /// A defect, here or in libtorch's binding; the thread goes on.
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
            Self::Start { .. } | Self::Allocator { .. } | Self::Panicked { .. } | Self::Stopped => true,
            Self::Compute { source, .. } | Self::Logits { source } => source.is_retryable(),
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
    /// The weights; released before `done` is called.
    pub weights: Arc<Weights>,
    /// Position of the micro-batch in the global batch (or in the evaluation): the leaf of the tree.
    pub position: u32,
    /// The images one after the other, each row, column, channel.
    pub pixels: Vec<u8>,
    /// One for each image.
    pub labels: Vec<u32>,
    /// Called once, on an engine thread; it should only hand the result on.
    pub done: Box<dyn FnOnce(Result<LeafSum, Error>) + Send>,
}

/// The result of one leaf, as the collective sums it.
#[derive(Clone, Debug, PartialEq)]
pub struct LeafSum {
    /// Training: `[gradients | batch means and variances | mean loss]`, [`Model::reduction_len`] values. Evaluation: the
    /// sum of the images' losses.
    pub vector: Vec<f32>,
    /// Correct images, images.
    pub counts: Vec<u64>,
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
    /// [`Error::Start`] when the system gives no thread; those started before are ended.
    pub fn new(model: Arc<Model>, threads: NonZeroUsize, options: EngineOptions) -> Result<Self, Error> {
        ffi::keep_memory().context(AllocatorSnafu)?;
        let shared = Arc::new(Shared {
            model,
            options,
            queue: Mutex::default(),
            changed: Condvar::new(),
            vectors: Mutex::default(),
            // One being filled and a few on their way through the collective, for each thread.
            most_vectors: threads.get() * 4,
        });
        let mut engine = Self { shared, threads: Vec::new() };
        for thread in 0..threads.get() {
            let shared = Arc::clone(&engine.shared);
            let builder = std::thread::Builder::new().name(format!("engine-{thread}"));
            engine.threads.push(builder.spawn(move || shared.work()).context(StartSnafu { thread })?);
        }
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
    /// When the pixels are no whole number of images (or none), or libtorch fails.
    pub fn logits(&self, weights: Arc<Weights>, pixels: Vec<u8>) -> Result<Vec<f32>, Error> {
        let (done, result) = mpsc::sync_channel(1);
        self.queue(Job::Logits { weights, pixels, done });
        result.recv().unwrap_or(StoppedSnafu.fail())
    }

    /// Takes back the vector of a leaf that is not needed any more, for a later leaf to be written into.
    pub fn recycle(&self, vector: Vec<f32>) {
        let mut vectors = unpoisoned(self.shared.vectors.lock());
        if vectors.len() < self.shared.most_vectors && vector.capacity() >= self.shared.model.reduction_len()
        {
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
                Job::Leaf(task) => answered(|| (task.done)(StoppedSnafu.fail())),
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
    fn work(&self) {
        // OpenMP and MKL keep the number for each thread.
        crate::pin_single_threaded();
        let mut workspace = Workspace::default();
        while let Some(job) = self.next_job() {
            self.run(job, &mut workspace);
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

    fn run(&self, job: Job, workspace: &mut Workspace) {
        match job {
            Job::Leaf(Task { kind, weights, position, pixels, labels, done }) => {
                let result = caught(|| {
                    let images = Images { pixels: &pixels, labels: &labels };
                    self.leaf(kind, &weights, position, images, workspace).context(ComputeSnafu { position })
                });
                if matches!(result, Err(Error::Panicked { .. })) {
                    *workspace = Workspace::default();
                }
                // So that the optimizer may change them in place as soon as the last leaf is in.
                drop(weights);
                answered(|| done(result));
            }
            Job::Logits { weights, pixels, done } => {
                let result =
                    caught(|| micro_batch::logits(&self.model, &weights, &pixels).context(LogitsSnafu));
                drop(weights);
                // The receiver waits; if its thread is gone nobody wants the result.
                drop(done.send(result));
            }
        }
    }

    fn leaf(
        &self,
        kind: TaskKind,
        weights: &Weights,
        position: u32,
        images: Images<'_>,
        workspace: &mut Workspace,
    ) -> Result<LeafSum, micro_batch::Error> {
        let EngineOptions { seed, label_smoothing } = self.options;
        let count = images.labels.len() as u64;
        match kind {
            TaskKind::Train { step } => {
                let key = RandomKey { seed, step, position };
                let mut vector = unpoisoned(self.vectors.lock()).pop().unwrap_or_default();
                let correct = micro_batch::train(
                    &self.model,
                    weights,
                    images,
                    key,
                    label_smoothing,
                    workspace,
                    &mut vector,
                )?;
                Ok(LeafSum { vector, counts: vec![correct, count] })
            }
            TaskKind::Evaluate => {
                let (loss, correct) = micro_batch::evaluate(&self.model, weights, images, label_smoothing)?;
                Ok(LeafSum { vector: vec![loss], counts: vec![correct, count] })
            }
        }
    }
}

/// Calls a callback; its panic ends neither the thread nor the other leaves.
fn answered(callback: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(callback)) {
        tracing::error!(message = panic_message(&*panic), "the callback of a micro-batch panicked");
    }
}

/// Makes a panic (of tch, where it offers no error) an error.
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
