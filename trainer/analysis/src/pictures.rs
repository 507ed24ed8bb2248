//! The images that the page shows, read again from where they stand, small.
//!
//! Which ones is a function of the data: of each class those with the least digests, which are as good as random.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::TryStreamExt;
use image::{ExtendedColorType, ImageEncoder, codecs::png::PngEncoder};
use lockstep_records::Shape;
use snafu::ResultExt;

use crate::{
    Report, Result, again, error::PictureSnafu, fingerprint::Fingerprint, repeats::Place,
    report::GroupsReport, split::Split, tally::Tally,
};

/// Classes of a split whose samples are shown; the first ones by label.
pub const SHOWN_CLASSES: usize = 50;
/// Groups of each sort of repeated images that are shown.
pub const SHOWN_GROUPS: usize = 12;
/// Larger images are made smaller.
const LARGEST_SIDE: u32 = 96;

/// A small image as PNG.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// The file's bytes.
    pub png: Vec<u8>,
}

/// The pictures of a page.
#[derive(Clone, Debug, Default)]
pub struct Gallery {
    /// By split and label.
    samples: Vec<BTreeMap<u32, Vec<Place>>>,
    pictures: BTreeMap<Place, Picture>,
}

impl Gallery {
    /// Samples of each class of a split, by label.
    pub fn samples(&self, split: usize) -> impl Iterator<Item = (u32, Vec<&Picture>)> {
        let classes = self.samples.get(split).into_iter().flatten();
        classes.map(|(label, places)| (*label, places.iter().filter_map(|place| self.at(place)).collect()))
    }

    /// The picture of a record, if it is shown and could be read again.
    pub fn at(&self, place: &Place) -> Option<&Picture> {
        self.pictures.get(place)
    }
}

pub(crate) async fn gallery(
    splits: &Arc<[Split]>,
    tallies: &[Tally],
    report: &Report,
    samples: usize,
) -> Result<Gallery> {
    let samples: Vec<_> = tallies
        .iter()
        .enumerate()
        .map(|(split, tally)| choose(split, &tally.fingerprints, samples))
        .collect();
    let duplicates = report.splits.iter().map(|split| &split.duplicates);
    let leaks = report.leaks.iter().map(|leak| &leak.images);
    let mut places: BTreeSet<Place> =
        duplicates.chain(leaks).chain([&report.conflicts]).flat_map(shown).collect();
    places.extend(samples.iter().flat_map(BTreeMap::values).flatten());
    let mut pictures = BTreeMap::new();
    let mut records = std::pin::pin!(again::read(splits, places));
    while let Some((place, features)) = records.try_next().await? {
        if let Ok(image) = features.image(&splits[place.split].format) {
            pictures.insert(place, picture(&image.pixels, image.shape)?);
        }
    }
    Ok(Gallery { samples, pictures })
}

/// First records of the groups that are shown.
fn shown(groups: &GroupsReport) -> impl Iterator<Item = Place> {
    groups.listed.iter().take(SHOWN_GROUPS).filter_map(|group| Some(group.places.first()?.place))
}

/// Places of `samples` different images of each class, from sorted fingerprints.
fn choose(split: usize, fingerprints: &[Fingerprint], samples: usize) -> BTreeMap<u32, Vec<Place>> {
    let mut chosen: BTreeMap<u32, (Option<[u8; 16]>, Vec<Place>)> = BTreeMap::new();
    for Fingerprint { digest, shard, offset, label } in fingerprints {
        let (last, places) = chosen.entry(*label).or_default();
        if places.len() < samples && *last != Some(*digest) {
            *last = Some(*digest);
            places.push(Place { split, shard: *shard, offset: *offset, label: *label });
        }
    }
    chosen.into_iter().take(SHOWN_CLASSES).map(|(label, (_, places))| (label, places)).collect()
}

fn picture(pixels: &[u8], shape: Shape) -> Result<Picture> {
    let colour = match shape.channels {
        3 => ExtendedColorType::Rgb8,
        4 => ExtendedColorType::Rgba8,
        _ => ExtendedColorType::L8,
    };
    let Small { width, height, pixels } = smaller(pixels, shape, colour);
    let mut png = Vec::new();
    PngEncoder::new(&mut png).write_image(&pixels, width, height, colour).context(PictureSnafu)?;
    Ok(Picture { width, height, png })
}

struct Small {
    width: u32,
    height: u32,
    pixels: Vec<u8>,
}

/// Every `n`-th pixel of every `n`-th row, for the least `n` that makes it small enough; of odd numbers of channels the first.
fn smaller(pixels: &[u8], shape: Shape, colour: ExtendedColorType) -> Small {
    let every = shape.height.max(shape.width).div_ceil(LARGEST_SIDE) as usize;
    let (channels, kept) = (shape.channels as usize, usize::from(colour.channel_count()));
    let rows = pixels.chunks_exact(shape.width as usize * channels).step_by(every);
    let small =
        rows.flat_map(|row| row.chunks_exact(channels).step_by(every).flat_map(|pixel| &pixel[..kept]));
    let side = |pixels: u32| pixels.div_ceil(every as u32);
    Small { width: side(shape.width), height: side(shape.height), pixels: small.copied().collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_images_become_small_and_odd_ones_grey() {
        for (shape, size) in [
            (Shape { height: 32, width: 32, channels: 3 }, (32, 32)),
            (Shape { height: 97, width: 300, channels: 4 }, (75, 25)),
            (Shape { height: 5, width: 7, channels: 2 }, (7, 5)),
            (Shape { height: 1, width: 1000, channels: 1 }, (91, 1)),
        ] {
            let picture = picture(&vec![9; shape.bytes()], shape).unwrap();
            assert_eq!((picture.width, picture.height), size, "{shape}");
            let read = image::load_from_memory(&picture.png).unwrap();
            assert_eq!((read.width(), read.height()), size);
        }
    }

    #[test]
    fn samples_are_different_images_of_least_digest() {
        let of = |digest: u8, offset, label| Fingerprint { digest: [digest; 16], shard: 0, offset, label };
        let chosen = choose(0, &[of(1, 9, 0), of(1, 10, 0), of(2, 3, 1), of(3, 4, 0), of(4, 5, 0)], 2);
        let offsets: Vec<Vec<u64>> =
            chosen.values().map(|places| places.iter().map(|place| place.offset).collect()).collect();
        assert_eq!(offsets, [vec![9, 4], vec![3]]);
    }
}
