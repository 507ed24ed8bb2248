//! The folder of one run: commits, finds, restores and prunes its checkpoints, and ends the run.

use std::collections::BTreeSet;

use bytes::Bytes;
use lockstep_nn::weights_sha256;
use lockstep_storage::Store;
use snafu::{ResultExt, Snafu, ensure};

use super::{
    layout::{CheckpointId, EVENTS, MANIFEST, MODEL, OPTIMIZER, RESULT},
    manifest::{FileDigest, JobResult, Manifest, Origin, to_json},
    tensors,
};
use crate::{course::Metric, network::Network, state::TrainingState};

/// A failed action on a run's folder.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    /// Storage failed.
    #[snafu(display("failed to {action} in {uri}"))]
    Storage { action: &'static str, uri: String, source: lockstep_storage::Error },
    /// Another writer committed other bytes for the same step: one of the two is wrong.
    #[snafu(display(
        "failed to commit {uri}/{id}: a whole checkpoint of another state is there; one of its two writers computed wrong"
    ))]
    OtherContent { uri: String, id: CheckpointId, source: lockstep_storage::Error },
    /// The tensors of the state cannot be encoded.
    #[snafu(display("failed to encode {id}"))]
    Encode { id: CheckpointId, source: tensors::Error },
    /// A JSON object cannot be written.
    #[snafu(display("failed to encode {object}"))]
    EncodeJson { object: &'static str, source: serde_json::Error },
    /// RESULT.json is there and cannot be read.
    #[snafu(display("failed to understand {uri}/RESULT.json"))]
    DecodeResult { uri: String, source: serde_json::Error },
    /// The run ended with another result than ours.
    #[snafu(display(
        "failed to end the run in {uri}: RESULT.json names the weights {found}, ours are {ours}"
    ))]
    OtherResult { uri: String, found: String, ours: String },
}

impl Error {
    /// Whether trying again may help.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            Self::Storage { source, .. } => source.is_retryable() || source.is_not_found(),
            Self::OtherContent { .. }
            | Self::Encode { .. }
            | Self::EncodeJson { .. }
            | Self::DecodeResult { .. }
            | Self::OtherResult { .. } => false,
        }
    }
}

impl Error {
    /// Whether somebody must free space or raise a quota first.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Storage { source, .. } if source.is_full())
    }
}

type Result<T, E = Error> = std::result::Result<T, E>;

/// Which checkpoints pruning leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    /// This many of the newest, at least 1.
    pub keep: usize,
    /// And the best one by this metric.
    pub keep_best: Option<Metric>,
}

/// The folder `<checkpoint uri>/<run>`.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    store: Store,
    origin: Origin,
    retention: Retention,
}

impl RunFolder {
    pub(crate) fn new(store: Store, origin: Origin, retention: Retention) -> Self {
        Self { store, origin, retention }
    }

    pub(crate) fn uri(&self) -> &str {
        self.store.uri()
    }

    pub(crate) fn origin(&self) -> &Origin {
        &self.origin
    }

    /// The folder of the run log.
    pub(crate) fn events(&self) -> lockstep_storage::Result<Store> {
        self.store.folder(EVENTS)
    }

    /// Commits the state unless it is committed already. The manifest comes last: with it the checkpoint exists.
    ///
    /// Of a finished job the state before its test evaluation is committed: a step has one checkpoint.
    pub(crate) async fn commit(&self, network: &Network, state: &TrainingState) -> Result<CheckpointId> {
        let state =
            &TrainingState { cursor: state.cursor.clone().before_test(), tensors: state.tensors.clone() };
        let id = CheckpointId::of(&state.cursor);
        let mut objects = vec![
            (MODEL, tensors::encode_model(&network.model, state).context(EncodeSnafu { id })?),
            (OPTIMIZER, tensors::encode_optimizer(&network.model, state).context(EncodeSnafu { id })?),
        ];
        let files = objects.iter().map(|(name, content)| ((*name).to_owned(), FileDigest::of(content)));
        let weights = weights_sha256(&network.model, &state.tensors.weights);
        let (origin, cursor) = (self.origin.clone(), state.cursor.clone());
        let manifest = Manifest::new(origin, state.hash(), weights, cursor, files.collect());
        objects.push((MANIFEST, to_json(&manifest).context(EncodeJsonSnafu { object: MANIFEST })?));
        for (name, content) in &objects {
            match self.store.create(&id.path(name), content.clone()).await {
                Err(error) if error.is_conflict() => {
                    self.check_replaceable(network, id, state, error).await?;
                    self.replace(id, &objects).await?;
                    break;
                }
                other => other
                    .map(|_| ())
                    .context(StorageSnafu { action: "write a checkpoint", uri: self.uri() })?,
            }
        }
        Ok(id)
    }

