//! Asks running executors for their reports, over mutual TLS with the job's own identity.
//!
//! Every question has a deadline and every answer a size limit; executors that do not answer are left out, and the status keeps
//! what is known. The operator never waits for an executor: the next look comes soon enough.

use crate::metrics::Metrics;
use futures::{StreamExt, stream};
use http_body_util::{BodyExt, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes, header::HOST};
use hyper_util::rt::TokioIo;
use lockstep_crds::executor::{ExecutorReport, REPORT_PATH, TLS_SERVER_NAME};
use rustls::{ClientConfig, pki_types::ServerName};
use snafu::{ResultExt, Snafu, ensure};
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Questions in flight at once, for one job.
const PARALLEL: usize = 32;
/// A report is a few hundred bytes; last words may make it a few thousand.
const REPORT_LIMIT: usize = 64 << 10;

/// Why an executor's report is missing.
#[derive(Debug, Snafu)]
pub(crate) enum Error {
    #[snafu(display("failed to connect to the executor at {address}"))]
    Connect { address: SocketAddr, source: std::io::Error },
    #[snafu(display("failed to agree on TLS with the executor at {address}"))]
    Tls { address: SocketAddr, source: std::io::Error },
    #[snafu(display("failed to ask the executor at {address} for its report"))]
    Ask { address: SocketAddr, source: hyper::Error },
    #[snafu(display("failed to get a report from the executor at {address}: it answered {status}"))]
    Refused { address: SocketAddr, status: StatusCode },
    #[snafu(display("failed to receive the report of the executor at {address}"))]
    Receive { address: SocketAddr, source: Box<dyn std::error::Error + Send + Sync> },
    #[snafu(display("failed to read the report of the executor at {address}"))]
    Parse { address: SocketAddr, source: serde_json::Error },
    #[snafu(display("failed to get a report from the executor at {address} within {deadline:?}"))]
    Late { address: SocketAddr, deadline: Duration },
}

/// The reports of all executors that answer in time.
pub(crate) async fn ask_all(
    executors: Vec<SocketAddr>,
    tls: Arc<ClientConfig>,
    deadline: Duration,
    metrics: &Metrics,
) -> Vec<ExecutorReport> {
    let connector = TlsConnector::from(tls);
    stream::iter(executors)
        .map(|address| {
            let connector = connector.clone();
            async move {
                match tokio::time::timeout(deadline, ask(address, &connector)).await {
                    Ok(answer) => answer,
                    Err(_) => LateSnafu { address, deadline }.fail(),
                }
            }
        })
        .buffer_unordered(PARALLEL)
        .filter_map(|answer| async {
            metrics.asked(answer.is_ok());
            match answer {
                Ok(report) => Some(report),
                Err(error) => {
                    // Ordinary while executors come and go.
                    tracing::debug!(error = &error as &dyn std::error::Error, "no report");
                    None
                }
            }
        })
        .collect()
        .await
}

async fn ask(address: SocketAddr, connector: &TlsConnector) -> Result<ExecutorReport, Error> {
    let stream = TcpStream::connect(address).await.context(ConnectSnafu { address })?;
    let name = ServerName::try_from(TLS_SERVER_NAME).expect("the constant is a DNS name");
    let stream = connector.connect(name, stream).await.context(TlsSnafu { address })?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.context(AskSnafu { address })?;
    let request = Request::get(REPORT_PATH)
        .header(HOST, TLS_SERVER_NAME)
        .body(Empty::<Bytes>::new())
        .expect("the request is made of constants");
    let exchange = async {
        let response = sender.send_request(request).await.context(AskSnafu { address })?;
        let status = response.status();
        ensure!(status == StatusCode::OK, RefusedSnafu { address, status });
        let body = Limited::new(response.into_body(), REPORT_LIMIT)
            .collect()
            .await
            .context(ReceiveSnafu { address })?;
        serde_json::from_slice(&body.to_bytes()).context(ParseSnafu { address })
    };
    // The connection must be driven while the exchange runs. However it ends, the exchange knows whether it has its answer.
    tokio::pin!(connection, exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        _ = &mut connection => exchange.await,
    }
}

#[cfg(test)]
mod tests;
