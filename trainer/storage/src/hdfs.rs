//! Reading and writing whole files and ranges of HDFS, where the general object store would ask the NameNode too often
//! (twice for each range) or leave temporary files that nobody can tell apart.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::{Bytes, BytesMut};
use futures::TryStreamExt;
use hdfs_native::{Client, HdfsError, WriteOptions, file::FileReader};
use hdfs_native_object_store::HdfsObjectStore;
use object_store::{Error, ObjectStore, path::Path};
use tokio::time::Instant;

use crate::{
    cause::{self, Cause},
    namenodes::NameNodes,
    objects::folder_below,
};

const STORE: &str = "HDFS";
/// Readers kept open: each holds the places of a file's blocks, so that a range costs no question to the NameNode.
const MOST_READERS: usize = 1024;

/// The files below one NameNode or name service. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Hdfs {
    namenodes: NameNodes,
    readers: Arc<Mutex<HashMap<Path, Arc<FileReader>>>>,
}

impl std::fmt::Debug for Hdfs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hdfs").field("namenodes", &self.namenodes).finish_non_exhaustive()
    }
}

impl Hdfs {
    pub(crate) fn new(namenodes: NameNodes) -> Self {
        Self { namenodes, readers: Arc::default() }
    }

    /// For what needs no care of ours.
    pub(crate) fn general(&self) -> Arc<dyn ObjectStore> {
        Arc::new(HdfsObjectStore::new(self.client()))
    }

    /// See [`NameNodes::had_no_answer`].
    pub(crate) fn had_no_answer(&self, began: Instant) {
        self.namenodes.had_no_answer(began);
        self.readers().clear();
    }

    /// The whole file.
    pub(crate) async fn get(&self, path: &Path) -> Result<Bytes, Error> {
        let reader = self.client().read(&absolute(path)).await.map_err(converted)?;
        let len = reader.file_length();
        collect(&reader, 0, len).await
    }

    /// The bytes of `range`, fewer where the file ends before it does. The file must never change.
    pub(crate) async fn get_range(&self, path: &Path, range: Range<u64>) -> Result<Bytes, Error> {
        let reader = self.reader(path).await?;
        let place = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(reader.file_length());
        let (start, end) = (place(range.start), place(range.end));
        let read = collect(&reader, start, end.saturating_sub(start)).await;
        if read.is_err() {
            // Its blocks may have moved, or its permission to read them run out.
            self.readers().remove(path);
        }
        read
    }

    /// Writes under a temporary name of its own, then renames. Without `overwrite` a file that is there stays.
    pub(crate) async fn put(&self, path: &Path, content: Bytes, overwrite: bool) -> Result<(), Error> {
        let target = absolute(path);
        if !overwrite && self.exists(&target).await? {
            return Err(converted(HdfsError::AlreadyExists(target)));
        }
        let temporary = temporary_name(path);
        let written = self.write_and_rename(&temporary, &target, content, overwrite).await;
        let Err(error) = written else { return Ok(()) };
        // The rename may have happened, and its answer been lost: then the file is as good as found there.
        if !overwrite && self.exists(&target).await.unwrap_or(false) {
            let _ = self.client().delete(&temporary, false).await;
            return Err(converted(HdfsError::AlreadyExists(target)));
        }
        let _ = self.client().delete(&temporary, false).await;
        Err(match error {
            // Our temporary file is gone: somebody cleaned up after us. Whole again, then.
            HdfsError::FileNotFound(path) => {
                converted(HdfsError::OperationFailed(format!("{path} was deleted while it was written")))
            }
            error => converted(error),
        })
    }

    async fn write_and_rename(
        &self,
        temporary: &str,
        target: &str,
        content: Bytes,
        overwrite: bool,
    ) -> Result<(), HdfsError> {
        let mut writer = self.client().create(temporary, WriteOptions::default()).await?;
        writer.write_bytes(content).await?;
        writer.close().await?;
        self.client().rename(temporary, target, overwrite).await
    }

    /// Deletes the file, and its folder if that lies below `root` and nothing else is in it.
    pub(crate) async fn delete(&self, path: &Path, root: &Path) -> Result<(), Error> {
        self.client().delete(&absolute(path), false).await.map_err(converted)?;
        self.readers().remove(path);
        if let Some(folder) = folder_below(path, root) {
            // Fails where something is in it, which is as good.
            let _ = self.client().delete(&absolute(&folder), false).await;
        }
        Ok(())
    }

    async fn exists(&self, path: &str) -> Result<bool, Error> {
        match self.client().get_file_info(path).await {
            Ok(_) => Ok(true),
            Err(error) if cause::of_hdfs(&error) == Cause::NotFound => Ok(false),
            Err(error) => Err(converted(error)),
        }
    }

    async fn reader(&self, path: &Path) -> Result<Arc<FileReader>, Error> {
        if let Some(reader) = self.readers().get(path) {
            return Ok(Arc::clone(reader));
        }
        let reader = Arc::new(self.client().read(&absolute(path)).await.map_err(converted)?);
        let mut readers = self.readers();
        if readers.len() >= MOST_READERS {
            readers.clear();
        }
        readers.insert(path.clone(), Arc::clone(&reader));
        Ok(reader)
    }

    fn client(&self) -> Client {
        self.namenodes.client()
    }

    fn readers(&self) -> std::sync::MutexGuard<'_, HashMap<Path, Arc<FileReader>>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether `path` is of a file that is being written, or whose writer died.
pub(crate) fn is_temporary(path: &Path) -> bool {
    path.filename().is_some_and(|name| name.starts_with('.') && name.contains(".tmp."))
}

/// `.name.tmp.<random>`, beside the file.
fn temporary_name(path: &Path) -> String {
    let mut parts: Vec<_> = path.parts().map(|part| part.as_ref().to_owned()).collect();
    let name = parts.pop().unwrap_or_default();
    let random = RandomState::new().build_hasher().finish();
    parts.push(format!(".{name}.tmp.{random:016x}"));
    format!("/{}", parts.join("/"))
}

async fn collect(reader: &FileReader, offset: usize, len: usize) -> Result<Bytes, Error> {
    let mut bytes = BytesMut::with_capacity(len);
    let mut chunks = reader.read_range_stream(offset, len);
    while let Some(chunk) = chunks.try_next().await.map_err(converted)? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn absolute(path: &Path) -> String {
    format!("/{path}")
}

fn converted(error: HdfsError) -> Error {
    match cause::of_hdfs(&error) {
        Cause::NotFound => Error::NotFound { path: String::new(), source: Box::new(error) },
        _ => match error {
            HdfsError::AlreadyExists(path) if !path.contains("lease") => {
                Error::AlreadyExists { path: path.clone(), source: Box::new(HdfsError::AlreadyExists(path)) }
            }
            error => Error::Generic { store: STORE, source: Box::new(error) },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_are_told_from_all_others_and_never_share_a_name() {
        let path = Path::from("runs/step-00000005/model.safetensors");
        let (one, other) = (temporary_name(&path), temporary_name(&path));
        assert_ne!(one, other);
        assert!(one.starts_with("/runs/step-00000005/.model.safetensors.tmp."), "{one}");
        assert!(is_temporary(&Path::from(one)));
        for name in ["model.safetensors", "a.tmp.1", ".hidden", "x/.tmp/file"] {
            assert!(!is_temporary(&Path::from(name)), "{name}");
        }
    }
}
