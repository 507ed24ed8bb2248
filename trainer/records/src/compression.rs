//! Compressed shards: which they are, and what is in them.
//!
//! TensorFlow compresses a whole TFRecord file, as gzip or zlib (`tf.io.TFRecordOptions`). Pure; the reader and the scan of
//! undescribed data sets use it. Everything is checked to its end: gzip's CRC, zlib's Adler, and that nothing follows.
//!
//! Sources: RFC 1950 (zlib), RFC 1952 (gzip).

use std::io::{self, BufRead, Read};

use flate2::{Decompress, FlushDecompress, Status, bufread::MultiGzDecoder};
use serde::{Deserialize, Serialize};
use snafu::Snafu;

use crate::framing;

/// How a file is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// One gzip file, or several one after the other.
    Gzip,
    /// One zlib stream.
    Zlib,
}

impl Compression {
    /// Bytes that [`Compression::detect`] looks at.
    pub const DETECTED_BY: u64 = framing::HEADER_BYTES as u64;

    /// How a TFRecord file that begins with `first` is compressed; `None` where a record begins, or nothing that is known.
    pub fn detect(first: &[u8]) -> Option<Self> {
        // A record's length may look like a header of zlib, but then its checksum is right.
        if framing::is_header(first) {
            return None;
        }
        match *first {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            // Method 8, a window of at most 32 KiB, no preset dictionary, and a check of both bytes.
            [method, flags, ..]
                if method & 0x0f == 8
                    && method >> 4 <= 7
                    && flags & 0x20 == 0
                    && u16::from_be_bytes([method, flags]).is_multiple_of(31) =>
            {
                Some(Self::Zlib)
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Compression {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip => "gzip",
            Self::Zlib => "zlib",
        })
    }
}

/// Why a stream ends with an error of its own, inside a [`io::Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Snafu)]
pub enum Error {
    /// More came out than was allowed.
    #[snafu(display("it holds more than {limit} bytes"))]
    TooLarge {
        /// Bytes allowed.
        limit: u64,
    },
    /// The stream stops before its end.
    #[snafu(display("it is truncated"))]
    Truncated,
    /// Bytes follow the stream's end.
    #[snafu(display("more bytes follow its end"))]
    Trailing,
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

/// The content of `file`; an error once that is more than `limit` bytes. At most a few dozen KiB are held at a time.
pub fn unpack(file: impl BufRead, compression: Compression, limit: u64) -> impl Read {
    let content = match compression {
        Compression::Gzip => Unpacked::Gzip(Box::new(MultiGzDecoder::new(file))),
        Compression::Zlib => Unpacked::Zlib(Zlib { file, state: Decompress::new(true), has_ended: false }),
    };
    Limited { content, limit, left: limit }
}

enum Unpacked<R> {
    Gzip(Box<MultiGzDecoder<R>>),
    Zlib(Zlib<R>),
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Gzip(gzip) => gzip.read(buffer),
            Self::Zlib(zlib) => zlib.read(buffer),
        }
    }
}

/// flate2's own reader takes a truncated stream for a whole one, and ignores what follows.
struct Zlib<R> {
    file: R,
    state: Decompress,
    has_ended: bool,
}

impl<R: BufRead> Read for Zlib<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let input = self.file.fill_buf()?;
            if self.has_ended {
                return if input.is_empty() { Ok(0) } else { Err(Error::Trailing.into()) };
            }
            let is_last = input.is_empty();
            let (read, written) = (self.state.total_in(), self.state.total_out());
            let status = self.state.decompress(input, buffer, FlushDecompress::None)?;
            self.file.consume((self.state.total_in() - read) as usize);
            self.has_ended = matches!(status, Status::StreamEnd);
            match (self.state.total_out() - written) as usize {
                0 if is_last && !self.has_ended => return Err(Error::Truncated.into()),
                0 => {}
                written => return Ok(written),
            }
        }
    }
}

struct Limited<R> {
    content: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or(Error::TooLarge { limit: self.limit })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
