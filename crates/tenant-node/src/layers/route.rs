//! Step 3: who serves this tenant? We do: on to the next step. Another node: forwarded to it, once.
//!
//! Must not wait for the control plane: the table in memory is all there is. Two nodes' tables may differ for a moment, and
//! either can be the one behind. The epoch tells which: that node asks for its table to be refreshed, and holds the request
//! for a moment, once a node (`catch_up`). A request that came from a node is never forwarded again.

use std::convert::Infallible;
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use tenantry_layers::TenantHint;
use tenantry_types::{Epoch, NodeId, NodeRoute, TenantRoute};
use tower::{Layer, Service};

use super::catch_up::settled;
use super::context::{Access, TenantContext};
use super::decision::{Decided, Decision};
pub(super) use super::destination::resolve;
use super::destination::{Destination, destination, placement_changing};
use super::forward::{Forwarder, Forwarding};
use super::ingress::Forwarded;
use crate::http::body::Body;
use crate::http::lanes::Passenger;
use crate::http::problem::{IntoAnswer as _, Problem};
use crate::placement::{RoutingTable, SharedRoutingTable};

/// Adds [`Route`].
#[derive(Debug, Clone)]
pub struct RouteLayer {
    this_node: NodeId,
    table: SharedRoutingTable,
    forwarder: Forwarder,
}

impl RouteLayer {
    /// Routes by `table`; `this_node` is served here.
    #[must_use]
    pub const fn new(this_node: NodeId, table: SharedRoutingTable, forwarder: Forwarder) -> Self {
        Self {
            this_node,
            table,
            forwarder,
        }
    }
}

impl<S> Layer<S> for RouteLayer {
    type Service = Route<S>;

    fn layer(&self, inner: S) -> Route<S> {
        Route {
            settings: self.clone(),
            inner,
        }
    }
}

/// Passes on requests for tenants of this node with a [`TenantContext`]; forwards or refuses the others.
#[derive(Debug, Clone)]
pub struct Route<S> {
    settings: RouteLayer,
    inner: S,
}

impl<S> Service<Request<Body>> for Route<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Decision<S>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Decision<S> {
        let Some(hint) = request.extensions().get::<TenantHint>() else {
            return Decision::refused(Problem::new(
                StatusCode::BAD_REQUEST,
                "tenant-not-named",
                "the request names no tenant",
            ));
        };
        let table = self.settings.table.current();
        let forwarded = request.extensions().get::<Forwarded>().copied();
        match destination(&table, &self.settings.this_node, hint, forwarded) {
            Destination::Here { route, epoch } => {
                Passenger::note(request.extensions(), route.uid);
                served_here(&mut request, &table, &route, epoch);
                Decision::served(self.inner.call(request))
            }
            Destination::Node { node, forwarded } => {
                Passenger::note(request.extensions(), forwarded.tenant);
                let forwarding = self.settings.clone().forward(request, node, forwarded);
                Decision::undecided(Box::pin(forwarding), self.inner.clone())
            }
            Destination::Refused(problem) => Decision::refused(problem),
        }
    }
}

impl RouteLayer {
    /// Served by another node, or, should that one know better, by whom it knows.
    async fn forward(self, request: Request<Body>, node: NodeRoute, forwarded: Forwarded) -> Decided {
        let (again, known) = match self.forwarder.forward(request, &node, forwarded).await {
            Forwarding::Answered(response) => return Decided::Answered(response),
            Forwarding::Misdirected { again, known } => (again, known),
        };
        let settling = || Decided::Answered(placement_changing().into_answer());
        // Where the other node is the one behind, it has held the request already.
        let next_epoch = known.filter(|known| *known > forwarded.epoch);
        let (Some(mut request), Some(next_epoch)) = (again, next_epoch) else {
            return settling();
        };
        let Some(hint) = request.extensions().get::<TenantHint>().cloned() else {
            return settling();
        };
        let table = settled(&self.table, &hint, next_epoch).await;
        // Only what came from a client is forwarded.
        match destination(&table, &self.this_node, &hint, None) {
            Destination::Here { route, epoch } if epoch > forwarded.epoch => {
                served_here(&mut request, &table, &route, epoch);
                Decided::PassedOn(request)
            }
            Destination::Node { node, forwarded: next } if next.epoch > forwarded.epoch => {
                match self.forwarder.forward(request, &node, next).await {
                    Forwarding::Answered(response) => Decided::Answered(response),
                    Forwarding::Misdirected { .. } => settling(),
                }
            }
            Destination::Here { .. } | Destination::Node { .. } => settling(),
            Destination::Refused(problem) => Decided::Answered(problem.into_answer()),
        }
    }
}

/// Tells the layers below whom they serve, instead of what the layers above said.
fn served_here(request: &mut Request<Body>, table: &RoutingTable, route: &TenantRoute, epoch: Epoch) {
    let extensions = request.extensions_mut();
    extensions.remove::<TenantHint>();
    let access = extensions.remove::<Access>();
    extensions.insert(TenantContext {
        uid: route.uid,
        name: route.name.clone(),
        epoch,
        weight: table.weight(route.tier),
        quota: route.quota,
        access: access.unwrap_or(Access::ReadOnly),
    });
}
