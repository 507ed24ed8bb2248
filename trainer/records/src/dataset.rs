//! An opened data set: a manifest that was believed, or made; shards that are there; and where each record lies.
//!
//! Records are numbered through the shards, which are sorted by name. The reader asks it for places. `scanned` makes the
//! manifest of shards that nobody described.

use std::{fmt::Display, ops::Range, sync::Arc};

use lockstep_storage::Store;
use snafu::{OptionExt, ResultExt, ensure};

use crate::{
    Error, Result, Shape,
    error::{
        DisagreementSnafu, ManifestSizeSnafu, ManifestSnafu, MissingShardSnafu, NoSuchRecordSnafu, OpenSnafu,
        ShardSizeSnafu,
    },
    manifest::{self, Manifest},
    pixels::ImageFormat,
    shard_files,
};

mod scanned;

pub(crate) use scanned::unpack_error;

/// What `dataset.json` would say, by somebody who knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Format {
    /// How every image stands in its feature. The layout of encoded images is HWC.
    pub images: ImageFormat,
    /// Of the labels.
    pub classes: Classes,
}

/// What is known of the classes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Classes {
    /// How many; their names are "0", "1" and so on.
    Count(usize),
    /// Their names, in the order of the labels.
    Names(Vec<String>),
}

impl Classes {
    /// Their names, in the order of the labels.
    pub fn names(&self) -> Vec<String> {
        match self {
            Self::Count(count) => (0..*count).map(|class| class.to_string()).collect(),
            Self::Names(names) => names.clone(),
        }
    }
}

/// A whole, readable data set. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dataset {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    store: Store,
    manifest: Manifest,
    /// Whether the manifest was made here, in want of one.
    is_scanned: bool,
    /// Number of each shard's first record.
    first_records: Vec<u64>,
}

/// Reads and validates a data set's `dataset.json`, and nothing else.
///
/// # Errors
/// [`Error::NoManifest`] where there is none.
pub async fn read_manifest(store: &Store) -> Result<Manifest> {
    let uri = store.uri();
    let open = |error: lockstep_storage::Error| match error.is_not_found() {
        true => Error::NoManifest { uri: uri.to_owned() },
        false => Error::Open { uri: uri.to_owned(), source: Box::new(error) },
    };
    let bytes = store.size(manifest::FILE_NAME).await.map_err(open)?;
    ensure!(bytes <= manifest::MAX_BYTES, ManifestSizeSnafu { uri, bytes });
    let json = store.get(manifest::FILE_NAME).await.map_err(open)?;
    Manifest::parse(&json).context(ManifestSnafu { uri })
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
        let manifest = read_manifest(&store).await?;
        let uri = store.uri();
        let files = store.list("").await.context(OpenSnafu { uri })?;
        for shard in &manifest.shards {
            let place = files.binary_search_by(|file| file.path.as_str().cmp(&shard.name)).ok();
            let file = place.with_context(|| MissingShardSnafu { uri, shard: &shard.name })?;
            let (found, expected) = (files[file].size, shard.file_bytes());
            let shard = || format!("{uri}/{}", shard.name);
            ensure!(found == expected, ShardSizeSnafu { shard: shard(), found, expected });
        }
        Ok(Self::new(store, manifest, false))
    }

    /// Opens what `format` describes, whether there is a `dataset.json` or not. One that is there must say the same.
    /// Else, or where a `pattern` names the shards (in which `*` stands for any characters), every shard is read once, and
    /// compressed ones may hold `unpacked_limit` bytes all together.
    ///
    /// The digest is the one that `dataset.json` would hold.
    ///
    /// # Errors
    /// No shards, shards of several data sets or not all of one ([`Dataset::open`] finds the same by the manifest); any damage
    /// in any shard, at its place.
    pub async fn open_as(
        store: Store,
        pattern: Option<&str>,
        format: &Format,
        unpacked_limit: u64,
    ) -> Result<Self> {
        if pattern.is_none() {
            match Self::open(store.clone()).await {
                Err(Error::NoManifest { .. }) => {}
                described => return described.and_then(|dataset| dataset.agreeing_with(format)),
            }
        }
        let uri = store.uri();
        let files = store.list("").await.context(OpenSnafu { uri })?;
        let files = shard_files::select(uri, files, pattern)?;
        let manifest = scanned::scan(&store, files, format, unpacked_limit).await?;
        Ok(Self::new(store, manifest, true))
    }

    fn new(store: Store, manifest: Manifest, is_scanned: bool) -> Self {
        let first_records = manifest.shards.iter().scan(0, |next, shard| {
            let first = *next;
            *next += shard.records;
            Some(first)
        });
        let first_records = first_records.collect();
        Self { inner: Arc::new(Inner { store, manifest, is_scanned, first_records }) }
    }

    fn agreeing_with(self, Format { images, classes }: &Format) -> Result<Self> {
        let found = self.image_format();
        let agrees = |field: &'static str, agrees: bool, stated: &dyn Display, found: &dyn Display| {
            let (stated, found) = (stated.to_string(), found.to_string());
            ensure!(agrees, DisagreementSnafu { uri: self.store().uri(), field, stated, found });
            Ok(())
        };
        agrees("shape", images.shape == found.shape, &images.shape, &found.shape)?;
        let encodings = [images.encoding, found.encoding].map(|encoding| format!("{encoding:?}"));
        agrees("encoding", images.encoding == found.encoding, &encodings[0], &encodings[1])?;
        agrees("layout", images.layout == found.layout, &images.layout, &found.layout)?;
        let names = self.classes();
        match classes {
            Classes::Count(count) => agrees("classes", *count == names.len(), count, &names.len())?,
            Classes::Names(stated) => {
                agrees("classNames", stated == names, &stated.join(", "), &names.join(", "))?;
            }
        }
        Ok(self)
    }

    /// Whether there is no `dataset.json`, and every shard was read to open it.
    pub fn is_scanned(&self) -> bool {
        self.inner.is_scanned
    }

    /// What its compressed shards hold, in bytes: a reader keeps it in memory.
    pub fn unpacked_bytes(&self) -> u64 {
        scanned::unpacked_bytes(&self.inner.manifest.shards)
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
        let Inner { store, manifest, first_records, is_scanned: _ } = &*self.inner;
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
