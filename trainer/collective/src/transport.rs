//! WebSockets between executors: one connection a pair, dialled by the higher index, over plain TCP or mutual TLS.
//!
//! Carries [`Message`]s and reports connections that come and go; what they mean is [`crate::core`]'s business. Every
//! connection is two tasks (encode and send, receive and decode) with bounded queues, so that nothing here waits for the
//! protocol or makes it wait.

mod accept;
mod connection;
mod dial;
mod handshake;
mod stream;
mod tls;
mod web_socket;

pub use connection::{ConnectionError, Incoming, Outgoing};
pub use stream::{Listener, Stream};
pub use tls::{Certificates, TlsError};

pub use web_socket::WebSocketError;

pub(crate) use accept::{Acceptor, accept};
pub(crate) use connection::{Connection, Dialed};
pub(crate) use dial::{Dialer, dial};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::core::{ConnectionId, Message};

/// WebSocket subprotocol that both ends must name.
pub const SUBPROTOCOL: &str = "lockstep.v2";

/// DNS name in every executor's certificate.
pub const SERVER_NAME: &str = "lockstep-executor";

/// How long TCP, TLS and WebSocket handshakes may take together.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Bytes of TLS records that are read from the socket at once: rustls would read a quarter of a record.
pub(crate) const TLS_READ: usize = 128 << 10;

/// Numbers connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionIds(Arc<AtomicU64>);

impl ConnectionIds {
    pub(crate) fn next(&self) -> ConnectionId {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Chunks are sent in batches with a flush: waiting for more to fill a packet only costs time.
pub(crate) fn no_delay(stream: &impl Stream) {
    if let Err(error) = stream.set_nodelay() {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
}
