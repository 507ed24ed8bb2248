//! How far two splits are from each other, and whether that is more than chance.
//!
//! Images are taken as drawn independently of each other; pixels of one image are not, so that figures over pixels are
//! judged by the number of images.

use serde::Serialize;

use super::{Distribution, SplitReport};

/// Of the statistics below: how improbable chance must be.
const SIGNIFICANCE: f64 = 0.01;
/// Kolmogorov and Smirnov's factor for [`SIGNIFICANCE`]: sqrt(-ln(0.01 / 2) / 2).
const KOLMOGOROV_SMIRNOV: f64 = 1.628;
/// Total variation of class shares from which a shift is slight, and strong.
const CLASS_SHIFT: [f64; 2] = [0.05, 0.15];
/// Wasserstein distance, in levels, from which a shift is slight, and strong.
const LEVEL_SHIFT: [f64; 2] = [5.0, 15.0];

/// A judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Shift {
    /// Small, or not more than chance.
    None,
    /// Worth a look.
    Slight,
    /// The splits are not of one distribution.
    Strong,
}

impl Shift {
    fn of(figure: f64, thresholds: [f64; 2], is_significant: bool) -> Self {
        match thresholds.iter().filter(|threshold| figure >= **threshold).count() {
            _ if !is_significant => Self::None,
            0 => Self::None,
            1 => Self::Slight,
            _ => Self::Strong,
        }
    }

    /// For people.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Slight => "slight",
            Self::Strong => "strong",
        }
    }
}

/// One split against another.
#[derive(Clone, Debug, Serialize)]
pub struct Drift {
    /// The first split.
    pub from: String,
    /// The other one.
    pub to: String,
    /// The worst of all.
    pub shift: Shift,
    /// Of the classes' shares.
    pub classes: ClassDrift,
    /// Of the images' brightness.
    pub brightness: LevelDrift,
    /// Of each channel's values.
    pub channels: Vec<LevelDrift>,
}

/// Of the classes' shares.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClassDrift {
    /// Half the sum of the differences of all shares: 0 is equal, 1 has no class in common.
    pub total_variation: f64,
    /// Pearson's statistic of homogeneity.
    pub chi_square: f64,
    /// Of the statistic.
    pub degrees_of_freedom: u64,
    /// Probability of such a statistic by chance (Wilson and Hilferty's approximation).
    pub p_value: f64,
    /// The judgement.
    pub shift: Shift,
}

/// Of a distribution of levels.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LevelDrift {
    /// What is compared.
    pub name: String,
    /// Earth mover's distance, in levels.
    pub wasserstein: f64,
    /// Greatest difference of the cumulative shares.
    pub kolmogorov_smirnov: f64,
    /// The judgement.
    pub shift: Shift,
}

pub(super) fn between(from: &SplitReport, to: &SplitReport) -> Drift {
    let images = [from.records as f64, to.records as f64];
    let classes = classes(from, to);
    let brightness = levels("brightness", &from.brightness, &to.brightness, images);
    let channels: Vec<_> = from
        .channels
        .iter()
        .zip(&to.channels)
        .map(|(first, second)| levels(&first.name, &first.values, &second.values, images))
        .collect();
    let shifts = channels.iter().map(|channel| channel.shift).chain([classes.shift, brightness.shift]);
    Drift {
        from: from.name.clone(),
        to: to.name.clone(),
        shift: shifts.max().unwrap_or(Shift::None),
        classes,
        brightness,
        channels,
    }
}

