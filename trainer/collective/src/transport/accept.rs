//! Lets peers of higher index in.

use std::sync::Arc;
use std::time::Duration;

use snafu::{ResultExt, Snafu};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async_with_config;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

use super::tls::Identity;
use super::{Connection, ConnectionIds, HANDSHAKE, Incoming, SUBPROTOCOL, no_delay, web_socket_config};
use crate::core::MAX_EXECUTORS;
use crate::frame::Codec;

/// What accepting needs.
pub(crate) struct Acceptor {
    pub(crate) listener: TcpListener,
    pub(crate) identity: Option<Identity>,
    pub(crate) ids: ConnectionIds,
    pub(crate) incoming: mpsc::Sender<Incoming>,
}

#[derive(Debug, Snafu)]
enum AcceptError {
    #[snafu(display("failed to finish a TLS handshake with whoever dialled"))]
    Tls { source: std::io::Error },
    #[snafu(display("failed to finish a WebSocket handshake with whoever dialled"))]
    Handshake { source: tungstenite::Error },
    #[snafu(display("failed to finish a handshake in time"))]
    Late { source: tokio::time::error::Elapsed },
}

/// Accepts for ever. Whatever comes in can only harm its own connection.
pub(crate) async fn accept(acceptor: Acceptor) {
    let Acceptor { listener, identity, ids, incoming } = acceptor;
    let room = Arc::new(Semaphore::new(2 * MAX_EXECUTORS as usize));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { return };
        let (stream, address) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: others may close some.
                tracing::warn!(%error, "failed to accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let (identity, ids, incoming) = (identity.clone(), ids.clone(), incoming.clone());
        connections.spawn(async move {
            if let Err(error) = serve(stream, identity, &ids, incoming).await {
                tracing::debug!(%address, error = &error as &dyn std::error::Error, "refused a connection");
            }
            drop(permit);
        });
    }
}

async fn serve(
    stream: TcpStream,
    identity: Option<Identity>,
    ids: &ConnectionIds,
    incoming: mpsc::Sender<Incoming>,
) -> Result<(), AcceptError> {
    no_delay(&stream);
    match identity {
        None => {
            let shake = upgrade(stream, true, ids);
            run(tokio::time::timeout(HANDSHAKE, shake).await.context(LateSnafu)??, incoming).await;
        }
        Some(identity) => {
            let shake = async {
                upgrade(identity.acceptor.accept(stream).await.context(TlsSnafu)?, false, ids).await
            };
            run(tokio::time::timeout(HANDSHAKE, shake).await.context(LateSnafu)??, incoming).await;
        }
    }
    Ok(())
}

async fn run<S>(connection: Connection<S>, incoming: mpsc::Sender<Incoming>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let id = connection.id;
    if let Err(error) = connection.run(incoming).await {
        tracing::info!(connection = id, error = &error as &dyn std::error::Error, "lost a connection");
    }
}

async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    checksum: bool,
    ids: &ConnectionIds,
) -> Result<Connection<S>, AcceptError> {
    let socket = accept_hdr_async_with_config(stream, check_subprotocol, Some(web_socket_config()))
        .await
        .context(HandshakeSnafu)?;
    Ok(Connection { socket, id: ids.next(), dialed: None, codec: Codec { checksum } })
}

#[allow(clippy::result_large_err, reason = "the signature is tungstenite's")]
fn check_subprotocol(request: &Request, mut response: Response) -> Result<Response, ErrorResponse> {
    let named = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter().any(|value| {
        value.to_str().is_ok_and(|value| value.split(',').any(|protocol| protocol.trim() == SUBPROTOCOL))
    });
    if !named {
        let mut refusal = ErrorResponse::new(Some(format!("this port speaks {SUBPROTOCOL} only\n")));
        *refusal.status_mut() = StatusCode::BAD_REQUEST;
        return Err(refusal);
    }
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    Ok(response)
}
