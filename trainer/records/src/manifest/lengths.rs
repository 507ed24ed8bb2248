//! Where the records of a shard begin, in little space: runs of records of one length.
//!
//! In `dataset.json` a text such as `"6249x3121 1x3122"`: raw images of one size need a run or two, images of
//! varying length about seven bytes a record.

use serde::{Deserialize, Serialize};

/// Neighbouring records of one length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Position in the shard of the first one.
    pub first: u64,
    /// Offset in bytes of the first one.
    pub offset: u64,
    /// How many there are.
    pub records: u64,
    /// Bytes of each, framing included.
    pub bytes: u64,
}

/// The lengths of all records of a shard, in order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Lengths {
    runs: Vec<Run>,
}

impl Lengths {
    /// Adds a record of `bytes`, framing included, at the end. `false`, and nothing is added, if the sum overflows.
    #[must_use]
    pub fn push(&mut self, bytes: u64) -> bool {
        self.push_run(1, bytes)
    }

    fn push_run(&mut self, records: u64, bytes: u64) -> bool {
        let Some(total) = records.checked_mul(bytes).and_then(|sum| sum.checked_add(self.bytes())) else {
            return false;
        };
        match self.runs.last_mut() {
            Some(last) if last.bytes == bytes => last.records += records,
            _ => {
                let offset = total - records * bytes;
                self.runs.push(Run { first: self.records(), offset, records, bytes });
            }
        }
        true
    }

    /// Number of records.
    pub fn records(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.first + run.records)
    }

    /// Sum of all lengths: the size of the shard.
    pub fn bytes(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.offset + run.records * run.bytes)
    }

    /// Offset and length in bytes of the record at `position`, in logarithmic time.
    pub fn locate(&self, position: u64) -> Option<(u64, u64)> {
        let after = self.runs.partition_point(|run| run.first <= position);
        let run = self.runs.get(after.checked_sub(1)?)?;
        let within = position - run.first;
        (within < run.records).then(|| (run.offset + within * run.bytes, run.bytes))
    }

    /// The runs, in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }
}

impl From<Lengths> for String {
    fn from(lengths: Lengths) -> Self {
        let runs: Vec<_> = lengths.runs.iter().map(|run| format!("{}x{}", run.records, run.bytes)).collect();
        runs.join(" ")
    }
}

impl TryFrom<String> for Lengths {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut lengths = Self::default();
        for run in text.split(' ').filter(|_| !text.is_empty()) {
            let numbers = run.split_once('x').and_then(|(r, b)| Some((number(r)?, number(b)?)));
            let (records, bytes) = numbers.ok_or_else(|| format!("{run:?} is not RECORDSxBYTES"))?;
            // A run that continues the one before has another spelling, and each thing has one spelling only.
            if lengths.runs.last().is_some_and(|last| last.bytes == bytes) {
                return Err(format!("{run:?} continues the run before it"));
            }
            if !lengths.push_run(records, bytes) {
                return Err(format!("{run:?} makes the shard too large"));
            }
        }
        Ok(lengths)
    }
}

/// Decimal digits without sign or leading zero.
fn number(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn other_spellings_are_refused() {
        for text in [
            "1",
            "1x",
            "x1",
            "0x5",
            "1x0",
            "01x5",
            "+1x5",
            "1x5 ",
            " 1x5",
            "1x5  1x6",
            "1x5 2x5",
            "1x5,1x6",
            "18446744073709551615x2",
            "9223372036854775807x2 2x1",
            "99999999999999999999x1",
        ] {
            assert!(Lengths::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        assert_eq!(Lengths::try_from(String::new()).unwrap(), Lengths::default());
    }

    proptest! {
        #[test]
        fn every_record_is_found_where_the_sum_of_those_before_it_ends(
            lengths in prop::collection::vec(16u64..20, 0..60)
        ) {
            let mut index = Lengths::default();
            prop_assert!(lengths.iter().all(|bytes| index.push(*bytes)));
            let text = String::from(index.clone());
            prop_assert_eq!(&Lengths::try_from(text).unwrap(), &index);
            let mut offset = 0;
            for (position, bytes) in lengths.iter().enumerate() {
                prop_assert_eq!(index.locate(position as u64), Some((offset, *bytes)));
                offset += bytes;
            }
            prop_assert_eq!(index.bytes(), offset);
            prop_assert_eq!(index.records(), lengths.len() as u64);
            prop_assert_eq!(index.locate(lengths.len() as u64), None);
        }
    }
}
