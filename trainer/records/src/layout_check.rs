//! Whether raw images stand in the layout that is declared for them. Pure; integer sums, so that parts can be merged.
//!
//! Bytes of one layout read as the other still make an image, a scrambled one, and a network still learns something from
//! it: nobody notices. But neighbouring pixels of a picture are alike, and of a scrambled picture less so. Both
//! layouts are tried on the same bytes, and the figures compared.
//!
//! A verdict is given only where all of this holds, else none: images of noise, of one colour or of one channel fit both.
//! 1. Neighbours in the same column differ less by a [`MARGIN`], and neighbours in rows and columns together do too. Rows
//!    alone say little: of a grey picture in HWC, the next byte is most often the same pixel's.
//! 2. Most images say so for themselves.
//! 3. For CHW: a byte differs from the next as much wherever it stands. In HWC that depends on the channel. It tells apart
//!    pictures of grey stripes, which are as smooth in both layouts.

use crate::{Layout, Shape};

/// By how much the better layout's differences must be smaller.
pub const MARGIN: f64 = 1.2;
/// Fewest images that must agree.
pub const MIN_IMAGES: u64 = 16;
/// Share of the images that must agree, of those that are not of one colour.
const MAJORITY: f64 = 2.0 / 3.0;
/// Largest ratio between the channels' differences that counts as none.
const FLAT: f64 = 1.25;

/// Sums over images of one shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayoutCheck {
    shape: Shape,
    images: u64,
    /// Images that are not of one colour.
    varied: u64,
    hwc: Sums,
    chw: Sums,
    /// Between each byte and the next of the same row in CHW, by the byte's channel in HWC.
    next: Vec<Next>,
}

/// Of one layout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Sums {
    differences: Differences,
    /// Images that are smoother in this layout.
    smoother: u64,
}

/// Sums of absolute differences between neighbouring pixels of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Differences {
    in_rows: u64,
    in_columns: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Next {
    difference: u64,
    pairs: u64,
}

/// What the images say about the declared layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// They stand in it.
    Agrees,
    /// They stand in the other one.
    Contradicts,
    /// They do not tell.
    Undecided,
}

/// A verdict and what it rests on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayoutFinding {
    /// What the images say.
    pub verdict: Verdict,
    /// The layout that was declared.
    pub declared: Layout,
    /// Images that were looked at.
    pub images: u64,
    /// Mean absolute difference between neighbouring pixels of a channel, in 0..=255, with the declared layout.
    pub declared_difference: f64,
    /// The same with the other layout.
    pub other_difference: f64,
}

impl LayoutCheck {
    /// Of no images yet.
    pub fn new(shape: Shape) -> Self {
        let next = vec![Next::default(); shape.channels as usize];
        Self { shape, images: 0, varied: 0, hwc: Sums::default(), chw: Sums::default(), next }
    }

    /// Adds a raw image, `shape.bytes()` bytes as they are stored. One of another length has no layout and does not count.
    pub fn add(&mut self, stored: &[u8]) {
        if stored.is_empty() || stored.len() != self.shape.bytes() {
            return;
        }
        self.images += 1;
        let [hwc, chw] = [Layout::Hwc, Layout::Chw].map(|layout| differences(stored, self.shape, layout));
        self.varied += u64::from(hwc.sum() > 0 || chw.sum() > 0);
        self.hwc.smoother += u64::from(hwc.smoother_than(&chw, 1.0));
        self.chw.smoother += u64::from(chw.smoother_than(&hwc, 1.0));
        self.hwc.differences.add(hwc);
        self.chw.differences.add(chw);
        for row in (0..stored.len()).step_by(self.shape.width as usize) {
            let bytes = &stored[row..row + self.shape.width as usize];
            for (column, pair) in bytes.windows(2).enumerate() {
                let next = &mut self.next[(row + column) % self.shape.channels as usize];
                next.difference += u64::from(pair[0].abs_diff(pair[1]));
                next.pairs += 1;
            }
        }
    }

