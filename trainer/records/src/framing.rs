//! TFRecord framing: `length u64 | masked crc32c of length u32 | data | masked crc32c of data u32`, little endian.
//!
//! Pure: [`append`] is used by `prepare`, [`decode`] by the reader (which knows every record's place from the
//! manifest), [`Frames`] by whoever must find the records of a shard that has no index. A length is believed only
//! after its checksum and the limit, and even then no memory is taken before the bytes have arrived.
//!
//! Source: TensorFlow, `tensorflow/core/lib/io/record_writer.cc` and `core/lib/hash/crc32c.h`.

use std::io::Read;

use snafu::{ResultExt, Snafu, ensure};

/// Bytes of a record in front of its data.
pub const HEADER_BYTES: usize = 12;
/// Bytes of a record around its data.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + 4;
/// Longest data of one record that is read or written; longer lengths are taken for damage.
pub const MAX_DATA_BYTES: u64 = 256 << 20;

/// Why bytes are not a record.
#[derive(Debug, Snafu)]
pub enum Error {
    /// The bytes end inside the record.
    #[snafu(display("failed to read a record: it ends after {found} of {wanted} bytes"))]
    Truncated {
        /// Bytes of the part that was being read.
        wanted: u64,
        /// Bytes that were there.
        found: u64,
    },
    /// The length's checksum does not match.
    #[snafu(display(
        "failed to read a record: its length {length} has checksum {computed:08x}, stored is {stored:08x}"
    ))]
    LengthChecksum {
        /// As read, not to be believed.
        length: u64,
        /// Masked crc32c of the length as read.
        computed: u32,
        /// Masked crc32c as stored.
        stored: u32,
    },
    /// The length has a right checksum and is absurd all the same.
    #[snafu(display("failed to read a record: its {length} bytes are more than the limit of {limit}"))]
    TooLong {
        /// As read.
        length: u64,
        /// [`MAX_DATA_BYTES`].
        limit: u64,
    },
    /// The record is intact and of another length than the index says.
    #[snafu(display("failed to read a record: it is {found} bytes long, the index says {indexed}"))]
    Length {
        /// Whole record as framed, bytes.
        found: u64,
        /// Whole record according to the index, bytes.
        indexed: u64,
    },
    /// The data's checksum does not match.
    #[snafu(display(
        "failed to read a record: its data has checksum {computed:08x}, stored is {stored:08x}"
    ))]
    DataChecksum {
        /// Masked crc32c of the data as read.
        computed: u32,
        /// Masked crc32c as stored.
        stored: u32,
    },
    /// The stream behind a [`Frames`] failed.
    #[snafu(display("failed to read a record from its stream"))]
    Stream {
        /// The stream's error.
        source: std::io::Error,
    },
}

/// CRC-32C as TFRecords store it: rotated and shifted, so that a checksum of data with checksums in it stays good.
pub fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// Adds one record to the end of a shard.
pub fn append(data: &[u8], shard: &mut Vec<u8>) {
    let length = (data.len() as u64).to_le_bytes();
    shard.reserve(data.len() + OVERHEAD_BYTES);
    shard.extend_from_slice(&length);
    shard.extend_from_slice(&masked_crc(&length).to_le_bytes());
    shard.extend_from_slice(data);
    shard.extend_from_slice(&masked_crc(data).to_le_bytes());
}

/// The data of the one record that fills `frame` exactly, with both checksums verified.
pub fn decode(frame: &[u8]) -> Result<&[u8], Error> {
    let short = TruncatedSnafu { wanted: OVERHEAD_BYTES as u64, found: frame.len() as u64 };
    let Some((header, rest)) = frame.split_first_chunk::<HEADER_BYTES>() else { return short.fail() };
    let Some((data, stored)) = rest.split_last_chunk::<4>() else { return short.fail() };
    let length = checked_length(header)?;
    ensure!(
        length == data.len() as u64,
        LengthSnafu { found: length + OVERHEAD_BYTES as u64, indexed: frame.len() as u64 }
    );
    check_data(data, *stored)?;
    Ok(data)
}

/// Whether a record begins with these bytes: a length whose checksum is right.
pub(crate) fn is_header(first: &[u8]) -> bool {
    first.first_chunk().is_some_and(|header| checked_length(header).is_ok())
}

/// The length of the data behind a header, verified and within the limit.
pub(crate) fn checked_length(header: &[u8; HEADER_BYTES]) -> Result<u64, Error> {
    let [length @ .., c0, c1, c2, c3] = *header;
    let (computed, stored) = (masked_crc(&length), u32::from_le_bytes([c0, c1, c2, c3]));
    let length = u64::from_le_bytes(length);
    ensure!(computed == stored, LengthChecksumSnafu { length, computed, stored });
    ensure!(length <= MAX_DATA_BYTES, TooLongSnafu { length, limit: MAX_DATA_BYTES });
    Ok(length)
}

fn check_data(data: &[u8], stored: [u8; 4]) -> Result<(), Error> {
    let (computed, stored) = (masked_crc(data), u32::from_le_bytes(stored));
    ensure!(computed == stored, DataChecksumSnafu { computed, stored });
    Ok(())
}

/// The records of a stream, one after the other. After an error the stream's place is unknown: stop.
#[derive(Debug)]
pub struct Frames<R> {
    input: R,
    offset: u64,
    next_offset: u64,
    buffer: Vec<u8>,
}

impl<R: Read> Frames<R> {
    /// Starts at the stream's present place, which counts as offset 0.
    pub fn new(input: R) -> Self {
        Self { input, offset: 0, next_offset: 0, buffer: Vec::new() }
    }

    /// Offset in bytes at which the record last returned, or last failed on, begins.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// The next record's data, or `None` where the stream ends between two records.
    pub fn next_record(&mut self) -> Result<Option<&[u8]>, Error> {
        self.offset = self.next_offset;
        match self.read(HEADER_BYTES as u64)? {
            0 => return Ok(None),
            HEADER_BYTES => {}
            found => return TruncatedSnafu { wanted: OVERHEAD_BYTES as u64, found: found as u64 }.fail(),
        }
        let header = self.buffer.first_chunk().expect("the header was just read whole");
        let wanted = checked_length(header)? + 4;
        let found = self.read(wanted)? as u64;
        let whole = wanted + HEADER_BYTES as u64;
        ensure!(found == wanted, TruncatedSnafu { wanted: whole, found: found + HEADER_BYTES as u64 });
        let (data, stored) = self.buffer.split_last_chunk().expect("at least the checksum was read");
        check_data(data, *stored)?;
        self.next_offset += whole;
        Ok(Some(data))
    }

    /// Reads at most `bytes` into the buffer, which grows with what arrives, not with what was promised.
    fn read(&mut self, bytes: u64) -> Result<usize, Error> {
        self.buffer.clear();
        self.input.by_ref().take(bytes).read_to_end(&mut self.buffer).context(StreamSnafu)
    }
}

#[cfg(test)]
mod tests;
