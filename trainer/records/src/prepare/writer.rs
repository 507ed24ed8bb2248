//! Writes an opened source: each split a folder, shards first and in parallel, the manifest last.
//!
//! The manifest is created only if there is none, and it is what makes a data set: whoever dies before leaves shards
//! that nobody takes for one, and that the same preparation, run again, finds identical.

use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::available_parallelism,
};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use lockstep_storage::Store;
use snafu::{ResultExt, ensure};

use super::{
    DEFAULT_SHARDS, Options, Progress, ProgressCallback, Result, SplitSummary, Summary, blocking,
    error::{CheckManifestSnafu, CheckSnafu, NotEmptySnafu, PreparedSnafu, ShardTooLargeSnafu, StoreSnafu},
    source::{Images, Source},
    statistics::Statistics,
};
use crate::{
    FeatureNames, Layout, Shape,
    example::Example,
    framing,
    manifest::{self, Encoding, Manifest, Shard},
};

/// Shards larger than this are not made unless asked for.
const LARGE_SHARD_BYTES: u64 = 128 << 20;
/// Shards are made in memory, one a thread.
const MAX_SHARD_BYTES: u64 = 2 << 30;
/// Space for framing and field headers of a record, for estimates.
const RECORD_EXTRA_BYTES: u64 = 64;
const PROGRESS_EVERY_IMAGES: u64 = 256;

pub(super) async fn write(source: Source, destination: &Store, options: &Options) -> Result<Summary> {
    let Source { format, name, shape, classes, splits } = source;
    let uri = destination.uri();
    let plans: Vec<_> =
        splits.iter().map(|(split, images)| plan(images.len(), shape, split, options)).collect();
    refuse_occupied(destination, &splits, &plans).await?;

    let total = splits.iter().map(|(_, images)| images.len() as u64).sum();
    let progress = Arc::new(Counter { done: AtomicU64::new(0), total, callback: options.progress.clone() });
    let threads = options.threads.or_else(|| available_parallelism().ok()).map_or(2, |threads| threads.get());
    let mut manifests = Vec::new();
    for ((split, images), plan) in splits.iter().zip(plans) {
        let folder = destination.folder(split).context(StoreSnafu { uri })?;
        let shards = futures::stream::iter(plan).map(|(file, range)| {
            let work = ShardWork {
                images: Arc::clone(images),
                range,
                shape,
                uri: format!("{}/{file}", folder.uri()),
                name: file,
                progress: Arc::clone(&progress),
            };
            write_shard(work, &folder)
        });
        let shards: Vec<_> = shards.buffered(threads).try_collect().await?;
        let mut statistics = Statistics::new(shape);
        shards.iter().for_each(|(_, part)| statistics.merge(part));
        let (channel_mean, channel_deviation) = statistics.finish();
        let shards: Vec<_> = shards.into_iter().map(|(shard, _)| shard).collect();
        let mut manifest = Manifest {
            version: manifest::VERSION,
            shape,
            layout: Layout::Hwc,
            encoding: Encoding::Raw,
            classes: classes.clone(),
            records: shards.iter().map(|shard| shard.records).sum(),
            channel_mean,
            channel_deviation,
            digest: String::new(),
            source: manifest::Source {
                format: format.to_owned(),
                name: name.clone(),
                split: (*split).to_owned(),
            },
            shards,
        };
        manifest.digest = manifest.content_digest();
        manifests.push((*split, folder, manifest));
    }

    let mut summaries = Vec::new();
    for (split, folder, manifest) in manifests {
        let json = manifest.to_json();
        Manifest::parse(&json).context(CheckManifestSnafu { uri: folder.uri() })?;
        folder.create(manifest::FILE_NAME, json.into()).await.context(StoreSnafu { uri: folder.uri() })?;
        summaries.push(SplitSummary {
            name: split.to_owned(),
            uri: folder.uri().to_owned(),
            records: manifest.records,
            shards: manifest.shards.len(),
            bytes: manifest.shards.iter().map(|shard| shard.bytes).sum(),
            digest: manifest.digest,
        });
    }
    Ok(Summary { shape, classes, splits: summaries })
}

