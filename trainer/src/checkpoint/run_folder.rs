//! The folder of one run as its executors use it: commits and restores checkpoints, and ends the run.

use bytes::Bytes;
use lockstep_nn::weights_sha256;
use lockstep_storage::Store;
use snafu::{ResultExt, ensure};

use super::{
    error::{
        EncodeJsonSnafu, EncodeSnafu, LoadError, OtherContentSnafu, OtherResultSnafu, Result, StorageSnafu,
    },
    inventory::{Inventory, Retention},
    layout::{CheckpointId, EVENTS, MANIFEST, MODEL, OPTIMIZER, RESULT},
    manifest::{FileDigest, JobResult, Manifest, Origin, to_json},
    tensors,
};
use crate::{network::Network, state::TrainingState};

/// The folder `<checkpoint uri>/<run>`.
#[derive(Clone, Debug)]
pub(crate) struct RunFolder {
    store: Store,
    inventory: Inventory,
    origin: Origin,
    retention: Retention,
}

impl RunFolder {
    pub(crate) fn new(store: Store, origin: Origin, retention: Retention) -> Self {
        Self { inventory: Inventory::new(store.clone()), store, origin, retention }
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
        for id in self.inventory.committed().await?.into_iter().rev() {
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
        let (manifest, [model, optimizer]) = self.inventory.read(id).await?;
        let state = tensors::restore_state(network, manifest.cursor, &model, &optimizer)?;
        if hex::encode(state.hash()) != manifest.state_hash {
            return Err(LoadError::Damaged {
                what: MANIFEST,
                problem: "does not tell the state's hash".into(),
            });
        }
        Ok(state)
    }

    /// Deletes what retention does not keep and what dead writers left of older steps.
    pub(crate) async fn prune(&self) -> Result<()> {
        self.inventory.prune(self.retention).await.map(drop)
    }

    /// Deletes every temporary file of the run. Only for a run that has its result: nobody needs to write any more.
    pub(crate) async fn clean_up(&self) -> Result<()> {
        self.inventory.clean_up().await
    }

    /// The result, if the run has ended.
    pub(crate) async fn result(&self) -> Result<Option<JobResult>> {
        self.inventory.result().await
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

#[cfg(test)]
mod tests;
