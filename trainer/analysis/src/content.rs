//! The bytes of a shard, block by block, the next one always on its way; unpacked where the file is compressed.

use std::{
    io::{self, BufRead, Read},
    ops::Range,
};

use bytes::{Buf, Bytes};
use lockstep_records::compression;
use snafu::ResultExt;
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    Error, Result,
    error::{ReadSnafu, WorkerSnafu},
    split::Split,
};

/// One is analysed while the next one is read, by every thread.
const BLOCK_BYTES: u64 = 4 << 20;

/// A shard's content.
pub(crate) enum Content<'a> {
    /// A range of the file.
    Plain(Blocks<'a>),
    /// What the whole file unpacks to, and why there is no more of it.
    Packed(Box<dyn Read + 'a>, Option<io::Error>),
}

/// Why there are no more bytes.
pub(crate) enum Failed {
    /// Reading failed.
    Read(Error),
    /// The compressed stream is damaged.
    Damaged(io::Error),
}

impl<'a> Content<'a> {
    /// `range`: of the file, whole where it is compressed.
    pub(crate) fn new(split: &'a Split, shard: usize, range: Range<u64>) -> Self {
        let blocks = Blocks::new(split, shard, range);
        match split.shards[shard].compression {
            None => Self::Plain(blocks),
            // What comes out is scanned block by block, so that no amount of it is too much.
            Some(format) => {
                let file = File { blocks, block: Bytes::new() };
                Self::Packed(Box::new(compression::unpack(file, format, u64::MAX)), None)
            }
        }
    }

    /// A block of at least `wanted` bytes, unless the content ends before; `None` at the end.
    pub(crate) fn next(&mut self, wanted: u64) -> Result<Option<Bytes>, Failed> {
        match self {
            Self::Plain(blocks) => blocks.next(wanted).map_err(Failed::Read),
            Self::Packed(content, failed) => {
                if let Some(error) = failed.take() {
                    return Err(Failed::of(error));
                }
                let mut block = Vec::new();
                match content.by_ref().take(wanted.max(BLOCK_BYTES)).read_to_end(&mut block) {
                    Ok(_) => {}
                    Err(error) if block.is_empty() => return Err(Failed::of(error)),
                    // What came before it is good.
                    Err(error) => *failed = Some(error),
                }
                Ok((!block.is_empty()).then(|| block.into()))
            }
        }
    }
}

impl Failed {
    fn of(error: io::Error) -> Self {
        match error.downcast::<Error>() {
            Ok(error) => Self::Read(error),
            Err(error) => Self::Damaged(error),
        }
    }
}

/// A range of a file.
pub(crate) struct Blocks<'a> {
    split: &'a Split,
    shard: usize,
    left: Range<u64>,
    coming: Option<JoinHandle<lockstep_storage::Result<Bytes>>>,
}

impl<'a> Blocks<'a> {
    fn new(split: &'a Split, shard: usize, range: Range<u64>) -> Self {
        let mut blocks = Self { split, shard, left: range, coming: None };
        blocks.order();
        blocks
    }

    fn order(&mut self) {
        let end = self.left.end.min(self.left.start.saturating_add(BLOCK_BYTES));
        let range = self.left.start..end;
        if range.is_empty() {
            return;
        }
        self.left.start = end;
        let (store, path) = (self.split.store.clone(), self.split.shards[self.shard].name.clone());
        self.coming = Some(Handle::current().spawn(async move { store.get_range(&path, range).await }));
    }

    fn next(&mut self, wanted: u64) -> Result<Option<Bytes>> {
        let Some(first) = self.next_block()? else { return Ok(None) };
        if first.len() as u64 >= wanted {
            return Ok(Some(first));
        }
        let mut together = Vec::from(first);
        while (together.len() as u64) < wanted {
            let Some(block) = self.next_block()? else { break };
            together.extend_from_slice(&block);
        }
        Ok(Some(together.into()))
    }

    fn next_block(&mut self) -> Result<Option<Bytes>> {
        let Some(coming) = self.coming.take() else { return Ok(None) };
        let read = Handle::current().block_on(coming).context(WorkerSnafu)?;
        let block = read.with_context(|_| ReadSnafu { shard: self.split.shard_uri(self.shard) })?;
        self.order();
        Ok(Some(block))
    }
}

/// A file as a stream.
struct File<'a> {
    blocks: Blocks<'a>,
    block: Bytes,
}

impl BufRead for File<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.block.is_empty() {
            self.block = self.blocks.next_block().map_err(io::Error::other)?.unwrap_or_default();
        }
        Ok(&self.block)
    }

    fn consume(&mut self, bytes: usize) {
        self.block.advance(bytes);
    }
}

impl Read for File<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}
