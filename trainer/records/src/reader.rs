//! Any record by its number, checked, within a bound of memory.
//!
//! Asked by the trainer's loop for the records of a micro-batch, in the order that [`order`](crate::order) says.
//! Whole blocks of neighbouring records are kept while `cache_bytes` allow; a record whose block finds no room is read
//! alone. Nothing that is returned depends on what was cached.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use snafu::{ResultExt, ensure};

use crate::{
    Dataset, FeatureNames, Layout, Location, Result,
    error::{ExampleSnafu, FrameSnafu, ImageSizeSnafu, LabelSnafu, ReadSnafu, ShardSizeSnafu},
    example::Example,
    framing,
    manifest::Encoding,
};

mod blocks;
mod cache;

use blocks::Blocks;
use cache::Cache;

/// Requests to the store in flight for one call.
const CONCURRENT_READS: usize = 16;

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
    blocks: Blocks,
    cache: Cache,
}

impl RecordReader {
    /// `cache_bytes` bounds what is kept between calls; 0 keeps nothing.
    pub fn new(dataset: Dataset, features: FeatureNames, cache_bytes: u64) -> Self {
        let blocks = Blocks::new(dataset.manifest(), cache_bytes);
        Self { dataset, features, blocks, cache: Cache::new(cache_bytes) }
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
        let reads = records.iter().copied().map(|record| self.read_one(record));
        futures::stream::iter(reads).buffered(CONCURRENT_READS).try_collect().await
    }

    /// Bytes of blocks that are kept or on their way.
    pub fn cached_bytes(&self) -> u64 {
        self.cache.bytes()
    }

    async fn read_one(&self, record: u64) -> Result<Sample> {
        let location = self.dataset.locate(record)?;
        let block = self.blocks.around(&location);
        let Some(kept) = self.cache.touch(block.number, block.bytes.end - block.bytes.start) else {
            let bytes = self.fetch(&location).await?;
            return self.decode(&location, bytes);
        };
        let whole = Location { shard: location.shard, bytes: block.bytes.clone() };
        let bytes = kept.get_or_try_init(|| self.fetch(&whole)).await?;
        let start = (location.bytes.start - block.bytes.start) as usize;
        let end = (location.bytes.end - block.bytes.start) as usize;
        self.decode(&location, bytes.slice(start..end))
    }

    async fn fetch(&self, Location { shard, bytes }: &Location) -> Result<Bytes> {
        let store = self.dataset.store();
        let listed = &self.dataset.manifest().shards[*shard];
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

    fn decode(&self, location: &Location, frame: Bytes) -> Result<Sample> {
        let shard = || self.dataset.shard_uri(location.shard);
        let offset = location.bytes.start;
        let data = framing::decode(&frame).with_context(|_| FrameSnafu { shard: shard(), offset })?;
        let example = Example::from_bytes(frame.slice_ref(data));
        let values = example.and_then(|example| {
            let label = example.int64(&self.features.label)?;
            Ok((label, example.bytes(&self.features.image)?.clone()))
        });
        let (label, image) = values.with_context(|_| ExampleSnafu { shard: shard(), offset })?;

        let classes = self.dataset.classes().len();
        let known = usize::try_from(label).is_ok_and(|label| label < classes);
        ensure!(known, LabelSnafu { shard: shard(), offset, label, classes });
        let shape = self.dataset.shape();
        let found = image.len();
        ensure!(found == shape.bytes(), ImageSizeSnafu { shard: shard(), offset, found, shape });
        let manifest = self.dataset.manifest();
        // Copied, so that a sample never keeps its whole block in memory.
        let pixels = match (manifest.encoding, manifest.layout) {
            (Encoding::Raw, Layout::Hwc) => Bytes::copy_from_slice(&image),
            (Encoding::Raw, Layout::Chw) => hwc_of_chw(&image, shape.channels as usize).into(),
        };
        Ok(Sample { label: label as u32, pixels })
    }
}

fn hwc_of_chw(image: &[u8], channels: usize) -> Vec<u8> {
    let mut pixels = vec![0; image.len()];
    for (channel, plane) in image.chunks_exact(image.len() / channels).enumerate() {
        for (pixel, value) in pixels.chunks_exact_mut(channels).zip(plane) {
            pixel[channel] = *value;
        }
    }
    pixels
}
