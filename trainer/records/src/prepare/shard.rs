//! Makes one shard in memory and writes it.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use lockstep_storage::Store;
use snafu::{ResultExt, ensure};
use tokio::sync::Semaphore;

use super::{
    Progress, ProgressCallback, Result, blocking,
    buffers::Buffers,
    encoder::Encoder,
    error::{CheckSnafu, ShardTooLargeSnafu, StoreSnafu},
    refusals::Refusals,
    source::Images,
    statistics::Statistics,
};
use crate::{FeatureNames, example::Example, framing, manifest::Shard};

/// Space for framing and field headers of a record, for estimates.
pub(super) const RECORD_EXTRA_BYTES: u64 = 64;
/// Shards are made in memory.
const MAX_SHARD_BYTES: u64 = 2 << 30;
const PROGRESS_EVERY_IMAGES: u64 = 256;

/// A shard to be made.
pub(super) struct ShardWork {
    pub(super) images: Arc<dyn Images>,
    /// Number of the split.
    pub(super) split: usize,
    /// Its images of the split.
    pub(super) range: Range<usize>,
    pub(super) encoder: Encoder,
    pub(super) name: String,
    pub(super) uri: String,
    pub(super) buffers: Arc<Buffers>,
    pub(super) progress: Arc<Counter>,
    pub(super) refusals: Arc<Refusals>,
}

/// A shard that was written.
pub(super) struct WrittenShard {
    pub(super) shard: Shard,
    /// Of the pixels that readers see.
    pub(super) statistics: Statistics,
}

impl ShardWork {
    /// Builds it once `threads` has a permit, which is free again while the shard is written: storing is mostly waiting.
    ///
    /// Nothing is written once an image was refused; the others are still looked at.
    pub(super) async fn write(self, folder: Store, threads: &Semaphore) -> Result<Option<WrittenShard>> {
        let permit = threads.acquire().await.expect("nobody closes it");
        let buffers = Arc::clone(&self.buffers);
        let built = blocking(move || self.build()).await?;
        drop(permit);
        let Some((written, bytes)) = built else { return Ok(None) };
        let create = folder.create(&written.shard.name, bytes.clone());
        create.await.context(StoreSnafu { uri: folder.uri() })?;
        buffers.give_back(bytes);
        Ok(Some(written))
    }

    fn build(self) -> Result<Option<(WrittenShard, Bytes)>> {
        let shape = self.encoder.shape();
        let images = self.range.len() as u64;
        let estimate = images * (shape.bytes() as u64 + RECORD_EXTRA_BYTES);
        let is_raw = self.encoder.is_raw();
        ensure!(!is_raw || estimate <= MAX_SHARD_BYTES, ShardTooLargeSnafu { uri: &self.uri, images, shape });
        let names = FeatureNames::default();
        let mut statistics = Statistics::new(shape);
        let mut bytes = self.buffers.take(if is_raw { estimate as usize } else { 0 });
        let mut pixels = vec![0; shape.bytes()];
        for index in self.range.clone() {
            if self.refusals.is_full() {
                break;
            }
            let label = match self.images.read(index, &mut pixels) {
                Ok(label) => label,
                Err(error) => {
                    self.refusals.add((self.split, index), error)?;
                    self.progress.advance();
                    continue;
                }
            };
            let image = self.encoder.encode(&pixels)?;
            statistics.add(&self.encoder.decode(&image)?);
            let example = Example::of_image(&names, image.into(), i64::from(label));
            framing::append(&example.to_bytes(), &mut bytes);
            let fits = bytes.len() as u64 <= MAX_SHARD_BYTES;
            ensure!(fits, ShardTooLargeSnafu { uri: &self.uri, images, shape });
            self.progress.advance();
        }
        if !self.refusals.is_empty() {
            return Ok(None);
        }
        // Reading it back proves every checksum before anyone relies on them.
        let shard = Shard::scan(&self.name, &bytes[..]).context(CheckSnafu { uri: &self.uri })?;
        Ok(Some((WrittenShard { shard, statistics }, bytes.into())))
    }
}

/// Counts converted images over all shards.
pub(super) struct Counter {
    pub(super) done: AtomicU64,
    pub(super) total: u64,
    pub(super) callback: Option<ProgressCallback>,
}

impl Counter {
    fn advance(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        if let Some(callback) = &self.callback
            && (done.is_multiple_of(PROGRESS_EVERY_IMAGES) || done == self.total)
        {
            callback(Progress { done, total: self.total });
        }
    }
}
