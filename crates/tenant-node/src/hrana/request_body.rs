//! Reads a request's body whole, within the tenant's limit.
//!
//! A compressed body is refused, not decoded: it could grow a thousandfold, and no SDK sends one. A long one is taken in bursts, for each
//! of which it stands in line: what has arrived is copied on an async worker, where nothing can be interrupted.
//!
//! Must not wait while it has a turn in that line: the waits are in `arriving`.

use bytes::Bytes;
use http::header::CONTENT_ENCODING;
use http::{HeaderMap, Request};
use http_body::Body as _;
use tokio::task::yield_now;

use super::arriving::{Allowance, Arriving, Burst};
use super::problems;
use super::receiving::Lines;
use crate::http::body::Body;
use crate::http::problem::Problem;

/// A request's body of which nothing was read, apart from the request: what reads it would have to move all of that, too.
pub(super) struct UnreadBody {
    arriving: Arriving,
    lines: Option<Lines>,
}

impl UnreadBody {
    /// The body of a request, of at most `limit` bytes. One that brings [`Lines`] stands in them.
    ///
    /// # Errors
    /// When the body is encoded or larger.
    pub(super) fn of(request: Request<Body>, limit: u64, allowance: Allowance) -> Result<Self, Problem> {
        if let Some(encoding) = encoding(request.headers()) {
            return Err(problems::encoded_body(encoding));
        }
        if request.body().size_hint().lower() > limit {
            return Err(problems::large_body(limit));
        }
        let (mut head, body) = request.into_parts();
        Ok(Self {
            arriving: Arriving::new(body, limit, allowance),
            lines: head.extensions.remove::<Lines>(),
        })
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// When it is larger than it may be, breaks off, or takes longer than it is allowed.
    pub(super) async fn read(mut self) -> Result<Bytes, Problem> {
        let Some(first) = self.arriving.wait().await? else {
            return Ok(Bytes::new());
        };
        if self.arriving.is_at_its_end() {
            // All in one piece, as most are.
            return Ok(first);
        }
        Box::pin(read_rest(self, first)).await
    }
}

async fn read_rest(unread: UnreadBody, first: Bytes) -> Result<Bytes, Problem> {
    let UnreadBody { mut arriving, lines } = unread;
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

/// The encoding of a body that is not sent as it is.
fn encoding(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_ENCODING)?;
    let name = value.to_str().unwrap_or("?").trim();
    (!name.is_empty() && !name.eq_ignore_ascii_case("identity")).then_some(name)
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::Poll;
    use std::time::Duration;

    use futures_util::{StreamExt as _, poll, stream};
    use http_body::{Frame, SizeHint};
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;
    use crate::hrana::arriving::BURST_BYTES;
    use crate::hrana::receiving::NodeLine;
    use crate::http::body::{BoxError, full};

    const FRAME: usize = 16 << 10;
    const ALLOWANCE: Allowance = Allowance {
        stall: Duration::from_secs(30),
        bytes_per_second: 8 << 10,
    };

    async fn read(request: Request<Body>, limit: u64, allowance: Allowance) -> Result<Bytes, Problem> {
        UnreadBody::of(request, limit, allowance)?.read().await
    }

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
            let mut reading = Box::pin(read(request, 16 << 20, ALLOWANCE));
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
        let whole = Vec::from(read(known, 16 << 20, ALLOWANCE).await.ok().unwrap());
        assert_eq!((whole.len(), whole.capacity()), (33 * FRAME, 33 * FRAME));
        let (unknown, _) = request(33, false);
        assert_eq!(read(unknown, 16 << 20, ALLOWANCE).await.ok().unwrap().len(), 33 * FRAME);
    }

