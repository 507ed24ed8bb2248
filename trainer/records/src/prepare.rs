//! Turns the data that people have into data sets: `lockstep prepare`.
//!
//! Each source ([`cifar10`], [`cifar100`], [`image_folder`], [`idx`], [`numpy`], [`tfrecords`]) is opened as splits of
//! images; `split` may divide the training split; `writer` writes every split into a folder of its own below the
//! destination, shards first, manifest last. The same source gives the same bytes for any number of threads. What is
//! there already is never overwritten: an interrupted preparation is taken up by running it again, and anything else in
//! the way is refused.

use std::{num::NonZeroUsize, path::Path, sync::Arc, thread::available_parallelism};

use lockstep_storage::Store;

use crate::Shape;

mod buffers;
mod cifar;
mod encoder;
mod error;
mod fit;
mod idx;
mod image_folder;
mod npy;
mod numpy;
mod picture;
mod refusals;
mod shard;
mod source;
mod split;
mod statistics;
mod tfrecords;
mod writer;

pub use encoder::RecordEncoding;
pub use error::Error;
pub use fit::Fit;
pub use image_folder::ImageOptions;
pub use numpy::{BatchLayout, NumpyOptions};
pub use split::Shares;
pub use tfrecords::{RecordsOptions, ShardFolder, ShardFolders};

use source::Source;

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
    /// Into which parts the training images are divided; none means that all are for training.
    pub split: Option<Split>,
    /// How images stand in the records.
    pub encoding: RecordEncoding,
    /// Told every few hundred images.
    pub progress: Option<ProgressCallback>,
}

impl Options {
    /// Threads that convert.
    fn threads(&self) -> usize {
        self.threads.or_else(|| available_parallelism().ok()).map_or(2, NonZeroUsize::get)
    }
}

impl std::fmt::Debug for Options {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { shards, threads, split, encoding, progress } = self;
        let progress = progress.as_ref().map(|_| "callback");
        f.debug_struct("Options")
            .field("shards", shards)
            .field("threads", threads)
            .field("split", split)
            .field("encoding", encoding)
            .field("progress", &progress)
            .finish()
    }
}

/// A division of the training images, each class in the same proportions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// The parts.
    pub shares: Shares,
    /// Chooses the images of each part.
    pub seed: u64,
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
    /// `train`, `validation` or `test`.
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

/// Which of CIFAR-100's two labels of an image is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cifar100Labels {
    /// One of 100 classes.
    #[default]
    Fine,
    /// One of 20 superclasses.
    Coarse,
}

/// CIFAR-10's official binary archive: `cifar-10-binary.tar.gz`, or the folder it extracts to.
pub async fn cifar10(source: &Path, destination: &Store, options: &Options) -> Result<Summary> {
    let path = source.to_owned();
    write(destination, options, move || cifar::open(&path, &cifar::CIFAR10)).await
}

/// CIFAR-100's official binary archive: `cifar-100-binary.tar.gz`, or the folder it extracts to.
pub async fn cifar100(
    source: &Path,
    destination: &Store,
    labels: Cifar100Labels,
    options: &Options,
) -> Result<Summary> {
    let path = source.to_owned();
    write(destination, options, move || cifar::open(&path, &cifar::cifar100(labels))).await
}

/// A folder with a folder of images for each class, or with two or three of those, named `train`, `validation` (or `val`)
/// and `test`.
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
    write(destination, options, move || image_folder::open(&path, &images)).await
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
    write(destination, options, move || idx::open(&path, classes.as_deref())).await
}

/// A folder of NumPy files, `x_train.npy` and `y_train.npy`, perhaps also `…_validation` and `…_test`: bytes of images
/// `[N, H, W]`, `[N, H, W, C]` or `[N, C, H, W]` and integer labels `[N]` or `[N, 1]`.
///
/// `images` and `labels` are as good as `x` and `y`, before or behind the split, which is `train` where there is none.
pub async fn numpy(
    source: &Path,
    destination: &Store,
    numpy: &NumpyOptions,
    options: &Options,
) -> Result<Summary> {
    let (path, numpy) = (source.to_owned(), numpy.clone());
    write(destination, options, move || numpy::open(&path, &numpy)).await
}

/// TFRecords of `tf.train.Example` that somebody wrote, described or not, compressed or not; they are written anew, in the
/// order in which they are read.
pub async fn tfrecords(
    sources: &ShardFolders,
    destination: &Store,
    records: &RecordsOptions,
    options: &Options,
) -> Result<Summary> {
    let source = tfrecords::open(sources, records, options.threads()).await?;
    write(destination, options, move || Ok(source)).await
}

async fn write(
    destination: &Store,
    options: &Options,
    open: impl FnOnce() -> Result<Source> + Send + 'static,
) -> Result<Summary> {
    let split = options.split.clone();
    let source = blocking(move || {
        let source = open()?;
        match split {
            Some(Split { shares, seed }) => split::apply(source, &shares, seed),
            None => Ok(source),
        }
    });
    writer::write(source.await?, destination, options).await
}

/// Runs work that waits for the disk or the processor where it does not hold up other tasks.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(source) => Err(Error::Worker { source }),
    }
}
