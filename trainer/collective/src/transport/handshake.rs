//! Lets tungstenite shake hands over a stream without taking bytes of the frames that follow.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Ends the head of an HTTP message, and with it the handshake.
const BLANK_LINE: &[u8] = b"\r\n\r\n";

/// A stream of which a reader gets no more than the first HTTP head.
#[derive(Debug)]
pub(super) struct Handshake<S> {
    stream: S,
    /// How much of [`BLANK_LINE`] the bytes so far end with.
    seen: usize,
    /// What came after it.
    ahead: Vec<u8>,
}

impl<S> Handshake<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, seen: 0, ahead: Vec::new() }
    }

    /// The stream, and what came on it after the handshake.
    pub(super) fn into_parts(self) -> (S, Vec<u8>) {
        (self.stream, self.ahead)
    }

    /// Bytes of `read` that belong to the head.
    fn head(&mut self, read: &[u8]) -> usize {
        for (at, byte) in read.iter().enumerate() {
            self.seen = match *byte {
                byte if byte == BLANK_LINE[self.seen] => self.seen + 1,
                byte => usize::from(byte == BLANK_LINE[0]),
            };
            if self.seen == BLANK_LINE.len() {
                return at + 1;
            }
        }
        read.len()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Handshake<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if self.seen == BLANK_LINE.len() {
            // Nobody reads past the head; if somebody did, it would be the end of the stream.
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let head = self.head(&buffer.filled()[before..]);
        self.ahead.extend_from_slice(&buffer.filled()[before + head..]);
        buffer.set_filled(before + head);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Handshake<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[test]
    fn a_reader_gets_the_head_and_the_rest_is_kept() {
        for cut in 0..30 {
            let text = b"GET /\r\nA: b\r\r\n\r\n\x82\x00\r\n\r\nmore";
            let (first, second) = text.split_at(cut.min(text.len()));
            let mut handshake = Handshake::new(AsyncReadExt::chain(first, second));
            let mut head = Vec::new();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(handshake.read_to_end(&mut head)).unwrap();
            assert_eq!(head, b"GET /\r\nA: b\r\r\n\r\n");
            let ((first, second), mut ahead) = {
                let (stream, ahead) = handshake.into_parts();
                (stream.into_inner(), ahead)
            };
            ahead.extend(first);
            ahead.extend(second);
            assert_eq!(ahead, b"\x82\x00\r\n\r\nmore");
        }
    }
}
