//! A large answer that is here already, sent piece by piece.
//!
//! The connection would write it in one go, as much as the system takes: megabytes, in which the async worker does nothing else. So it is
//! given a piece, and gets the next one when others have had their turn. Must not be used for answers of one piece.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tokio::task::yield_now;

use super::body::BoxError;

/// As much as a connection buffers, in bytes. Larger answers have several pieces.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Gives a large body piece by piece.
pub(super) struct Pieces {
    rest: Bytes,
    /// Until it is done, others have their turn.
    others: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Pieces {
    pub(super) const fn of(whole: Bytes) -> Self {
        Self {
            rest: whole,
            others: None,
        }
    }
}

impl http_body::Body for Pieces {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Some(others) = &mut self.others {
            ready!(others.as_mut().poll(context));
            self.others = None;
        }
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = self.rest.split_to(length);
        if !self.rest.is_empty() {
            self.others = Some(Box::pin(yield_now()));
        }
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;
    use http_body::Body as _;
    use http_body_util::BodyExt as _;

    use crate::http::body::full;

    #[tokio::test]
    async fn one_poll_gives_a_piece_and_all_pieces_are_the_whole() {
        let whole: Vec<u8> = (0..1_000_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut body = full(whole.clone());
        assert_eq!(body.size_hint().exact(), Some(4_000_000));
        let mut read = Vec::new();
        let mut pending = 0;
        while !body.is_end_stream() {
            let mut frame = body.frame();
            match poll!(&mut frame) {
                std::task::Poll::Ready(frame) => {
                    let data = frame.unwrap().unwrap().into_data().unwrap();
                    assert!(data.len() <= super::PIECE_BYTES, "{}", data.len());
                    read.extend_from_slice(&data);
                }
                std::task::Poll::Pending => {
                    pending += 1;
                    tokio::task::yield_now().await;
                }
            }
        }
        assert!(pending >= 4_000_000 / super::PIECE_BYTES, "{pending}");
        assert!(read == whole, "something was lost");
    }

    #[tokio::test]
    async fn a_small_body_comes_at_once() {
        let mut body = full(vec![b'x'; super::PIECE_BYTES]);
        assert_eq!(
            body.frame().await.unwrap().unwrap().into_data().unwrap().len(),
            super::PIECE_BYTES
        );
        assert!(body.is_end_stream());
        assert!(full("").is_end_stream());
    }
}
