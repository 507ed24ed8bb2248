//! TFRecords that somebody wrote: in other layouts, compressed, without a `dataset.json`, or in unsuitable shards.
//!
//! Records are read in portions, in their order, so that a store is asked for large pieces; of compressed shards as many
//! are in memory as there are threads, and one more.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{StreamExt, TryStreamExt};
use lockstep_storage::Store;
use snafu::{ResultExt, ensure};
use tokio::{runtime::Handle, sync::OnceCell};

use super::{
    Result,
    error::{FormatSnafu, RecordsSnafu},
    source::{Images, Source},
};
use crate::{
    Dataset, FeatureNames, Format, RecordReader, Sample,
    layout_check::{self, Verdict},
};

/// Records that are read together.
const PORTION: usize = 64;
/// Portions that are read at a time when labels are asked for.
const CONCURRENT_PORTIONS: usize = 4;

/// Where the shards of one split are.
#[derive(Clone, Debug)]
pub struct ShardFolder {
    /// The folder.
    pub store: Store,
    /// Names of the shards, in which `*` stands for any characters; none: the data set in the folder.
    pub pattern: Option<String>,
}

/// Shards by split.
#[derive(Clone, Debug)]
pub struct ShardFolders {
    /// Of the images to train on.
    pub train: ShardFolder,
    /// Of the images to validate with.
    pub validation: Option<ShardFolder>,
    /// Of the images to test with.
    pub test: Option<ShardFolder>,
}

/// How the records are understood.
#[derive(Clone, Debug, Default)]
pub struct RecordsOptions {
    /// What they hold; none: as their `dataset.json` says.
    pub format: Option<Format>,
    /// Names of the features that are read. Those that are written are the default ones.
    pub features: FeatureNames,
    /// Takes images that clearly look like those of the other layout.
    pub allow_other_layout: bool,
}

