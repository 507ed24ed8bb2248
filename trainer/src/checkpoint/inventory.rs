//! What a run's folder holds, as far as it can be told without the job: finds, verifies and prunes its checkpoints.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::SystemTime,
};

use bytes::Bytes;
use lockstep_storage::{Entry, Store};
use snafu::ResultExt;

use super::{
    error::{DecodeResultSnafu, LoadError, Result, StorageSnafu},
    layout::{CheckpointId, MANIFEST, MODEL, OPTIMIZER, RESULT},
    manifest::{FileDigest, JobResult, Manifest},
    tensors,
};

/// Which checkpoints pruning leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// This many of the newest, at least 1.
    pub keep: usize,
    /// And the best one by the job's own metric.
    pub keep_best: bool,
}

/// The folder of one run.
#[derive(Clone, Debug)]
pub(crate) struct Inventory {
    store: Store,
}

/// A committed checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct Committed {
    pub id: CheckpointId,
    /// Of all its objects.
    pub bytes: u64,
    /// When its manifest was written.
    pub modified: Option<SystemTime>,
}

/// An object that is not what was committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    /// Name in the checkpoint's folder.
    pub object: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl Inventory {
    pub(crate) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(crate) fn uri(&self) -> &str {
        self.store.uri()
    }

    /// The runs below `store`, or the one that it is itself, by name.
    pub(crate) async fn runs(store: &Store) -> Result<Vec<Self>> {
        let context = StorageSnafu { action: "list runs", uri: store.uri() };
        let listed = store.list("").await.context(context)?;
        let names: BTreeSet<&str> = listed.iter().filter_map(|entry| run_of(&entry.path)).collect();
        let run = |name: &str| if name.is_empty() { Ok(store.clone()) } else { store.folder(name) };
        names.into_iter().map(|name| run(name).map(Self::new).context(context)).collect()
    }

    /// Checkpoints with a manifest, oldest first.
    pub(crate) async fn committed(&self) -> Result<Vec<CheckpointId>> {
        Ok(self.list().await?.into_iter().map(|committed| committed.id).collect())
    }

    /// Checkpoints with a manifest, oldest first, as they lie there.
    pub(crate) async fn list(&self) -> Result<Vec<Committed>> {
        let mut folders: BTreeMap<CheckpointId, Vec<Entry>> = BTreeMap::new();
        for entry in self.entries().await? {
            if let Some((id, _)) = place(&entry.path) {
                folders.entry(id).or_default().push(entry);
            }
        }
        let committed = folders.into_iter().filter_map(|(id, entries)| {
            let manifest = entries.iter().find(|entry| entry.path == id.path(MANIFEST))?;
            let bytes = entries.iter().map(|entry| entry.size).sum();
            Some(Committed { id, bytes, modified: manifest.modified })
        });
        Ok(committed.collect())
    }

    /// What the checkpoint's manifest says; `None` where it cannot be understood.
    pub(crate) async fn manifest(&self, id: CheckpointId) -> Result<Option<Manifest>> {
        match self.read_manifest(id).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(LoadError::Storage { source }) if source.is_retryable() => {
                Err(source).context(StorageSnafu { action: "read a manifest", uri: self.uri() })
            }
            Err(_) => Ok(None),
        }
    }

    /// The best of `committed` by the job's own metric: the newest that was the best one when it was committed.
    pub(crate) async fn best(&self, committed: &[CheckpointId]) -> Result<Option<CheckpointId>> {
        for id in committed.iter().rev().filter(|id| id.evaluated) {
            let best = self.manifest(*id).await?.and_then(|manifest| manifest.cursor.best);
            if best.is_some_and(|best| best.step == id.step) {
                return Ok(Some(*id));
            }
        }
        Ok(None)
    }

    /// Manifest, model and optimizer of a checkpoint, as they were committed.
    pub(super) async fn read(&self, id: CheckpointId) -> Result<(Manifest, [Bytes; 2]), LoadError> {
        let manifest = self.read_manifest(id).await?;
        let objects = [
            self.read_object(id, &manifest, MODEL).await?,
            self.read_object(id, &manifest, OPTIMIZER).await?,
        ];
        Ok((manifest, objects))
    }

    /// Reads all of a checkpoint; every object of it that is damaged.
    pub(crate) async fn verify(&self, id: CheckpointId) -> Result<Vec<Damage>> {
        let manifest = match self.told(MANIFEST, self.read_manifest(id).await)? {
            Ok(manifest) => manifest,
            Err(damage) => return Ok(vec![damage]),
        };
        let (mut contents, mut damages) = (Vec::new(), Vec::new());
        for object in [MODEL, OPTIMIZER] {
            match self.told(object, self.read_object(id, &manifest, object).await)? {
                Ok(content) => contents.push(content),
                Err(damage) => damages.push(damage),
            }
        }
        if let [model, optimizer] = &contents[..] {
            let state = tensors::read_state(manifest.cursor.clone(), model, optimizer);
            let checked = state.map_err(LoadError::from).and_then(|state| state.check(&manifest));
            damages.extend(self.told(MANIFEST, checked)?.err());
        }
        Ok(damages)
    }

    /// Damage as a value; only what may go away is an error.
    fn told<T>(&self, object: &'static str, read: Result<T, LoadError>) -> Result<Result<T, Damage>> {
        let problem = match read {
            Ok(value) => return Ok(Ok(value)),
            Err(LoadError::Storage { source }) if source.is_not_found() => "is missing".to_owned(),
            Err(LoadError::Storage { source }) if source.is_retryable() => {
                return Err(source).context(StorageSnafu { action: "verify a checkpoint", uri: self.uri() });
            }
            Err(LoadError::Damaged { problem, what: _ }) => problem,
            Err(error) => crate::failure::chain(&error),
        };
        Ok(Err(Damage { object, problem }))
    }

    async fn read_manifest(&self, id: CheckpointId) -> Result<Manifest, LoadError> {
        let manifest: Manifest = serde_json::from_slice(&self.store.get(&id.path(MANIFEST)).await?)?;
        if CheckpointId::of(&manifest.cursor) != id {
            let problem = format!("is that of {}", CheckpointId::of(&manifest.cursor));
            return Err(LoadError::Damaged { what: MANIFEST, problem });
        }
        Ok(manifest)
    }

    async fn read_object(
        &self,
        id: CheckpointId,
        manifest: &Manifest,
        object: &'static str,
    ) -> Result<Bytes, LoadError> {
        let content = self.store.get(&id.path(object)).await?;
        let found = FileDigest::of(&content);
        match manifest.files.get(object) {
            Some(committed) if *committed == found => Ok(content),
            Some(committed) => {
                let problem = format!("is {found}; committed was {committed}");
                Err(LoadError::Damaged { what: object, problem })
            }
            None => Err(LoadError::Damaged { what: MANIFEST, problem: format!("does not tell of {object}") }),
        }
    }

    /// What retention does not keep, and what dead writers left of steps before the newest committed one, in the order in
    /// which it is to be deleted: without its manifest a checkpoint is none.
    pub(crate) async fn doomed(&self, retention: Retention) -> Result<Vec<Entry>> {
        let committed = self.committed().await?;
        let Some(newest) = committed.last() else { return Ok(Vec::new()) };
        let mut kept: BTreeSet<_> = committed.iter().rev().take(retention.keep.max(1)).copied().collect();
        if retention.keep_best {
            kept.extend(self.best(&committed).await?);
        }
        let mut doomed = self.entries().await?;
        doomed.retain(|entry| place(&entry.path).is_some_and(|(id, _)| id < *newest && !kept.contains(&id)));
        doomed.sort_by_key(|entry| place(&entry.path).is_none_or(|(_, object)| object != MANIFEST));
        let context = StorageSnafu { action: "find what dead writers left", uri: self.uri() };
        let unfinished = self.store.unfinished("").await.context(context)?;
        doomed.extend(
            unfinished.into_iter().filter(|entry| place(&entry.path).is_some_and(|(id, _)| id < *newest)),
        );
        Ok(doomed)
    }

    /// Deletes what is [`doomed`](Self::doomed), and tells what it was. A writer that lives after all finds its file gone
    /// and tries again.
    pub(crate) async fn prune(&self, retention: Retention) -> Result<Vec<Entry>> {
        let doomed = self.doomed(retention).await?;
        self.delete(&doomed).await?;
        Ok(doomed)
    }

    /// Deletes every temporary file of the run. Only for a run that has its result: nobody needs to write any more.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        let context = StorageSnafu { action: "find what dead writers left", uri: self.uri() };
        let unfinished = self.store.unfinished("").await.context(context)?;
        self.delete(&unfinished).await
    }

    async fn delete(&self, doomed: &[Entry]) -> Result<()> {
        for entry in doomed {
            let deleted = self.store.delete(&entry.path).await;
            deleted.context(StorageSnafu { action: "prune checkpoints", uri: self.uri() })?;
        }
        Ok(())
    }

    /// The result, if the run has ended.
    pub(crate) async fn result(&self) -> Result<Option<JobResult>> {
        match self.store.get(RESULT).await {
            Ok(bytes) => {
                serde_json::from_slice(&bytes).map(Some).context(DecodeResultSnafu { uri: self.uri() })
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error).context(StorageSnafu { action: "read RESULT.json", uri: self.uri() }),
        }
    }

    async fn entries(&self) -> Result<Vec<Entry>> {
        self.store.list("").await.context(StorageSnafu { action: "list checkpoints", uri: self.uri() })
    }
}

