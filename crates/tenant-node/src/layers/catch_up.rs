//! Before a forwarded request's token is judged: has this node heard of the placement that the other one acted on?
//!
//! A table that is behind may lack the tenant, and a token for what it lacks would look like a wrong one. So it is asked to be
//! refreshed, and the request waits for it, for at most [`HOLD`]. What a node says of a request lets nobody in: what is served is
//! decided below, by our own table alone. Must not wait for requests of clients, which say nothing of tables.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use tenantry_layers::TenantHint;
use tenantry_types::Epoch;
use tower::{Layer, Service};

use super::decision::{Decided, Decision};
use super::destination::{known_epoch, not_the_owner};
use super::ingress::Forwarded;
use crate::http::body::Body;
use crate::http::problem::IntoAnswer as _;
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
    type Future = Decision<S>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Decision<S> {
        match request.extensions().get::<Forwarded>().copied() {
            Some(forwarded) if self.is_behind(forwarded) => {
                let waiting = caught_up(self.table.clone(), request, forwarded);
                Decision::undecided(Box::pin(waiting), self.inner.clone())
            }
            _ => Decision::served(self.inner.call(request)),
        }
    }
}

impl<S> CatchUp<S> {
    fn is_behind(&self, forwarded: Forwarded) -> bool {
        known_epoch(&self.table.current(), &TenantHint::Uid(forwarded.tenant)) < Some(forwarded.epoch)
    }
}

/// Passed on, once the table knows what it was forwarded for.
async fn caught_up(table: SharedRoutingTable, request: Request<Body>, forwarded: Forwarded) -> Decided {
    let hint = TenantHint::Uid(forwarded.tenant);
    let table = settled(&table, &hint, forwarded.epoch).await;
    let known = known_epoch(&table, &hint);
    match known < Some(forwarded.epoch) {
        true => Decided::Answered(not_the_owner(known).into_answer()),
        false => Decided::PassedOn(request),
    }
}
