//! A shard from its first byte to its last, for work that reads it as a stream on a thread of its own.
//!
//! Used where a shard has no index yet, or is compressed. While one piece is worked on the next one is fetched.

use std::io::{self, BufRead, Read};

use bytes::{Buf, Bytes};
use lockstep_storage::Store;
use snafu::ResultExt;
use tokio::sync::mpsc;

use crate::{
    Result,
    error::{ReadSnafu, WorkerSnafu},
};

/// Large enough that the store's cost of a request is small beside the bytes.
const PIECE_BYTES: u64 = 512 << 10;

/// Runs `work` on the `bytes` bytes of the file `name`, of which three pieces are in memory at most. It may stop early.
///
/// # Errors
/// The store's, whatever `work` made of the end of its stream; `work`'s own are its result.
pub(crate) async fn read<T: Send + 'static>(
    store: &Store,
    name: &str,
    bytes: u64,
    work: impl FnOnce(ShardStream) -> T + Send + 'static,
) -> Result<T> {
    let (sender, pieces) = mpsc::channel(1);
    let stream = ShardStream { pieces, piece: Bytes::new(), left: bytes };
    let work = tokio::task::spawn_blocking(move || work(stream));
    let mut offset = 0;
    while offset < bytes {
        let end = bytes.min(offset + PIECE_BYTES);
        let piece = store.get_range(name, offset..end).await.with_context(|_| ReadSnafu {
            shard: format!("{}/{name}", store.uri()),
            offset,
            bytes: end - offset,
        })?;
        if sender.send(piece).await.is_err() {
            break;
        }
        offset = end;
    }
    drop(sender);
    work.await.context(WorkerSnafu { uri: store.uri() })
}

/// The shard, as it arrives.
#[derive(Debug)]
pub(crate) struct ShardStream {
    pieces: mpsc::Receiver<Bytes>,
    piece: Bytes,
    /// Bytes that have not arrived.
    left: u64,
}

impl BufRead for ShardStream {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.piece.is_empty() && self.left > 0 {
            // Whoever fetches has failed, or was given up: not the end of the shard.
            let piece = self.pieces.blocking_recv().ok_or(io::ErrorKind::ConnectionAborted)?;
            self.left = self.left.saturating_sub(piece.len() as u64);
            self.piece = piece;
        }
        Ok(&self.piece)
    }

    fn consume(&mut self, bytes: usize) {
        self.piece.advance(bytes);
    }
}

impl Read for ShardStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.fill_buf()?.read(buffer)?;
        self.consume(read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_of_several_pieces_arrives_whole() {
        let folder = tempfile::tempdir().unwrap();
        let content: Vec<u8> = (0..3 * PIECE_BYTES + 5).map(|at| (at % 251) as u8).collect();
        std::fs::write(folder.path().join("x"), &content).unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let whole = |mut stream: ShardStream| {
            let mut found = Vec::new();
            stream.read_to_end(&mut found).map(|_| found)
        };
        let bytes = content.len() as u64;
        assert_eq!(read(&store, "x", bytes, whole).await.unwrap().unwrap(), content);
        // Work may stop early, and a file that ends early is the store's error and not the stream's end.
        assert_eq!(read(&store, "x", bytes, |_| 7).await.unwrap(), 7);
        let error = read(&store, "x", bytes + 1, whole).await.unwrap_err();
        assert!(matches!(error, crate::Error::Read { offset, .. } if offset == 3 * PIECE_BYTES), "{error:?}");
    }
}
