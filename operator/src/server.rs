//! /healthz, /readyz and /metrics.

use crate::metrics::Metrics;
use axum::{Router, extract::State, http::header::CONTENT_TYPE, routing::get};
use std::{future::Future, net::SocketAddr, sync::Arc};
use tokio::net::TcpListener;

/// Serves until `shutdown`.
///
/// An operator that waits for the lease is ready: it does what it is there for, and a rollout must not wait for it to lead.
///
/// # Errors
/// When the address cannot be bound or the listener fails.
pub(crate) async fn serve(
    address: SocketAddr,
    metrics: Arc<Metrics>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async || "ok\n"))
        .route("/metrics", get(show))
        .with_state(metrics);
    let listener = TcpListener::bind(address).await?;
    tracing::info!(address = %listener.local_addr()?, "serving health and metrics");
    axum::serve(listener, routes).with_graceful_shutdown(shutdown).await
}

async fn show(State(metrics): State<Arc<Metrics>>) -> ([(axum::http::HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics.render())
}
