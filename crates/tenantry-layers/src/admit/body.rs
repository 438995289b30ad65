//! The body of an answer that passed the quotas.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::quota::Permit;

pin_project! {
    /// The body of an answer that passed the quotas. Holds the request's place among the concurrent ones until it ends
    /// or is dropped.
    pub struct AdmittedBody<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[project = SourceProjection]
    enum Source<B> {
        Served {
            #[pin]
            body: B,
            permit: Option<Permit>,
        },
        Refusal {
            #[pin]
            refusal: Full<Bytes>,
        },
    }
}

impl<B> AdmittedBody<B> {
    pub(super) fn served(response: Response<B>, permit: Option<Permit>) -> Response<Self> {
        response.map(|body| Self {
            source: Source::Served { body, permit },
        })
    }

    pub(super) fn refusal(response: Response<Full<Bytes>>) -> Response<Self> {
        response.map(|refusal| Self {
            source: Source::Refusal { refusal },
        })
    }
}

impl<B: Body<Data = Bytes>> Body for AdmittedBody<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().source.project() {
            SourceProjection::Served { body, permit } => {
                let frame = ready!(body.poll_frame(context));
                if !matches!(frame, Some(Ok(_))) {
                    drop(permit.take());
                }
                Poll::Ready(frame)
            }
            SourceProjection::Refusal { refusal } => refusal
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Served { body, .. } => body.is_end_stream(),
            Source::Refusal { refusal } => refusal.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Served { body, .. } => body.size_hint(),
            Source::Refusal { refusal } => refusal.size_hint(),
        }
    }
}
