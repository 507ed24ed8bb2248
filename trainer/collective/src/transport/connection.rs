//! One open WebSocket: messages in and out until either end closes it.

use std::time::Duration;

use rand_chacha::ChaCha8Rng;
use snafu::{ResultExt, Snafu};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::Message;
use super::web_socket::{Frame, Inbox, Opcode, Outbox, ReadError, WebSocketError};
use crate::core::{CloseCode, ConnectionId, Pool};
use crate::frame::{Codec, FrameError};

/// Messages that may wait to be sent to one peer. A round of a large model is some thousands; a peer that takes none for
/// longer than that is closed by the heartbeat anyway.
const QUEUE: usize = 64 * 1024;

/// Bytes that are sent at once where there are so many: about a chunk.
const BATCH: usize = 64 << 10;

/// Close code of a plain goodbye, of RFC 6455.
const NORMAL: u16 = 1000;
/// Most bytes of a reason: what is left of a control frame beside the code.
const MAX_REASON: usize = 123;

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
    /// Answer to a ping.
    Pong(Vec<u8>),
}

/// Why a connection ended.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum ConnectionError {
    /// The socket.
    #[snafu(display("failed to receive from a peer"))]
    Receive {
        /// What happened.
        source: std::io::Error,
    },
    /// The peer's WebSocket implementation.
    #[snafu(display("failed to understand a peer's WebSocket"))]
    Frame {
        /// What it did.
        source: WebSocketError,
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
}

impl ConnectionError {
    /// Whether a new connection may do better soon; otherwise the peer has to change first.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Receive { .. } => true,
            // Else the stream ended in the middle of something.
            Self::Frame { source } => matches!(source, WebSocketError::Cut { .. }),
            Self::Decode { .. } => false,
            Self::Closed { code, .. } => {
                let lasting =
                    [CloseCode::Protocol, CloseCode::Version, CloseCode::Stranger, CloseCode::Superseded];
                !lasting.iter().any(|lasting| lasting.number() == *code)
            }
        }
    }
}

/// An open WebSocket to a peer, over any stream of bytes; handshakes are done.
#[derive(Debug)]
pub(crate) struct Connection<R, W> {
    pub(crate) reader: R,
    pub(crate) writer: W,
    /// What came with the handshake.
    pub(crate) ahead: Vec<u8>,
    pub(crate) id: ConnectionId,
    /// The peer that we dialled; `None` when it dialled us.
    pub(crate) dialed: Option<Dialed>,
    /// How frames are read and written.
    pub(crate) codec: Codec,
}

/// What the end that dialled knows.
#[derive(Debug)]
pub(crate) struct Dialed {
    /// Index of the peer.
    pub(crate) index: u32,
    /// What its frames are masked with.
    pub(crate) keys: ChaCha8Rng,
}

impl<R, W> Connection<R, W>
where
    R: AsyncRead + Unpin,
    W: AsyncWrite + Unpin + Send + 'static,
{
    /// Runs it to its end. `incoming` learns of everything, the end included.
    ///
    /// # Errors
    /// [`ConnectionError`] when the end was not ours and not a plain goodbye.
    pub(crate) async fn run(self, incoming: mpsc::Sender<Incoming>) -> Result<(), ConnectionError> {
        let Self { reader, writer, ahead, id: connection, dialed, codec } = self;
        let (outgoing, queue) = mpsc::channel(QUEUE);
        let closing = CancellationToken::new();
        let opened = Incoming::Opened {
            connection,
            dialed: dialed.as_ref().map(|dialed| dialed.index),
            outgoing: outgoing.clone(),
            closing: closing.clone(),
        };
        if incoming.send(opened).await.is_err() {
            return Ok(());
        }
        let mut inbox = Inbox::new(reader, dialed.is_none(), ahead);
        let outbox = Outbox::new(dialed.map(|dialed| dialed.keys));
        let mut writer = AbortOnDropHandle::new(tokio::spawn(write(writer, outbox, queue, codec)));
        let mut writes = true;
        let result = tokio::select! {
            result = read(&mut inbox, connection, codec, &incoming, &outgoing) => result.map(Some),
            _ = &mut writer => {
                writes = false;
                Ok(None)
            }
            () = closing.cancelled() => Ok(None),
        };
        let last = match &result {
            Ok(Some(End::Closed)) => Some(Outgoing::Goodbye),
            Err(ConnectionError::Decode { .. } | ConnectionError::Frame { .. }) => {
                let reason = "a frame that is no message".to_owned();
                Some(Outgoing::Close(CloseCode::Protocol, reason))
            }
            _ => None,
        };
        // A full queue means that the peer takes nothing: it will not miss the reason.
        drop(last.map(|last| outgoing.try_send(last)));
        drop(outgoing);
        // First of all: the members of a view must not wait for our manners.
        let known = incoming.send(Incoming::Closed { connection }).await;
        let is_gone = matches!(result, Err(ConnectionError::Receive { .. } | ConnectionError::Closed { .. }));
        if known.is_ok() && !is_gone {
            let goodbye = async {
                if writes {
                    drop(writer.await);
                }
                // Closing with unread bytes would reset the connection and could destroy what the peer has not read yet.
                if !matches!(result, Ok(Some(_))) {
                    inbox.drain().await;
                }
            };
            drop(tokio::time::timeout(GOODBYE, goodbye).await);
        }
        result.map(drop)
    }
}

