//! A client's socket, which the system tells the workers of the lane that reads it about.
//!
//! Otherwise the workers of one lane would have to wake for what those of the other are to read.

use std::io::{ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use mutual_tls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::lane::Lane;

/// Goes along when its connection goes to the other lane. One with TLS stays where it was, and works all the same.
#[derive(Debug)]
pub(in crate::http) struct LaneSocket {
    /// `None` after the system refused to let it move: then it is closed.
    connection: Option<Connection>,
    lane: Lane,
}

impl LaneSocket {
    /// Accepted in `lane`.
    pub(in crate::http) const fn new(connection: Connection, lane: Lane) -> Self {
        Self {
            connection: Some(connection),
            lane,
        }
    }

    /// In the lane of the caller.
    fn here(&mut self) -> Result<Pin<&mut Connection>> {
        let here = Lane::here();
        if self.lane != here {
            self.connection = match self.connection.take() {
                Some(Connection::Plain(stream)) => Some(Connection::Plain(TcpStream::from_std(stream.into_std()?)?)),
                other => other,
            };
            self.lane = here;
        }
        self.connection
            .as_mut()
            .map(Pin::new)
            .ok_or_else(|| ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for LaneSocket {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        self.here()?.poll_read(context, buffer)
    }
}

impl AsyncWrite for LaneSocket {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        self.here()?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.here()?.poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        self.here()?.poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        self.here()?.poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.connection.as_ref().is_some_and(AsyncWrite::is_write_vectored)
    }
}
