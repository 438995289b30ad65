//! Before a forwarded request's token is judged: has this node heard of the placement that the other one acted on?
//!
//! A table that is behind may lack the tenant, and a token for what it lacks would look like a wrong one. So it is asked to be
//! refreshed, and the request waits for it, for at most [`HOLD`]. What a node says of a request lets nobody in: what is served is
//! decided below, by our own table alone. Must not wait for requests of clients, which say nothing of tables.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Request, Response};
use pin_project_lite::pin_project;
use tenantry_layers::TenantHint;
use tenantry_types::Epoch;
use tower::{Layer, Service};

use super::destination::{known_epoch, not_the_owner};
use super::ingress::Forwarded;
use crate::http::body::Body;
use crate::http::problem::{IntoAnswer as _, Problem};
use crate::placement::{RoutingTable, SharedRoutingTable};

/// How long a request waits for a table that is behind. A change is usually everywhere within a tenth of that.
const HOLD: Duration = Duration::from_millis(500);

/// The table as soon as it has the tenant at `at_least`, else the one after [`HOLD`].
pub(super) async fn settled(table: &SharedRoutingTable, hint: &TenantHint, at_least: Epoch) -> Arc<RoutingTable> {
    table.ask_for_refresh();
    let caught_up = table.wait_for(|table| known_epoch(table, hint) >= Some(at_least));
    match tokio::time::timeout(HOLD, caught_up).await {
        Ok(caught_up) => caught_up,
        Err(_) => table.current(),
    }
}

/// Adds [`CatchUp`].
#[derive(Debug, Clone)]
pub struct CatchUpLayer {
    table: SharedRoutingTable,
}

impl CatchUpLayer {
    /// Waits for `table`.
    #[must_use]
    pub const fn new(table: SharedRoutingTable) -> Self {
        Self { table }
    }
}

impl<S> Layer<S> for CatchUpLayer {
    type Service = CatchUp<S>;

    fn layer(&self, inner: S) -> CatchUp<S> {
        CatchUp {
            table: self.table.clone(),
            inner,
        }
    }
}

/// Holds a node's request until our table knows the placement that it names, and answers 421 if that does not come.
#[derive(Debug, Clone)]
pub struct CatchUp<S> {
    table: SharedRoutingTable,
    inner: S,
}

impl<S> Service<Request<Body>> for CatchUp<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = CatchUpFuture<S>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> CatchUpFuture<S> {
        match request.extensions().get::<Forwarded>().copied() {
            Some(forwarded) if self.is_behind(forwarded) => CatchUpFuture {
                state: State::Waiting {
                    waiting: Box::pin(caught_up(self.table.clone(), request, forwarded)),
                    inner: self.inner.clone(),
                },
            },
            _ => CatchUpFuture {
                state: State::Serving {
                    serving: self.inner.call(request),
                },
            },
        }
    }
}

impl<S> CatchUp<S> {
    fn is_behind(&self, forwarded: Forwarded) -> bool {
        known_epoch(&self.table.current(), &TenantHint::Uid(forwarded.tenant)) < Some(forwarded.epoch)
    }
}

/// The request, once the table knows what it was forwarded for.
async fn caught_up(
    table: SharedRoutingTable,
    request: Request<Body>,
    forwarded: Forwarded,
) -> Result<Request<Body>, Problem> {
    let hint = TenantHint::Uid(forwarded.tenant);
    let table = settled(&table, &hint, forwarded.epoch).await;
    let known = known_epoch(&table, &hint);
    match known < Some(forwarded.epoch) {
        true => Err(not_the_owner(known)),
        false => Ok(request),
    }
}

pin_project! {
    /// The answer to one request.
    pub struct CatchUpFuture<S>
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
        // Gives the request back, for the layers below.
        Waiting {
            waiting: Pin<Box<dyn Future<Output = Result<Request<Body>, Problem>> + Send>>,
            inner: S,
        },
    }
}

impl<S> Future for CatchUpFuture<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Output = Result<Response<Body>, Infallible>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let serving = match state.as_mut().project() {
                StateProjection::Serving { serving } => return serving.poll(context),
                StateProjection::Waiting { waiting, inner } => match ready!(waiting.as_mut().poll(context)) {
                    // The layers of the stack are always ready.
                    Ok(request) => inner.call(request),
                    Err(problem) => return Poll::Ready(Ok(problem.into_answer())),
                },
            };
            state.set(State::Serving { serving });
        }
    }
}
