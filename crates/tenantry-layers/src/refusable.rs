//! Answers that are either the inner service's or a refusal of a layer: the future and the body.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use pin_project_lite::pin_project;

use crate::problem::Problem;

/// Any error that a body can end with.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

pin_project! {
    /// The body of an answer that a layer may have given in place of the service below it.
    #[derive(Debug)]
    pub struct Refusable<B> {
        #[pin]
        source: Source<B>,
    }
}

pin_project! {
    #[derive(Debug)]
    #[project = SourceProjection]
    enum Source<B> {
        Served { #[pin] body: B },
        Refusal { #[pin] body: Full<Bytes> },
    }
}

impl<B> Refusable<B> {
    /// The answer of the service below.
    pub(crate) fn served(response: Response<B>) -> Response<Self> {
        response.map(|body| Self {
            source: Source::Served { body },
        })
    }

    /// A layer's own answer.
    pub(crate) fn refusal(response: Response<Full<Bytes>>) -> Response<Self> {
        response.map(|body| Self {
            source: Source::Refusal { body },
        })
    }
}

/// Without bytes, for layers that answer by themselves.
impl<B> Default for Refusable<B> {
    fn default() -> Self {
        Self {
            source: Source::Refusal { body: Full::default() },
        }
    }
}

impl<B: Body<Data = Bytes>> Body for Refusable<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        match self.project().source.project() {
            SourceProjection::Served { body } => body.poll_frame(context),
            SourceProjection::Refusal { body } => body
                .poll_frame(context)
                .map(|frame| frame.map(|frame| frame.map_err(|never| match never {}))),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Served { body } => body.is_end_stream(),
            Source::Refusal { body } => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Served { body } => body.size_hint(),
            Source::Refusal { body } => body.size_hint(),
        }
    }
}

pin_project! {
    /// The answer of the service below, or a refusal that is here already.
    pub struct RefusableFuture<F, B> {
        #[pin]
        state: State<F>,
        body: PhantomData<fn() -> B>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<F> {
        Serving { #[pin] serving: F },
        Refused { problem: Option<Problem> },
    }
}

impl<F, B> RefusableFuture<F, B> {
    pub(crate) const fn serving(serving: F) -> Self {
        Self {
            state: State::Serving { serving },
            body: PhantomData,
        }
    }

    pub(crate) const fn refused(problem: Problem) -> Self {
        Self {
            state: State::Refused { problem: Some(problem) },
            body: PhantomData,
        }
    }
}

impl<F, B, E> Future for RefusableFuture<F, B>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = Result<Response<Refusable<B>>, E>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProjection::Serving { serving } => Poll::Ready(ready!(serving.poll(context)).map(Refusable::served)),
            // A future is not polled again after its answer; if it is, it has none.
            StateProjection::Refused { problem } => problem.take().map_or(Poll::Pending, |problem| {
                Poll::Ready(Ok(Refusable::refusal(problem.into_response())))
            }),
        }
    }
}
