//! What was counted of one split, by one part or all: sums that do not depend on who added what, or in which order.

use std::collections::BTreeMap;

use lockstep_records::{Shape, manifest::Encoding};
use snafu::ensure;

use crate::{
    Result,
    error::TooManyImagesSnafu,
    finding::Findings,
    fingerprint::{self, Fingerprint},
    histogram::Histogram,
    levels::{ChannelCounts, LEVELS, Levels},
    record::Image,
};

/// Images that are compared in memory: 8 GiB of fingerprints.
pub const MAX_IMAGES: usize = 1 << 28;

/// How an image stood in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Form {
    /// `raw`, `png` or `jpeg`.
    pub encoding: &'static str,
    /// Rows.
    pub height: u32,
    /// Columns.
    pub width: u32,
    /// Values of a pixel.
    pub channels: u32,
}

impl Form {
    pub(crate) fn encoding(self) -> Encoding {
        match self.encoding {
            "png" => Encoding::Png,
            "jpeg" => Encoding::Jpeg,
            _ => Encoding::Raw,
        }
    }
}

/// Counts over the intact records of a split, and findings about the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Intact records.
    pub records: u64,
    /// Intact records of each class.
    pub labels: BTreeMap<u32, u64>,
    /// Images of each size and encoding.
    pub forms: BTreeMap<Form, u64>,
    /// How often each channel has each value, over all pixels of all images that have the channel.
    pub channels: Vec<Histogram>,
    /// Distributions over images.
    pub levels: Levels,
    /// What is wrong with other records.
    pub findings: Findings,
    /// All images, for comparison; none where that was not asked for.
    pub fingerprints: Vec<Fingerprint>,
}

impl Tally {
    /// Adds what another part, or thread, counted.
    ///
    /// # Errors
    /// More than [`MAX_IMAGES`] images to compare.
    pub fn merge(&mut self, other: Self) -> Result<()> {
        let Self { records, labels, forms, channels, levels, findings, fingerprints } = other;
        self.records += records;
        labels.into_iter().for_each(|(label, count)| *self.labels.entry(label).or_default() += count);
        forms.into_iter().for_each(|(form, count)| *self.forms.entry(form).or_default() += count);
        if self.channels.len() < channels.len() {
            self.channels.resize(channels.len(), Histogram::new(LEVELS));
        }
        self.channels.iter_mut().zip(&channels).for_each(|(sum, other)| sum.merge(other));
        self.levels.merge(&levels);
        self.findings.merge(findings);
        let limit = MAX_IMAGES;
        ensure!(self.fingerprints.len() + fingerprints.len() <= limit, TooManyImagesSnafu { limit });
        self.fingerprints.extend(fingerprints);
        Ok(())
    }
}

/// A tally that is being counted, with the channels' tables in the form that is fast to add to.
#[derive(Debug, Default)]
pub(crate) struct Counting {
    tally: Tally,
    channels: ChannelCounts,
}

impl Counting {
    /// Counts an intact record.
    pub(crate) fn add(
        &mut self,
        image: &Image<'_>,
        shard: u32,
        offset: u64,
        fingerprints: bool,
    ) -> Result<()> {
        let Image { label, encoding, shape, pixels } = image;
        let Shape { height, width, channels } = *shape;
        let tally = &mut self.tally;
        tally.records += 1;
        *tally.labels.entry(*label).or_default() += 1;
        let form = Form { encoding: name(*encoding), height, width, channels };
        *tally.forms.entry(form).or_default() += 1;
        tally.levels.add(pixels, channels as usize);
        self.channels.add(pixels, channels as usize);
        if fingerprints {
            let limit = MAX_IMAGES;
            ensure!(tally.fingerprints.len() < limit, TooManyImagesSnafu { limit });
            let digest = fingerprint::digest(pixels, *shape);
            tally.fingerprints.push(Fingerprint { digest, shard, offset, label: *label });
        }
        Ok(())
    }

    pub(crate) fn findings(&mut self) -> &mut Findings {
        &mut self.tally.findings
    }

    pub(crate) fn finish(self) -> Tally {
        Tally { channels: self.channels.histograms(), ..self.tally }
    }
}

pub(crate) fn name(encoding: Encoding) -> &'static str {
    match encoding {
        Encoding::Raw => "raw",
        Encoding::Png => "png",
        Encoding::Jpeg => "jpeg",
    }
}
