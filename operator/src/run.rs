//! Runs the operator: server, lease and controller, until a signal or the loss of the lease.

use crate::{
    controller::{Context, reconcile, retry},
    leader::{self, Lease},
    memory::Memory,
    metrics::Metrics,
    names::{COMPONENT, JOB_LABEL, MANAGER},
    server,
    settings::Settings,
};
use futures::StreamExt;
use k8s_openapi::{
    NamespaceResourceScope,
    api::{
        batch::v1::Job,
        core::v1::{ConfigMap, Pod, Service},
        networking::v1::NetworkPolicy,
        policy::v1::PodDisruptionBudget,
    },
};
use kube::{
    Api, Client, Resource, ResourceExt,
    core::DeserializeGuard,
    runtime::{Controller, controller, reflector::ObjectRef, watcher},
};
use lockstep_crds::CnnTrainingJob;
use serde::de::DeserializeOwned;
use snafu::{ResultExt, Snafu};
use std::{sync::Arc, time::Duration};
use tokio_util::sync::CancellationToken;

/// Why the operator ended.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to find out how to reach the API server"))]
    Connect { source: kube::Error },
    #[snafu(display("failed to listen for signals"))]
    Signals { source: std::io::Error },
    #[snafu(display("failed to serve health and metrics at {address}"))]
    Serve { address: std::net::SocketAddr, source: std::io::Error },
    #[snafu(display("failed to take part in leader election"))]
    Election { source: leader::Error },
    #[snafu(display("failed to go on: another operator holds the lease"))]
    Deposed,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When the operator cannot work, or must not any more because it lost the lease: Kubernetes starts it anew.
pub(crate) async fn run(settings: Settings) -> Result<(), Error> {
    let stop = CancellationToken::new();
    let signals = signals(stop.clone()).context(SignalsSnafu)?;
    let client = Client::try_default().await.context(ConnectSnafu)?;
    let metrics = Arc::new(Metrics::default());
    let address = settings.listen;
    let server = server::serve(address, metrics.clone(), stop.clone().cancelled_owned());
    let work = async {
        let result = lead(client, settings, metrics, &stop).await;
        stop.cancel();
        result
    };
    let serving = async {
        let result = server.await.context(ServeSnafu { address });
        // Without health checks Kubernetes would end the operator anyway, but later and without this error.
        stop.cancel();
        result
    };
    let (worked, served) = tokio::join!(work, serving);
    signals.abort();
    served.and(worked)
}

fn signals(stop: CancellationToken) -> std::io::Result<tokio::task::JoinHandle<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => tracing::info!("SIGTERM: stopping"),
            _ = interrupt.recv() => tracing::info!("SIGINT: stopping"),
        }
        stop.cancel();
    }))
}

async fn lead(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    stop: &CancellationToken,
) -> Result<(), Error> {
    if !settings.leader_election {
        metrics.leads(true);
        control(client, settings, metrics, stop.clone().cancelled_owned()).await;
        return Ok(());
    }
    let mut lease = Lease::compete(client.clone(), &settings).await.context(ElectionSnafu)?;
    tokio::select! {
        won = lease.won() => won.context(ElectionSnafu)?,
        () = stop.cancelled() => {
            lease.release().await;
            return Ok(());
        }
    }
    tracing::info!("leading");
    metrics.leads(true);
    let (lost, stopped) = (lease.lost(), stop.clone().cancelled_owned());
    let end = async move {
        tokio::select! {
            () = lost => {},
            () = stopped => {},
        }
    };
    control(client, settings, metrics.clone(), end).await;
    metrics.leads(false);
    if stop.is_cancelled() {
        lease.release().await;
        Ok(())
    } else {
        DeposedSnafu.fail()
    }
}

/// The controller, until `end`; reconciles in progress are finished.
async fn control(
    client: Client,
    settings: Settings,
    metrics: Arc<Metrics>,
    end: impl Future<Output = ()> + Send + Sync + 'static,
) {
    let scope = Scope { client: client.clone(), namespace: settings.watch_namespace.clone() };
    let managed = watcher::Config::default().labels(&format!("app.kubernetes.io/managed-by={MANAGER}"));
    let executors =
        watcher::Config::default().labels(&format!("app.kubernetes.io/component={COMPONENT},{JOB_LABEL}"));
    let config = controller::Config::default()
        .concurrency(settings.concurrency)
        // Pods change in bursts: one look at the end of a burst is enough.
        .debounce(Duration::from_millis(200));
    let context = Arc::new(Context { client, settings, metrics, memory: Memory::default() });
    Controller::new(scope.api::<DeserializeGuard<CnnTrainingJob>>(), watcher::Config::default())
        .with_config(config)
        .owns(scope.api::<Job>(), managed.clone())
        .owns(scope.api::<Service>(), managed.clone())
        .owns(scope.api::<ConfigMap>(), managed.clone())
        .owns(scope.api::<NetworkPolicy>(), managed.clone())
        .owns(scope.api::<PodDisruptionBudget>(), managed)
        // Not Secrets: watching them takes the right to read all of the cluster's.
        .watches(scope.api::<Pod>(), executors, job_of)
        .graceful_shutdown_on(end)
        .run(reconcile, retry, context)
        .for_each(|result| async move {
            match result {
                Ok((job, _)) => tracing::debug!(%job, "reconciled"),
                // `retry` has logged it.
                Err(controller::Error::ReconcilerFailed(..)) => {}
                // Deleted before its turn came.
                Err(controller::Error::ObjectNotFound(job)) => tracing::debug!(%job, "gone"),
                Err(error) => tracing::warn!(error = &error as &dyn std::error::Error, "watching failed"),
            }
        })
        .await;
}

/// The job that a pod belongs to; the pod's owner is the Job, so the label tells.
fn job_of(pod: Pod) -> Option<ObjectRef<DeserializeGuard<CnnTrainingJob>>> {
    let namespace = pod.namespace()?;
    let job = pod.labels().get(JOB_LABEL)?;
    Some(ObjectRef::new(job).within(&namespace))
}

struct Scope {
    client: Client,
    namespace: Option<String>,
}

impl Scope {
    fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }
}