/// File name and images of each shard: as even as whole images allow, and no function of the threads.
fn plan(images: usize, shape: Shape, split: &str, options: &Options) -> Vec<(String, Range<usize>)> {
    let bytes = images as u64 * (shape.bytes() as u64 + RECORD_EXTRA_BYTES);
    let needed = usize::try_from(bytes.div_ceil(LARGE_SHARD_BYTES)).unwrap_or(usize::MAX);
    let shards = options.shards.map_or(needed.max(DEFAULT_SHARDS), |shards| shards.get()).min(images).max(1);
    let cut = |shard: usize| (images as u128 * shard as u128 / shards as u128) as usize;
    (0..shards)
        .map(|shard| (format!("{split}-{shard:05}-of-{shards:05}.tfrecord"), cut(shard)..cut(shard + 1)))
        .collect()
}

/// Refuses whatever is at the destination, but for parts of an interrupted preparation with the same file names:
/// creating those again finds out whether they are the same.
async fn refuse_occupied(
    destination: &Store,
    splits: &[(&'static str, Arc<dyn Images>)],
    plans: &[Vec<(String, Range<usize>)>],
) -> Result<()> {
    let uri = destination.uri();
    let entries = destination.list("").await.context(StoreSnafu { uri })?;
    let committed = |folder: &str| {
        let manifest = format!("{folder}/{}", manifest::FILE_NAME);
        entries.iter().any(|entry| entry.path == manifest)
    };
    ensure!(!splits.iter().all(|(split, _)| committed(split)), PreparedSnafu { uri });
    for entry in &entries {
        let (folder, file) = entry.path.split_once('/').unwrap_or(("", &entry.path));
        let ours = splits.iter().zip(plans).any(|((split, _), plan)| {
            *split == folder && (file == manifest::FILE_NAME || plan.iter().any(|(name, _)| name == file))
        });
        ensure!(ours, NotEmptySnafu { uri, path: &entry.path });
    }
    Ok(())
}

struct ShardWork {
    images: Arc<dyn Images>,
    range: Range<usize>,
    shape: Shape,
    name: String,
    uri: String,
    progress: Arc<Counter>,
}

async fn write_shard(work: ShardWork, folder: &Store) -> Result<(Shard, Statistics)> {
    let (shard, statistics, bytes) = blocking(move || build_shard(&work)).await?;
    folder.create(&shard.name, bytes).await.context(StoreSnafu { uri: folder.uri() })?;
    Ok((shard, statistics))
}

fn build_shard(work: &ShardWork) -> Result<(Shard, Statistics, Bytes)> {
    let ShardWork { images, range, shape, name, uri, progress } = work;
    let estimate = range.len() as u64 * (shape.bytes() as u64 + RECORD_EXTRA_BYTES);
    ensure!(
        estimate <= MAX_SHARD_BYTES,
        ShardTooLargeSnafu { uri, images: range.len() as u64, shape: *shape }
    );
    let names = FeatureNames::default();
    let mut statistics = Statistics::new(*shape);
    let mut bytes = Vec::with_capacity(estimate as usize);
    let mut pixels = vec![0; shape.bytes()];
    for index in range.clone() {
        let label = images.read(index, &mut pixels)?;
        statistics.add(&pixels);
        let example = Example::of_image(&names, Bytes::copy_from_slice(&pixels), i64::from(label));
        framing::append(&example.to_bytes(), &mut bytes);
        progress.advance();
    }
    // Reading it back proves every checksum before anyone relies on them.
    let shard = Shard::scan(name, &bytes[..]).context(CheckSnafu { uri })?;
    Ok((shard, statistics, bytes.into()))
}

struct Counter {
    done: AtomicU64,
    total: u64,
    callback: Option<ProgressCallback>,
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

#[cfg(test)]
mod tests;
