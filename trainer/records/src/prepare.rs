//! Turns the data that people have into data sets: `lockstep prepare`.
//!
//! Each source ([`cifar10`], [`image_folder`], [`idx`]) is opened as splits of images; `writer` writes every split
//! into a folder of its own below the destination, shards first, manifest last. The same source gives the same bytes
//! for any number of threads. What is there already is never overwritten: an interrupted preparation is taken up by
//! running it again, and anything else in the way is refused.

use std::{num::NonZeroUsize, path::Path, sync::Arc};

use lockstep_storage::Store;

use crate::Shape;

mod cifar10;
mod error;
mod idx;
mod image_folder;
mod source;
mod statistics;
mod writer;

pub use error::Error;
pub use image_folder::ImageOptions;

/// What preparing returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Called from any thread, often; must return soon.
pub type ProgressCallback = Arc<dyn Fn(Progress) + Send + Sync>;

/// How far a preparation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Images converted.
    pub done: u64,
    /// Images of all splits.
    pub total: u64,
}

/// What every source understands.
#[derive(Clone, Default)]
pub struct Options {
    /// Shards of each split; none means [`DEFAULT_SHARDS`], or more where they would pass 128 MiB.
    /// A split of fewer images has one shard an image.
    pub shards: Option<NonZeroUsize>,
    /// Threads that convert; none means all processors. Never part of the result.
    pub threads: Option<NonZeroUsize>,
    /// Told every few hundred images.
    pub progress: Option<ProgressCallback>,
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shards, threads, progress } = self;
        let progress = progress.as_ref().map(|_| "callback");
        f.debug_struct("Options")
            .field("shards", shards)
            .field("threads", threads)
            .field("progress", &progress)
            .finish()
    }
}

/// Shards of a split when nothing else is asked for.
pub const DEFAULT_SHARDS: usize = 8;

/// What was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// Size of every image.
    pub shape: Shape,
    /// Names of the classes, in the order of the labels.
    pub classes: Vec<String>,
    /// One for each folder below the destination.
    pub splits: Vec<SplitSummary>,
}

/// One data set that was written.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitSummary {
    /// `train` or `test`.
    pub name: String,
    /// Where it is: what goes into `data.training.uri` or `data.test.uri`.
    pub uri: String,
    /// Number of images.
    pub records: u64,
    /// Number of TFRecord files.
    pub shards: usize,
    /// Their size.
    pub bytes: u64,
    /// Content digest, hex.
    pub digest: String,
}

/// CIFAR-10's official binary archive: `cifar-10-binary.tar.gz`, or the folder it extracts to.
pub async fn cifar10(source: &Path, destination: &Store, options: &Options) -> Result<Summary> {
    let path = source.to_owned();
    let source = blocking(move || cifar10::open(&path, &cifar10::OFFICIAL)).await?;
    writer::write(source, destination, options).await
}

/// A folder with a folder of images for each class, or with two of those, named `train` and `test`.
///
/// The classes in alphabetical order are the labels. Files are read by their content, in every format that the
/// `image` crate knows; names that begin with a dot are left out.
pub async fn image_folder(
    source: &Path,
    destination: &Store,
    images: &ImageOptions,
    options: &Options,
) -> Result<Summary> {
    let (path, images) = (source.to_owned(), images.clone());
    let source = blocking(move || image_folder::open(&path, &images)).await?;
    writer::write(source, destination, options).await
}

/// A folder of IDX files as MNIST and its relatives have them, plain or `.gz`: `train-images-idx3-ubyte` and
/// `train-labels-idx1-ubyte`, and `t10k-…` for the test split.
///
/// `classes`: their names; none means the digits up to the highest label.
pub async fn idx(
    source: &Path,
    destination: &Store,
    classes: Option<&[String]>,
    options: &Options,
) -> Result<Summary> {
    let (path, classes) = (source.to_owned(), classes.map(<[String]>::to_vec));
    let source = blocking(move || idx::open(&path, classes)).await?;
    writer::write(source, destination, options).await
}

/// Runs work that waits for the disk or the processor where it does not hold up other tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => Err(Error::Worker { source }),
    }
}
