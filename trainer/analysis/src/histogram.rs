//! Counts by value: what every distribution of the report is made of.
//!
//! Integers until the last step, so that no order of adding matters; each figure is computed once, from the counts.

use serde::{Deserialize, Serialize};

/// How often each of the values `0..bins` occurs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Histogram {
    counts: Vec<u64>,
}

impl Histogram {
    /// Nothing counted yet.
    pub fn new(bins: usize) -> Self {
        Self { counts: vec![0; bins] }
    }

    /// Counts `value` once; it must be below the number of bins.
    pub fn add(&mut self, value: usize) {
        self.counts[value] += 1;
    }

    /// Counts all of `other`, which has as many bins.
    pub fn merge(&mut self, other: &Self) {
        self.add_counts(&other.counts);
    }

    /// Counts each value as often as `counts` says.
    pub(crate) fn add_counts(&mut self, counts: &[u64]) {
        self.counts.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }

    /// By value.
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// All values.
    pub fn total(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Mean; 0 of no values.
    pub fn mean(&self) -> f64 {
        ratio(self.moment(1), u128::from(self.total()))
    }

    /// Population standard deviation; 0 of no values.
    pub fn deviation(&self) -> f64 {
        let (total, sum, squares) = (u128::from(self.total()), self.moment(1), self.moment(2));
        // n * sum of squares - (sum)^2 is exact and never negative: 2^64 values below 2^10 fit into 128 bits twice over
        // for each factor of fewer than 2^54 values, 16 exbibytes of pixels.
        let spread = (total * squares).saturating_sub(sum * sum);
        if total == 0 { 0.0 } else { (spread as f64).sqrt() / total as f64 }
    }

    /// Least value that occurs.
    pub fn minimum(&self) -> Option<usize> {
        self.counts.iter().position(|count| *count > 0)
    }

    /// Greatest value that occurs.
    pub fn maximum(&self) -> Option<usize> {
        self.counts.iter().rposition(|count| *count > 0)
    }

    /// Least value that at least `share` of all values do not exceed; 0 of no values.
    pub fn quantile(&self, share: f64) -> usize {
        let wanted = (share * self.total() as f64).ceil().max(1.0) as u64;
        let mut seen = 0;
        let reached = |count: &u64| {
            seen += count;
            seen >= wanted
        };
        self.counts.iter().position(reached).unwrap_or(0)
    }

    fn moment(&self, power: u32) -> u128 {
        let term = |(value, count): (usize, &u64)| (value as u128).pow(power) * u128::from(*count);
        self.counts.iter().enumerate().map(term).sum()
    }
}

/// `part / whole`; 0 where there is nothing.
pub(crate) fn ratio(part: u128, whole: u128) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[usize]) -> Histogram {
        let mut histogram = Histogram::new(256);
        values.iter().for_each(|value| histogram.add(*value));
        histogram
    }

    #[test]
    fn figures_are_those_of_the_values() {
        let histogram = of(&[1, 2, 3, 4, 5, 6, 7, 8]);
        assert_eq!((histogram.mean(), histogram.deviation()), (4.5, 5.25f64.sqrt()));
        assert_eq!((histogram.minimum(), histogram.maximum()), (Some(1), Some(8)));
        assert_eq!([0.0, 0.25, 0.5, 1.0].map(|share| histogram.quantile(share)), [1, 2, 4, 8]);
        let empty = of(&[]);
        assert_eq!((empty.mean(), empty.deviation(), empty.quantile(0.5)), (0.0, 0.0, 0));
    }

    proptest! {
        #[test]
        fn parts_make_the_whole(values in prop::collection::vec(0usize..256, 0..200), cut in 0usize..200) {
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut merged = of(second);
            merged.merge(&of(first));
            prop_assert_eq!(&merged, &of(&values));
            let mean = values.iter().sum::<usize>() as f64 / values.len().max(1) as f64;
            let spread = values.iter().map(|value| (*value as f64 - mean).powi(2)).sum::<f64>();
            prop_assert!((merged.mean() - mean).abs() < 1e-9);
            prop_assert!((merged.deviation() - (spread / values.len().max(1) as f64).sqrt()).abs() < 1e-6);
        }
    }
}
