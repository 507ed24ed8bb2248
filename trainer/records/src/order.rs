//! Which record stands at which position of an epoch: a pure function of (seed, epoch) and the fields of the spec.
//!
//! Blocks of neighbouring records are shuffled and dealt out to lanes: lane m holds what micro-batch m of every global
//! batch will read. Within a lane, the records of one window after the other are shuffled. So whoever computes some of
//! the micro-batches reads their lanes' blocks and no others, and has to hold one window of these lanes only. What each
//! shuffle is keyed by is part of every job's result and pinned by golden vectors.

use std::ops::Range;

use lockstep_rng::{Domain, Stream};
use snafu::{Snafu, ensure};

/// Version of the rules in this file: raised whenever any seed's order changes.
pub const VERSION: &str = "lanes/1";

/// Sizes of the two levels; fields of the spec, never derived from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shuffle {
    /// Neighbouring records that stay together in the first level; 0 counts as 1.
    pub block_records: u64,
    /// Positions of an epoch, of all lanes together, that are shuffled with each other in the second level. A lane's
    /// share is rounded up, and at least one record.
    pub window_records: u64,
}

impl Default for Shuffle {
    fn default() -> Self {
        Self { block_records: 256, window_records: 65_536 }
    }
}

/// How the positions of an epoch fall into batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batches {
    /// Positions of a global batch; 0 counts as 1.
    pub global: u64,
    /// Positions of a micro-batch; divides `global`, else the global batch is one micro-batch.
    pub micro: u64,
}

impl Batches {
    /// Positions of a micro-batch, and micro-batches of a global batch: both at least 1.
    fn parts(self) -> (usize, usize) {
        let size = |positions: u64| usize::try_from(positions).unwrap_or(usize::MAX).max(1);
        let (global, micro) = (size(self.global), size(self.micro));
        if global.is_multiple_of(micro) { (micro, global / micro) } else { (global, 1) }
    }
}

/// A split that cannot be made.
#[derive(Debug, Snafu)]
pub enum Error {
    /// More records than can be numbered.
    #[snafu(display("failed to order {records} records: the limit is 2^32 - 1"))]
    TooMany {
        /// Records of the data set.
        records: u64,
    },
    /// Not a part of a whole.
    #[snafu(display("failed to hold out {fraction} of the records: the fraction must be in 0..1"))]
    Fraction {
        /// As given.
        fraction: f64,
    },
    /// One of the two parts would be empty though both were asked for.
    #[snafu(display(
        "failed to hold out {fraction} of {records} records for validation: that leaves {validation} of them for \
         validation and {training} for training"
    ))]
    Empty {
        /// As given.
        fraction: f64,
        /// Records of the data set.
        records: u64,
        /// Records that would be held out.
        validation: u64,
        /// Records that would be left.
        training: u64,
    },
}

/// The records of a data set, divided into those to train on and those held out. Each list ascends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    training: Vec<u32>,
    validation: Vec<u32>,
}

impl Split {
    /// Holds out `round(records * fraction)` records, chosen by `seed` alone; a fraction of 0 holds out none.
    pub fn new(records: u64, fraction: f64, seed: u64) -> Result<Self, Error> {
        let Ok(len) = u32::try_from(records) else { return TooManySnafu { records }.fail() };
        ensure!((0.0..1.0).contains(&fraction), FractionSnafu { fraction });
        // The product and `round` are exactly defined by IEEE 754, so every machine gets the same count.
        let validation = (f64::from(len) * fraction).round() as u64;
        let training = records - validation;
        let empty = training == 0 || (fraction > 0.0 && validation == 0);
        ensure!(!empty || records == 0, EmptySnafu { fraction, records, validation, training });
        if validation == 0 {
            return Ok(Self { training: (0..len).collect(), validation: Vec::new() });
        }

        let mut order: Vec<u32> = (0..len).collect();
        Stream::new(seed, Domain::Validation, 0, 0).shuffle(&mut order);
        let mut training = order.split_off(validation as usize);
        let mut validation = order;
        training.sort_unstable();
        validation.sort_unstable();
        Ok(Self { training, validation })
    }

    /// Records to train on.
    pub fn training_len(&self) -> u64 {
        self.training.len() as u64
    }

    /// Records held out.
    pub fn validation_len(&self) -> u64 {
        self.validation.len() as u64
    }

    /// Record numbers held out, ascending. Positions beyond the end are left out.
    pub fn validation(&self, positions: Range<u64>) -> Vec<u64> {
        slice(&self.validation, positions).iter().map(|record| u64::from(*record)).collect()
    }

    /// The order in which an epoch reads the training records. What does not fill a global batch is left out.
    pub fn epoch_order(&self, seed: u64, epoch: u64, shuffle: Shuffle, batches: Batches) -> Order {
        let mut order = positions(seed, epoch, self.training.len() as u32, shuffle, batches);
        order.iter_mut().for_each(|place| *place = self.training[*place as usize]);
        Order { records: order }
    }
}

/// The records of one epoch, by position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    records: Vec<u32>,
}

impl Order {
    /// Positions of the epoch.
    pub fn len(&self) -> u64 {
        self.records.len() as u64
    }

    /// Whether there is no position at all.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Record numbers at these positions. Positions beyond the end are left out.
    pub fn records(&self, positions: Range<u64>) -> Vec<u64> {
        slice(&self.records, positions).iter().map(|record| u64::from(*record)).collect()
    }
}

fn positions(seed: u64, epoch: u64, len: u32, shuffle: Shuffle, batches: Batches) -> Vec<u32> {
    let (micro, lanes) = batches.parts();
    let steps = len as usize / micro.saturating_mul(lanes);
    let lane_len = steps * micro;
    let mut dealt = shuffled_blocks(seed, epoch, len, shuffle.block_records);
    dealt.truncate(lane_len * lanes);
    if dealt.is_empty() {
        return dealt;
    }
    let window = usize::try_from(shuffle.window_records).unwrap_or(usize::MAX).div_ceil(lanes).max(1);
    let windows = dealt.chunks_mut(lane_len).flat_map(|lane| lane.chunks_mut(window));
    // Number 0 is the blocks' own stream.
    for (window, number) in windows.zip(1..) {
        Stream::new(seed, Domain::DataOrder, epoch, number).shuffle(window);
    }
    let micro_batches = (0..steps * lanes).map(|number| (number % lanes) * lane_len + number / lanes * micro);
    micro_batches.flat_map(|start| &dealt[start..start + micro]).copied().collect()
}

/// Every number below `len`, those of a block side by side.
fn shuffled_blocks(seed: u64, epoch: u64, len: u32, block_records: u64) -> Vec<u32> {
    let block = block_records.clamp(1, u64::from(u32::MAX)) as u32;
    let mut blocks: Vec<u32> = (0..len.div_ceil(block)).collect();
    Stream::new(seed, Domain::DataOrder, epoch, 0).shuffle(&mut blocks);
    let mut order = Vec::with_capacity(len as usize);
    for start in blocks.into_iter().map(|number| number * block) {
        order.extend(start..start.saturating_add(block).min(len));
    }
    order
}

fn slice(records: &[u32], positions: Range<u64>) -> &[u32] {
    let place = |position: u64| usize::try_from(position).unwrap_or(usize::MAX).min(records.len());
    let (start, end) = (place(positions.start), place(positions.end));
    &records[start.min(end)..end]
}

#[cfg(test)]
mod tests;
