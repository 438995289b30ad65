//! Reads a request's body whole, within the tenant's limit.
//!
//! A compressed body is refused, not decoded: it could grow a thousandfold, and no SDK sends one. A long one is taken in bursts, for each
//! of which it stands in line: what has arrived is copied on an async worker, where nothing can be interrupted.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Request};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::task::yield_now;

use super::problems;
use super::receiving::Lines;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// Taken of one body before others have their turn: some tens of microseconds' work.
const BURST_BYTES: usize = 128 << 10;

/// Reads to the end, at most `limit` bytes. A request that brings [`Lines`] stands in them.
///
/// # Errors
/// When the body is encoded or larger, or breaks off.
pub(super) async fn read(request: Request<Body>, limit: u64) -> Result<Bytes, Problem> {
    if let Some(encoding) = encoding(request.headers()) {
        return Err(problems::encoded_body(encoding));
    }
    let (mut head, body) = request.into_parts();
    if body.size_hint().lower() > limit {
        return Err(problems::large_body(limit));
    }
    let mut arriving = Arriving { body, limit, bytes: 0 };
    let Some(first) = arriving.wait().await? else {
        return Ok(Bytes::new());
    };
    if arriving.body.is_end_stream() {
        // All in one piece, as most are.
        return Ok(first);
    }
    let lines = head.extensions.remove::<Lines>();
    let mut read = Vec::with_capacity(arriving.room_for(first.len()));
    let mut next = Some(first);
    while let Some(data) = next {
        let turn = match &lines {
            Some(lines) => Some(lines.turn().await),
            None => None,
        };
        let before = read.len();
        let burst = arriving.burst(data, &mut read).await?;
        if let Some(turn) = turn {
            turn.end(read.len() - before);
        }
        next = match burst {
            Burst::ToTheEnd => None,
            Burst::Interrupted => arriving.wait().await?,
            Burst::Full => {
                yield_now().await;
                arriving.wait().await?
            }
        };
    }
    Ok(Bytes::from(read))
}

/// A body of which so many bytes have arrived.
struct Arriving {
    body: Body,
    limit: u64,
    bytes: u64,
}

/// How a burst ended.
enum Burst {
    ToTheEnd,
    /// Nothing more was there.
    Interrupted,
    /// There may be more.
    Full,
}

/// What is there of a body, without waiting.
enum Next {
    Data(Bytes),
    End,
    NotYet,
}

impl Arriving {
    /// The next piece, when it comes; `None` at the end.
    async fn wait(&mut self) -> Result<Option<Bytes>, Problem> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(|error| problems::unread_body(&error.to_string()))?;
            if let Ok(data) = frame.into_data() {
                return self.within_limit(data).map(Some);
            }
        }
        Ok(None)
    }

    /// The next piece if it is there. Never waits, since others wait for the end of a burst.
    async fn look(&mut self) -> Result<Next, Problem> {
        loop {
            let frame = poll_fn(|context| match Pin::new(&mut self.body).poll_frame(context) {
                Poll::Ready(frame) => Poll::Ready(Some(frame)),
                Poll::Pending => Poll::Ready(None),
            });
            match frame.await {
                Some(Some(frame)) => {
                    let frame = frame.map_err(|error| problems::unread_body(&error.to_string()))?;
                    if let Ok(data) = frame.into_data() {
                        return self.within_limit(data).map(Next::Data);
                    }
                }
                Some(None) => return Ok(Next::End),
                None => return Ok(Next::NotYet),
            }
        }
    }

    /// Takes `data` and what is there after it, up to a bound.
    async fn burst(&mut self, data: Bytes, into: &mut Vec<u8>) -> Result<Burst, Problem> {
        let before = into.len();
        into.extend_from_slice(&data);
        drop(data);
        while into.len() - before < BURST_BYTES {
            match self.look().await? {
                Next::Data(data) => into.extend_from_slice(&data),
                Next::End => return Ok(Burst::ToTheEnd),
                Next::NotYet => return Ok(Burst::Interrupted),
            }
        }
        Ok(Burst::Full)
    }

    fn within_limit(&mut self, data: Bytes) -> Result<Bytes, Problem> {
        self.bytes = self.bytes.saturating_add(data.len() as u64);
        if self.bytes > self.limit {
            return Err(problems::large_body(self.limit));
        }
        Ok(data)
    }

    /// Bytes to make room for at once: for the whole body where its length is known, so that it is never copied again. What has not arrived
    /// takes no memory yet.
    fn room_for(&self, begun: usize) -> usize {
        let whole = self
            .body
            .size_hint()
            .lower()
            .saturating_add(begun as u64)
            .min(self.limit);
        usize::try_from(whole).unwrap_or(begun)
    }
}