/// `threads` that will read.
pub(super) async fn open(folders: &ShardFolders, options: &RecordsOptions, threads: usize) -> Result<Source> {
    let ShardFolders { train, validation, test } = folders;
    let folders = [("train", Some(train)), ("validation", validation.as_ref()), ("test", test.as_ref())];
    let mut opened: Vec<(&'static str, Dataset)> = Vec::new();
    for (split, folder) in folders {
        let Some(folder) = folder else { continue };
        let dataset = open_checked(folder, options).await?;
        if let Some((_, first)) = opened.first() {
            let same = (dataset.shape(), dataset.classes()) == (first.shape(), first.classes());
            let reason = "its images have another size or other classes than those to train on";
            ensure!(same, FormatSnafu { file: dataset.store().uri(), reason });
        }
        opened.push((split, dataset));
    }
    let (_, first) = &opened[0];
    let uri = train.store.uri();
    let (shape, classes) = (first.shape(), first.classes().to_vec());
    let name = uri.rsplit('/').next().unwrap_or_default().to_owned();
    let splits = opened.into_iter().map(|(split, dataset)| {
        let images = Records::new(dataset, options.features.clone(), threads);
        (split, Arc::new(images) as Arc<dyn Images>)
    });
    Ok(Source { format: "tfrecords", name, shape, classes, splits: splits.collect() })
}

async fn open_checked(folder: &ShardFolder, options: &RecordsOptions) -> Result<Dataset> {
    let ShardFolder { store, pattern } = folder;
    let uri = || store.uri().to_owned();
    let reason =
        "a pattern needs the images' shape and classes, since no dataset.json describes what it matches";
    let is_described = pattern.is_none() || options.format.is_some();
    ensure!(is_described, FormatSnafu { file: uri(), reason });
    let dataset = match &options.format {
        // Nothing is kept of what is read to index it.
        Some(format) => Dataset::open_as(store.clone(), pattern.as_deref(), format, u64::MAX).await,
        None => Dataset::open(store.clone()).await,
    };
    let dataset = dataset.with_context(|_| RecordsSnafu { uri: uri() })?;
    ensure!(!dataset.is_empty(), FormatSnafu { file: uri(), reason: "it holds no record" });
    let reader = RecordReader::new(dataset.clone(), options.features.clone(), dataset.unpacked_bytes());
    let finding = match reader.check_layout().await {
        // It is reported with all others that cannot be read.
        Err(error) if error.is_of_one_record() => None,
        finding => finding.with_context(|_| RecordsSnafu { uri: uri() })?,
    };
    if let Some(finding) = finding.filter(|finding| finding.verdict == Verdict::Contradicts) {
        let other = layout_check::other(finding.declared);
        let reason = format!("its images look like {other}, not {}: {finding}", finding.declared);
        ensure!(options.allow_other_layout, FormatSnafu { file: uri(), reason });
    }
    Ok(dataset)
}

/// The records of one data set.
struct Records {
    runtime: Handle,
    dataset: Dataset,
    features: FeatureNames,
    /// Of shards that are not compressed; keeps nothing.
    plain: RecordReader,
    /// Of a compressed shard each, which is unpacked as long as its reader lives.
    unpacking: Recent<RecordReader>,
    /// None: one of its records cannot be read.
    portions: Recent<Option<Vec<Sample>>>,
}

impl Records {
    fn new(dataset: Dataset, features: FeatureNames, threads: usize) -> Self {
        Self {
            runtime: Handle::current(),
            plain: RecordReader::new(dataset.clone(), features.clone(), 0),
            dataset,
            features,
            unpacking: Recent::new(threads + 1),
            portions: Recent::new(2 * (threads + CONCURRENT_PORTIONS)),
        }
    }

    async fn sample(&self, index: usize) -> crate::Result<Sample> {
        match self.portion(index / PORTION).await?.get() {
            Some(Some(samples)) => Ok(samples[index % PORTION].clone()),
            // Another record of its portion may be at fault.
            _ => {
                let alone = self.read(index..index + 1).await?;
                Ok(alone.into_iter().next().expect("one record was asked for"))
            }
        }
    }

    async fn portion(&self, portion: usize) -> crate::Result<Arc<OnceCell<Option<Vec<Sample>>>>> {
        let cell = self.portions.get(portion);
        let first = portion * PORTION;
        let read = || async {
            match self.read(first..self.len().min(first + PORTION)).await {
                Ok(samples) => Ok(Some(samples)),
                Err(error) if error.is_retryable() => Err(error),
                Err(_) => Ok(None),
            }
        };
        cell.get_or_try_init(read).await?;
        Ok(cell)
    }

    /// Neighbouring records, each shard's together.
    async fn read(&self, range: Range<usize>) -> crate::Result<Vec<Sample>> {
        let mut by_shard: Vec<(usize, Vec<u64>)> = Vec::new();
        for record in range {
            let shard = self.dataset.locate(record as u64)?.shard;
            match by_shard.last_mut() {
                Some((last, records)) if *last == shard => records.push(record as u64),
                _ => by_shard.push((shard, vec![record as u64])),
            }
        }
        let mut samples = Vec::new();
        for (shard, records) in by_shard {
            if self.dataset.manifest().shards[shard].compressed.is_none() {
                samples.extend(self.plain.read(&records).await?);
                continue;
            }
            let reader = self.unpacking.get(shard);
            let open = || async { RecordReader::new(self.dataset.clone(), self.features.clone(), u64::MAX) };
            samples.extend(reader.get_or_init(open).await.read(&records).await?);
        }
        Ok(samples)
    }

    fn wait<T>(&self, work: impl Future<Output = crate::Result<T>>) -> Result<T> {
        // On a thread that may wait: images are read by such threads alone.
        self.runtime.block_on(work).context(RecordsSnafu { uri: self.dataset.store().uri() })
    }
}

impl Images for Records {
    fn len(&self) -> usize {
        self.dataset.len() as usize
    }

    /// Reads all records.
    fn labels(&self) -> Result<Vec<u32>> {
        let first_records = (0..self.len()).step_by(PORTION);
        let labels = futures::stream::iter(first_records).map(async |first| {
            let samples = self.read(first..self.len().min(first + PORTION)).await?;
            Ok(samples.into_iter().map(|sample| sample.label).collect::<Vec<_>>())
        });
        let labels = self.wait(labels.buffered(CONCURRENT_PORTIONS).try_collect::<Vec<_>>())?;
        Ok(labels.concat())
    }

    fn read(&self, index: usize, pixels: &mut [u8]) -> Result<u32> {
        let sample = self.wait(self.sample(index))?;
        pixels.copy_from_slice(&sample.pixels);
        Ok(sample.label)
    }
}

/// What was asked for last, by number.
struct Recent<T> {
    most: usize,
    cells: Mutex<VecDeque<(usize, Arc<OnceCell<T>>)>>,
}

impl<T> Recent<T> {
    /// Keeps `most` things, at least 1.
    fn new(most: usize) -> Self {
        Self { most, cells: Mutex::default() }
    }

    /// Empty where it was not asked for, or long ago.
    fn get(&self, number: usize) -> Arc<OnceCell<T>> {
        // Nothing between lock and unlock leaves the queue half changed.
        let mut cells = self.cells.lock().unwrap_or_else(PoisonError::into_inner);
        let known = cells.iter().position(|(known, _)| *known == number);
        let cell = known.and_then(|at| cells.remove(at)).map_or_else(Arc::default, |(_, cell)| cell);
        cells.push_back((number, Arc::clone(&cell)));
        if cells.len() > self.most {
            cells.pop_front();
        }
        cell
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_is_forgotten_and_what_is_asked_for_again_is_young() {
        let recent = Recent::new(2);
        let set = |number: usize| recent.get(number).set(number).is_ok();
        assert!(set(1) && set(2) && !set(1));
        assert!(set(3));
        assert!(!set(1) && !set(3));
        assert!(set(2));
    }
}
