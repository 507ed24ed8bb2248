//! WebSockets between executors: one connection a pair, dialled by the higher index, over plain TCP or mutual TLS.
//!
//! Carries [`Message`]s and reports connections that come and go; what they mean is [`crate::core`]'s business. Every
//! connection is two tasks (encode and send, receive and decode) with bounded queues, so that nothing here waits for the
//! protocol or makes it wait.

mod accept;
mod connection;
mod dial;
mod tls;

pub use connection::{Connection, ConnectionError, Incoming, Outgoing};
pub use tls::{Certificates, TlsError};

pub(crate) use accept::{Acceptor, accept};
pub(crate) use dial::{Dialer, dial};

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::core::{ConnectionId, Message};
use crate::frame::MAX_FRAME;

/// WebSocket subprotocol that both ends must name.
pub const SUBPROTOCOL: &str = "lockstep.v1";

/// DNS name in every executor's certificate.
pub const SERVER_NAME: &str = "lockstep-executor";

/// How long TCP, TLS and WebSocket handshakes may take together.
pub(crate) const HANDSHAKE: Duration = Duration::from_secs(10);

/// Limits of a connection. A message is one frame.
#[must_use]
pub fn web_socket_config() -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(256 << 10)
        .write_buffer_size(256 << 10)
        .max_write_buffer_size(4 * MAX_FRAME)
        .max_message_size(Some(MAX_FRAME))
        .max_frame_size(Some(MAX_FRAME))
}

/// Numbers connections.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConnectionIds(Arc<AtomicU64>);

impl ConnectionIds {
    pub(crate) fn next(&self) -> ConnectionId {
        self.0.fetch_add(1, Ordering::Relaxed)
    }
}

/// Chunks are sent in batches with a flush: waiting for more to fill a packet only costs time.
pub(crate) fn no_delay(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "failed to set TCP_NODELAY");
    }
}