    #[tokio::test]
    async fn what_is_larger_than_the_limit_is_refused_as_soon_as_that_is_certain() {
        let (known, taken) = request(100, true);
        assert_eq!(read(known, 10, ALLOWANCE).await.err().unwrap().status(), 413);
        assert_eq!(taken.load(Relaxed), 0, "its length says it");
        let (unknown, taken) = request(100, false);
        assert_eq!(
            read(unknown, 3 * FRAME as u64, ALLOWANCE).await.err().unwrap().status(),
            413
        );
        assert_eq!(taken.load(Relaxed), 4);
        assert_eq!(
            read(Request::new(full("12345")), 4, ALLOWANCE)
                .await
                .err()
                .unwrap()
                .status(),
            413
        );
        assert_eq!(
            read(Request::new(full("1234")), 4, ALLOWANCE).await.ok().unwrap(),
            "1234"
        );
    }

    #[tokio::test]
    async fn a_client_that_is_waited_for_keeps_nobody_from_being_received() {
        let line = NodeLine::default().lines_of_a_tenant();
        let first = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"{")))]);
        let mut slow = Request::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync());
        slow.extensions_mut().insert(line.clone());
        let mut slow = Box::pin(read(slow, 1 << 20, ALLOWANCE));
        // It has taken its first frame, stood in line, and found nothing more.
        for _ in 0..3 {
            assert!(poll!(&mut slow).is_pending());
            yield_now().await;
        }
        let (mut other, _) = request(20, true);
        other.extensions_mut().insert(line);
        let other = tokio::time::timeout(Duration::from_secs(20), read(other, 16 << 20, ALLOWANCE));
        assert_eq!(other.await.unwrap().ok().unwrap().len(), 20 * FRAME);
    }

    /// A client that sends pieces of these lengths, each so many milliseconds after the one before.
    fn sent_by_and_by(pieces: Vec<(usize, u64)>) -> Request<Body> {
        let sent = stream::unfold(pieces.into_iter(), |mut left| async move {
            let (bytes, millis) = left.next()?;
            tokio::time::sleep(Duration::from_millis(millis)).await;
            Some((Ok::<_, BoxError>(Frame::data(Bytes::from(vec![b'x'; bytes]))), left))
        });
        Request::new(StreamBody::new(sent).boxed_unsync())
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_stops_or_trickles_is_not_waited_for_and_a_slow_one_is() {
        for (pieces, taken) in [
            (vec![(1, 29_000)], true),
            (vec![(1, 31_000)], false),
            (vec![(1 << 20, 29_000); 9], true),
            // What came before it buys nobody a longer silence.
            (vec![(1 << 20, 0), (1 << 20, 31_000)], false),
            (vec![(1, 1_000); 29], true),
            (vec![(1, 1_000); 31], false),
            (vec![(0, 1_000); 31], false),
            (vec![(9 << 10, 1_000); 2_000], true),
            (vec![(7 << 10, 1_000); 2_000], false),
        ] {
            let case = format!("{:?} {}", pieces[0], pieces.len());
            let whole: usize = pieces.iter().map(|(bytes, _)| bytes).sum();
            match read(sent_by_and_by(pieces), 64 << 20, ALLOWANCE).await {
                Ok(read) => assert!(taken && read.len() == whole, "{case}"),
                Err(problem) => {
                    assert!(!taken, "{case}");
                    assert_eq!((problem.status().as_u16(), problem.kind()), (408, "request-timeout"));
                }
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_node_makes_a_client_wait_does_not_count() {
        let lines = NodeLine::default().lines_of_a_tenant();
        let ours = lines.turn().await;
        let mut request = sent_by_and_by(vec![(256 << 10, 20_000); 3]);
        request.extensions_mut().insert(lines.clone());
        let mut reading = Box::pin(read(request, 1 << 20, ALLOWANCE));
        tokio::select! {
            _ = &mut reading => panic!("it was not its turn"),
            () = tokio::time::sleep(Duration::from_secs(3_600)) => {}
        }
        drop(ours);
        assert_eq!(reading.await.ok().map(|read| read.len()), Some(3 * (256 << 10)));
    }
}