fn classes(from: &SplitReport, to: &SplitReport) -> ClassDrift {
    let records =
        |split: &SplitReport, label: usize| split.classes.get(label).map_or(0, |class| class.records) as f64;
    let totals = [from.records as f64, to.records as f64];
    let all = totals[0] + totals[1];
    let (mut variation, mut chi_square, mut present) = (0.0, 0.0, 0u64);
    for label in 0..from.classes.len().max(to.classes.len()) {
        let counts = [records(from, label), records(to, label)];
        let both = counts[0] + counts[1];
        if both == 0.0 || totals.contains(&0.0) {
            continue;
        }
        present += 1;
        variation += (counts[0] / totals[0] - counts[1] / totals[1]).abs() / 2.0;
        for (count, total) in counts.iter().zip(totals) {
            let expected = both * total / all;
            chi_square += (count - expected) * (count - expected) / expected;
        }
    }
    let degrees_of_freedom = present.saturating_sub(1);
    let p_value = chi_square_p_value(chi_square, degrees_of_freedom);
    ClassDrift {
        total_variation: variation,
        chi_square,
        degrees_of_freedom,
        p_value,
        shift: Shift::of(variation, CLASS_SHIFT, p_value < SIGNIFICANCE),
    }
}

/// Source: Wilson and Hilferty, "The distribution of chi-square", 1931: the cube root of chi-square by its degrees of freedom
/// is about normal.
fn chi_square_p_value(chi_square: f64, degrees_of_freedom: u64) -> f64 {
    if degrees_of_freedom == 0 {
        return 1.0;
    }
    let degrees = degrees_of_freedom as f64;
    let variance = 2.0 / (9.0 * degrees);
    let normal = (libm::cbrt(chi_square / degrees) - (1.0 - variance)) / variance.sqrt();
    libm::erfc(normal / std::f64::consts::SQRT_2) / 2.0
}

fn levels(name: &str, from: &Distribution, to: &Distribution, images: [f64; 2]) -> LevelDrift {
    let totals = [from.histogram.total() as f64, to.histogram.total() as f64];
    let (mut wasserstein, mut greatest) = (0.0, 0.0f64);
    if !totals.contains(&0.0) {
        let mut sums = [0u64; 2];
        for (first, second) in from.histogram.counts().iter().zip(to.histogram.counts()) {
            sums = [sums[0] + first, sums[1] + second];
            let difference = (sums[0] as f64 / totals[0] - sums[1] as f64 / totals[1]).abs();
            wasserstein += difference;
            greatest = greatest.max(difference);
        }
    }
    let chance = KOLMOGOROV_SMIRNOV * ((images[0] + images[1]) / (images[0] * images[1])).sqrt();
    LevelDrift {
        name: name.to_owned(),
        wasserstein,
        kolmogorov_smirnov: greatest,
        shift: Shift::of(wasserstein, LEVEL_SHIFT, greatest > chance),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::histogram::Histogram;

    fn distribution(values: &[usize]) -> Distribution {
        let mut histogram = Histogram::new(256);
        values.iter().for_each(|value| histogram.add(*value));
        super::super::distribution(&histogram)
    }

    #[test]
    fn a_moved_distribution_is_as_far_away_as_it_was_moved() {
        let from = distribution(&[10, 20, 30, 40]);
        let moved = levels("red", &from, &distribution(&[30, 40, 50, 60]), [1000.0, 1000.0]);
        assert_eq!((moved.wasserstein, moved.kolmogorov_smirnov, moved.shift), (20.0, 0.5, Shift::Strong));
        let same = levels("red", &from, &from, [1000.0, 1000.0]);
        assert_eq!((same.wasserstein, same.shift), (0.0, Shift::None));
        assert_eq!(levels("red", &from, &distribution(&[90]), [3.0, 3.0]).shift, Shift::None, "chance");
        let nothing = levels("red", &from, &distribution(&[]), [1000.0, 0.0]);
        assert_eq!((nothing.wasserstein, nothing.shift), (0.0, Shift::None));
    }

    /// Quantiles of the chi-square distribution from statistical tables.
    #[test]
    fn p_values_are_those_of_the_tables() {
        for (chi_square, degrees, p) in
            [(3.841, 1, 0.05), (16.919, 9, 0.05), (21.666, 9, 0.01), (124.342, 100, 0.05)]
        {
            let found = chi_square_p_value(chi_square, degrees);
            assert!((found - p).abs() < 0.004, "{chi_square} with {degrees}: {found}");
        }
        assert_eq!(chi_square_p_value(5.0, 0), 1.0);
    }
}
