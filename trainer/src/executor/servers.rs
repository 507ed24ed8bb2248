//! What an executor in a pod answers: probes and metrics over plain HTTP, its report over mTLS.

use std::{io, net::SocketAddr, path::Path, time::Duration};

use axum::{Json, Router, extract::State, http::StatusCode, routing::get, serve::Listener};
use lockstep_collective::Certificates;
use lockstep_crds::executor::{
    ExecutorPhase, ExecutorReport, HEALTH_PORT, REPORT_PATH, STATUS_PORT, TLS_CA, TLS_CERT, TLS_KEY,
};
use snafu::ResultExt;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

use crate::failure::{CertificatesSnafu, Failure, ReadFileSnafu, SystemSnafu};

const HANDSHAKE_DEADLINE: Duration = Duration::from_secs(5);
/// Handshaken connections that wait for the server.
const BACKLOG: usize = 16;

type Report = watch::Receiver<ExecutorReport>;

/// Starts both servers; they run until the process ends.
pub(crate) async fn start(report: Report, tls: &Certificates) -> Result<(), Failure> {
    let acceptor = tls.acceptor().context(CertificatesSnafu)?;
    let health = bind(HEALTH_PORT).await?;
    let status = TlsListener::start(bind(STATUS_PORT).await?, acceptor);
    let probes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(report.clone());
    let reports = Router::new()
        .route(REPORT_PATH, get(async |State(report): State<Report>| Json(report.borrow().clone())))
        .with_state(report);
    tokio::spawn(async move { axum::serve(health, probes).await });
    tokio::spawn(async move { axum::serve(status, reports).await });
    Ok(())
}

/// Reads the job's certificates from a mounted Secret.
pub(crate) fn read_tls(folder: &Path) -> Result<Certificates, Failure> {
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).context(ReadFileSnafu { path: path.display().to_string() })
    };
    Ok(Certificates { ca: read(TLS_CA)?, certificate: read(TLS_CERT)?, key: read(TLS_KEY)? })
}

async fn bind(port: u16) -> Result<TcpListener, Failure> {
    TcpListener::bind(("0.0.0.0", port))
        .await
        .context(SystemSnafu { action: "listen for probes and reports" })
}

async fn ready(State(report): State<Report>) -> StatusCode {
    let report = report.borrow();
    if report.joined || report.phase == ExecutorPhase::Finished {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

async fn metrics(State(report): State<Report>) -> String {
    metrics_text(&report.borrow())
}

/// Prometheus text format 0.0.4.
fn metrics_text(report: &ExecutorReport) -> String {
    let ExecutorReport {
        joined,
        recoveries,
        step,
        total_steps,
        epoch,
        images_per_second,
        loss,
        data_wait_seconds,
        ..
    } = report;
    let mut text = String::new();
    let mut metric = |name: &str, kind: &str, help: &str, value: f64| {
        text.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{name} {value}\n"));
    };
    metric(
        "lockstep_executor_joined",
        "gauge",
        "Whether the executor is a member of the view.",
        f64::from(*joined),
    );
    metric(
        "lockstep_executor_recoveries_total",
        "counter",
        "Views entered after a loss.",
        *recoveries as f64,
    );
    metric(
        "lockstep_executor_data_wait_seconds_total",
        "counter",
        "Time in which a computing thread waited for its data.",
        *data_wait_seconds,
    );
    metric("lockstep_training_steps_total", "counter", "Optimizer updates done by the job.", *step as f64);
    metric(
        "lockstep_training_planned_steps",
        "gauge",
        "Optimizer updates of the whole job.",
        *total_steps as f64,
    );
    metric("lockstep_training_epochs_total", "counter", "Epochs done by the job.", *epoch as f64);
    metric(
        "lockstep_training_images_per_second",
        "gauge",
        "Images trained on per second by the job.",
        *images_per_second,
    );
    if let Some(loss) = loss {
        metric("lockstep_training_loss", "gauge", "Mean loss of the newest step.", *loss);
    }
    text
}

/// Accepts TCP at once and handshakes on the side, so that a peer that stalls delays nobody.
struct TlsListener {
    handshaken: mpsc::Receiver<(TlsStream<TcpStream>, SocketAddr)>,
    address: io::Result<SocketAddr>,
}

impl TlsListener {
    fn start(listener: TcpListener, acceptor: TlsAcceptor) -> Self {
        let address = listener.local_addr();
        let (sender, handshaken) = mpsc::channel(BACKLOG);
        tokio::spawn(async move {
            while !sender.is_closed() {
                let Ok((stream, peer)) = listener.accept().await else {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                };
                let (acceptor, sender) = (acceptor.clone(), sender.clone());
                tokio::spawn(async move {
                    match timeout(HANDSHAKE_DEADLINE, acceptor.accept(stream)).await {
                        Ok(Ok(stream)) => drop(sender.send((stream, peer)).await),
                        Ok(Err(error)) => {
                            tracing::debug!(%peer, %error, "refused a connection to the report")
                        }
                        Err(_) => {
                            tracing::debug!(%peer, "a connection to the report did not finish its handshake")
                        }
                    }
                });
            }
        });
        Self { handshaken, address }
    }
}

impl Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        match self.handshaken.recv().await {
            Some(connection) => connection,
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.address.as_ref().copied().map_err(|error| error.kind().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_have_help_type_and_value_each() {
        let report = ExecutorReport { step: 7, joined: true, loss: Some(0.5), ..Default::default() };
        let text = metrics_text(&report);
        assert!(
            text.contains("# TYPE lockstep_training_steps_total counter\nlockstep_training_steps_total 7\n")
        );
        assert!(
            text.contains("lockstep_executor_joined 1\n") && text.contains("lockstep_training_loss 0.5\n")
        );
        assert!(text.lines().all(|line| line.starts_with("# ") || line.split(' ').count() == 2));
    }
}
