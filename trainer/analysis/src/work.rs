//! Scans the pieces of an analysis with several threads, each with tallies of its own, and adds these up.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use lockstep_records::{
    chain,
    scan::{Damage, Found, Scanner},
};
use snafu::ResultExt;

use crate::{
    Result,
    content::{Content, Failed},
    error::WorkerSnafu,
    finding::{Finding, Kind},
    plan::Piece,
    record::{Features, Problem},
    split::{Shard, Split},
    tally::{Counting, Tally},
};

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
        let (mut scanner, range) = self.scanner(shard, piece, size, counting);
        let mut content = Content::new(self.split, self.shard, range);
        loop {
            self.take_all(&mut scanner, counting)?;
            match content.next(scanner.missing_bytes()) {
                Ok(Some(block)) => {
                    if let Some(progress) = self.progress {
                        progress(block.len() as u64);
                    }
                    scanner.push(block);
                }
                Ok(None) => break,
                Err(Failed::Read(error)) => return Err(error),
                Err(Failed::Damaged(error)) => {
                    let detail = format!(
                        "failed to unpack what follows byte {} of the content: {error}",
                        scanner.offset()
                    );
                    self.found(counting, scanner.offset(), 0, 0, Kind::Compression, detail);
                    break;
                }
            }
        }
        scanner.end();
        self.take_all(&mut scanner, counting)
    }

    /// The piece's scanner, and the bytes of the file that it reads.
    fn scanner<'a>(
        &self,
        shard: &'a Shard,
        piece: &Piece,
        size: u64,
        counting: &mut Counting,
    ) -> (Scanner<'a>, Range<u64>) {
        let Some(lengths) = &shard.index else { return (Scanner::new(), 0..size) };
        let indexed = lengths.bytes();
        if shard.compression.is_some() {
            return (Scanner::indexed(lengths, 0..lengths.records()), 0..size);
        }
        if size > indexed {
            let detail = format!("the manifest says {indexed} bytes, the file has {size}");
            self.found(counting, indexed, 0, size - indexed, Kind::TrailingBytes, detail);
        }
        let positions = piece.positions.clone().unwrap_or(0..lengths.records());
        let end = lengths.locate(positions.end).map_or(indexed, |(offset, _)| offset);
        let scanner = Scanner::indexed(lengths, positions);
        let start = scanner.offset();
        (scanner, start..end.min(size))
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
