//! Writes an opened source: each split a folder, shards first and in parallel, the manifest last.
//!
//! The manifest is created only if there is none, and it is what makes a data set: whoever dies before leaves shards
//! that nobody takes for one, and that the same preparation, run again, finds identical.

use std::{
    collections::BTreeMap,
    ops::Range,
    sync::{Arc, atomic::AtomicU64},
};

use futures::{StreamExt, TryStreamExt};
use lockstep_storage::Store;
use snafu::{ResultExt, ensure};
use tokio::sync::Semaphore;

use super::{
    DEFAULT_SHARDS, Options, Result, SplitSummary, Summary,
    buffers::Buffers,
    encoder::Encoder,
    error::{CheckManifestSnafu, NotEmptySnafu, PreparedSnafu, StoreSnafu},
    refusals::Refusals,
    shard::{Counter, RECORD_EXTRA_BYTES, ShardWork, WrittenShard},
    source::{Images, Source},
    statistics::Statistics,
};
use crate::{
    Layout, Shape,
    manifest::{self, Manifest},
};

/// Shards larger than this are not made unless asked for.
const LARGE_SHARD_BYTES: u64 = 128 << 20;

pub(super) async fn write(source: Source, destination: &Store, options: &Options) -> Result<Summary> {
    let uri = destination.uri();
    let plans: Vec<_> = source
        .splits
        .iter()
        .map(|(split, images)| plan(images.len(), source.shape, split, options))
        .collect();
    let encoder = Encoder::new(options.encoding, source.shape)?;
    refuse_occupied(destination, &source.splits, &plans).await?;

    let total = source.splits.iter().map(|(_, images)| images.len() as u64).sum();
    let progress = Arc::new(Counter { done: AtomicU64::new(0), total, callback: options.progress.clone() });
    let refusals = Arc::new(Refusals::default());
    let buffers = Arc::new(Buffers::default());
    let mut folders = Vec::new();
    let mut works = Vec::new();
    for (number, ((split, images), plan)) in source.splits.iter().zip(plans).enumerate() {
        let folder = destination.folder(split).context(StoreSnafu { uri })?;
        folders.push((*split, folder.clone(), plan.len()));
        works.extend(plan.into_iter().map(|(name, range)| {
            let work = ShardWork {
                images: Arc::clone(images),
                split: number,
                range,
                encoder,
                uri: format!("{}/{name}", folder.uri()),
                name,
                buffers: Arc::clone(&buffers),
                progress: Arc::clone(&progress),
                refusals: Arc::clone(&refusals),
            };
            (work, folder.clone())
        }));
    }
    let threads = Semaphore::new(options.threads());
    let write =
        async |place, (work, folder): (ShardWork, _)| Ok((place, work.write(folder, &threads).await?));
    let shards = futures::stream::iter(works).enumerate().map(|(place, work)| write(place, work));
    // Two are written for each that is built, since a disk takes long to say that it has one; whichever is done first makes
    // room for the next.
    let shards = shards.buffer_unordered(3 * options.threads());
    let shards: BTreeMap<usize, Option<WrittenShard>> = shards.try_collect().await?;
    Arc::into_inner(refusals).expect("no thread converts any more").into_result()?;

    let mut shards = shards.into_values();
    let mut summaries = Vec::new();
    for (split, folder, count) in folders {
        let manifest = manifest(&source, split, encoder, shards.by_ref().take(count).collect());
        summaries.push(commit(split, manifest, &folder).await?);
    }
    let Source { shape, classes, .. } = source;
    Ok(Summary { shape, classes, splits: summaries })
}

/// Of a split whose shards are written; those that were refused are missing.
fn manifest(source: &Source, split: &str, encoder: Encoder, shards: Vec<Option<WrittenShard>>) -> Manifest {
    let Source { format, name, shape, classes, splits: _ } = source;
    let mut statistics = Statistics::new(*shape);
    let shards = shards.into_iter().flatten().map(|WrittenShard { shard, statistics: part }| {
        statistics.merge(&part);
        shard
    });
    let shards: Vec<_> = shards.collect();
    let (channel_mean, channel_deviation) = statistics.finish();
    let mut manifest = Manifest {
        version: manifest::VERSION,
        shape: *shape,
        layout: Layout::Hwc,
        encoding: encoder.encoding(),
        classes: classes.clone(),
        records: shards.iter().map(|shard| shard.records).sum(),
        channel_mean,
        channel_deviation,
        digest: String::new(),
        source: manifest::Source {
            format: (*format).to_owned(),
            name: name.clone(),
            split: split.to_owned(),
        },
        shards,
    };
    manifest.digest = manifest.content_digest();
    manifest
}

/// Writes the manifest: from then on the data set is there.
async fn commit(split: &str, manifest: Manifest, folder: &Store) -> Result<SplitSummary> {
    let uri = folder.uri();
    let json = manifest.to_json();
    Manifest::parse(&json).context(CheckManifestSnafu { uri })?;
    folder.create(manifest::FILE_NAME, json.into()).await.context(StoreSnafu { uri })?;
    Ok(SplitSummary {
        name: split.to_owned(),
        uri: uri.to_owned(),
        records: manifest.records,
        shards: manifest.shards.len(),
        bytes: manifest.shards.iter().map(|shard| shard.bytes).sum(),
        digest: manifest.digest,
    })
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

#[cfg(test)]
mod tests;
