//! What an executor remembers of the newest records, whether or not it is its turn to write them.
//!
//! Bounded: of steps and of everything else the newest are kept, each kind by itself, so that many steps never drive out the
//! few evaluations.

use std::collections::VecDeque;

use super::record::Record;

/// Steps that are remembered.
const STEPS: usize = 2048;
/// Other records that are remembered.
const OTHERS: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    steps: VecDeque<(u64, Record)>,
    others: VecDeque<(u64, Record)>,
    /// Records that were ever added: the number of the next one.
    end: u64,
}

/// Records from a place in the order of adding on.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Batch {
    /// In the order of adding.
    pub records: Vec<Record>,
    /// Number of the first record after them.
    pub end: u64,
    /// Records between the two that are forgotten.
    pub forgotten: u64,
}

impl Memory {
    /// Adds a record; the oldest of its kind may be forgotten.
    pub(crate) fn add(&mut self, record: Record) {
        let (kept, most) =
            if record.is_step() { (&mut self.steps, STEPS) } else { (&mut self.others, OTHERS) };
        if kept.len() >= most {
            kept.pop_front();
        }
        kept.push_back((self.end, record));
        self.end += 1;
    }

    /// How many records there were ever added from number `from` on.
    pub(crate) fn count_since(&self, from: u64) -> u64 {
        self.end.saturating_sub(from)
    }

    /// What is remembered from record number `from` on.
    pub(crate) fn since(&self, from: u64) -> Batch {
        let mut numbered: Vec<_> =
            self.steps.iter().chain(&self.others).filter(|(number, _)| *number >= from).collect();
        numbered.sort_by_key(|(number, _)| *number);
        let records: Vec<_> = numbered.into_iter().map(|(_, record)| record.clone()).collect();
        let forgotten = self.count_since(from) - records.len() as u64;
        Batch { records, end: self.end, forgotten }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tracking::{Event, Observed, strategies::record};

    fn step(step: u64) -> Record {
        Record { step, event: Event::Step { loss: 0.0, learning_rate: 0.0 }, observed: Observed::now(0) }
    }

    proptest! {
        #[test]
        fn who_takes_in_time_gets_every_record_once_and_in_order(
            records in prop::collection::vec(record(100), 0..100),
            pauses in prop::collection::vec(1..20_usize, 0..100),
        ) {
            let (mut memory, mut taken, mut next) = (Memory::default(), Vec::new(), 0);
            let mut left = records.iter();
            for pause in pauses.into_iter().chain([records.len()]) {
                left.by_ref().take(pause).for_each(|record| memory.add(record.clone()));
                let batch = memory.since(next);
                prop_assert_eq!((batch.forgotten, batch.end), (0, memory.end));
                next = batch.end;
                taken.extend(batch.records);
            }
            prop_assert_eq!(taken, records);
        }
    }

    #[test]
    fn the_oldest_steps_are_forgotten_and_counted_and_nothing_else_is() {
        let mut memory = Memory::default();
        let view = Record { event: Event::View, ..step(0) };
        memory.add(view.clone());
        let steps = STEPS as u64 + 10;
        (0..steps).for_each(|number| memory.add(step(number)));
        let batch = memory.since(0);
        assert_eq!((batch.forgotten, batch.end, batch.records.len()), (10, steps + 1, STEPS + 1));
        assert_eq!((&batch.records[0], batch.records[1].step), (&view, 10));
        assert_eq!(memory.since(11).forgotten, 0);
        assert_eq!(memory.since(steps + 1), Batch { end: steps + 1, ..Batch::default() });
    }
}
