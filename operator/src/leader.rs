//! Leader election: of several operators one works, the others wait.

use crate::{names::MANAGER, settings::Settings};
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use snafu::{ResultExt, Snafu};
use std::time::Duration;
use tokio::{sync::watch, task::JoinHandle};

/// Seconds after which a lease that is not renewed is free.
const LEASE_SECONDS: u64 = 15;
/// Seconds before its end at which the holder renews it.
const GRACE_SECONDS: u64 = 5;

/// Longest wait for giving the lease back.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why leadership could not be won or kept.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to set up the lease {namespace}/{name}"))]
    Setup { namespace: String, name: &'static str, source: kube_lease_manager::LeaseManagerError },
    #[snafu(display("failed to keep the lease: its task has ended"))]
    Ended { source: watch::error::RecvError },
    #[snafu(display("failed to await the end of the lease's task"))]
    Task { source: tokio::task::JoinError },
    #[snafu(display("failed to release the lease"))]
    Release { source: kube_lease_manager::LeaseManagerError },
}

/// The lease, held or waited for.
pub(crate) struct Lease {
    holds: watch::Receiver<bool>,
    task: JoinHandle<kube_lease_manager::Result<LeaseManager>>,
}

impl Lease {
    /// Starts to compete for the lease.
    ///
    /// # Errors
    /// When the lease cannot be read or created.
    pub(crate) async fn compete(client: Client, settings: &Settings) -> Result<Self, Error> {
        let namespace = settings.namespace.clone().unwrap_or_else(|| client.default_namespace().to_owned());
        let mut builder = LeaseManagerBuilder::new(client, MANAGER)
            .with_namespace(&namespace)
            .with_duration(LEASE_SECONDS)
            .with_grace(GRACE_SECONDS);
        if let Some(name) = &settings.name {
            builder = builder.with_identity(name);
        }
        let manager = builder.build().await.context(SetupSnafu { namespace, name: MANAGER })?;
        let (holds, task) = manager.watch().await;
        Ok(Self { holds, task })
    }

    /// Waits until the lease is held.
    ///
    /// # Errors
    /// When the lease's task has ended.
    pub(crate) async fn won(&mut self) -> Result<(), Error> {
        self.holds.wait_for(|holds| *holds).await.map(drop).context(EndedSnafu)
    }

    /// A future that ends when the lease is lost.
    pub(crate) fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut holds = self.holds.clone();
        async move {
            // An ended task does not renew the lease either.
            let _ = holds.wait_for(|holds| !*holds).await;
        }
    }

    /// Gives the lease back, so that the next operator need not wait for its end; without an API server there is nothing to
    /// give back to, and the lease ends by itself.
    pub(crate) async fn release(self) {
        match tokio::time::timeout(RELEASE_TIMEOUT, self.give_back()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lease ends by itself");
            }
            Err(_) => tracing::warn!("the lease ends by itself: the API server does not answer"),
        }
    }

    async fn give_back(self) -> Result<(), Error> {
        let Self { holds, task } = self;
        drop(holds);
        let manager = task.await.context(TaskSnafu)?.context(ReleaseSnafu)?;
        manager.release().await.context(ReleaseSnafu)
    }
}
