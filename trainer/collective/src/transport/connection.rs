//! One open WebSocket: messages in and out until either end closes it.

use std::time::Duration;

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use snafu::{ResultExt, Snafu};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode as WireCode;
use tokio_tungstenite::tungstenite::{self, Message as WireMessage};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Message;
use crate::core::{CloseCode, ConnectionId};
use crate::frame::{Codec, FrameError};

/// Messages that may wait to be sent to one peer. A round of a large model is some thousands; a peer that takes none for
/// longer than that is closed by the heartbeat anyway.
const QUEUE: usize = 16 * 1024;

/// How long a closing connection may take to send what is queued and to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

/// What connections report, in order for each connection.
#[derive(Debug)]
pub enum Incoming {
    /// A connection is open.
    Opened {
        /// Its name.
        connection: ConnectionId,
        /// Index of the peer that we dialled; `None` when it dialled us.
        dialed: Option<u32>,
        /// To send on it.
        outgoing: mpsc::Sender<Outgoing>,
        /// Ends it, after what is queued or after a second.
        closing: CancellationToken,
    },
    /// A message came.
    Message {
        /// On which connection.
        connection: ConnectionId,
        /// What.
        message: Message,
    },
    /// The connection is gone.
    Closed {
        /// Which.
        connection: ConnectionId,
    },
}

/// What can be sent.
#[derive(Debug)]
pub enum Outgoing {
    /// A message.
    Message(Message),
    /// The last thing.
    Close(CloseCode, String),
    /// The last thing, when nothing is wrong.
    Goodbye,
}

/// Why a connection ended.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The socket or the peer's WebSocket implementation.
    #[snafu(display("failed to receive from a peer"))]
    Receive {
        /// What happened.
        source: tungstenite::Error,
    },
    /// The peer closed it with a reason.
    #[snafu(display("failed to keep a connection: the peer closed it with code {code}: {reason}"))]
    Closed {
        /// Its close code.
        code: u16,
        /// Its words.
        reason: String,
    },
    /// A frame that is no message.
    #[snafu(display("failed to understand a peer"))]
    Decode {
        /// What is wrong with it.
        source: FrameError,
    },
    /// A WebSocket message of a kind that the protocol does not use.
    #[snafu(display("failed to understand a peer: it sent text"))]
    Text,
}

impl ConnectionError {
    /// Whether a new connection may do better soon; otherwise the peer has to change first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Receive { .. } => true,
            Self::Decode { .. } | Self::Text => false,
            Self::Closed { code, .. } => {
                let lasting =
                    [CloseCode::Protocol, CloseCode::Version, CloseCode::Stranger, CloseCode::Superseded];
                !lasting.iter().any(|lasting| lasting.number() == *code)
            }
        }
    }
}

/// An open WebSocket to a peer, over any stream of bytes.
#[derive(Debug)]
pub struct Connection<S> {
    /// Handshakes are done.
    pub socket: WebSocketStream<S>,
    /// Its name.
    pub id: ConnectionId,
    /// Index of the peer that we dialled.
    pub dialed: Option<u32>,
    /// How frames are read and written.
    pub codec: Codec,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection<S> {
    /// Runs it to its end. `incoming` learns of everything, the end included.
    ///
    /// # Errors
    /// [`ConnectionError`] when the end was not ours and not a plain goodbye.
    pub async fn run(self, incoming: mpsc::Sender<Incoming>) -> Result<(), ConnectionError> {
        let Self { socket, id: connection, dialed, codec } = self;
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let opened =
            Incoming::Opened { connection, dialed, outgoing: outgoing.clone(), closing: closing.clone() };
        if incoming.send(opened).await.is_err() {
            return Ok(());
        }
        let (sink, mut stream) = socket.split();
        let mut writer = AbortOnDropHandle::new(tokio::spawn(write(sink, queue, codec)));
        let mut writes = true;
        let result = tokio::select! {
            result = read(&mut stream, connection, codec, &incoming) => result,
            _ = &mut writer => {
                writes = false;
                Ok(())
            }
            () = closing.cancelled() => Ok(()),
        };
        if let Err(ConnectionError::Decode { .. } | ConnectionError::Text) = &result {
            let reason = "a frame that is no message".to_owned();
            // A full queue means that the peer takes nothing: it will not miss the reason.
            drop(outgoing.try_send(Outgoing::Close(CloseCode::Protocol, reason)));
        }
        drop(outgoing);
        // First of all: the members of a view must not wait for our manners.
        let known = incoming.send(Incoming::Closed { connection }).await;
        if known.is_ok()
            && !matches!(result, Err(ConnectionError::Receive { .. } | ConnectionError::Closed { .. }))
        {
            let goodbye = async {
                if writes {
                    drop(writer.await);
                }
                // Closing with unread bytes would reset the connection and could destroy what the peer has not read yet.
                while let Some(Ok(_)) = stream.next().await {}
            };
            drop(tokio::time::timeout(GOODBYE, goodbye).await);
        }
        result
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut SplitStream<WebSocketStream<S>>,
    connection: ConnectionId,
    codec: Codec,
    incoming: &mpsc::Sender<Incoming>,
) -> Result<(), ConnectionError> {
    while let Some(message) = stream.next().await {
        match message.context(ReceiveSnafu)? {
            WireMessage::Binary(frame) => {
                let message = codec.decode(&frame).context(DecodeSnafu)?;
                if incoming.send(Incoming::Message { connection, message }).await.is_err() {
                    return Ok(());
                }
            }
            WireMessage::Close(None) => return Ok(()),
            WireMessage::Close(Some(CloseFrame { code: WireCode::Normal, .. })) => return Ok(()),
            WireMessage::Close(Some(CloseFrame { code, reason })) => {
                return ClosedSnafu { code: u16::from(code), reason: reason.as_str() }.fail();
            }
            WireMessage::Ping(_) | WireMessage::Pong(_) => {}
            WireMessage::Text(_) | WireMessage::Frame(_) => return TextSnafu.fail(),
        }
    }
    Ok(())
}

/// Sends what is queued: one `feed` a message, one `flush` when there is no more.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, WireMessage>,
    mut queue: mpsc::Receiver<Outgoing>,
    codec: Codec,
) -> Option<std::convert::Infallible> {
    while let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            let message = match outgoing {
                Outgoing::Message(message) => match codec.encode(&message) {
                    Ok(frame) => WireMessage::Binary(frame),
                    Err(error) => {
                        tracing::error!(%error, "a message of ours fits no frame");
                        close(
                            &mut sink,
                            WireCode::Library(CloseCode::Protocol.number()),
                            "a message too long",
                        )
                        .await;
                        return None;
                    }
                },
                Outgoing::Close(code, reason) => {
                    close(&mut sink, WireCode::Library(code.number()), &reason).await;
                    return None;
                }
                Outgoing::Goodbye => {
                    close(&mut sink, WireCode::Normal, "").await;
                    return None;
                }
            };
            sink.feed(message).await.ok()?;
            next = queue.try_recv().ok();
        }
        sink.flush().await.ok()?;
    }
    None
}

async fn close<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<S>, WireMessage>,
    code: WireCode,
    reason: &str,
) {
    // A control frame carries at most 123 bytes of reason.
    let end = (0..=reason.len().min(123)).rev().find(|end| reason.is_char_boundary(*end)).unwrap_or(0);
    let frame = CloseFrame { code, reason: reason[..end].into() };
    if let Err(error) = sink.send(WireMessage::Close(Some(frame))).await {
        tracing::debug!(%error, "failed to say why a connection is closed");
    }
}