    /// Whether other bytes under a checkpoint's names may be replaced by those of `ours`: they may unless they are a whole
    /// checkpoint of another state.
    ///
    /// What nothing vouches for is left by a dead writer. What its manifest no longer vouches for is damaged, can never be
    /// restored, and would block its step for ever.
    async fn check_replaceable(
        &self,
        network: &Network,
        id: CheckpointId,
        ours: &TrainingState,
        conflict: lockstep_storage::Error,
    ) -> Result<()> {
        match self.load(network, id).await {
            Ok(found) if found.hash() != ours.hash() => {
                return Err(conflict).context(OtherContentSnafu { uri: self.uri(), id });
            }
            Err(LoadError::Storage { source }) if !source.is_not_found() => {
                return Err(source).context(StorageSnafu { action: "verify a checkpoint", uri: self.uri() });
            }
            Ok(_) => tracing::warn!(checkpoint = %id, "replacing a damaged manifest"),
            Err(error) => {
                tracing::warn!(checkpoint = %id, %error, "replacing a checkpoint that is damaged or was never finished");
            }
        }
        Ok(())
    }

    /// Writes every object anew, the manifest last; each replacement is atomic. Readers verify digests, so a mix of old
    /// and new objects is never taken for a checkpoint.
    async fn replace(&self, id: CheckpointId, objects: &[(&str, Bytes)]) -> Result<()> {
        for (name, content) in objects {
            let written = self.store.put(&id.path(name), content.clone()).await;
            written.context(StorageSnafu { action: "replace a damaged checkpoint", uri: self.uri() })?;
        }
        Ok(())
    }

    /// The newest committed checkpoint that is whole, with the state it holds; none if the run has none.
    ///
    /// A damaged one is reported and the next older one taken: replaying gives the same bits.
    pub(crate) async fn restore(&self, network: &Network) -> Result<Option<(CheckpointId, TrainingState)>> {
        for id in self.committed().await?.into_iter().rev() {
            match self.load(network, id).await {
                Ok(state) => return Ok(Some((id, state))),
                Err(LoadError::Storage { source }) if source.is_retryable() => {
                    return Err(source)
                        .context(StorageSnafu { action: "restore a checkpoint", uri: self.uri() });
                }
                Err(error) => tracing::warn!(checkpoint = %id, %error, "skipping a damaged checkpoint"),
            }
        }
        Ok(None)
    }

    async fn load(&self, network: &Network, id: CheckpointId) -> Result<TrainingState, LoadError> {
        let manifest: Manifest = serde_json::from_slice(&self.store.get(&id.path(MANIFEST)).await?)?;
        if CheckpointId::of(&manifest.cursor) != id {
            return Err(LoadError::Damaged { what: MANIFEST.into() });
        }
        let mut contents = Vec::new();
        for name in [MODEL, OPTIMIZER] {
            let content = self.store.get(&id.path(name)).await?;
            if manifest.files.get(name) != Some(&FileDigest::of(&content)) {
                return Err(LoadError::Damaged { what: name.into() });
            }
            contents.push(content);
        }
        let state = tensors::restore_state(network, manifest.cursor, &contents[0], &contents[1])?;
        if hex::encode(state.hash()) != manifest.state_hash {
            return Err(LoadError::Damaged { what: "state".into() });
        }
        Ok(state)
    }

    /// Checkpoints with a manifest, oldest first.
    async fn committed(&self) -> Result<Vec<CheckpointId>> {
        let entries = self
            .store
            .list("")
            .await
            .context(StorageSnafu { action: "list checkpoints", uri: self.uri() })?;
        let ids: BTreeSet<CheckpointId> = entries
            .iter()
            .filter_map(|entry| entry.path.split_once('/'))
            .filter(|(_, object)| *object == MANIFEST)
            .filter_map(|(folder, _)| folder.parse().ok())
            .collect();
        Ok(ids.into_iter().collect())
    }

