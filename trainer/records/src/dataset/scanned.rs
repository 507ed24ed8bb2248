//! A data set that nobody described: every shard is read once, from end to end, and its manifest made in memory.

use std::thread::available_parallelism;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lockstep_storage::{Entry, Store};
use snafu::{IntoError, ResultExt, ensure};

use super::Format;
use crate::{
    Error, Result,
    compression::{self, Compression},
    error::{CompressedSizeSnafu, FrameSnafu, ReadSnafu, ScannedSnafu, UnpackSnafu},
    framing,
    manifest::{self, Compressed, Manifest, ScanError, Shard, Source},
    pixels::ImageFormat,
    shard_stream,
};

/// The manifest that `dataset.json` would hold for the shards `files`, but for the channels' statistics.
///
/// `unpacked_limit` bounds what compressed shards may hold, all together, in bytes.
pub(super) async fn scan(
    store: &Store,
    files: Vec<Entry>,
    format: &Format,
    unpacked_limit: u64,
) -> Result<Manifest> {
    let threads = available_parallelism().map_or(1, |threads| threads.get());
    let scans = files.into_iter().map(|file| scan_file(store, file, unpacked_limit));
    let shards: Vec<Shard> = futures::stream::iter(scans).buffered(threads).try_collect().await?;
    let needed = unpacked_bytes(&shards);
    ensure!(
        needed <= unpacked_limit,
        CompressedSizeSnafu { uri: store.uri(), needed, limit: unpacked_limit }
    );

    let Format { images: ImageFormat { encoding, layout, shape }, classes } = format;
    let mut manifest = Manifest {
        version: manifest::VERSION,
        shape: *shape,
        layout: *layout,
        encoding: *encoding,
        classes: classes.names(),
        records: shards.iter().map(|shard| shard.records).sum(),
        channel_mean: Vec::new(),
        channel_deviation: Vec::new(),
        digest: String::new(),
        source: Source {
            format: "tfrecords".to_owned(),
            name: store.uri().rsplit('/').next().unwrap_or_default().to_owned(),
            split: String::new(),
        },
        shards,
    };
    manifest.digest = manifest.content_digest();
    manifest.validate().context(ScannedSnafu { uri: store.uri() })?;
    Ok(manifest)
}

/// What compressed shards hold, in bytes.
pub(super) fn unpacked_bytes(shards: &[Shard]) -> u64 {
    let compressed = shards.iter().filter(|shard| shard.compressed.is_some());
    compressed.fold(0, |sum, shard| sum.saturating_add(shard.bytes))
}

async fn scan_file(
    store: &Store,
    Entry { path: name, size, modified: _ }: Entry,
    limit: u64,
) -> Result<Shard> {
    let uri = format!("{}/{name}", store.uri());
    let first = first_bytes(store, &uri, &name, size).await?;
    let Some(format) = Compression::detect(&first) else {
        let file = name.clone();
        let scanned = shard_stream::read(store, &name, size, move |shard| Shard::scan(&file, shard)).await?;
        return scanned.map_err(|ScanError { shard: _, offset, source }| Error::Frame {
            shard: uri,
            offset,
            source,
        });
    };
    let file = name.clone();
    let scan = move |shard| Shard::scan(&file, compression::unpack(shard, format, limit));
    let shard = shard_stream::read(store, &name, size, scan).await?;
    let shard = shard.map_err(|ScanError { shard: _, offset, source }| match source {
        framing::Error::Stream { source } => unpack_error(uri, format, source),
        source => FrameSnafu { shard: uri, offset }.into_error(source),
    })?;
    Ok(Shard { compressed: Some(Compressed { format, bytes: size }), ..shard })
}

async fn first_bytes(store: &Store, uri: &str, name: &str, size: u64) -> Result<Bytes> {
    let bytes = size.min(Compression::DETECTED_BY);
    if bytes == 0 {
        return Ok(Bytes::new());
    }
    store.get_range(name, 0..bytes).await.context(ReadSnafu { shard: uri, offset: 0u64, bytes })
}

/// Why a compressed shard could not be unpacked.
pub(crate) fn unpack_error(shard: String, compression: Compression, source: std::io::Error) -> Error {
    match source.get_ref().and_then(|error| error.downcast_ref()) {
        Some(compression::Error::TooLarge { limit }) => {
            Error::CompressedSize { uri: shard, needed: limit + 1, limit: *limit }
        }
        Some(compression::Error::Truncated | compression::Error::Trailing) | None => {
            UnpackSnafu { shard, compression }.into_error(source)
        }
    }
}
