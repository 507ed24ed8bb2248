//! Where streams of bytes between executors come from: this machine's network, or a simulated one in tests.

use std::future::Future;
use std::io;
use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// Accepts streams.
pub trait Listener: Send + 'static {
    /// What it accepts, and what connects to its like.
    type Stream: Stream;

    /// The next stream, and where it comes from.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

/// A stream of bytes in both directions, in order, that ends or fails when the other end is gone for certain.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + Sized + 'static {
    /// The half that receives.
    type Reader: AsyncRead + Unpin + Send + 'static;
    /// The half that sends; dropping it after a shutdown leaves the other half open.
    type Writer: AsyncWrite + Unpin + Send + 'static;

    /// Connects to `host:port`, resolving the name anew: a new pod has a new address.
    fn connect(address: &str) -> impl Future<Output = io::Result<Self>> + Send;

    /// Both halves, for a task each.
    fn into_split(self) -> (Self::Reader, Self::Writer);

    /// Makes what is written leave at once.
    ///
    /// # Errors
    /// The system's.
    fn set_nodelay(&self) -> io::Result<()>;
}

impl Listener for TcpListener {
    type Stream = TcpStream;

    async fn accept(&self) -> io::Result<(TcpStream, SocketAddr)> {
        Self::accept(self).await
    }
}

impl Stream for TcpStream {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    async fn connect(address: &str) -> io::Result<Self> {
        Self::connect(address).await
    }

    fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        Self::into_split(self)
    }

    fn set_nodelay(&self) -> io::Result<()> {
        Self::set_nodelay(self, true)
    }
}
