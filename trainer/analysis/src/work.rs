//! Scans the pieces of an analysis with several threads, each with tallies of its own, and adds these up.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use lockstep_records::scan::{Damage, Found, Scanner};
use snafu::ResultExt;
use tokio::{runtime::Handle, task::JoinHandle};

use crate::{
    Result,
    error::{ReadSnafu, WorkerSnafu},
    finding::{Finding, Kind},
    plan::Piece,
    record::{Features, Problem, chain},
    split::{Shard, Split},
    tally::{Counting, Tally},
};

/// One is analysed while the next one is read, by every thread.
const BLOCK_BYTES: u64 = 4 << 20;

/// Told of the bytes read since the last time, often, from any thread. Must return soon.
pub type ProgressCallback = Arc<dyn Fn(u64) + Send + Sync>;

/// How an analysis is run; nothing of it shows in the result.
#[derive(Clone, Default)]
pub struct Options {
    /// At least 1.
    pub threads: usize,
    /// Told of what was done.
    pub progress: Option<ProgressCallback>,
}

/// One tally a split; with `compare`, the fingerprints of all images in it.
pub(crate) async fn tally(
    splits: &Arc<[Split]>,
    pieces: Vec<Piece>,
    compare: bool,
    options: &Options,
) -> Result<Vec<Tally>> {
    let queue = Arc::new(Queue { pieces, next: AtomicUsize::new(0) });
    let threads: Vec<_> = (0..options.threads.max(1))
        .map(|_| {
            let (splits, queue, progress) =
                (Arc::clone(splits), Arc::clone(&queue), options.progress.clone());
            tokio::task::spawn_blocking(move || work(&splits, &queue, compare, progress.as_ref()))
        })
        .collect();
    let mut sums: Vec<Tally> = splits.iter().map(|_| Tally::default()).collect();
    for thread in threads {
        for (sum, tally) in sums.iter_mut().zip(thread.await.context(WorkerSnafu)??) {
            sum.merge(tally)?;
        }
    }
    Ok(sums)
}

struct Queue {
    pieces: Vec<Piece>,
    next: AtomicUsize,
}

impl Queue {
    fn take(&self) -> Option<&Piece> {
        self.pieces.get(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Nobody takes another piece.
    fn stop(&self) {
        self.next.store(self.pieces.len(), Ordering::Relaxed);
    }
}

fn work(
    splits: &[Split],
    queue: &Queue,
    compare: bool,
    progress: Option<&ProgressCallback>,
) -> Result<Vec<Tally>> {
    let mut countings: Vec<_> = splits.iter().map(|_| Counting::default()).collect();
    while let Some(piece) = queue.take() {
        let scan = Scan { split: &splits[piece.split], shard: piece.shard, compare, progress };
        if let Err(error) = scan.run(piece, &mut countings[piece.split]) {
            queue.stop();
            return Err(error);
        }
    }
    Ok(countings.into_iter().map(Counting::finish).collect())
}

/// One shard, or a part of it.
struct Scan<'a> {
    split: &'a Split,
    shard: usize,
    compare: bool,
    progress: Option<&'a ProgressCallback>,
}

impl Scan<'_> {
    fn run(&self, piece: &Piece, counting: &mut Counting) -> Result<()> {
        let shard = &self.split.shards[self.shard];
        let Some(size) = shard.bytes else {
            let records = shard.index.as_ref().map_or(0, |lengths| lengths.records());
            self.found(counting, 0, records, 0, Kind::MissingShard, "the file is not there".to_owned());
            return Ok(());
        };
        let (mut scanner, end) = self.scanner(shard, piece, size, counting);
        let mut blocks = Blocks::new(self.split, self.shard, scanner.offset()..end);
        loop {
            self.take_all(&mut scanner, counting)?;
            let Some(block) = blocks.next(scanner.missing_bytes())? else { break };
            if let Some(progress) = self.progress {
                progress(block.len() as u64);
            }
            scanner.push(block);
        }
        scanner.end();
        self.take_all(&mut scanner, counting)
    }

    /// The piece's scanner, and the offset at which it ends.
    fn scanner<'a>(
        &self,
        shard: &'a Shard,
        piece: &Piece,
        size: u64,
        counting: &mut Counting,
    ) -> (Scanner<'a>, u64) {
        let Some(lengths) = &shard.index else { return (Scanner::new(), size) };
        let indexed = lengths.bytes();
        if size > indexed {
            let detail = format!("the manifest says {indexed} bytes, the file has {size}");
            self.found(counting, indexed, 0, size - indexed, Kind::TrailingBytes, detail);
        }
        let positions = piece.positions.clone().unwrap_or(0..lengths.records());
        let end = lengths.locate(positions.end).map_or(indexed, |(offset, _)| offset);
        (Scanner::indexed(lengths, positions), end.min(size))
    }

    /// Takes what the scanner has.
    fn take_all(&self, scanner: &mut Scanner<'_>, counting: &mut Counting) -> Result<()> {
        while let Some(found) = scanner.next_found() {
            match found {
                Found::Record { offset, data } => self.take(offset, data, counting)?,
                Found::Damage(Damage { offset, bytes, records, source }) => {
                    // A scanner reads from memory, where nothing else fails.
                    if let Some(kind) = Kind::of_framing(&source) {
                        self.found(counting, offset, records, bytes, kind, chain(&source));
                    }
                }
            }
        }
        Ok(())
    }

    fn take(&self, offset: u64, data: Bytes, counting: &mut Counting) -> Result<()> {
        let format = &self.split.format;
        let features = Features::of(data, format);
        let outcome = features.as_ref().map_err(Clone::clone).and_then(|features| features.image(format));
        match outcome {
            Ok(image) => counting.add(&image, self.shard as u32, offset, self.compare)?,
            Err(Problem { kind, detail }) => self.found(counting, offset, 1, 0, kind, detail),
        }
        Ok(())
    }

    fn found(
        &self,
        counting: &mut Counting,
        offset: u64,
        records: u64,
        bytes: u64,
        kind: Kind,
        detail: String,
    ) {
        counting.findings().add(Finding { shard: self.shard as u32, offset, kind, records, bytes, detail });
    }
}

/// A range of a file, block by block, the next one always on its way.
struct Blocks<'a> {
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

    /// A block, or several together of at least `wanted` bytes; `None` at the end.
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
