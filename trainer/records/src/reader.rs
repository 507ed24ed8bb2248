//! Any record by its number, checked, within a bound of memory.
//!
//! The trainer's loop says which records it will ask for, in the order that [`order`](crate::order) gives, and asks for
//! them. [`RecordReader::fetch`] brings them in large pieces, in the order of their places; what has come stays
//! until it was asked for, and longer while there is room. Nothing that is returned depends on what was kept.

use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream::FuturesUnordered};
use snafu::{ResultExt, ensure};
use tokio::sync::Notify;

use crate::{
    Dataset, Error, FeatureNames, Location, Result,
    error::{ExampleSnafu, FrameSnafu, LabelSnafu, ReadSnafu, ShardSizeSnafu},
    example, framing,
};

mod layout;
mod ranges;
mod shelf;
mod unpacked;

use ranges::{Placed, Span, spans};
use shelf::Shelf;
use unpacked::Unpacked;

/// Requests to the store in flight for one call of [`RecordReader::read`].
const CONCURRENT_READS: usize = 16;
/// Requests in flight for one call of [`RecordReader::fetch`].
const CONCURRENT_SPANS: u64 = 4;
/// Large enough that the store's cost of a request is small beside the bytes.
const LARGEST_SPAN: u64 = 1 << 20;
/// Requests under way take a quarter of the bound at most.
const SPANS_PER_BOUND: u64 = 4 * CONCURRENT_SPANS;

/// One image and its class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Place in the data set's list of classes; always below its length.
    pub label: u32,
    /// One byte a value, row by row, the channels of a pixel together, whatever the records' own layout is.
    pub pixels: Bytes,
}

/// Reads records by number. Shared by reference between any number of tasks.
#[derive(Debug)]
pub struct RecordReader {
    dataset: Dataset,
    features: FeatureNames,
    unpacked: Unpacked,
    largest_span: u64,
    shelf: Mutex<Shelf>,
    /// A record has come, or room has.
    changed: Notify,
}

impl RecordReader {
    /// `bound_bytes` bounds what is kept between calls and what is under way of what is read ahead; 0 keeps nothing.
    /// Compressed shards are kept whole: where they need more, every read of them fails ([`Dataset::unpacked_bytes`]).
    pub fn new(dataset: Dataset, features: FeatureNames, bound_bytes: u64) -> Self {
        let unpacked = Unpacked::new(&dataset, bound_bytes);
        let rest = bound_bytes.saturating_sub(dataset.unpacked_bytes());
        let largest_span = (rest / SPANS_PER_BOUND).min(LARGEST_SPAN);
        let shelf = Shelf::new(rest - largest_span * CONCURRENT_SPANS);
        Self { dataset, features, unpacked, largest_span, shelf: Mutex::new(shelf), changed: Notify::new() }
    }

    /// The data set it reads.
    pub fn dataset(&self) -> &Dataset {
        &self.dataset
    }

    /// The samples of these records, in this order.
    ///
    /// # Errors
    /// The first record that cannot be read, or is not what the manifest says, ends the call.
    pub async fn read(&self, records: &[u64]) -> Result<Vec<Sample>> {
        let frames = self.frames(records).await?;
        records.iter().map(|record| self.decode(&self.dataset.locate(*record)?, &frames[record])).collect()
    }

    /// The images of these records, in this order, as they are stored.
    async fn stored_images(&self, records: &[u64]) -> Result<Vec<Bytes>> {
        let frames = self.frames(records).await?;
        let image = |record| Ok(self.parse(&self.dataset.locate(record)?, &frames[&record])?.0);
        records.iter().map(|record| image(*record)).collect()
    }

    async fn frames(&self, records: &[u64]) -> Result<HashMap<u64, Bytes>> {
        let mut frames = HashMap::with_capacity(records.len());
        let mut missing = Vec::new();
        for record in records.iter().copied() {
            match self.kept(record).await {
                Some(frame) => drop(frames.insert(record, frame)),
                None => missing.push(self.place(record)?),
            }
        }
        let fetches = spans(missing, LARGEST_SPAN).into_iter().map(|span| self.fetch_span(span));
        let mut fetches = futures::stream::iter(fetches).buffer_unordered(CONCURRENT_READS);
        while let Some((span, bytes)) = fetches.try_next().await? {
            for (record, frame) in span.frames(&bytes) {
                self.shelf().offer(record, frame.clone(), true);
                frames.insert(record, frame);
            }
        }
        Ok(frames)
    }

    /// Makes `records` the plan, in place of the last one: they will be asked for, once for each time they stand there.
    pub fn expect(&self, records: impl IntoIterator<Item = u64>) {
        self.shelf().expect(records);
        // What the last plan wanted may give way now.
        self.changed.notify_waiters();
    }

    /// Fetches what is missing of the plan, the records of one portion after those of another, as fast as what was read
    /// makes room.
    ///
    /// # Errors
    /// The first failed request ends the call. [`RecordReader::read`] then tries what it needs for itself.
    pub async fn fetch(&self, portions: &[Vec<u64>]) -> Result<()> {
        let mut under_way = FuturesUnordered::new();
        for records in portions {
            let lacking = records.iter().filter(|record| self.shelf().lacks(**record));
            let lacking = lacking.map(|record| self.place(*record)).collect::<Result<Vec<_>>>()?;
            for span in spans(lacking, self.largest_span) {
                loop {
                    let mut changed = pin!(self.changed.notified());
                    changed.as_mut().enable();
                    if (under_way.len() as u64) < CONCURRENT_SPANS
                        && let Some(reserved) = self.reserve(&span)
                    {
                        if !reserved.records.is_empty() {
                            under_way.push(self.fetch_reserved(span, reserved));
                        }
                        break;
                    }
                    tokio::select! {
                        Some(done) = under_way.next() => done?,
                        () = changed => {}
                    }
                }
            }
        }
        under_way.try_collect().await
    }

