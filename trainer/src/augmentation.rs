//! Random changes to training images: the colours, then mirrored, moved, a square made black.
//!
//! What happens to an image is a pure function of (seed, epoch, position in the epoch's order), on its bytes, before
//! they become numbers of the network.

use std::borrow::Cow;

use lockstep_crds::resolved::ResolvedAugmentation;
use lockstep_rng::{Domain, Stream};
use snafu::{Snafu, ensure};

use color_jitter::{Adjustments, CHANNELS};

mod color_jitter;

/// The rule does not suit the images.
#[derive(Debug, Snafu)]
#[snafu(display(
    "training.augmentation.colorJitter needs images of 1 or 3 channels, these have {channels}; leave it out"
))]
pub(crate) struct UnsuitableChannels {
    channels: usize,
}

/// What is done to one image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Change {
    /// What happens to its colours, before anything else.
    colors: Option<Adjustments>,
    mirrored: bool,
    /// Pixels down and to the right.
    moved: (i64, i64),
    /// First row and column of the black square, and its side.
    square: Option<(i64, i64, i64)>,
}

/// Changes images of one size.
#[derive(Clone, Debug)]
pub(crate) struct Augmentation {
    rule: ResolvedAugmentation,
    seed: u64,
    height: usize,
    width: usize,
    channels: usize,
}

impl Augmentation {
    /// `height`, `width` and `channels` of the images.
    pub(crate) fn new(
        rule: ResolvedAugmentation,
        seed: u64,
        height: usize,
        width: usize,
        channels: usize,
    ) -> Result<Self, UnsuitableChannels> {
        let suitable = rule.color_jitter.is_none() || CHANNELS.contains(&channels);
        ensure!(suitable, UnsuitableChannelsSnafu { channels });
        Ok(Self { rule, seed, height, width, channels })
    }

    /// Appends `image` (row, column, channel), changed, to `to`.
    pub(crate) fn append(&self, epoch: u32, position: u64, image: &[u8], to: &mut Vec<u8>) {
        let change = self.draw(epoch, position);
        let start = to.len();
        to.resize(start + image.len(), 0);
        self.apply(change, image, &mut to[start..]);
    }

    /// Draws, in this order and only what the rule asks for: mirrored (one of 2), rows down and columns right (each one
    /// of 2n + 1), row and column of the square's centre, the colours' adjustments.
    fn draw(&self, epoch: u32, position: u64) -> Change {
        let ResolvedAugmentation { horizontal_flip, translate_pixels, cutout_pixels, color_jitter } =
            self.rule;
        let mut stream = Stream::new(self.seed, Domain::Augmentation, epoch.into(), position);
        let mirrored = horizontal_flip && stream.below(2) == 1;
        let mut moved = (0, 0);
        if translate_pixels > 0 {
            let mut by =
                || stream.below(2 * u64::from(translate_pixels) + 1) as i64 - i64::from(translate_pixels);
            moved = (by(), by());
        }
        let square = (cutout_pixels > 0).then(|| {
            let side = i64::from(cutout_pixels);
            let mut start = |extent: usize| stream.below(extent.max(1) as u64) as i64 - side / 2;
            (start(self.height), start(self.width), side)
        });
        let colors = color_jitter.map(|rule| color_jitter::draw(rule, &mut stream));
        Change { colors, mirrored, moved, square }
    }

    /// `output` is all zeros.
    fn apply(&self, change: Change, image: &[u8], output: &mut [u8]) {
        let Change { colors, mirrored, moved: (down, right), square } = change;
        let image = match colors {
            Some(adjustments) => {
                let mut adjusted = image.to_vec();
                color_jitter::apply(&adjustments, self.channels, &mut adjusted);
                Cow::Owned(adjusted)
            }
            None => Cow::Borrowed(image),
        };
        let (height, width, channels) = (self.height as i64, self.width as i64, self.channels);
        // Of the output, what the moved image covers.
        let covered = down.max(0)..(height + down).min(height);
        let (first, end) = (right.max(0), (width + right).min(width));
        for row in covered {
            let from = &image[((row - down) * width) as usize * channels..][..self.width * channels];
            let to = &mut output[(row * width) as usize * channels..][..self.width * channels];
            for column in first..end {
                let source = if mirrored { width - 1 - (column - right) } else { column - right };
                let pixel = &from[source as usize * channels..][..channels];
                to[column as usize * channels..][..channels].copy_from_slice(pixel);
            }
        }
        let Some((top, left, side)) = square else { return };
        let within =
            |start: i64, extent| start.clamp(0, extent) as usize..(start + side).clamp(0, extent) as usize;
        let columns = within(left, width);
        for row in within(top, height) {
            let row = &mut output[row * self.width * channels..][..self.width * channels];
            row[columns.start * channels..columns.end * channels].fill(0);
        }
    }
}

#[cfg(test)]
mod tests;
