//! The layout check of an opened data set: a few of its images, as they are stored.

use super::RecordReader;
use crate::{LayoutCheck, LayoutFinding, Result, manifest::Encoding, pixels::ImageFormat};

/// Places all over the data set where images are looked at, and neighbours at each: few requests, and as many classes.
const PLACES: u64 = 16;
const NEIGHBOURS: u64 = 16;

impl RecordReader {
    /// What its images say about the layout that is declared; `None` where an image's bytes mean the same in both. A function
    /// of the data set alone.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub async fn check_layout(&self) -> Result<Option<LayoutFinding>> {
        let ImageFormat { encoding, layout, shape } = self.dataset.image_format();
        if encoding != Encoding::Raw || shape.channels == 1 {
            return Ok(None);
        }
        let mut check = LayoutCheck::new(shape);
        // One place after the other, so that large images are not all in memory.
        for records in sample(self.sampled_records()) {
            for image in self.stored_images(&records).await? {
                check.add(&image);
            }
        }
        Ok(Some(check.finding(layout)))
    }

    /// How many of the first records the sample is taken from. To look into all compressed shards is to unpack all.
    fn sampled_records(&self) -> u64 {
        if self.dataset.unpacked_bytes() == 0 {
            return self.dataset.len();
        }
        let mut shards = self.dataset.manifest().shards.iter();
        shards.find(|shard| shard.records > 0).map_or(0, |shard| shard.records)
    }
}

/// Ascending, each record once.
fn sample(records: u64) -> Vec<Vec<u64>> {
    let first = |place: u64| (u128::from(records) * u128::from(place) / u128::from(PLACES)) as u64;
    let neighbours = |place| first(place)..first(place + 1).min(first(place) + NEIGHBOURS);
    (0..PLACES).map(|place| neighbours(place).collect()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_sample_is_of_different_records_from_all_over_the_data_set(records in 0u64..u64::MAX) {
            let sample = sample(records).concat();
            prop_assert_eq!(sample.len() as u64, records.min(PLACES * NEIGHBOURS));
            prop_assert!(sample.is_sorted_by(|a, b| a < b));
            prop_assert!(sample.iter().all(|record| *record < records));
            if let (Some(first), Some(last)) = (sample.first(), sample.last()) {
                prop_assert_eq!(*first, 0);
                prop_assert!(u128::from(*last) * 16 + 16 >= u128::from(records) * 15);
            }
        }
    }
}
