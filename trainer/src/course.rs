//! The course of a job as pure functions: which round comes next, which records each of its micro-batches
//! holds, and what a finished round does to the cursor.
//!
//! Nothing here reads a clock, a store or a thread: the cursor after round r is a function of (job, r), which
//! is what lets any executor take over at any round.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::identity::EVALUATION_MICRO_BATCH;

/// What the next round does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Stage {
    /// One training step.
    Train,
    /// Evaluation on the held-out records, after an epoch.
    Validate,
    /// Evaluation on the test data, once, at the end.
    Test,
    /// Nothing: the job is done.
    Finished,
}

/// Which metric decides about the best epoch and about stopping early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Metric {
    /// Higher is better.
    ValidationAccuracy,
    /// Lower is better.
    ValidationLoss,
}

impl Metric {
    /// The metric's value turned so that higher is better.
    pub(crate) fn merit(self, score: Score) -> f64 {
        match self {
            Self::ValidationAccuracy => score.accuracy,
            Self::ValidationLoss => -score.loss,
        }
    }
}

/// Ends training after `patience` epochs in a row that brought no improvement.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct EarlyStopping {
    /// What is watched.
    pub metric: Metric,
    /// Epochs without improvement that end training, at least 1.
    pub patience: u32,
    /// A smaller change is no improvement.
    pub min_delta: f64,
}

/// The facts that fix the course; none changes while a job runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Course {
    /// Records to train on, without those held out.
    pub training_records: usize,
    /// Records held out of training.
    pub validation_records: usize,
    /// Records of the test data.
    pub test_records: usize,
    /// Images a step.
    pub global_batch: usize,
    /// Images a micro-batch; divides `global_batch`.
    pub micro_batch: usize,
    /// Passes over the training records.
    pub epochs: u32,
    /// Rule for stopping early.
    pub early_stopping: Option<EarlyStopping>,
}

/// Loss and accuracy over a set of images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Score {
    /// Mean cross-entropy per image, in nats.
    pub loss: f64,
    /// Share of images whose most likely class is the label, 0 to 1.
    pub accuracy: f64,
}

/// The best epoch so far by the job's metric.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Best {
    /// Counted from 1.
    pub epoch: u32,
    /// Step after which it was evaluated.
    pub step: u64,
    /// On the held-out records.
    pub validation: Score,
}

/// Sums over the open epoch's steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct EpochSums {
    /// Sum over steps of the mean loss.
    pub loss: f64,
    /// Steps summed.
    pub steps: u64,
    /// Images classified correctly while training.
    pub correct: u64,
    /// Images seen.
    pub images: u64,
}

/// Where a job stands: the part of its state that is not tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct Cursor {
    /// Rounds finished: training steps and evaluations.
    pub round: u64,
    /// Optimizer updates done.
    pub step: u64,
    /// What the next round does.
    pub stage: Stage,
    /// Sums over the epoch that is open, or was just closed.
    pub epoch_sums: EpochSums,
    /// The last evaluation on the held-out records.
    pub validation: Option<Score>,
    /// The best one.
    pub best: Option<Best>,
    /// Evaluations in a row without improvement.
    pub epochs_without_improvement: u32,
    /// Whether training ended before its last epoch.
    pub early_stopped: bool,
    /// The evaluation on the test data.
    pub test: Option<Score>,
}

impl Cursor {
    /// Before the first round.
    pub(crate) fn start() -> Self {
        Self {
            round: 0,
            step: 0,
            stage: Stage::Train,
            epoch_sums: EpochSums::default(),
            validation: None,
            best: None,
            epochs_without_improvement: 0,
            early_stopped: false,
            test: None,
        }
    }

    /// Whether a step is complete, its evaluation included: the states that checkpoints are taken of.
    pub(crate) fn is_evaluated(&self) -> bool {
        self.stage != Stage::Validate
    }

    /// Whether the last training step is done.
    pub(crate) fn training_has_ended(&self) -> bool {
        matches!(self.stage, Stage::Test | Stage::Finished)
    }

    /// The cursor as it was before the test evaluation, if that is done.
    pub(crate) fn before_test(self) -> Self {
        match self.test {
            None => self,
            Some(_) => Self { round: self.round - 1, stage: Stage::Test, test: None, ..self },
        }
    }

    /// Every field as numbers that are equal exactly if the cursors are: what enters the state's hash.
    pub(crate) fn words(&self) -> Vec<u64> {
        let Self {
            round,
            step,
            stage,
            epoch_sums: EpochSums { loss, steps, correct, images },
            validation,
            best,
            epochs_without_improvement,
            early_stopped,
            test,
        } = self;
        let mut words = vec![*round, *step, *stage as u64, loss.to_bits(), *steps, *correct, *images];
        words.extend(score_words(*validation));
        match best {
            None => words.push(0),
            Some(Best { epoch, step, validation }) => {
                words.extend([1, u64::from(*epoch), *step]);
                words.extend(score_words(Some(*validation)));
            }
        }
        words.extend([u64::from(*epochs_without_improvement), u64::from(*early_stopped)]);
        words.extend(score_words(*test));
        words
    }
}

fn score_words(score: Option<Score>) -> [u64; 3] {
    score.map_or([0; 3], |Score { loss, accuracy }| [1, loss.to_bits(), accuracy.to_bits()])
}