    /// Adds what another check saw of images of the same shape.
    pub fn merge(&mut self, other: &Self) {
        let Self { shape, images, varied, hwc, chw, next } = other;
        debug_assert_eq!(self.shape, *shape);
        self.images += images;
        self.varied += varied;
        for (sums, more) in [(&mut self.hwc, hwc), (&mut self.chw, chw)] {
            sums.differences.add(more.differences);
            sums.smoother += more.smoother;
        }
        for (sum, more) in self.next.iter_mut().zip(next) {
            sum.difference += more.difference;
            sum.pairs += more.pairs;
        }
    }

    /// What the images say about `declared`.
    pub fn finding(&self, declared: Layout) -> LayoutFinding {
        let other = other(declared);
        let verdict = match () {
            () if self.shows(declared) => Verdict::Agrees,
            () if self.shows(other) => Verdict::Contradicts,
            () => Verdict::Undecided,
        };
        LayoutFinding {
            verdict,
            declared,
            images: self.images,
            declared_difference: self.mean_difference(declared),
            other_difference: self.mean_difference(other),
        }
    }

    /// Whether the images clearly stand in `layout`.
    fn shows(&self, layout: Layout) -> bool {
        let (this, that) = (self.sums(layout), self.sums(other(layout)));
        self.shape.channels > 1
            && this.smoother >= MIN_IMAGES
            && this.smoother as f64 >= MAJORITY * self.varied as f64
            && this.differences.smoother_than(&that.differences, MARGIN)
            && (layout == Layout::Hwc || self.is_flat())
    }

    /// Whether a byte differs from the next as much wherever it stands.
    fn is_flat(&self) -> bool {
        let means: Vec<f64> =
            self.next.iter().map(|next| next.difference as f64 / next.pairs.max(1) as f64).collect();
        means.iter().all(|mean| *mean > 0.0 && means.iter().all(|other| *other <= FLAT * mean))
    }

    fn mean_difference(&self, layout: Layout) -> f64 {
        let Shape { height, width, channels } = self.shape;
        let (height, width) = (u64::from(height), u64::from(width));
        let pairs = (height * width.saturating_sub(1) + width * height.saturating_sub(1))
            * u64::from(channels)
            * self.images;
        if pairs == 0 { 0.0 } else { self.sums(layout).differences.sum() as f64 / pairs as f64 }
    }

    fn sums(&self, layout: Layout) -> &Sums {
        match layout {
            Layout::Hwc => &self.hwc,
            Layout::Chw => &self.chw,
        }
    }
}

impl std::fmt::Display for LayoutFinding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { verdict: _, declared, images, declared_difference, other_difference } = self;
        write!(
            f,
            "in {images} images, neighbouring pixels differ by {declared_difference:.1} on average read as {declared}, \
             and by {other_difference:.1} read as {}",
            other(*declared)
        )
    }
}

impl Differences {
    fn sum(&self) -> u64 {
        self.in_rows + self.in_columns
    }

    fn add(&mut self, more: Self) {
        self.in_rows += more.in_rows;
        self.in_columns += more.in_columns;
    }

    fn smoother_than(&self, other: &Self, margin: f64) -> bool {
        let less = |this: u64, that: u64| this as f64 * margin < that as f64;
        less(self.in_columns, other.in_columns) && less(self.sum(), other.sum())
    }
}

/// The layout that `layout` is not.
pub fn other(layout: Layout) -> Layout {
    match layout {
        Layout::Hwc => Layout::Chw,
        Layout::Chw => Layout::Hwc,
    }
}

fn differences(image: &[u8], shape: Shape, layout: Layout) -> Differences {
    let (height, width, channels) = (shape.height as usize, shape.width as usize, shape.channels as usize);
    // Distances between neighbours: of a column, of a row, and between channels.
    let (down, right, across) = match layout {
        Layout::Hwc => (width * channels, channels, 1),
        Layout::Chw => (width, 1, width * height),
    };
    let mut sums = Differences::default();
    for first in (0..channels).map(|channel| channel * across) {
        for row in (0..height).map(|row| first + row * down) {
            for at in (0..width - 1).map(|column| row + column * right) {
                sums.in_rows += u64::from(image[at].abs_diff(image[at + right]));
            }
        }
        for row in (0..height - 1).map(|row| first + row * down) {
            for at in (0..width).map(|column| row + column * right) {
                sums.in_columns += u64::from(image[at].abs_diff(image[at + down]));
            }
        }
    }
    sums
}

#[cfg(test)]
mod tests;