    /// Deletes what retention does not keep, manifests first, and what dead writers left of older steps.
    pub(crate) async fn prune(&self) -> Result<()> {
        let context = StorageSnafu { action: "prune checkpoints", uri: self.uri() };
        let committed = self.committed().await?;
        let kept = self.kept(&committed).await?;
        let Some(newest) = committed.last() else { return Ok(()) };
        let entries = self.store.list("").await.context(context)?;
        let mut doomed: Vec<_> = entries
            .into_iter()
            .filter_map(|entry| {
                let (folder, object) = entry.path.split_once('/')?;
                let id: CheckpointId = folder.parse().ok()?;
                let manifest_first = object != MANIFEST;
                (id < *newest && !kept.contains(&id)).then_some((manifest_first, entry.path))
            })
            .collect();
        doomed.sort();
        for (_, path) in doomed {
            self.store.delete(&path).await.context(context)?;
        }
        self.clean(|id| id.is_some_and(|id| id < *newest)).await
    }

    /// Deletes every temporary file of the run. Only for a run that has its result: nobody needs to write any more.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        self.clean(|_| true).await
    }

    /// Deletes the temporary files of the checkpoints (none: of the run itself) that `doomed` names. A writer that lives
    /// after all finds its file gone and tries again.
    async fn clean(&self, doomed: impl Fn(Option<CheckpointId>) -> bool) -> Result<()> {
        let context = StorageSnafu { action: "delete what dead writers left", uri: self.uri() };
        for entry in self.store.unfinished("").await.context(context)? {
            let folder = entry.path.split_once('/').map(|(folder, _)| folder);
            if doomed(folder.and_then(|folder| folder.parse().ok())) {
                self.store.delete(&entry.path).await.context(context)?;
            }
        }
        Ok(())
    }

    async fn kept(&self, committed: &[CheckpointId]) -> Result<BTreeSet<CheckpointId>> {
        let mut kept: BTreeSet<_> =
            committed.iter().rev().take(self.retention.keep.max(1)).copied().collect();
        let Some(metric) = self.retention.keep_best else { return Ok(kept) };
        let mut best: Option<(f64, CheckpointId)> = None;
        for id in committed.iter().filter(|id| id.evaluated) {
            let Ok(bytes) = self.store.get(&id.path(MANIFEST)).await else { continue };
            let Ok(manifest) = serde_json::from_slice::<Manifest>(&bytes) else { continue };
            let here = manifest.cursor.best.filter(|best| best.step == id.step);
            let Some(score) = here.map(|best| metric.merit(best.validation)) else { continue };
            if best.is_none_or(|(merit, _)| score > merit) {
                best = Some((score, *id));
            }
        }
        kept.extend(best.map(|(_, id)| id));
        Ok(kept)
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

    /// Ends the run; somebody else may have ended it already, with the same result.
    pub(crate) async fn finish(&self, result: &JobResult) -> Result<()> {
        let bytes = to_json(result).context(EncodeJsonSnafu { object: RESULT })?;
        match self.store.create(RESULT, bytes).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_conflict() => {
                let found = self.result().await?.map(|result| result.weights_sha256).unwrap_or_default();
                let ours = result.weights_sha256.clone();
                ensure!(found == ours, OtherResultSnafu { uri: self.uri(), found, ours });
                Ok(())
            }
            Err(error) => Err(error).context(StorageSnafu { action: "write RESULT.json", uri: self.uri() }),
        }
    }

    /// Deletes the whole run, its end marker and manifests first.
    pub(crate) async fn clear(&self) -> Result<()> {
        let context = StorageSnafu { action: "delete the earlier run", uri: self.uri() };
        let mut paths: Vec<_> =
            self.store.list("").await.context(context)?.into_iter().map(|entry| entry.path).collect();
        paths.sort_by_key(|path| (path != RESULT, !path.ends_with(MANIFEST)));
        for path in paths {
            self.store.delete(&path).await.context(context)?;
        }
        Ok(())
    }
}

/// Why one checkpoint cannot be loaded.
#[derive(Debug, Snafu)]
enum LoadError {
    #[snafu(transparent)]
    Storage { source: lockstep_storage::Error },
    #[snafu(display("failed to understand its manifest"), context(false))]
    Manifest { source: serde_json::Error },
    #[snafu(transparent)]
    Tensors { source: tensors::Error },
    #[snafu(display("its {what} is not what was committed"))]
    Damaged { what: String },
}

#[cfg(test)]
mod tests;
