//! gRPC from programs that prove themselves: the connections of a listener, as tonic's server takes them.

use std::borrow::Borrow;
use std::io::Result;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::Stream;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tonic::transport::server::Connected;

use crate::connection::Connection;
use crate::role::Caller;
use crate::security::Security;

/// Connections at once whose ends are still proving themselves. Further ones wait in the kernel's queue.
const MOST_HANDSHAKES: usize = 256;

/// The connections of a listener. A request's extensions have its [`Caller`]. One that does not prove itself is dropped, and holds
/// up no other.
pub struct GrpcIncoming<L> {
    listener: L,
    security: Security,
    handshakes: FuturesUnordered<BoxFuture<'static, Result<GrpcConnection>>>,
}

impl<L> std::fmt::Debug for GrpcIncoming<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GrpcIncoming")
            .field("security", &self.security)
            .finish_non_exhaustive()
    }
}

impl<L: Borrow<TcpListener>> GrpcIncoming<L> {
    /// Takes connections from `listener`.
    #[must_use]
    pub fn new(listener: L, security: Security) -> Self {
        Self {
            listener,
            security,
            handshakes: FuturesUnordered::new(),
        }
    }

    fn begin(&self, socket: TcpStream) {
        let security = self.security.clone();
        self.handshakes.push(Box::pin(async move {
            socket.set_nodelay(true)?;
            let (connection, caller) = security.accept(socket).await?;
            Ok(GrpcConnection { connection, caller })
        }));
    }
}

impl<L: Borrow<TcpListener> + Unpin> Stream for GrpcIncoming<L> {
    type Item = Result<GrpcConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            while self.handshakes.len() < MOST_HANDSHAKES {
                match self.listener.borrow().poll_accept(context) {
                    Poll::Ready(Ok((socket, _))) => self.begin(socket),
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Pending => break,
                }
            }
            match Pin::new(&mut self.handshakes).poll_next(context) {
                Poll::Ready(Some(Ok(connection))) => return Poll::Ready(Some(Ok(connection))),
                // Around again: there is room for another, which the listener would not tell of by itself.
                Poll::Ready(Some(Err(error))) => tracing::debug!(%error, "a connection was not proved"),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    }
}

/// A connection whose other end is known.
#[derive(Debug)]
pub struct GrpcConnection {
    connection: Connection,
    caller: Caller,
}

impl Connected for GrpcConnection {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller.clone()
    }
}

impl AsyncRead for GrpcConnection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.connection).poll_read(context, buffer)
    }
}

impl AsyncWrite for GrpcConnection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.connection).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.connection).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.connection).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[std::io::IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.connection).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.is_write_vectored()
    }
}
