//! Compressed shards, unpacked: each once, when a record of it is first needed, and kept as long as the reader.
//!
//! A compressed file cannot be read from its middle, and records are wanted in an order that goes through all shards. So
//! either all of them stay in memory, or every batch would unpack most of them again; where they do not fit, reading
//! is refused.

use std::io::Read;

use bytes::Bytes;
use snafu::ensure;
use tokio::sync::{OnceCell, Semaphore};

use crate::{
    Dataset, Error, Result,
    compression::{self, Compression},
    dataset::unpack_error,
    error::{CompressedSizeSnafu, UnpackedSizeSnafu},
    manifest::{Compressed, Shard},
    shard_stream,
};

/// Shards that are unpacked at a time: each takes two MiB beside its content.
const CONCURRENT_SHARDS: usize = 4;

/// See the module.
#[derive(Debug)]
pub(super) struct Unpacked {
    shards: Vec<OnceCell<Bytes>>,
    permits: Semaphore,
    /// What all compressed shards hold, in bytes.
    needed: u64,
    limit: u64,
}

impl Unpacked {
    /// Nothing is unpacked yet. `limit` bounds what all shards hold, in bytes.
    pub(super) fn new(dataset: &Dataset, limit: u64) -> Self {
        let shards = dataset.manifest().shards.iter().map(|_| OnceCell::new()).collect();
        Self { shards, permits: Semaphore::new(CONCURRENT_SHARDS), needed: dataset.unpacked_bytes(), limit }
    }

    /// The whole content of a shard that is compressed.
    pub(super) async fn shard(
        &self,
        dataset: &Dataset,
        shard: usize,
        compressed: Compressed,
    ) -> Result<Bytes> {
        let Self { shards, permits, needed, limit } = self;
        ensure!(
            needed <= limit,
            CompressedSizeSnafu { uri: dataset.store().uri(), needed: *needed, limit: *limit }
        );
        let unpack = || async {
            let _permit = permits.acquire().await.expect("nobody closes it");
            unpack(dataset, shard, compressed).await
        };
        shards[shard].get_or_try_init(unpack).await.cloned()
    }
}

async fn unpack(
    dataset: &Dataset,
    shard: usize,
    Compressed { format, bytes: file_bytes }: Compressed,
) -> Result<Bytes> {
    let Shard { name, bytes, .. } = &dataset.manifest().shards[shard];
    let (uri, expected) = (dataset.shard_uri(shard), *bytes);
    let content = move |file| content(file, format, expected);
    let content = shard_stream::read(dataset.store(), name, file_bytes, content).await?;
    match content {
        Ok(content) if content.len() as u64 == expected => Ok(content.into()),
        Ok(_) => UnpackedSizeSnafu { shard: uri, expected }.fail(),
        Err(error) => match unpack_error(uri, format, error) {
            // The limit was the manifest's figure.
            Error::CompressedSize { uri: shard, .. } => UnpackedSizeSnafu { shard, expected }.fail(),
            error => Err(error),
        },
    }
}

/// `bytes` is within the reader's bound.
fn content(file: impl std::io::BufRead, format: Compression, bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::with_capacity(bytes as usize);
    compression::unpack(file, format, bytes).read_to_end(&mut content)?;
    Ok(content)
}
