//! Notices whether the other side of a connection has ever said anything.
//!
//! Must not read or change what passes.

use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use mutual_tls::Connection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::oneshot;

/// The other side's first word on a connection.
#[derive(Debug)]
pub(super) struct FirstWord(oneshot::Receiver<Result<()>>);

/// A connection that tells of its first word.
#[derive(Debug)]
pub(super) struct Listening {
    socket: Connection,
    heard: Option<oneshot::Sender<Result<()>>>,
}

impl FirstWord {
    /// Waits for it. May never come: bound the wait. Whoever has the socket must read meanwhile.
    ///
    /// # Errors
    /// When the connection ended without it.
    pub(super) async fn comes(self) -> Result<()> {
        self.0.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Listening {
    pub(super) fn to(socket: Connection) -> (Self, FirstWord) {
        let (heard, first_word) = oneshot::channel();
        let listening = Self {
            socket,
            heard: Some(heard),
        };
        (listening, FirstWord(first_word))
    }
}

fn closed() -> Error {
    Error::new(ErrorKind::ConnectionReset, "closed before the first word")
}

impl AsyncRead for Listening {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.socket).poll_read(context, buffer));
        if let Some(heard) = self.heard.take() {
            let something = read.is_ok() && buffer.filled().len() > before;
            // Nobody may be listening any more.
            let _ = heard.send(something.then_some(()).ok_or_else(closed));
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Listening {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }
}