/// The encoding of a body that is not sent as it is.
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_ENCODING)?;
    let name = value.to_str().unwrap_or("?").trim();
    (!name.is_empty() && !name.eq_ignore_ascii_case("identity")).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use futures_util::{StreamExt as _, poll, stream};
    use http_body::{Frame, SizeHint};
    use http_body_util::StreamBody;

    use super::*;
    use crate::hrana::receiving::NodeLine;
    use crate::http::body::{BoxError, full};

    const FRAME: usize = 16 << 10;

    /// A body whose frames are all there already, and how many of them were taken.
    struct Frames {
        left: usize,
        taken: Arc<AtomicUsize>,
        known: bool,
    }

    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let Some(left) = self.left.checked_sub(1) else {
                return Poll::Ready(None);
            };
            self.left = left;
            self.taken.fetch_add(1, Relaxed);
            Poll::Ready(Some(Ok(Frame::data(Bytes::from(vec![b'x'; FRAME])))))
        }

        fn size_hint(&self) -> SizeHint {
            if self.known {
                SizeHint::with_exact((self.left * FRAME) as u64)
            } else {
                SizeHint::default()
            }
        }
    }

    fn request(frames: usize, known: bool) -> (Request<Body>, Arc<AtomicUsize>) {
        let taken = Arc::<AtomicUsize>::default();
        let frames = Frames {
            left: frames,
            taken: Arc::clone(&taken),
            known,
        };
        (Request::new(frames.boxed_unsync()), taken)
    }

    #[tokio::test]
    async fn one_poll_takes_little_of_a_long_body() {
        for with_lines in [false, true] {
            let (mut request, taken) = request(100, true);
            if with_lines {
                request.extensions_mut().insert(NodeLine::default().lines_of_a_tenant());
            }
            let mut reading = Box::pin(read(request, 16 << 20));
            let mut polls = 0;
            let whole = loop {
                let before = taken.load(Relaxed);
                let polled = poll!(&mut reading);
                polls += 1;
                let frames = taken.load(Relaxed) - before;
                assert!(frames * FRAME <= BURST_BYTES + FRAME, "{frames} frames at once");
                match polled {
                    Poll::Ready(whole) => break whole,
                    Poll::Pending => yield_now().await,
                }
            };
            assert_eq!(whole.ok().map(|whole| whole.len()), Some(100 * FRAME));
            assert!(polls >= 100 * FRAME / (BURST_BYTES + FRAME), "{polls}");
        }
    }

    #[tokio::test]
    async fn a_body_of_known_length_is_never_copied_again() {
        let (known, _) = request(33, true);
        let whole = Vec::from(read(known, 16 << 20).await.ok().unwrap());
        assert_eq!((whole.len(), whole.capacity()), (33 * FRAME, 33 * FRAME));
        let (unknown, _) = request(33, false);
        assert_eq!(read(unknown, 16 << 20).await.ok().unwrap().len(), 33 * FRAME);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limit_is_refused_as_soon_as_that_is_certain() {
        let (known, taken) = request(100, true);
        assert_eq!(read(known, 10).await.err().unwrap().status(), 413);
        assert_eq!(taken.load(Relaxed), 0, "its length says it");
        let (unknown, taken) = request(100, false);
        assert_eq!(read(unknown, 3 * FRAME as u64).await.err().unwrap().status(), 413);
        assert_eq!(taken.load(Relaxed), 4);
        assert_eq!(read(Request::new(full("12345")), 4).await.err().unwrap().status(), 413);
        assert_eq!(read(Request::new(full("1234")), 4).await.ok().unwrap(), "1234");
    }

    #[tokio::test]
    async fn a_client_that_is_waited_for_keeps_nobody_from_being_received() {
        let line = NodeLine::default().lines_of_a_tenant();
        let first = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"{")))]);
        let mut slow = Request::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync());
        slow.extensions_mut().insert(line.clone());
        let mut slow = Box::pin(read(slow, 1 << 20));
        // It has taken its first frame, stood in line, and found nothing more.
        for _ in 0..3 {
            assert!(poll!(&mut slow).is_pending());
            yield_now().await;
        }
        let (mut other, _) = request(20, true);
        other.extensions_mut().insert(line);
        let other = tokio::time::timeout(std::time::Duration::from_secs(20), read(other, 16 << 20));
        assert_eq!(other.await.unwrap().ok().unwrap().len(), 20 * FRAME);
    }
}