/// What a course cannot be: the data does not fill one global batch.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooFewRecords {
    /// Records to train on.
    pub training_records: usize,
    /// Images a step.
    pub global_batch: usize,
}

impl Course {
    /// Whether every epoch has at least one step.
    pub(crate) fn check(&self) -> Result<(), TooFewRecords> {
        if self.steps_per_epoch() == 0 {
            let Self { training_records, global_batch, .. } = *self;
            return Err(TooFewRecords { training_records, global_batch });
        }
        Ok(())
    }

    /// Whole global batches in an epoch; the incomplete last one is dropped.
    pub(crate) fn steps_per_epoch(&self) -> u64 {
        (self.training_records / self.global_batch) as u64
    }

    /// Steps of the whole job if it does not stop early.
    pub(crate) fn total_steps(&self) -> u64 {
        self.steps_per_epoch() * u64::from(self.epochs)
    }

    /// The epoch that step `step` belongs to; both count from 0.
    pub(crate) fn epoch_of(&self, step: u64) -> u32 {
        u32::try_from(step / self.steps_per_epoch().max(1)).unwrap_or(u32::MAX)
    }

    /// Whole epochs within the first `steps` steps.
    pub(crate) fn epochs_done(&self, steps: u64) -> u32 {
        self.epoch_of(steps)
    }

    /// Micro-batches of a round: the leaves of its tree.
    pub(crate) fn leaves(&self, stage: Stage) -> u32 {
        let leaves = match stage {
            Stage::Train => self.global_batch / self.micro_batch,
            Stage::Validate => self.validation_records.div_ceil(EVALUATION_MICRO_BATCH),
            Stage::Test => self.test_records.div_ceil(EVALUATION_MICRO_BATCH),
            Stage::Finished => 0,
        };
        u32::try_from(leaves).unwrap_or(u32::MAX)
    }

    /// Positions of micro-batch `leaf`: in the epoch's order for [`Stage::Train`], in the data set's own order
    /// for evaluations.
    pub(crate) fn positions(&self, stage: Stage, step: u64, leaf: u32) -> Range<usize> {
        let leaf = leaf as usize;
        match stage {
            Stage::Train => {
                let batch = (step % self.steps_per_epoch().max(1)) as usize;
                let start = batch * self.global_batch + leaf * self.micro_batch;
                start..start + self.micro_batch
            }
            Stage::Validate => evaluation_positions(leaf, self.validation_records),
            Stage::Test => evaluation_positions(leaf, self.test_records),
            Stage::Finished => 0..0,
        }
    }

    /// The cursor after a training step with mean loss `loss` and `correct` of `images` right.
    pub(crate) fn after_step(&self, mut cursor: Cursor, loss: f64, correct: u64, images: u64) -> Cursor {
        if cursor.step.is_multiple_of(self.steps_per_epoch().max(1)) {
            cursor.epoch_sums = EpochSums::default();
        }
        cursor.round += 1;
        cursor.step += 1;
        cursor.epoch_sums.loss += loss;
        cursor.epoch_sums.steps += 1;
        cursor.epoch_sums.correct += correct;
        cursor.epoch_sums.images += images;
        let epoch_ends = cursor.step.is_multiple_of(self.steps_per_epoch().max(1));
        cursor.stage = match epoch_ends {
            true if self.validation_records > 0 => Stage::Validate,
            true => self.stage_after_epoch(&cursor),
            false => Stage::Train,
        };
        cursor
    }

    /// The cursor after an evaluation, whatever its stage was.
    pub(crate) fn after_evaluation(&self, mut cursor: Cursor, score: Score) -> Cursor {
        cursor.round += 1;
        if cursor.stage == Stage::Test {
            cursor.test = Some(score);
            cursor.stage = Stage::Finished;
            return cursor;
        }
        cursor.validation = Some(score);
        if self.improves(score, cursor.best) {
            let epoch = self.epochs_done(cursor.step);
            cursor.best = Some(Best { epoch, step: cursor.step, validation: score });
            cursor.epochs_without_improvement = 0;
        } else {
            cursor.epochs_without_improvement += 1;
        }
        let out_of_patience =
            self.early_stopping.is_some_and(|rule| cursor.epochs_without_improvement >= rule.patience);
        cursor.early_stopped = out_of_patience && cursor.step < self.total_steps();
        cursor.stage = self.stage_after_epoch(&cursor);
        cursor
    }

    fn stage_after_epoch(&self, cursor: &Cursor) -> Stage {
        let training_ends = cursor.early_stopped || cursor.step >= self.total_steps();
        match training_ends {
            false => Stage::Train,
            true if self.test_records > 0 => Stage::Test,
            true => Stage::Finished,
        }
    }

    fn improves(&self, score: Score, best: Option<Best>) -> bool {
        let (metric, min_delta) = self
            .early_stopping
            .map_or((Metric::ValidationAccuracy, 0.0), |rule| (rule.metric, rule.min_delta));
        best.is_none_or(|best| metric.merit(score) > metric.merit(best.validation) + min_delta)
    }
}

fn evaluation_positions(leaf: usize, records: usize) -> Range<usize> {
    let start = (leaf * EVALUATION_MICRO_BATCH).min(records);
    start..(start + EVALUATION_MICRO_BATCH).min(records)
}

#[cfg(test)]
mod tests;
