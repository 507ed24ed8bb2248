//! The records of a shard that may be damaged: whatever can be read, and where what cannot be read lies.
//!
//! Pure: whoever reads the shard hands its bytes over block by block ([`Scanner::push`]) and takes what was found in them.
//! `lockstep analyze` is the caller; training reads through [`reader`](crate::RecordReader), which stops at the first
//! damage. A record whose data is damaged does not hide the next one. One whose length is damaged does, unless an index
//! ([`Lengths`], from `dataset.json`) says where the next one begins.

use std::ops::Range;

use bytes::Bytes;

use crate::{
    framing::{self, Error, HEADER_BYTES, OVERHEAD_BYTES},
    manifest::Lengths,
};

/// A part of a shard, as a scan found it.
#[derive(Debug)]
pub enum Found {
    /// An intact record.
    Record {
        /// Where it begins, framing included.
        offset: u64,
        /// Its data, in the memory of the block it came in.
        data: Bytes,
    },
    /// Bytes that are no record.
    Damage(Damage),
}

/// Bytes of a shard that could not be read.
#[derive(Debug)]
pub struct Damage {
    /// Where the record that they belong to begins.
    pub offset: u64,
    /// How many there are.
    pub bytes: u64,
    /// Records in them, and in what is missing behind them: according to the index, else the one that is damaged.
    pub records: u64,
    /// What is wrong with the first of them.
    pub source: Error,
}

impl Found {
    fn at(offset: u64, frame: &Bytes) -> Self {
        match framing::decode(frame) {
            Ok(data) => Self::Record { offset, data: frame.slice_ref(data) },
            Err(source) => Self::Damage(Damage { offset, bytes: frame.len() as u64, records: 1, source }),
        }
    }
}

/// Reads one range of a shard. Holds no more than one block and one record.
#[derive(Debug)]
pub struct Scanner<'a> {
    index: Option<Index<'a>>,
    buffer: Bytes,
    /// Of the buffer's first byte.
    offset: u64,
    ended: bool,
    /// A damaged length without an index: everything behind it is lost.
    lost: Option<(u64, Error)>,
}

#[derive(Debug)]
struct Index<'a> {
    lengths: &'a Lengths,
    positions: Range<u64>,
}

impl<'a> Scanner<'a> {
    /// Records that nobody has indexed, from the beginning of a shard to its end.
    pub fn new() -> Self {
        Self { index: None, buffer: Bytes::new(), offset: 0, ended: false, lost: None }
    }

    /// The records at `positions` of a shard, from the byte at which the first one begins ([`Scanner::offset`]).
    ///
    /// Bytes behind the last of them are read as records without an index.
    pub fn indexed(lengths: &'a Lengths, positions: Range<u64>) -> Self {
        let offset = lengths.locate(positions.start).map_or(lengths.bytes(), |(offset, _)| offset);
        Self { index: Some(Index { lengths, positions }), offset, ..Self::new() }
    }

    /// Offset in the shard of the first byte that was handed over and not taken yet.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Bytes of the record that is next, as far as is known, that were not handed over yet.
    ///
    /// At most [`framing::MAX_DATA_BYTES`] and the framing, so a caller may read as much at once.
    pub fn missing_bytes(&self) -> u64 {
        let wanted = match self.expected_bytes() {
            Some(bytes) => bytes,
            None => match self.buffer.first_chunk::<HEADER_BYTES>().map(framing::checked_length) {
                Some(Ok(length)) => length + OVERHEAD_BYTES as u64,
                Some(Err(_)) => 0,
                None => HEADER_BYTES as u64,
            },
        };
        wanted.saturating_sub(self.buffer.len() as u64)
    }

    /// Hands over the next bytes of the shard.
    pub fn push(&mut self, block: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = block;
        } else {
            self.buffer = [&self.buffer[..], &block].concat().into();
        }
    }

    /// Says that the shard, or the range of it that was asked for, has no more bytes.
    pub fn end(&mut self) {
        self.ended = true;
    }

    /// The next record or damage; `None` where more bytes are needed or, after [`Scanner::end`], where everything was told.
    pub fn next_found(&mut self) -> Option<Found> {
        match self.expected_bytes() {
            _ if self.lost.is_some() => self.skip_to_the_end(),
            Some(bytes) => self.next_indexed(bytes),
            None => self.next_unindexed(),
        }
    }

    /// Length of the next record, framing included, where the index has it.
    fn expected_bytes(&self) -> Option<u64> {
        let Index { lengths, positions } = self.index.as_ref()?;
        if positions.is_empty() {
            return None;
        }
        lengths.locate(positions.start).map(|(_, bytes)| bytes)
    }

    fn next_indexed(&mut self, bytes: u64) -> Option<Found> {
        let Some(frame) = self.take(bytes) else { return self.cut_short() };
        let offset = self.offset - bytes;
        if let Some(index) = &mut self.index {
            index.positions.start += 1;
        }
        Some(Found::at(offset, &frame))
    }

    fn next_unindexed(&mut self) -> Option<Found> {
        let offset = self.offset;
        let Some(header) = self.buffer.first_chunk::<HEADER_BYTES>() else { return self.cut_short() };
        match framing::checked_length(header) {
            Ok(length) => {
                let bytes = length + OVERHEAD_BYTES as u64;
                let Some(frame) = self.take(bytes) else { return self.cut_short() };
                Some(Found::at(offset, &frame))
            }
            Err(source) => {
                self.lost = Some((offset, source));
                self.skip_to_the_end()
            }
        }
    }

    /// What the shard's end leaves of a record, once it has come.
    fn cut_short(&mut self) -> Option<Found> {
        let records = self.index.as_ref().map_or(0, |index| index.positions.end - index.positions.start);
        let found = self.buffer.len() as u64;
        if !self.ended || (found == 0 && records == 0) {
            return None;
        }
        let wanted = found + self.missing_bytes();
        let offset = self.offset;
        self.take(found);
        if let Some(index) = &mut self.index {
            index.positions.start = index.positions.end;
        }
        let source = Error::Truncated { wanted, found };
        Some(Found::Damage(Damage { offset, bytes: found, records: records.max(1), source }))
    }

    fn skip_to_the_end(&mut self) -> Option<Found> {
        self.take(self.buffer.len() as u64);
        if !self.ended {
            return None;
        }
        let (offset, source) = self.lost.take()?;
        Some(Found::Damage(Damage { offset, bytes: self.offset - offset, records: 1, source }))
    }

    /// The next bytes, if that many have come.
    fn take(&mut self, bytes: u64) -> Option<Bytes> {
        let length = usize::try_from(bytes).ok().filter(|length| *length <= self.buffer.len())?;
        self.offset += bytes;
        Some(self.buffer.split_to(length))
    }
}

impl Default for Scanner<'_> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests;
