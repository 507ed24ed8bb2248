//! From a micro-batch's place in the course to its images: data order, held-out records, reading, augmentation.

use std::sync::{Arc, Mutex};

use lockstep_records::{
    RecordReader, Sample,
    order::{Order, Shuffle, Split},
};
use snafu::{OptionExt, ResultExt, Snafu};

use crate::augmentation::Augmentation;
use crate::course::{Course, Stage};

/// A failed reading of a micro-batch.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    /// The data set failed or is damaged.
    #[snafu(display("failed to read micro-batch {leaf} of step {step} ({stage:?})"))]
    Read { stage: Stage, step: u64, leaf: u32, source: lockstep_records::Error },
    /// The round needs data that the job does not name.
    #[snafu(display("failed to read micro-batch {leaf} of step {step}: the job has no data for {stage:?}"))]
    NoData { stage: Stage, step: u64, leaf: u32 },
}

impl Error {
    /// Whether trying again may help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Read { source, .. } => source.is_retryable(),
            Self::NoData { .. } => false,
        }
    }
}

/// The images of one micro-batch.
pub(crate) struct MicroBatch {
    /// Height, width, channel; one image after the other.
    pub pixels: Vec<u8>,
    /// One a image.
    pub labels: Vec<u32>,
}

/// Reads any micro-batch of a job.
pub(crate) struct Feed {
    course: Course,
    seed: u64,
    shuffle: Shuffle,
    split: Split,
    /// Of training images; none for those of evaluations.
    augmentation: Option<Augmentation>,
    training: RecordReader,
    test: Option<RecordReader>,
    /// The order of the epoch that was asked for last.
    order: Mutex<Option<(u32, Arc<Order>)>>,
}

impl Feed {
    pub(crate) fn new(
        course: Course,
        seed: u64,
        shuffle: Shuffle,
        split: Split,
        augmentation: Option<Augmentation>,
        training: RecordReader,
        test: Option<RecordReader>,
    ) -> Self {
        Self { course, seed, shuffle, split, augmentation, training, test, order: Mutex::new(None) }
    }

    /// Micro-batch `leaf` of the round that `stage` does after `step` updates.
    pub(crate) async fn read(&self, stage: Stage, step: u64, leaf: u32) -> Result<MicroBatch, Error> {
        let positions = self.course.positions(stage, step, leaf);
        let positions = positions.start as u64..positions.end as u64;
        let first = positions.start;
        let (reader, records) = match stage {
            Stage::Train => (Some(&self.training), self.order(self.course.epoch_of(step)).records(positions)),
            Stage::Validate => (Some(&self.training), self.split.validation(positions)),
            Stage::Test | Stage::Finished => (self.test.as_ref(), positions.collect()),
        };
        let reader = reader.context(NoDataSnafu { stage, step, leaf })?;
        let samples = reader.read(&records).await.context(ReadSnafu { stage, step, leaf })?;
        Ok(match &self.augmentation {
            Some(augmentation) if stage == Stage::Train => {
                let epoch = self.course.epoch_of(step);
                gather(&samples, |index, image, pixels| {
                    augmentation.append(epoch, first + index as u64, image, pixels);
                })
            }
            _ => gather(&samples, |_, image, pixels| pixels.extend_from_slice(image)),
        })
    }

    fn order(&self, epoch: u32) -> Arc<Order> {
        let mut known = self.order.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match &*known {
            Some((of, order)) if *of == epoch => Arc::clone(order),
            _ => {
                let order = Arc::new(self.split.epoch_order(self.seed, epoch.into(), self.shuffle));
                *known = Some((epoch, Arc::clone(&order)));
                order
            }
        }
    }
}

/// `append` puts the image with the given number within the micro-batch behind the others.
fn gather(samples: &[Sample], append: impl Fn(usize, &[u8], &mut Vec<u8>)) -> MicroBatch {
    let mut pixels = Vec::with_capacity(samples.iter().map(|sample| sample.pixels.len()).sum());
    samples.iter().enumerate().for_each(|(index, sample)| append(index, &sample.pixels, &mut pixels));
    MicroBatch { pixels, labels: samples.iter().map(|sample| sample.label).collect() }
}
