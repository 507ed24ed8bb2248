//! Tells the run log, and TensorBoard where the job asks for it, what happens: beside `reporter`, which tells whoever is
//! watching now.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use snafu::ResultExt;
use tokio::{sync::watch, task::JoinSet, time::timeout};

use crate::{
    checkpoint::{CheckpointId, JobResult},
    course::{Course, Cursor, EpochSums, Score, Stage},
    failure::{Failure, OpenStoreSnafu},
    opened_job::OpenedJob,
    tracking::{Duty, Event, Memory, Observed, Record, RunLogSink, TensorBoardSink, ViewObserved, Writer},
};

/// Most steps of a job that are told one by one; of a longer job every second one, every third one, …
const MOST_STEPS: u64 = 10_000;
/// An executor that ends waits no longer than this for the last records to be written.
const PATIENCE: Duration = Duration::from_secs(10);

/// See the module. Dropping it ends the writing.
pub(super) struct Tracker {
    executor: u32,
    /// Steps between two that are told.
    every: u64,
    members: Vec<u32>,
    memory: Arc<Mutex<Memory>>,
    duty: watch::Sender<Duty>,
    writers: JoinSet<()>,
}

impl Tracker {
    pub(super) fn start(opened: &OpenedJob, executor: u32, incarnation: u64) -> Result<Self, Failure> {
        let role = "run log";
        let run_log = opened.run.events().context(OpenStoreSnafu { role })?;
        let (memory, duty) = (Arc::<Mutex<Memory>>::default(), watch::Sender::new(Duty::default()));
        let mut writers = JoinSet::new();
        if let Some(folder) = opened.tensor_board.clone() {
            let sink = TensorBoardSink::new(folder, run_log.clone(), executor, incarnation);
            writers.spawn(Writer::new(sink, Arc::clone(&memory), duty.subscribe()).run());
        }
        let sink = RunLogSink::new(run_log, incarnation);
        writers.spawn(Writer::new(sink, Arc::clone(&memory), duty.subscribe()).run());
        let every = opened.course.total_steps().div_ceil(MOST_STEPS).max(1);
        Ok(Self { executor, every, members: Vec::new(), memory, duty, writers })
    }

    /// A view was formed; its member of lowest index writes. Whoever leaves a job that is not `at_work` is not lost.
    pub(super) fn view(&mut self, step: u64, number: u64, members: &[u32], joined: bool, at_work: bool) {
        let before = std::mem::take(&mut self.members);
        let writes = joined && members.first() == Some(&self.executor);
        self.duty.send_modify(|duty| duty.turn = writes.then_some(number));
        if joined {
            let is_lost = |member: &u32| at_work && !members.contains(member);
            let lost = before.into_iter().filter(is_lost).collect();
            self.members = members.to_vec();
            let view = Some(ViewObserved { number, members: members.to_vec(), lost });
            self.add(step, Event::View, |observed| observed.view = view);
        }
    }

    /// Step `step`, counted from 1, is done.
    pub(super) fn stepped(&self, step: u64, loss: f32, learning_rate: f64, images_per_second: f64) {
        if step.is_multiple_of(self.every) {
            let rate = Some(images_per_second).filter(|rate| *rate > 0.0);
            let event = Event::Step { loss: loss.into(), learning_rate };
            self.add(step, event, |observed| observed.images_per_second = rate);
        }
    }

    /// A round of `stage` led to `cursor`.
    pub(super) fn advanced(&self, course: &Course, stage: Stage, cursor: &Cursor) {
        if let Some(event) = milestone(course, stage, cursor) {
            self.add(cursor.step, event, |_| {});
        }
    }

    /// A checkpoint is committed.
    pub(super) fn checkpoint(&self, id: CheckpointId) {
        self.add(id.step, Event::Checkpoint { checkpoint: id.to_string() }, |_| {});
    }

    /// The job is done.
    pub(super) fn finished(&self, result: &JobResult) {
        let JobResult { weights_sha256, checkpoint, steps, .. } = result;
        let event = Event::Result { weights_sha256: weights_sha256.clone(), checkpoint: checkpoint.clone() };
        self.add(*steps, event, |_| {});
    }

    /// What a checkpoint is about to make durable shall be told before it is: nobody will compute it again.
    pub(super) fn flush(&self) {
        self.duty.send_modify(|duty| duty.asked += 1);
    }

    /// Writes what is left, if storage takes it soon.
    pub(super) async fn close(&mut self) {
        self.duty.send_modify(|duty| duty.closing = true);
        let all = async { while self.writers.join_next().await.is_some() {} };
        if timeout(PATIENCE, all).await.is_err() {
            tracing::warn!("the run log lacks its last records: storage does not take them in time");
        }
    }

    fn add(&self, step: u64, event: Event, observe: impl FnOnce(&mut Observed)) {
        let mut observed = Observed::now(self.executor);
        observe(&mut observed);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.add(Record { step, event, observed });
    }
}

/// What a round of `stage` that led to `cursor` is told for, besides its step.
fn milestone(course: &Course, stage: Stage, cursor: &Cursor) -> Option<Event> {
    let epoch = course.epochs_done(cursor.step);
    match stage {
        Stage::Train if cursor.step.is_multiple_of(course.steps_per_epoch().max(1)) => {
            let EpochSums { loss, steps, correct, images } = cursor.epoch_sums;
            let (loss, accuracy) = (loss / steps.max(1) as f64, correct as f64 / images.max(1) as f64);
            Some(Event::Epoch { epoch, loss, accuracy })
        }
        Stage::Validate => {
            cursor.validation.map(|Score { loss, accuracy }| Event::Validation { epoch, loss, accuracy })
        }
        Stage::Test => cursor.test.map(|Score { loss, accuracy }| Event::Test { loss, accuracy }),
        Stage::Train | Stage::Finished => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COURSE: Course = Course {
        training_records: 50,
        validation_records: 10,
        test_records: 10,
        global_batch: 16,
        micro_batch: 8,
        epochs: 2,
        early_stopping: None,
    };

    /// From the first round to the last, as the executor's loop goes.
    #[test]
    fn a_course_has_an_end_and_an_evaluation_of_every_epoch_and_one_test() {
        let (mut cursor, mut told) = (Cursor::start(), Vec::new());
        while cursor.stage != Stage::Finished {
            let stage = cursor.stage;
            cursor = match stage {
                Stage::Train => COURSE.after_step(cursor, 3.0, 4, 16),
                _ => COURSE.after_evaluation(cursor, Score { loss: 1.0, accuracy: 0.5 }),
            };
            told.extend(milestone(&COURSE, stage, &cursor).map(|event| (cursor.step, event)));
        }
        let end = |epoch| Event::Epoch { epoch, loss: 3.0, accuracy: 0.25 };
        let validation = |epoch| Event::Validation { epoch, loss: 1.0, accuracy: 0.5 };
        let test = Event::Test { loss: 1.0, accuracy: 0.5 };
        let wanted = [(3, end(1)), (3, validation(1)), (6, end(2)), (6, validation(2)), (6, test)];
        assert_eq!(told, wanted);
    }
}
