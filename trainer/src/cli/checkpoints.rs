//! `lockstep checkpoints`: what is kept of the runs below a checkpoint URI; checks it, and deletes what is not needed.

mod listing;

use std::num::NonZeroUsize;

use lockstep_crds::executor::exit_code;
use lockstep_storage::Store;
use snafu::ResultExt;

use self::listing::{Checkpoint, Listing, Run};
use super::prepare::open;
use crate::{
    checkpoint::{Inventory, Retention},
    failure::{CheckpointSnafu, Failure, OpenStoreSnafu, chain},
};

/// Lists, verifies or prunes the checkpoints below a URI.
///
/// Checkpoints with their step, epoch, time, size and validation accuracy, by run; a run that ended has its RESULT.json.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What jobs have as checkpoint.uri, or a folder above or below it.
    uri: String,
    /// Read every object and compare it with what was committed. Ends with 65 where one is damaged.
    #[arg(long, conflicts_with = "prune")]
    verify: bool,
    /// Delete checkpoints, and what dead writers left of older steps.
    #[arg(long, requires = "keep")]
    prune: bool,
    /// With --prune: keep this many of each run's newest.
    #[arg(long, value_name = "N", requires = "prune")]
    keep: Option<NonZeroUsize>,
    /// With --prune: keep the best as well.
    #[arg(long, requires = "prune")]
    keep_best: bool,
    /// With --prune: only say what would be deleted.
    #[arg(long, requires = "prune")]
    dry_run: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Runs the subcommand; returns the exit code.
pub(crate) async fn run(arguments: Arguments) -> u8 {
    match list(&arguments).await {
        Ok(listing) => {
            println!("{}", if arguments.json { listing.json() } else { listing.text() });
            if listing.is_damaged() { exit_code::DATA } else { exit_code::DONE }
        }
        Err(failure) => {
            eprintln!("error: {}", chain(&failure));
            failure.exit_code()
        }
    }
}

async fn list(arguments: &Arguments) -> Result<Listing, Failure> {
    let store: Store = open(&arguments.uri).context(OpenStoreSnafu { role: "checkpoint folder" })?;
    let mut runs = Vec::new();
    for inventory in Inventory::runs(&store).await.context(CheckpointSnafu)? {
        let deleted = match arguments.keep {
            Some(keep) => prune(&inventory, keep.get(), arguments).await?,
            None => Vec::new(),
        };
        runs.push(survey(&inventory, deleted, arguments.verify).await?);
    }
    Ok(Listing {
        uri: store.uri().to_owned(),
        verified: arguments.verify,
        only_would_delete: arguments.dry_run,
        runs,
    })
}

/// Paths of what was, or would be, deleted.
async fn prune(inventory: &Inventory, keep: usize, arguments: &Arguments) -> Result<Vec<String>, Failure> {
    let retention = Retention { keep, keep_best: arguments.keep_best };
    let doomed = match arguments.dry_run {
        true => inventory.doomed(retention).await,
        false => inventory.prune(retention).await,
    };
    Ok(doomed.context(CheckpointSnafu)?.into_iter().map(|entry| entry.path).collect())
}

async fn survey(inventory: &Inventory, deleted: Vec<String>, verify: bool) -> Result<Run, Failure> {
    let committed = inventory.list().await.context(CheckpointSnafu)?;
    let ids: Vec<_> = committed.iter().map(|committed| committed.id).collect();
    let best = inventory.best(&ids).await.context(CheckpointSnafu)?;
    let mut checkpoints = Vec::new();
    for committed in committed {
        let id = committed.id;
        let manifest = inventory.manifest(id).await.context(CheckpointSnafu)?;
        let damage = match verify {
            true => inventory.verify(id).await.context(CheckpointSnafu)?,
            false => Vec::new(),
        };
        checkpoints.push(Checkpoint::new(committed, manifest.as_ref(), best == Some(id), damage));
    }
    let result = inventory.result().await;
    let damage = result.as_ref().err().filter(|error| !error.is_retryable()).map(|error| chain(error));
    let result = if damage.is_some() { None } else { result.context(CheckpointSnafu)? };
    Ok(Run::new(inventory.uri(), result.as_ref(), damage, checkpoints, deleted))
}