    /// What reading ahead can keep, in bytes.
    pub fn room(&self) -> u64 {
        self.shelf().limit()
    }

    /// What keeping `record` takes, in bytes.
    ///
    /// # Errors
    /// The data set has no such record.
    pub fn cost(&self, record: u64) -> Result<u64> {
        Ok(shelf::cost(self.dataset.locate(record)?.len()))
    }

    /// Bytes of what is kept or on its way.
    pub fn kept_bytes(&self) -> u64 {
        self.shelf().used()
    }

    /// The record's bytes if they are kept, or on their way.
    async fn kept(&self, record: u64) -> Option<Bytes> {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.shelf().is_fetching(record) {
                break;
            }
            changed.await;
        }
        let kept = self.shelf().take(record);
        self.changed.notify_waiters();
        kept
    }

    fn reserve(&self, span: &Span) -> Option<Reserved<'_>> {
        let records: Vec<_> =
            span.records.iter().map(|placed| (placed.record, placed.location.len())).collect();
        let records = self.shelf().reserve(&records)?;
        Some(Reserved { reader: self, records })
    }

    async fn fetch_reserved(&self, span: Span, reserved: Reserved<'_>) -> Result<()> {
        let (span, bytes) = self.fetch_span(span).await?;
        for (record, frame) in span.frames(&bytes) {
            self.shelf().settle(record, Some(frame));
        }
        self.keep_what_came_along(&span, &bytes)?;
        drop(reserved);
        Ok(())
    }

    /// Where everything fits, everything is read once.
    fn keep_what_came_along(&self, span: &Span, bytes: &Bytes) -> Result<()> {
        let (Some(first), Some(last)) = (span.records.first(), span.records.last()) else { return Ok(()) };
        for record in first.record + 1..last.record {
            let location = self.dataset.locate(record)?;
            if !self.shelf().has_room(shelf::cost(location.len())) {
                break;
            }
            self.shelf().offer(record, span.cut(bytes, &location), false);
        }
        Ok(())
    }

    async fn fetch_span(&self, span: Span) -> Result<(Span, Bytes)> {
        let bytes = self.fetch_range(&Location { shard: span.shard, bytes: span.bytes.clone() }).await?;
        Ok((span, bytes))
    }

    fn place(&self, record: u64) -> Result<Placed> {
        Ok(Placed { record, location: self.dataset.locate(record)? })
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        // Nothing between lock and unlock leaves the shelf half changed.
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn fetch_range(&self, Location { shard, bytes }: &Location) -> Result<Bytes> {
        let store = self.dataset.store();
        let listed = &self.dataset.manifest().shards[*shard];
        if let Some(compressed) = listed.compressed {
            let content = self.unpacked.shard(&self.dataset, *shard, compressed).await?;
            return Ok(content.slice(bytes.start as usize..bytes.end as usize));
        }
        match store.get_range(&listed.name, bytes.clone()).await {
            Ok(read) => Ok(read),
            Err(error) => {
                // A shard that was cut since it was opened fails in as many ways as there are stores.
                if let Ok(found) = store.size(&listed.name).await {
                    let shard = self.dataset.shard_uri(*shard);
                    ensure!(found == listed.bytes, ShardSizeSnafu { shard, found, expected: listed.bytes });
                }
                let shard = self.dataset.shard_uri(*shard);
                Err(error).context(ReadSnafu { shard, offset: bytes.start, bytes: bytes.end - bytes.start })
            }
        }
    }

    /// Image and label of a record, as they are stored.
    fn parse(&self, location: &Location, frame: &Bytes) -> Result<(Bytes, i64)> {
        let shard = || self.dataset.shard_uri(location.shard);
        let offset = location.bytes.start;
        let data = framing::decode(frame).with_context(|_| FrameSnafu { shard: shard(), offset })?;
        let values = example::image_and_label(frame.slice_ref(data), &self.features);
        values.with_context(|_| ExampleSnafu { shard: shard(), offset })
    }

    fn decode(&self, location: &Location, frame: &Bytes) -> Result<Sample> {
        let shard = || self.dataset.shard_uri(location.shard);
        let offset = location.bytes.start;
        let (image, label) = self.parse(location, frame)?;
        let classes = self.dataset.classes().len();
        let known = usize::try_from(label).is_ok_and(|label| label < classes);
        ensure!(known, LabelSnafu { shard: shard(), offset, label, classes });
        let pixels = match self.dataset.image_format().decode(&image) {
            Ok(Cow::Borrowed(pixels)) => Bytes::copy_from_slice(pixels),
            Ok(Cow::Owned(pixels)) => pixels.into(),
            Err(source) => return Err(Error::Image { shard: shard(), offset, source }),
        };
        Ok(Sample { label: label as u32, pixels })
    }
}

/// Room on the shelf for records that are on their way; what has not come when this is dropped never will.
struct Reserved<'a> {
    reader: &'a RecordReader,
    records: Vec<u64>,
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut shelf = self.reader.shelf();
        self.records.iter().for_each(|record| shelf.settle(*record, None));
        drop(shelf);
        self.reader.changed.notify_waiters();
    }
}
