//! The answer to a request that a layer passes on, now or when something has become known, or answers itself.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower::Service;

use crate::http::body::Body;
use crate::http::problem::{IntoAnswer as _, Problem};

/// What became of a request that could not be passed on at once.
pub(super) enum Decided {
    /// It has its answer.
    Answered(Response<Body>),
    /// It goes to the layers below after all.
    PassedOn(Request<Body>),
}

pin_project! {
    /// The answer to one request.
    pub struct Decision<S>
    where
        S: Service<Request<Body>>,
    {
        #[pin]
        state: State<S>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<S>
    where
        S: Service<Request<Body>>,
    {
        Serving {
            #[pin]
            serving: S::Future,
        },
        Undecided {
            deciding: Pin<Box<dyn Future<Output = Decided> + Send>>,
            inner: S,
        },
        Refused {
            problem: Option<Problem>,
        },
    }
}

impl<S> Decision<S>
where
    S: Service<Request<Body>>,
{
    pub(super) const fn served(serving: S::Future) -> Self {
        Self {
            state: State::Serving { serving },
        }
    }

    pub(super) fn undecided(deciding: Pin<Box<dyn Future<Output = Decided> + Send>>, inner: S) -> Self {
        Self {
            state: State::Undecided { deciding, inner },
        }
    }

    pub(super) const fn refused(problem: Problem) -> Self {
        Self {
            state: State::Refused { problem: Some(problem) },
        }
    }
}

impl<S> Future for Decision<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let serving = match state.as_mut().project() {
                StateProjection::Serving { serving } => return serving.poll(context),
                StateProjection::Refused { problem } => {
                    // A future is not polled again after its answer; if it is, it has none.
                    return problem
                        .take()
                        .map_or(Poll::Pending, |problem| Poll::Ready(Ok(problem.into_answer())));
                }
                StateProjection::Undecided { deciding, inner } => match ready!(deciding.as_mut().poll(context)) {
                    Decided::Answered(response) => return Poll::Ready(Ok(response)),
                    Decided::PassedOn(request) => inner.call(request),
                },
            };
            state.set(State::Serving { serving });
        }
    }
}