/// The checkpoint that a path in a run's folder belongs to, and the object's name in it.
fn place(path: &str) -> Option<(CheckpointId, &str)> {
    let (folder, object) = path.split_once('/')?;
    Some((folder.parse().ok()?, object))
}

/// The folder of the run whose manifest or result lies at `path`.
fn run_of(path: &str) -> Option<&str> {
    let (folder, object) = path.rsplit_once('/').unwrap_or(("", path));
    if object == RESULT {
        return Some(folder);
    }
    let (run, checkpoint) = folder.rsplit_once('/').unwrap_or(("", folder));
    (object == MANIFEST && checkpoint.parse::<CheckpointId>().is_ok()).then_some(run)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_found_by_their_manifests_and_results_at_any_depth() {
        for (path, run) in [
            ("8f95/step-00000001/MANIFEST.json", Some("8f95")),
            ("step-00000001/MANIFEST.json", Some("")),
            ("team/job/8f95/step-00000001-unevaluated/MANIFEST.json", Some("team/job/8f95")),
            ("8f95/RESULT.json", Some("8f95")),
            ("RESULT.json", Some("")),
            ("8f95/step-00000001/model.safetensors", None),
            ("8f95/step-1/MANIFEST.json", None),
            ("MANIFEST.json", None),
        ] {
            assert_eq!(run_of(path), run, "{path}");
        }
    }
}
