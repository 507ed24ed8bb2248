//! Lets peers of higher index in.

use std::sync::Arc;
use std::time::Duration;

use snafu::{ResultExt, Snafu};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_tungstenite::accept_hdr_async;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;
use tokio_tungstenite::tungstenite::http::{HeaderValue, StatusCode};

use super::handshake::Handshake;
use super::tls::Identity;
use super::{
    Connection, ConnectionIds, HANDSHAKE, Incoming, Listener, SUBPROTOCOL, Stream, TLS_READ, no_delay,
};
use crate::core::MAX_EXECUTORS;
use crate::frame::Codec;

/// What accepting needs.
pub(crate) struct Acceptor<L> {
    pub(crate) listener: L,
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
pub(crate) async fn accept<L: Listener>(acceptor: Acceptor<L>) {
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
    stream: impl Stream,
    identity: Option<Identity>,
    ids: &ConnectionIds,
    incoming: mpsc::Sender<Incoming>,
) -> Result<(), AcceptError> {
    no_delay(&stream);
    match identity {
        None => {
            let shake = upgrade(stream);
            let (stream, ahead) = tokio::time::timeout(HANDSHAKE, shake).await.context(LateSnafu)??;
            let (reader, writer) = stream.into_split();
            let codec = Codec { checksum: true };
            run(Connection { reader, writer, ahead, id: ids.next(), dialed: None, codec }, incoming).await;
        }
        Some(identity) => {
            let stream = BufReader::with_capacity(TLS_READ, stream);
            let shake = async { upgrade(identity.acceptor.accept(stream).await.context(TlsSnafu)?).await };
            let (stream, ahead) = tokio::time::timeout(HANDSHAKE, shake).await.context(LateSnafu)??;
            let (reader, writer) = tokio::io::split(stream);
            let codec = Codec { checksum: false };
            run(Connection { reader, writer, ahead, id: ids.next(), dialed: None, codec }, incoming).await;
        }
    }
    Ok(())
}

async fn run<R, W>(connection: Connection<R, W>, incoming: mpsc::Sender<Incoming>)
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    let id = connection.id;
    if let Err(error) = connection.run(incoming).await {
        tracing::info!(connection = id, error = &error as &dyn std::error::Error, "lost a connection");
    }
}

/// The stream after the handshake, and what came on it already.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> Result<(S, Vec<u8>), AcceptError> {
    let mut handshake = Handshake::new(stream);
    drop(accept_hdr_async(&mut handshake, check_subprotocol).await.context(HandshakeSnafu)?);
    Ok(handshake.into_parts())
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
