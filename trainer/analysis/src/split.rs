//! A split as it lies in storage, damaged or not: its shards, and what its images should be.

use futures::{StreamExt, TryStreamExt};
use lockstep_records::{
    Compression, FeatureNames, Layout, Shape,
    manifest::{Encoding, Lengths, Manifest},
    read_manifest, shard_files,
};
use lockstep_storage::{Entry, Store};
use snafu::{ResultExt, ensure};

use crate::{
    Result,
    error::{NoShardsSnafu, OpenSnafu, ShardsSnafu},
};

/// Classes of a split that does not say how many it has.
pub const MAX_CLASSES: u32 = 65_536;

/// Requests to the store in flight.
const CONCURRENT_READS: usize = 16;

/// How images stand in the records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// Names of the features.
    pub features: FeatureNames,
    /// `None`: what each image's first bytes say, else raw.
    pub encoding: Option<Encoding>,
    /// Of raw images.
    pub layout: Layout,
    /// Of every image; without it they may have several.
    pub shape: Option<Shape>,
    /// Names of the classes; without them every label from 0 to [`MAX_CLASSES`] is one.
    pub classes: Option<Vec<String>>,
}

impl Default for Format {
    fn default() -> Self {
        let features = FeatureNames::default();
        Self { features, encoding: None, layout: Layout::Hwc, shape: None, classes: None }
    }
}

impl Format {
    /// Labels are below it.
    pub(crate) fn label_limit(&self) -> u32 {
        self.classes.as_ref().map_or(MAX_CLASSES, |classes| classes.len() as u32)
    }

    /// Name of a class; its number where it has none.
    pub(crate) fn class(&self, label: u32) -> String {
        let name = self.classes.as_ref().and_then(|classes| classes.get(label as usize));
        name.cloned().unwrap_or_else(|| label.to_string())
    }
}

/// A TFRecord file.
#[derive(Clone, Debug)]
pub struct Shard {
    /// Path in the split's folder.
    pub name: String,
    /// Size of the file; `None` where there is none.
    pub bytes: Option<u64>,
    /// Of the file; offsets of records are those of its content.
    pub compression: Option<Compression>,
    /// Where its records begin, according to the manifest.
    pub index: Option<Lengths>,
}

/// One of the data sets that are analysed together: `train`, `test`.
#[derive(Clone, Debug)]
pub struct Split {
    /// As people call it.
    pub name: String,
    pub(crate) store: Store,
    pub(crate) format: Format,
    pub(crate) shards: Vec<Shard>,
    pub(crate) has_manifest: bool,
}

impl Split {
    /// Finds the shards of a folder. What `dataset.json` says goes before `format`, which keeps the names of the features.
    ///
    /// Without it, or with a `pattern`, their names say which files are shards: [`shard_files::select`].
    ///
    /// # Errors
    /// Names that do not say it, and a manifest that cannot be read or names none.
    pub async fn open(name: &str, store: Store, pattern: Option<&str>, format: Format) -> Result<Self> {
        let uri = store.uri().to_owned();
        let files = store.list("").await.context(OpenSnafu { split: name, uri: &uri })?;
        if pattern.is_none() {
            match read_manifest(&store).await {
                Err(lockstep_records::Error::NoManifest { .. }) => {}
                manifest => {
                    let manifest = manifest.context(ShardsSnafu { split: name })?;
                    ensure!(!manifest.shards.is_empty(), NoShardsSnafu { split: name, uri });
                    return Ok(Self::of_manifest(name, store, format, manifest, &files));
                }
            }
        }
        let files = shard_files::select(&uri, files, pattern).context(ShardsSnafu { split: name })?;
        Self::of_files(name, store, format, &files).await
    }

    fn of_manifest(name: &str, store: Store, format: Format, manifest: Manifest, files: &[Entry]) -> Self {
        let shards = manifest.shards.into_iter().map(|shard| {
            let found = files.binary_search_by(|file| file.path.as_str().cmp(&shard.name)).ok();
            Shard {
                bytes: found.map(|file| files[file].size),
                compression: shard.compressed.map(|compressed| compressed.format),
                name: shard.name,
                index: Some(shard.lengths),
            }
        });
        let format = Format {
            features: format.features,
            encoding: Some(manifest.encoding),
            layout: manifest.layout,
            shape: Some(manifest.shape),
            classes: Some(manifest.classes),
        };
        Self { name: name.to_owned(), store, format, shards: shards.collect(), has_manifest: true }
    }

    async fn of_files(name: &str, store: Store, format: Format, files: &[Entry]) -> Result<Self> {
        let shards = files.iter().map(|file| shard(name, &store, file));
        let shards = futures::stream::iter(shards).buffered(CONCURRENT_READS).try_collect().await?;
        Ok(Self { name: name.to_owned(), store, format, shards, has_manifest: false })
    }

    /// Its folder.
    pub fn uri(&self) -> &str {
        self.store.uri()
    }

    /// Its files, in the order in which they are numbered.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Of all its files.
    pub fn bytes(&self) -> u64 {
        self.shards.iter().filter_map(|shard| shard.bytes).sum()
    }

    pub(crate) fn shard_uri(&self, shard: usize) -> String {
        format!("{}/{}", self.uri(), self.shards[shard].name)
    }
}

/// A file that nobody described: how it is compressed, its first bytes say.
async fn shard(split: &str, store: &Store, file: &Entry) -> Result<Shard> {
    let first = store.get_range(&file.path, 0..file.size.min(Compression::DETECTED_BY)).await;
    let first = first.context(OpenSnafu { split, uri: store.uri() })?;
    let compression = Compression::detect(&first);
    Ok(Shard { name: file.path.clone(), bytes: Some(file.size), compression, index: None })
}