/// How reading ended where nothing was wrong.
enum End {
    /// The peer said goodbye.
    Closed,
    /// The stream ended, or nobody listens here.
    Over,
}

async fn read<R: AsyncRead + Unpin>(
    inbox: &mut Inbox<R>,
    connection: ConnectionId,
    codec: Codec,
    incoming: &mpsc::Sender<Incoming>,
    outgoing: &mpsc::Sender<Outgoing>,
) -> Result<End, ConnectionError> {
    let pool = Pool::default();
    loop {
        let frame = match inbox.next().await {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(End::Over),
            Err(ReadError::Socket { source }) => return Err(source).context(ReceiveSnafu),
            Err(ReadError::Frame { source }) => return Err(source).context(FrameSnafu),
        };
        match frame {
            Frame::Binary(frame) => {
                let message = codec.decode(frame, &pool).context(DecodeSnafu)?;
                if incoming.send(Incoming::Message { connection, message }).await.is_err() {
                    return Ok(End::Over);
                }
            }
            // A full queue means that the peer takes nothing, a pong neither.
            Frame::Ping(body) => drop(outgoing.try_send(Outgoing::Pong(body.to_vec()))),
            Frame::Pong => {}
            Frame::Close(None | Some((NORMAL, _))) => return Ok(End::Closed),
            Frame::Close(Some((code, reason))) => return ClosedSnafu { code, reason }.fail(),
        }
    }
}

/// Sends what is queued: a batch at once, and a flush when there is no more.
async fn write<W: AsyncWrite + Unpin>(
    mut writer: W,
    mut outbox: Outbox,
    mut queue: mpsc::Receiver<Outgoing>,
    codec: Codec,
) -> Option<std::convert::Infallible> {
    let mut last = false;
    while !last && let Some(first) = queue.recv().await {
        let mut next = Some(first);
        while let Some(outgoing) = next {
            last = put(&mut outbox, outgoing, codec);
            next = if last { None } else { queue.try_recv().ok() };
            if next.is_none() || outbox.bytes().len() >= BATCH {
                writer.write_all(outbox.bytes()).await.ok()?;
                outbox.clear();
            }
        }
        writer.flush().await.ok()?;
    }
    // Half a close: what the peer has sent can still be read.
    writer.shutdown().await.ok()?;
    None
}

/// Appends a frame; whether it is the last one.
fn put(outbox: &mut Outbox, outgoing: Outgoing, codec: Codec) -> bool {
    match outgoing {
        Outgoing::Message(message) => match codec.outline(&message) {
            Ok(outline) => {
                outbox.push(Opcode::Binary, outline.len(), |place| outline.write(place));
                return false;
            }
            Err(error) => {
                tracing::error!(%error, "a message of ours fits no frame");
                put_close(outbox, CloseCode::Protocol.number(), "a message too long");
            }
        },
        Outgoing::Pong(body) => {
            outbox.push(Opcode::Pong, body.len(), |place| place.copy_from_slice(&body));
            return false;
        }
        Outgoing::Close(code, reason) => put_close(outbox, code.number(), &reason),
        Outgoing::Goodbye => put_close(outbox, NORMAL, ""),
    }
    true
}

fn put_close(outbox: &mut Outbox, code: u16, reason: &str) {
    let end = reason.floor_char_boundary(MAX_REASON);
    outbox.push(Opcode::Close, 2 + end, |place| {
        let (number, words) = place.split_at_mut(2);
        number.copy_from_slice(&code.to_be_bytes());
        words.copy_from_slice(&reason.as_bytes()[..end]);
    });
}
