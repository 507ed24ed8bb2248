//! Leader election: of several operators one works, the others wait.

use crate::{names::MANAGER, settings::Settings};
use kube::Client;
use kube_lease_manager::{LeaseManager, LeaseManagerBuilder};
use snafu::{ResultExt, Snafu};
use tokio::{sync::watch, task::JoinHandle};

/// Seconds after which a lease that is not renewed is free.
const LEASE_SECONDS: u64 = 15;
/// Seconds before its end at which the holder renews it.
const GRACE_SECONDS: u64 = 5;

/// Why leadership could not be won or kept.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to set up the lease {namespace}/{name}"))]
    Setup { namespace: String, name: &'static str, source: kube_lease_manager::LeaseManagerError },
    #[snafu(display("failed to keep the lease: its task has ended"))]
    Ended { source: watch::error::RecvError },
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

    /// Gives the lease back, so that the next operator need not wait for its end.
    pub(crate) async fn release(self) {
        let Self { holds, task } = self;
        drop(holds);
        match task.await {
            Ok(Ok(manager)) => {
                if let Err(error) = manager.release().await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "lease not released");
                }
            }
            Ok(Err(error)) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lease's task failed")
            }
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "the lease's task did not end")
            }
        }
    }
}
