//! Reading and writing objects below one location.

use std::{
    ops::Range,
    sync::Arc,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use object_store::path::Path;
use sha2::{Digest, Sha256};
use snafu::{OptionExt, ResultExt};

use crate::{
    Access, Patience, Result,
    error::{AddressSnafu, ConflictSnafu, DeleteSnafu, ListSnafu, ReadSnafu, WriteSnafu},
    objects::{Existing, Objects},
    retry,
};

/// A folder of objects, wherever it lives. Cheap to clone; all clones share one connection.
///
/// Paths given to its methods are relative to that folder, with `/` between segments.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Objects,
    patience: Patience,
    /// Of everything this handle, or one that it was made from, may touch.
    prefix: Path,
    uri: Arc<str>,
}

/// One object in a listing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Path relative to the store.
    pub path: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was written, by the store's clock; of unfinished objects nobody asks.
    pub modified: Option<SystemTime>,
}

/// How [`Store::create`] found the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Created {
    /// It was not there: we wrote it.
    New,
    /// It was there with the same bytes: somebody did the same work before us.
    Identical,
}

impl Store {
    /// Opens `hdfs://authority/path`, `s3://bucket/path`, `file:///path` or an absolute path, as the environment says.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(uri: &str) -> Result<Self> {
        Self::open_with(uri, &Access::from_env())
    }

    /// Opens a location without talking to it: it need not exist, writing creates it.
    ///
    /// # Errors
    /// A URI that names no store, or configuration that leads nowhere.
    pub fn open_with(uri: &str, access: &Access) -> Result<Self> {
        let (objects, prefix, uri) = Objects::open(uri, access)?;
        let uri = uri.strip_suffix('/').unwrap_or(&uri).into();
        let patience = match objects {
            // What a file system refuses now it refuses in a minute, and its callers may know why.
            Objects::Files(_) => Patience { total: Duration::ZERO, ..access.patience() },
            Objects::Hdfs(..) | Objects::S3(_) => access.patience(),
        };
        Ok(Self { objects, patience, prefix, uri })
    }

    /// The location, as `scheme://…` without a trailing slash.
    pub fn uri(&self) -> &str {
        &self.uri
    }

    /// The store one or more folders further down.
    pub fn folder(&self, path: &str) -> Result<Self> {
        let prefix = self.locate(path)?;
        Ok(Self { prefix, uri: format!("{}/{path}", self.uri).into(), ..self.clone() })
    }

    /// The whole object.
    pub async fn get(&self, path: &str) -> Result<Bytes> {
        let location = self.locate(path)?;
        let size = self.size(path).await?;
        let read = self.call(size, || self.objects.get(&location)).await;
        read.context(ReadSnafu { uri: &*self.uri, path })
    }

    /// The bytes of `range`; an error if the object ends before it does.
    pub async fn get_range(&self, path: &str, range: Range<u64>) -> Result<Bytes> {
        let location = self.locate(path)?;
        let context = ReadSnafu { uri: &*self.uri, path };
        let wanted = range.end.saturating_sub(range.start);
        let attempt = || self.objects.get_range(&location, range.clone());
        let bytes = self.call(wanted, attempt).await.context(context)?;
        if bytes.len() as u64 != wanted {
            let reason =
                format!("it ends at byte {}, before {}", range.start + bytes.len() as u64, range.end);
            return Err(object_store::Error::Generic { store: "range", source: reason.into() })
                .context(context);
        }
        Ok(bytes)
    }

    /// Size of the object in bytes.
    pub async fn size(&self, path: &str) -> Result<u64> {
        let location = self.locate(path)?;
        let meta = self.call(0, || self.objects.head(&location)).await;
        Ok(meta.context(ReadSnafu { uri: &*self.uri, path })?.size)
    }

    /// Every object below `prefix` (`""` for all), sorted by path. Unfinished writes do not show.
    pub async fn list(&self, prefix: &str) -> Result<Vec<Entry>> {
        let location = self.locate(prefix)?;
        let found = self.call(0, || self.objects.list(&location)).await;
        let found = found.context(ListSnafu { uri: &*self.uri, path: prefix })?;
        let finished = found.into_iter().filter(|meta| !self.objects.is_unfinished(&meta.location));
        Ok(self.entries(finished.map(|meta| (meta.location, meta.size, Some(meta.last_modified.into())))))
    }

    /// Temporary files below `prefix`, sorted by path: what is being written, or what dead writers left.
    pub async fn unfinished(&self, prefix: &str) -> Result<Vec<Entry>> {
        let location = self.locate(prefix)?;
        let found = self.call(0, || self.objects.unfinished(&location)).await;
        let found = found.context(ListSnafu { uri: &*self.uri, path: prefix })?;
        Ok(self.entries(found.into_iter().map(|(location, size)| (location, size, None))))
    }

    /// Creates the object unless it exists; one that exists with the same bytes is as good.
    ///
    /// # Errors
    /// [`crate::Error::Conflict`] when it exists with other bytes.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Created> {
        let location = self.locate(path)?;
        match self.write(&location, bytes.clone(), Existing::Keep).await {
            Ok(()) => Ok(Created::New),
            // Perhaps by an attempt of ours whose answer was lost.
            Err(object_store::Error::AlreadyExists { .. }) => {
                let (found, wanted) = (digest(&self.get(path).await?), digest(&bytes));
                if found == wanted {
                    return Ok(Created::Identical);
                }
                ConflictSnafu { uri: &*self.uri, path, found, wanted }.fail()
            }
            Err(error) => Err(error).context(WriteSnafu { uri: &*self.uri, path }),
        }
    }

    /// Writes the object in one atomic step, replacing what was there.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<()> {
        let location = self.locate(path)?;
        let written = self.write(&location, bytes, Existing::Replace).await;
        written.context(WriteSnafu { uri: &*self.uri, path })
    }

    /// Deletes the object; one that is not there is fine.
    pub async fn delete(&self, path: &str) -> Result<()> {
        let location = self.locate(path)?;
        let deleted = self.call(0, || self.objects.delete(&location, &self.prefix)).await;
        match deleted.context(DeleteSnafu { uri: &*self.uri, path }) {
            Err(error) if error.is_not_found() => Ok(()),
            other => other,
        }
    }

    async fn write(
        &self,
        location: &Path,
        bytes: Bytes,
        existing: Existing,
    ) -> Result<(), object_store::Error> {
        let attempt = || self.objects.put(location, bytes.clone(), existing);
        self.call(bytes.len() as u64, attempt).await
    }

    async fn call<T, F>(&self, bytes: u64, attempt: impl FnMut() -> F) -> Result<T, object_store::Error>
    where
        F: Future<Output = Result<T, object_store::Error>>,
    {
        let had_no_answer = |began| self.objects.had_no_answer(began);
        retry::call(self.patience, bytes, attempt, had_no_answer).await
    }

    fn entries(&self, found: impl IntoIterator<Item = (Path, u64, Option<SystemTime>)>) -> Vec<Entry> {
        let mut entries: Vec<Entry> = found
            .into_iter()
            .filter_map(|(location, size, modified)| {
                let parts: Vec<_> =
                    location.prefix_match(&self.prefix)?.map(|part| part.as_ref().to_owned()).collect();
                Some(Entry { path: parts.join("/"), size, modified })
            })
            .collect();
        entries.sort();
        entries
    }

    fn locate(&self, path: &str) -> Result<Path> {
        let plain = path.is_empty()
            || path.split('/').all(|part| {
                !part.is_empty() && part != "." && part != ".." && !part.contains(|c: char| c.is_control())
            });
        let below = if plain { Path::parse(path).ok() } else { None };
        let below = below.context(AddressSnafu { uri: &*self.uri, path })?;
        Ok(self.prefix.parts().chain(below.parts()).collect())
    }
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn store() -> (tempfile::TempDir, Store) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn what_was_written_is_read_back_whole_and_in_parts() {
        let (_folder, store) = store();
        store.put("a/b.bin", Bytes::from_static(b"0123456789")).await.unwrap();
        assert_eq!(store.get("a/b.bin").await.unwrap(), "0123456789");
        assert_eq!(store.get_range("a/b.bin", 2..5).await.unwrap(), "234");
        assert_eq!(store.size("a/b.bin").await.unwrap(), 10);
        assert_eq!(store.folder("a").unwrap().get("b.bin").await.unwrap(), "0123456789");
    }

    #[tokio::test]
    async fn a_range_past_the_end_is_an_error_and_not_a_short_read() {
        let (_folder, store) = store();
        store.put("x", Bytes::from_static(b"0123")).await.unwrap();
        let error = store.get_range("x", 2..9).await.unwrap_err();
        assert!(error.to_string().contains("failed to read"), "{error}");
    }

    #[tokio::test]
    async fn an_object_is_created_once_and_a_second_writer_of_the_same_bytes_is_content() {
        let (_folder, store) = store();
        assert_eq!(store.create("x", Bytes::from_static(b"same")).await.unwrap(), Created::New);
        assert_eq!(store.create("x", Bytes::from_static(b"same")).await.unwrap(), Created::Identical);
        let error = store.create("x", Bytes::from_static(b"other")).await.unwrap_err();
        assert!(error.is_conflict() && !error.is_retryable());
        assert_eq!(store.get("x").await.unwrap(), "same");
    }

    #[tokio::test]
    async fn of_many_concurrent_creators_exactly_one_is_first() {
        let (_folder, store) = store();
        let writers = (0..16).map(|_| store.create("x", Bytes::from_static(b"same")));
        let outcomes = futures::future::try_join_all(writers).await.unwrap();
        assert_eq!(outcomes.iter().filter(|created| **created == Created::New).count(), 1);
    }

    #[tokio::test]
    async fn listings_are_sorted_relative_and_free_of_unfinished_writes() {
        let (folder, store) = store();
        for path in ["run/step-2/m", "run/step-1/m", "run/a", "other"] {
            store.put(path, Bytes::from_static(b"x")).await.unwrap();
        }
        std::fs::write(folder.path().join("run/a#1"), b"unfinished").unwrap();
        let paths: Vec<_> = store.list("run").await.unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(paths, ["run/a", "run/step-1/m", "run/step-2/m"]);
        assert_eq!(store.folder("run").unwrap().list("").await.unwrap().len(), 3);
        assert!(store.list("nothing/here").await.unwrap().is_empty());
        let left: Vec<_> = store.unfinished("").await.unwrap().into_iter().map(|entry| entry.path).collect();
        assert_eq!(left, ["run/a#1"]);
        store.delete("run/a#1").await.unwrap();
        assert!(store.unfinished("").await.unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_missing_object_is_told_apart_and_deleting_it_is_fine() {
        let (_folder, store) = store();
        assert!(store.get("nope").await.unwrap_err().is_not_found());
        store.delete("nope").await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_goes_with_its_last_object_and_the_stores_own_folder_stays() {
        let (folder, store) = store();
        for path in ["run/step/m", "run/step/n", "run/a"] {
            store.put(path, Bytes::from_static(b"x")).await.unwrap();
        }
        store.delete("run/step/m").await.unwrap();
        assert!(folder.path().join("run/step").exists());
        store.delete("run/step/n").await.unwrap();
        assert!(!folder.path().join("run/step").exists() && folder.path().join("run/a").exists());
        let run = store.folder("run").unwrap();
        run.delete("a").await.unwrap();
        assert!(folder.path().join("run").exists());
        run.put("step/m", Bytes::from_static(b"x")).await.unwrap();
    }

    #[tokio::test]
    async fn paths_that_leave_the_store_are_refused() {
        let (_folder, store) = store();
        for path in ["../x", "/x", "a//b", "a/./b", "a/"] {
            assert!(matches!(store.get(path).await, Err(crate::Error::Address { .. })), "{path}");
        }
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_written_is_a_permanent_error() {
        let (folder, store) = store();
        std::fs::write(folder.path().join("file"), b"x").unwrap();
        let error = store.put("file/below", Bytes::from_static(b"x")).await.unwrap_err();
        assert!(!error.is_retryable(), "{error:?}");
    }
}
