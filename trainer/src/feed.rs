//! From a micro-batch's place in the course to its images: data order, held-out records, reading, augmentation.

use std::sync::{Arc, Mutex};

use lockstep_records::{
    RecordReader, Sample,
    order::{Batches, Order, Shuffle, Split},
};
use snafu::{OptionExt, ResultExt, Snafu};

use crate::augmentation::Augmentation;
use crate::course::{Course, Stage};
use crate::forecast::Place;

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
    /// The orders of the epochs that were asked for last: while one is read, the next one's records are fetched.
    orders: Mutex<Vec<(u32, Arc<Order>)>>,
}

const MOST_ORDERS: usize = 2;

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
        Self { course, seed, shuffle, split, augmentation, training, test, orders: Mutex::default() }
    }

    /// The job's course.
    pub(crate) fn course(&self) -> &Course {
        &self.course
    }

    /// Micro-batch `leaf` of the round that `stage` does after `step` updates.
    pub(crate) async fn read(&self, stage: Stage, step: u64, leaf: u32) -> Result<MicroBatch, Error> {
        let first = self.course.positions(stage, step, leaf).start as u64;
        let records = self.records(Place { stage, step, leaf });
        let reader = self.reader(stage).context(NoDataSnafu { stage, step, leaf })?;
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

    /// The part of its reader's memory that the records of `place` take.
    pub(crate) fn part_of_room(&self, place: Place) -> f64 {
        let Some(reader) = self.reader(place.stage) else { return 0.0 };
        // A record that the data set has not got is an error when it is read.
        let cost =
            self.records(place).into_iter().map(|record| reader.cost(record).unwrap_or(0)).sum::<u64>();
        cost as f64 / reader.room() as f64
    }

    /// What will be asked for, in place of what was expected before.
    pub(crate) fn expect(&self, portions: &[Vec<Place>]) {
        self.training.expect(self.of_training(portions).into_iter().flatten());
        if let Some(test) = &self.test {
            test.expect(self.of_test(portions).into_iter().flatten());
        }
    }

    /// Fetches what is expected, one portion after the other.
    pub(crate) async fn fetch(&self, portions: &[Vec<Place>]) -> Result<(), lockstep_records::Error> {
        let (of_training, of_test) = (self.of_training(portions), self.of_test(portions));
        let test = async {
            match &self.test {
                Some(test) => test.fetch(&of_test).await,
                None => Ok(()),
            }
        };
        tokio::try_join!(self.training.fetch(&of_training), test).map(drop)
    }

    fn of_training(&self, portions: &[Vec<Place>]) -> Vec<Vec<u64>> {
        self.records_where(portions, |stage| stage != Stage::Test)
    }

    fn of_test(&self, portions: &[Vec<Place>]) -> Vec<Vec<u64>> {
        self.records_where(portions, |stage| stage == Stage::Test)
    }

    fn records_where(&self, portions: &[Vec<Place>], holds: impl Fn(Stage) -> bool) -> Vec<Vec<u64>> {
        let records = |portion: &Vec<Place>| {
            let places = portion.iter().filter(|place| holds(place.stage));
            places.flat_map(|place| self.records(*place)).collect()
        };
        portions.iter().map(records).collect()
    }

    fn reader(&self, stage: Stage) -> Option<&RecordReader> {
        match stage {
            Stage::Train | Stage::Validate => Some(&self.training),
            Stage::Test | Stage::Finished => self.test.as_ref(),
        }
    }

    /// The micro-batch's records, by number, in order.
    fn records(&self, Place { stage, step, leaf }: Place) -> Vec<u64> {
        let positions = self.course.positions(stage, step, leaf);
        let positions = positions.start as u64..positions.end as u64;
        match stage {
            Stage::Train => self.order(self.course.epoch_of(step)).records(positions),
            Stage::Validate => self.split.validation(positions),
            Stage::Test | Stage::Finished => positions.collect(),
        }
    }

    fn order(&self, epoch: u32) -> Arc<Order> {
        let mut known = self.orders.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some((_, order)) = known.iter().find(|(of, _)| *of == epoch) {
            return Arc::clone(order);
        }
        let batches =
            Batches { global: self.course.global_batch as u64, micro: self.course.micro_batch as u64 };
        let order = Arc::new(self.split.epoch_order(self.seed, epoch.into(), self.shuffle, batches));
        if known.len() >= MOST_ORDERS {
            known.remove(0);
        }
        known.push((epoch, Arc::clone(&order)));
        order
    }
}

/// `append` puts the image with the given number within the micro-batch behind the others.
fn gather(samples: &[Sample], append: impl Fn(usize, &[u8], &mut Vec<u8>)) -> MicroBatch {
    let mut pixels = Vec::with_capacity(samples.iter().map(|sample| sample.pixels.len()).sum());
    samples.iter().enumerate().for_each(|(index, sample)| append(index, &sample.pixels, &mut pixels));
    MicroBatch { pixels, labels: samples.iter().map(|sample| sample.label).collect() }
}
