//! gRPC from programs that prove themselves: the connections of a listener, as tonic's server takes them.

use std::borrow::Borrow;
use std::collections::VecDeque;
use std::io::Result;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use futures_util::Stream;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};
use tonic::transport::server::Connected;

use crate::connection::Connection;
use crate::role::Caller;
use crate::security::Security;

/// Connections at once whose ends are still proving themselves. The oldest gives way to a further one, so that silent ones keep
/// nobody out.
const MOST_HANDSHAKES: usize = 256;
/// After a failed accept (out of descriptors, mostly) the listener rests this long instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections that were not proved are told of this often at most.
const WARNING_INTERVAL: Duration = Duration::from_secs(1);

/// The connections of a listener. A request's extensions have its [`Caller`]. One that does not prove itself is dropped, and holds
/// up no other.
pub struct GrpcIncoming<L> {
    listener: L,
    security: Security,
    handshakes: JoinSet<(SocketAddr, Result<GrpcConnection>)>,
    by_age: VecDeque<AbortHandle>,
    pause: Option<Pin<Box<Sleep>>>,
    next_warning: Instant,
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
            handshakes: JoinSet::new(),
            by_age: VecDeque::new(),
            pause: None,
            next_warning: Instant::now(),
        }
    }

    fn begin(&mut self, socket: TcpStream, address: SocketAddr) {
        self.by_age.retain(|handshake| !handshake.is_finished());
        if self.by_age.len() >= MOST_HANDSHAKES
            && let Some(oldest) = self.by_age.pop_front()
        {
            oldest.abort();
        }
        let security = self.security.clone();
        self.by_age.push_back(self.handshakes.spawn(async move {
            let proving = async {
                socket.set_nodelay(true)?;
                let (connection, caller) = security.accept(socket).await?;
                Ok(GrpcConnection { connection, caller })
            };
            (address, proving.await)
        }));
    }

    /// Accepts what waits. Wakes the task when more comes, or when the listener has rested.
    fn accept(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        match ready!(self.listener.borrow().poll_accept(context)) {
            Ok((socket, address)) => self.begin(socket, address),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                self.pause = Some(Box::pin(sleep(ACCEPT_PAUSE)));
            }
        }
        Poll::Ready(())
    }

    fn refuse(&mut self, address: SocketAddr, error: &std::io::Error) {
        let now = Instant::now();
        if now < self.next_warning {
            tracing::debug!(%address, %error, "a connection was not proved");
            return;
        }
        self.next_warning = now + WARNING_INTERVAL;
        tracing::warn!(%address, %error, "a connection was not proved");
    }
}

impl<L: Borrow<TcpListener> + Unpin> Stream for GrpcIncoming<L> {
    type Item = Result<GrpcConnection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        while self.accept(context).is_ready() {}
        loop {
            match self.handshakes.poll_join_next(context) {
                Poll::Ready(Some(Ok((_, Ok(connection))))) => return Poll::Ready(Some(Ok(connection))),
                Poll::Ready(Some(Ok((address, Err(error))))) => self.refuse(address, &error),
                // One that gave way.
                Poll::Ready(Some(Err(_))) => {}
                // None: no handshake is under way. The listener wakes this task.
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
