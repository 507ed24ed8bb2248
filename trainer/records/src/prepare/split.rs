//! Divides the training images of a source into parts, each class in the same proportions.
//!
//! Which image goes where is a pure function of the labels, the shares and the seed.

use std::{collections::BTreeMap, str::FromStr, sync::Arc};

use lockstep_rng::{Domain, Stream};
use snafu::ensure;

use super::{
    Result,
    error::{EmptyPartSnafu, PartExistsSnafu},
    source::{Images, Source},
};

/// Names of the parts, in the order in which they are written.
const PARTS: [&str; 3] = ["train", "validation", "test"];
/// All images, in the unit of [`Shares`].
const WHOLE: u64 = 1_000_000_000;
const DECIMALS: usize = 9;

/// Shares of the training images: `train=0.8,validation=0.1,test=0.1`.
///
/// Decimal fractions above 0 that make 1, of `train` and at least one other part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares(Vec<(&'static str, u64)>);

impl FromStr for Shares {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut shares = BTreeMap::new();
        for part in text.split(',') {
            let (name, share) = part.split_once('=').ok_or("write train=0.8,test=0.2")?;
            let place = PARTS.iter().position(|known| *known == name);
            let place = place.ok_or_else(|| format!("{name:?} is not train, validation or test"))?;
            if shares.insert(place, parse_share(share)?).is_some() {
                return Err(format!("{name} stands there twice"));
            }
        }
        let sum: u64 = shares.values().sum();
        if sum != WHOLE {
            return Err(format!("the shares make {}, not 1", sum as f64 / WHOLE as f64));
        }
        if !shares.contains_key(&0) || shares.len() < 2 {
            return Err("name train and at least one of validation and test".to_owned());
        }
        Ok(Self(shares.into_iter().map(|(place, share)| (PARTS[place], share)).collect()))
    }
}

/// Exact, so that shares that make 1 on paper make 1 here.
fn parse_share(text: &str) -> Result<u64, String> {
    let refuse =
        || format!("{text:?} is not a decimal fraction above 0 and below 1 of at most {DECIMALS} digits");
    let digits = text.strip_prefix('0').unwrap_or(text).strip_prefix('.').ok_or_else(refuse)?;
    let is_plain =
        (1..=DECIMALS).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_digit());
    let share = if is_plain { format!("{digits:0<DECIMALS$}").parse().ok() } else { None };
    share.filter(|share| *share > 0).ok_or_else(refuse)
}

/// Replaces a source's training split by its parts. A test split of the source's own stays as it is.
pub(super) fn apply(source: Source, shares: &Shares, seed: u64) -> Result<Source> {
    let Source { format, name, shape, classes, splits } = source;
    let mut parts: Vec<(&'static str, Arc<dyn Images>)> = Vec::new();
    for (split, images) in splits {
        if split != "train" {
            let taken = shares.0.iter().any(|(part, _)| *part == split);
            ensure!(!taken, PartExistsSnafu { name: &name, part: split });
            parts.push((split, images));
            continue;
        }
        let amounts: Vec<u64> = shares.0.iter().map(|(_, share)| *share).collect();
        let divided = divide(&images.labels()?, &amounts, seed);
        for ((part, _), picks) in shares.0.iter().zip(divided) {
            ensure!(!picks.is_empty(), EmptyPartSnafu { name: &name, part: *part });
            parts.push((part, Arc::new(Subset { images: Arc::clone(&images), picks })));
        }
    }
    parts.sort_by_key(|(part, _)| PARTS.iter().position(|known| known == part));
    Ok(Source { format, name, shape, classes, splits: parts })
}

/// Some images of a split.
struct Subset {
    images: Arc<dyn Images>,
    picks: Vec<usize>,
}

impl Images for Subset {
    fn len(&self) -> usize {
        self.picks.len()
    }

    fn labels(&self) -> Result<Vec<u32>> {
        let labels = self.images.labels()?;
        Ok(self.picks.iter().map(|pick| labels[*pick]).collect())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        self.images.read(self.picks[index], pixels)
    }
}

/// For each share the images that it gets, in the order of the source.
fn divide(labels: &[u32], shares: &[u64], seed: u64) -> Vec<Vec<usize>> {
    let mut by_class = BTreeMap::<u32, Vec<usize>>::new();
    for (index, label) in labels.iter().enumerate() {
        by_class.entry(*label).or_default().push(index);
    }
    let mut parts = vec![Vec::new(); shares.len()];
    let mut lacking = vec![0; shares.len()];
    for (class, mut images) in by_class {
        let counts = class_counts(images.len() as u64, shares, &mut lacking);
        Stream::new(seed, Domain::Preparation, 1, class.into()).shuffle(&mut images);
        let mut rest = images.into_iter();
        for (part, count) in parts.iter_mut().zip(counts) {
            part.extend(rest.by_ref().take(count as usize));
        }
    }
    parts.iter_mut().for_each(|part| part.sort_unstable());
    parts
}

/// How many of a class's `images` each share gets, by largest remainders.
///
/// Equal remainders are settled for the part that lacks most of its share of the classes before (`lacking`, in images
/// times [`WHOLE`]; brought up to date), then for the first.
fn class_counts(images: u64, shares: &[u64], lacking: &mut [i128]) -> Vec<u64> {
    let quota = |share: &u64| u128::from(images) * u128::from(*share);
    let whole = u128::from(WHOLE);
    let mut counts: Vec<u64> = shares.iter().map(|share| (quota(share) / whole) as u64).collect();
    let mut order: Vec<usize> = (0..shares.len()).collect();
    // Stable, so that the first of equals stays first.
    order.sort_by_key(|part| std::cmp::Reverse((quota(&shares[*part]) % whole, lacking[*part])));
    let left = images - counts.iter().sum::<u64>();
    order.iter().take(left as usize).for_each(|part| counts[*part] += 1);
    for ((lacking, share), count) in lacking.iter_mut().zip(shares).zip(&counts) {
        *lacking += quota(share) as i128 - i128::from(*count) * i128::from(WHOLE);
    }
    counts
}

#[cfg(test)]
mod tests;
