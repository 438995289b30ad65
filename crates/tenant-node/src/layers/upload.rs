//! The body of a request on its way to another node: streams, and can be sent again while it is short.
//!
//! Must not hold a byte back: what may have to be sent again is kept beside the stream, without a copy, and let go when it
//! becomes too long.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use parking_lot::Mutex;

use crate::http::body::{Body, BoxError};

/// Most bytes that are kept to be sent again. Almost every pipeline is shorter.
const MOST_KEPT_BYTES: usize = 64 << 10;

/// A request's body, which may be needed for a second attempt.
#[derive(Clone)]
pub(super) struct Upload(Arc<Mutex<Source>>);

struct Source {
    body: Body,
    /// Frames that `body` gave already; `None` once they were too long.
    kept: Option<Vec<Bytes>>,
    kept_bytes: usize,
    /// The attempt that may read.
    attempt: u32,
    broken: bool,
}

/// The body of one attempt.
pub(super) struct UploadBody {
    upload: Upload,
    attempt: u32,
    /// Frames of `kept` that this attempt has sent.
    sent: usize,
}

/// The attempt was given up for another one.
#[derive(Debug, thiserror::Error)]
#[error("the request is sent again by another attempt")]
struct Superseded;

impl Upload {
    pub(super) fn new(body: Body) -> Self {
        Self(Arc::new(Mutex::new(Source {
            body,
            kept: Some(Vec::new()),
            kept_bytes: 0,
            attempt: 0,
            broken: false,
        })))
    }

    /// The whole body for the next attempt, while that can be had; ends the one before.
    pub(super) fn begin(&self) -> Option<UploadBody> {
        let mut source = self.0.lock();
        source.kept.as_ref()?;
        source.attempt += 1;
        Some(UploadBody {
            upload: self.clone(),
            attempt: source.attempt,
            sent: 0,
        })
    }

    /// Whether the client's body ended by an error.
    pub(super) fn is_broken(&self) -> bool {
        self.0.lock().broken
    }
}

impl http_body::Body for UploadBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let mut source = this.upload.0.lock();
        if source.attempt != this.attempt {
            return Poll::Ready(Some(Err(Superseded.into())));
        }
        if let Some(again) = source.kept.as_ref().and_then(|kept| kept.get(this.sent)).cloned() {
            this.sent += 1;
            return Poll::Ready(Some(Ok(Frame::data(again))));
        }
        let frame = ready!(Pin::new(&mut source.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                source.keep(frame);
                this.sent += 1;
            }
            Some(Err(_)) => source.broken = true,
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        let source = self.upload.0.lock();
        source.body.is_end_stream() && source.kept.as_ref().is_none_or(|kept| kept.len() <= self.sent)
    }

    fn size_hint(&self) -> SizeHint {
        let source = self.upload.0.lock();
        let again: usize = match &source.kept {
            Some(kept) => kept.iter().skip(self.sent).map(Bytes::len).sum(),
            None => 0,
        };
        let again = again as u64;
        let rest = source.body.size_hint();
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(again)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(again));
        hint
    }
}

impl Source {
    fn keep(&mut self, frame: &Frame<Bytes>) {
        let Some(kept) = &mut self.kept else { return };
        match frame.data_ref() {
            Some(data) if self.kept_bytes + data.len() <= MOST_KEPT_BYTES => {
                self.kept_bytes += data.len();
                kept.push(data.clone());
            }
            // Trailers end a body that is not sent twice; nothing of ours has them.
            Some(_) | None => self.kept = None,
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body::Body as _;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn upload(frames: &[&'static [u8]]) -> Upload {
        let frames: Vec<Result<_, BoxError>> = frames
            .iter()
            .map(|data| Ok(Frame::data(Bytes::from_static(data))))
            .collect();
        Upload::new(StreamBody::new(stream::iter(frames)).boxed_unsync())
    }

    #[tokio::test]
    async fn a_second_attempt_sends_the_whole_body_and_the_first_sends_no_more() {
        let upload = upload(&[b"one", b"two", b"three"]);
        let mut first = upload.begin().unwrap();
        assert_eq!(first.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        let second = upload.begin().unwrap();
        assert!(first.frame().await.unwrap().is_err(), "the first attempt is over");
        assert_eq!(second.collect().await.unwrap().to_bytes(), "onetwothree");
    }

    #[tokio::test]
    async fn a_body_that_is_too_long_to_keep_is_sent_once_and_whole() {
        let long: &'static [u8] = vec![7; MOST_KEPT_BYTES].leak();
        let upload = upload(&[b"one", long, b"end"]);
        let body = upload.begin().unwrap();
        assert_eq!(body.collect().await.unwrap().to_bytes().len(), MOST_KEPT_BYTES + 6);
        assert!(upload.begin().is_none());
    }

    #[tokio::test]
    async fn a_body_known_by_its_length_says_so_at_every_attempt() {
        let upload = Upload::new(crate::http::body::full("four"));
        let first = upload.begin().unwrap();
        assert_eq!(first.size_hint().exact(), Some(4));
        assert_eq!(first.collect().await.unwrap().to_bytes(), "four");
        let second = upload.begin().unwrap();
        assert_eq!((second.size_hint().exact(), second.is_end_stream()), (Some(4), false));
        assert_eq!(second.collect().await.unwrap().to_bytes(), "four");
        let empty = Upload::new(crate::http::body::empty()).begin().unwrap();
        assert!(empty.is_end_stream());
    }

    #[tokio::test]
    async fn a_body_that_the_client_broke_off_is_known_as_such() {
        let broken: Vec<Result<Frame<Bytes>, BoxError>> = vec![Err("gone".into())];
        let upload = Upload::new(StreamBody::new(stream::iter(broken)).boxed_unsync());
        assert!(upload.begin().unwrap().collect().await.is_err());
        assert!(upload.is_broken());
    }
}
