//! The three kinds of stores behind one set of operations, each a single attempt.

use std::{ops::Range, path::PathBuf, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use object_store::{
    Error, ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, local::LocalFileSystem, path::Path,
};
use snafu::{OptionExt, ResultExt};
use tokio::time::Instant;

use crate::{
    Access, Result,
    error::{OpenFolderSnafu, OpenStoreSnafu},
    hdfs::{self, Hdfs},
    io_runtime, remedy,
    s3::S3,
    uri::Location,
};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) enum Objects {
    Files(Arc<LocalFileSystem>),
    Hdfs(Hdfs),
    S3(S3),
}

/// Whether an object may be replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Existing {
    Keep,
    Replace,
}

impl Objects {
    /// The store of `uri`, where in it that is, and the URI as it is shown.
    pub(crate) fn open(uri: &str, access: &Access) -> Result<(Self, Path, String)> {
        match Location::parse(uri)? {
            Location::File(path) => {
                let path =
                    path.to_str().context(OpenStoreSnafu { uri, reason: "the path is not valid UTF-8" })?;
                let prefix =
                    Path::from_absolute_path(path).map_err(Error::from).context(OpenFolderSnafu { uri })?;
                let files = LocalFileSystem::new().with_fsync(true);
                Ok((Self::Files(Arc::new(files)), prefix, format!("file://{path}")))
            }
            Location::Hdfs { authority, path } => {
                let files = Hdfs::new(access.namenodes(uri, &authority)?);
                Ok((Self::Hdfs(files), prefix(uri, &path)?, format!("hdfs://{authority}/{path}")))
            }
            Location::S3 { bucket, path } => {
                let store = S3::open(&bucket, access.s3()).context(OpenFolderSnafu { uri })?;
                Ok((Self::S3(store), prefix(uri, &path)?, format!("s3://{bucket}/{path}")))
            }
        }
    }

    pub(crate) async fn get(&self, path: &Path) -> Result<Bytes, Error> {
        let (this, path) = (self.clone(), path.clone());
        self.on_its_runtime(async move {
            match &this {
                Self::Hdfs(files) => files.get(&path).await,
                other => other.general().get(&path).await?.bytes().await,
            }
        })
        .await
    }

