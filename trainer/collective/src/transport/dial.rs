//! Keeps a connection to one peer of lower index: dials, and dials again with growing, jittered pauses.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use snafu::{ResultExt, Snafu};
use tokio::io::{AsyncRead, AsyncWrite, BufReader};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::client_async;
use tokio_tungstenite::tungstenite;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::http::header::SEC_WEBSOCKET_PROTOCOL;

use super::connection::ConnectionError;
use super::handshake::Handshake;
use super::tls::Identity;
use super::{
    Connection, ConnectionIds, Dialed, HANDSHAKE, Incoming, SERVER_NAME, SUBPROTOCOL, Stream, TLS_READ,
    no_delay,
};
use crate::AddressBook;
use crate::frame::Codec;

/// First pause after a failure, give or take half of it: executors that start together are there within moments, and so is
/// a restarted process.
const SHORTEST: Duration = Duration::from_millis(12);
/// Longest pause: a peer that comes back should not wait for us.
const LONGEST: Duration = Duration::from_secs(1);
/// Pause after the peer said that we have no business with it (a stale pod may still hold a name).
const REFUSED: Duration = Duration::from_secs(5);
/// A connection that lived this long was good: the next pause is short again.
const GOOD: Duration = Duration::from_secs(2);

/// What dialling one peer needs.
pub(crate) struct Dialer {
    pub(crate) index: u32,
    pub(crate) peers: AddressBook,
    pub(crate) identity: Option<Identity>,
    pub(crate) ids: ConnectionIds,
    pub(crate) incoming: mpsc::Sender<Incoming>,
    pub(crate) seed: u64,
}

#[derive(Debug, Snafu)]
enum DialError {
    #[snafu(display("failed to connect to {address}"))]
    Connect { address: String, source: std::io::Error },
    #[snafu(display("failed to finish a TLS handshake with {address}"))]
    Tls { address: String, source: std::io::Error },
    #[snafu(display("failed to finish a WebSocket handshake with {address}"))]
    Handshake { address: String, source: tungstenite::Error },
    #[snafu(display("failed to connect to {address} in time"))]
    Late { address: String, source: tokio::time::error::Elapsed },
    #[snafu(display("failed to keep the connection to {address}"))]
    Keep { address: String, source: ConnectionError },
}

impl DialError {
    fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { .. } | Self::Late { .. } | Self::Tls { .. } | Self::Handshake { .. } => true,
            Self::Keep { source, .. } => source.is_retryable(),
        }
    }
}

/// Dials for ever.
pub(crate) async fn dial<S: Stream>(dialer: Dialer) {
    let mut rng = ChaCha8Rng::seed_from_u64(dialer.seed ^ u64::from(dialer.index));
    let mut pause = SHORTEST;
    let mut last = String::new();
    loop {
        let began = Instant::now();
        let keys = ChaCha8Rng::from_rng(&mut rng);
        let result = attempt::<S>(&dialer, keys).await;
        if began.elapsed() >= GOOD {
            pause = SHORTEST;
        }
        if let Err(error) = result {
            // Names that do not resolve yet and peers that restart are normal: say it once, not every time.
            let words = error.to_string();
            if words != last {
                tracing::info!(
                    peer = dialer.index,
                    error = &error as &dyn std::error::Error,
                    "no connection yet"
                );
                last = words;
            }
            if !error.is_retryable() {
                pause = pause.max(REFUSED);
            }
        } else {
            last.clear();
        }
        let nanos = u64::try_from(pause.as_nanos()).unwrap_or(u64::MAX).max(1);
        tokio::time::sleep(pause / 2 + Duration::from_nanos(rng.next_u64() % nanos)).await;
        pause = (2 * pause).min(LONGEST);
    }
}

async fn attempt<S: Stream>(dialer: &Dialer, keys: ChaCha8Rng) -> Result<(), DialError> {
    let Dialer { index, peers, identity, ids, incoming, seed: _ } = dialer;
    let address = peers(*index);
    let connect = async {
        let stream = S::connect(&address).await.context(ConnectSnafu { address: &address })?;
        no_delay(&stream);
        Ok(stream)
    };
    let named = |source| DialError::Keep { address: address.clone(), source };
    let dialed = Some(Dialed { index: *index, keys });
    match identity {
        None => {
            let shake = async { upgrade(connect.await?, &address).await };
            let (stream, ahead) =
                tokio::time::timeout(HANDSHAKE, shake).await.context(LateSnafu { address: &address })??;
            let (reader, writer) = stream.into_split();
            let codec = Codec { checksum: true };
            let connection = Connection { reader, writer, ahead, id: ids.next(), dialed, codec };
            connection.run(incoming.clone()).await.map_err(named)
        }
        Some(identity) => {
            let shake = async {
                let stream = BufReader::with_capacity(TLS_READ, connect.await?);
                let stream = identity.connector.connect(identity.name.clone(), stream).await;
                upgrade(stream.context(TlsSnafu { address: &address })?, &address).await
            };
            let (stream, ahead) =
                tokio::time::timeout(HANDSHAKE, shake).await.context(LateSnafu { address: &address })??;
            let (reader, writer) = tokio::io::split(stream);
            let codec = Codec { checksum: false };
            let connection = Connection { reader, writer, ahead, id: ids.next(), dialed, codec };
            connection.run(incoming.clone()).await.map_err(named)
        }
    }
}

/// The stream after the handshake, and what came on it already.
async fn upgrade<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: &str,
) -> Result<(S, Vec<u8>), DialError> {
    let mut request =
        format!("ws://{SERVER_NAME}/").into_client_request().context(HandshakeSnafu { address })?;
    request.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    let mut handshake = Handshake::new(stream);
    drop(client_async(request, &mut handshake).await.context(HandshakeSnafu { address })?);
    Ok(handshake.into_parts())
}
