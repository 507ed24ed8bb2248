//! A leaf's vector comes in up to two parts: what is complete early travels while the rest is still being computed.

use std::ops::{Index, IndexMut, Range};

/// One of the two parts of every leaf's vector, or the only one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// From the cut to the end, and all integers: complete first. The whole vector where the cut is 0.
    Upper,
    /// From the start to the cut; does not exist where the cut is 0.
    Lower,
}

impl Part {
    /// Both, in the order in which they are computed.
    pub const ALL: [Self; 2] = [Self::Upper, Self::Lower];
}

/// One thing for each part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PerPart<T> {
    /// For [`Part::Upper`].
    pub upper: T,
    /// For [`Part::Lower`].
    pub lower: T,
}

impl<T> PerPart<T> {
    /// `make` of each part.
    pub fn new(mut make: impl FnMut(Part) -> T) -> Self {
        Self { upper: make(Part::Upper), lower: make(Part::Lower) }
    }
}

impl<T> Index<Part> for PerPart<T> {
    type Output = T;

    fn index(&self, part: Part) -> &T {
        match part {
            Part::Upper => &self.upper,
            Part::Lower => &self.lower,
        }
    }
}

impl<T> IndexMut<Part> for PerPart<T> {
    fn index_mut(&mut self, part: Part) -> &mut T {
        match part {
            Part::Upper => &mut self.upper,
            Part::Lower => &mut self.lower,
        }
    }
}

/// What every leaf of a round sums: floats, where they are cut in two, and integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// Floats.
    pub(crate) len: usize,
    /// First float of the upper part, at most `len`.
    pub(crate) cut: usize,
    /// Integers.
    pub(crate) counts: usize,
}

impl Shape {
    /// The parts that exist, in the order in which they are computed.
    pub(crate) fn parts(self) -> &'static [Part] {
        if self.cut == 0 { &[Part::Upper] } else { &Part::ALL }
    }

    /// Where a part lies in the vector.
    pub(crate) fn range(self, part: Part) -> Range<usize> {
        match part {
            Part::Upper => self.cut..self.len,
            Part::Lower => 0..self.cut,
        }
    }

    /// Integers of a part.
    pub(crate) fn counts(self, part: Part) -> usize {
        match part {
            Part::Upper => self.counts,
            Part::Lower => 0,
        }
    }
}
