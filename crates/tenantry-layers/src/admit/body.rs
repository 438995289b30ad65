//! The body of an answer that passed the quotas.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::quota::Permit;
use crate::refusable::Refusable;

pin_project! {
    /// The body of an answer that passed the quotas. Holds the request's place among the concurrent ones until it ends
    /// or is dropped.
    pub struct AdmittedBody<B> {
        #[pin]
        body: Refusable<B>,
        permit: Option<Permit>,
    }
}

impl<B> AdmittedBody<B> {
    pub(super) fn served(response: Response<B>, permit: Option<Permit>) -> Response<Self> {
        Refusable::served(response).map(|body| Self { body, permit })
    }

    pub(super) fn refusal(response: Response<Full<Bytes>>) -> Response<Self> {
        Refusable::refusal(response).map(|body| Self { body, permit: None })
    }
}

impl<B: Body<Data = Bytes>> Body for AdmittedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.project();
        let frame = ready!(this.body.poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            drop(this.permit.take());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
