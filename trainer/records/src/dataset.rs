//! An opened data set: a manifest that was believed, shards that are there, and where each record lies.
//!
//! Records are numbered through the shards, which are sorted by name. The reader asks it for places.

use std::{ops::Range, sync::Arc};

use lockstep_storage::Store;
use snafu::{OptionExt, ResultExt, ensure};

use crate::{
    Error, Result, Shape,
    error::{
        ManifestSizeSnafu, ManifestSnafu, MissingShardSnafu, NoSuchRecordSnafu, OpenSnafu, ShardSizeSnafu,
    },
    manifest::{self, Manifest},
    pixels::ImageFormat,
};

/// A whole, readable data set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataset {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    manifest: Manifest,
    /// Number of each shard's first record.
    first_records: Vec<u64>,
}

/// Where a record lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    /// Place of the shard in the manifest.
    pub shard: usize,
    /// The record's bytes in it, framing included.
    pub bytes: Range<u64>,
}

impl Location {
    /// Bytes of the record, framing included.
    pub fn len(&self) -> u64 {
        self.bytes.end - self.bytes.start
    }

    /// Never: a record has its framing at least.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Dataset {
    /// Reads and validates the manifest, and checks that every shard is there in its full size.
    ///
    /// # Errors
    /// [`Error::NoManifest`] where nothing was prepared, or not to the end.
    pub async fn open(store: Store) -> Result<Self> {
        let uri = store.uri().to_owned();
        let open = |error: lockstep_storage::Error| match error.is_not_found() {
            true => Error::NoManifest { uri: uri.clone() },
            false => Error::Open { uri: uri.clone(), source: Box::new(error) },
        };
        let bytes = store.size(manifest::FILE_NAME).await.map_err(open)?;
        ensure!(bytes <= manifest::MAX_BYTES, ManifestSizeSnafu { uri: &uri, bytes });
        let json = store.get(manifest::FILE_NAME).await.map_err(open)?;
        let manifest = Manifest::parse(&json).context(ManifestSnafu { uri: &uri })?;

        let files = store.list("").await.context(OpenSnafu { uri: &uri })?;
        for shard in &manifest.shards {
            let place = files.binary_search_by(|file| file.path.as_str().cmp(&shard.name)).ok();
            let file = place.with_context(|| MissingShardSnafu { uri: &uri, shard: &shard.name })?;
            let (found, expected) = (files[file].size, shard.bytes);
            let shard = || format!("{uri}/{}", shard.name);
            ensure!(found == expected, ShardSizeSnafu { shard: shard(), found, expected });
        }
        let first_records = manifest.shards.iter().scan(0, |next, shard| {
            let first = *next;
            *next += shard.records;
            Some(first)
        });
        let first_records = first_records.collect();
        Ok(Self { inner: Arc::new(Inner { store, manifest, first_records }) })
    }

    /// Number of records.
    pub fn len(&self) -> u64 {
        self.inner.manifest.records
    }

    /// Whether there is no record at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Size of every image.
    pub fn shape(&self) -> Shape {
        self.inner.manifest.shape
    }

    /// How every image stands in its record.
    pub fn image_format(&self) -> ImageFormat {
        let Manifest { encoding, layout, shape, .. } = self.inner.manifest;
        ImageFormat { encoding, layout, shape }
    }

    /// Names of the classes, in the order of the labels.
    pub fn classes(&self) -> &[String] {
        &self.inner.manifest.classes
    }

    /// SHA-256, hex, over everything that training can see of the data.
    pub fn digest(&self) -> &str {
        &self.inner.manifest.digest
    }

    /// Everything that `dataset.json` says.
    pub fn manifest(&self) -> &Manifest {
        &self.inner.manifest
    }

    /// The folder that holds it.
    pub fn store(&self) -> &Store {
        &self.inner.store
    }

    /// Where the record lies.
    pub fn locate(&self, record: u64) -> Result<Location> {
        let Inner { store, manifest, first_records } = &*self.inner;
        let after = first_records.partition_point(|first| *first <= record);
        let place = after.checked_sub(1).and_then(|shard| {
            let (offset, bytes) = manifest.shards[shard].lengths.locate(record - first_records[shard])?;
            Some(Location { shard, bytes: offset..offset + bytes })
        });
        place.with_context(|| NoSuchRecordSnafu { uri: store.uri(), record, records: manifest.records })
    }

    /// URI of a shard, for messages.
    pub(crate) fn shard_uri(&self, shard: usize) -> String {
        format!("{}/{}", self.inner.store.uri(), self.inner.manifest.shards[shard].name)
    }
}