    /// Fewer bytes where the object ends before the range does.
    pub(crate) async fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        let (this, path) = (self.clone(), path.clone());
        self.on_its_runtime(async move {
            match &this {
                Self::Hdfs(files) => files.get_range(&path, range).await,
                other => other.general().get_range(&path, range).await,
            }
        })
        .await
    }

    pub(crate) async fn head(&self, path: &Path) -> Result<ObjectMeta, Error> {
        let (this, path) = (self.clone(), path.clone());
        self.on_its_runtime(async move { this.general().head(&path).await }).await
    }

    /// What is below `path`, temporary files of HDFS' writers included.
    pub(crate) async fn list(&self, path: &Path) -> Result<Vec<ObjectMeta>, Error> {
        let (this, path) = (self.clone(), path.clone());
        self.on_its_runtime(async move {
            match this.general().list(Some(&path)).try_collect().await {
                // A folder that is not there is empty; of S3 it is the bucket that is not there.
                Err(Error::NotFound { .. }) if !matches!(this, Self::S3(_)) => Ok(Vec::new()),
                other => other,
            }
        })
        .await
    }

    /// Writes the object in one atomic step.
    pub(crate) async fn put(&self, path: &Path, content: Bytes, existing: Existing) -> Result<(), Error> {
        let (this, path) = (self.clone(), path.clone());
        self.on_its_runtime(async move {
            if let Self::Hdfs(files) = &this {
                return files.put(&path, content, existing == Existing::Replace).await;
            }
            let mode = match existing {
                Existing::Keep => PutMode::Create,
                Existing::Replace => PutMode::Overwrite,
            };
            this.general().put_opts(&path, content.into(), mode.into()).await.map(drop)
        })
        .await
    }

    /// Deletes the object, and its folder where that is a thing of its own, is empty, and lies below `root`.
    pub(crate) async fn delete(&self, path: &Path, root: &Path) -> Result<(), Error> {
        let (this, path, root) = (self.clone(), path.clone(), root.clone());
        self.on_its_runtime(async move {
            match &this {
                Self::Hdfs(files) => files.delete(&path, &root).await,
                Self::Files(files) => delete_file(files, &path, &root).await,
                Self::S3(_) => this.general().delete(&path).await,
            }
        })
        .await
    }

    /// Temporary files of writers, alive or dead, below `path`.
    pub(crate) async fn unfinished(&self, path: &Path) -> Result<Vec<(Path, u64)>, Error> {
        match self {
            Self::Files(_) => {
                let folder = file_path(path);
                let walk = move || {
                    let mut found = Vec::new();
                    walk(folder, &mut found).map(|()| found)
                };
                let found = tokio::task::spawn_blocking(walk)
                    .await
                    .map_err(|error| Error::JoinError { source: error })?;
                found.map_err(|error| Error::Generic { store: "LocalFileSystem", source: Box::new(error) })
            }
            Self::Hdfs(_) => {
                let found = self.list(path).await?;
                Ok(found
                    .into_iter()
                    .filter(|meta| hdfs::is_temporary(&meta.location))
                    .map(|meta| (meta.location, meta.size))
                    .collect())
            }
            // An upload that is not complete is no object.
            Self::S3(_) => Ok(Vec::new()),
        }
    }

    /// Whether `path` is of a file that is being written, or whose writer died.
    pub(crate) fn is_unfinished(&self, path: &Path) -> bool {
        match self {
            Self::Files(_) => is_temporary(path),
            Self::Hdfs(_) => hdfs::is_temporary(path),
            Self::S3(_) => false,
        }
    }

    /// A call that began then had no answer in time.
    pub(crate) fn had_no_answer(&self, began: Instant) {
        match self {
            Self::Hdfs(files) => files.had_no_answer(began),
            Self::Files(_) | Self::S3(_) => {}
        }
    }

    fn general(&self) -> Arc<dyn ObjectStore> {
        match self {
            Self::Files(files) => Arc::<LocalFileSystem>::clone(files),
            Self::Hdfs(files) => files.general(),
            Self::S3(s3) => s3.general(),
        }
    }

    /// Boxed: what the clients of three kinds of stores need is too much for the stack of every caller.
    fn on_its_runtime<T: Send + 'static>(
        &self,
        attempt: impl Future<Output = Result<T, Error>> + Send + 'static,
    ) -> BoxFuture<'static, Result<T, Error>> {
        let attempt = attempt.boxed();
        match self {
            Self::Files(_) => attempt,
            Self::Hdfs(_) => async move { io_runtime::run(attempt).await.map_err(remedy::added) }.boxed(),
            Self::S3(s3) => {
                let s3 = s3.clone();
                io_runtime::run(async move { s3.explain(attempt.await).await }).boxed()
            }
        }
    }
}

fn prefix(uri: &str, path: &str) -> Result<Path> {
    Path::parse(path).map_err(Error::from).context(OpenFolderSnafu { uri })
}

/// `name#<number>`, as the local store calls what it has not renamed yet.
fn is_temporary(path: &Path) -> bool {
    let number = path.filename().and_then(|name| name.rsplit_once('#'));
    number.is_some_and(|(_, digits)| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Deletes the file, and its folder if that lies below `root` and nothing else is in it.
async fn delete_file(files: &LocalFileSystem, path: &Path, root: &Path) -> Result<(), Error> {
    if is_temporary(path) {
        // The general store refuses names of its own temporary files.
        let removed = tokio::fs::remove_file(file_path(path)).await;
        removed.map_err(|error| Error::Generic { store: "LocalFileSystem", source: Box::new(error) })?;
    } else {
        files.delete(path).await?;
    }
    if let Some(folder) = folder_below(path, root) {
        // Fails where something is in it, which is as good. Whoever writes into it now makes it anew.
        let _ = tokio::fs::remove_dir(file_path(&folder)).await;
    }
    Ok(())
}

/// The folder of `path`, if it lies below `root`.
pub(crate) fn folder_below(path: &Path, root: &Path) -> Option<Path> {
    let mut folder: Vec<_> = path.parts().collect();
    folder.pop();
    (folder.len() > root.parts().count()).then(|| folder.into_iter().collect())
}

fn file_path(path: &Path) -> PathBuf {
    PathBuf::from(format!("/{path}"))
}

fn walk(folder: PathBuf, found: &mut Vec<(Path, u64)>) -> std::io::Result<()> {
    let entries = match std::fs::read_dir(&folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(entry.path(), found)?;
        } else if let Ok(path) = Path::parse(entry.path().to_string_lossy())
            && kind.is_file()
            && is_temporary(&path)
        {
            // It may be renamed in this very moment.
            found.push((path, entry.metadata().map_or(0, |meta| meta.len())));
        }
    }
    Ok(())
}
