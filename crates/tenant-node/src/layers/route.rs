//! Step 3: who serves this tenant? We do: on to the next step. Another node: forwarded to it, once.
//!
//! Must not wait for the control plane: the table in memory is all there is.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::future::{Either, Ready, ready};
use http::{Request, Response, StatusCode};
use tenantry_types::{Epoch, NodeId, NodeRoute, TenantRoute};
use tower::{Layer, Service};

use super::context::{Access, TenantContext};
use super::forward::Forwarder;
use super::identify::TenantHint;
use super::ingress::Forwarded;
use crate::http::body::Body;
use crate::http::problem::Problem;
use crate::placement::{RoutingTable, SharedRoutingTable};

/// Seconds that a client is asked to wait for something that the control plane usually settles within a second or two.
const RETRY_SECONDS: u64 = 1;

/// The tenant that a request names, if the table has it.
pub(super) fn resolve<'table>(table: &'table RoutingTable, hint: &TenantHint) -> Option<&'table Arc<TenantRoute>> {
    match hint {
        TenantHint::Name(name) => table.by_name(name),
        TenantHint::Domain(domain) => table.by_domain(domain),
        TenantHint::Forwarded(forwarded) => table.tenant(forwarded.tenant),
    }
}

/// Where a request goes.
#[derive(Debug)]
enum Destination {
    /// This node serves the tenant.
    Here { route: Arc<TenantRoute>, epoch: Epoch },
    /// Another node does.
    Node { node: NodeRoute, forwarded: Forwarded },
    /// Nobody can.
    Refused(Problem),
}

fn destination(table: &RoutingTable, this_node: &NodeId, hint: &TenantHint) -> Destination {
    let Some(route) = resolve(table, hint) else {
        return Destination::Refused(match (hint, table.is_empty()) {
            (TenantHint::Forwarded(_), _) => not_the_owner("does not know this tenant"),
            (_, true) => Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "routing-table-missing",
                "this node has just started and has not learnt yet who serves whom",
            )
            .retry_after(RETRY_SECONDS),
            (_, false) => Problem::new(StatusCode::NOT_FOUND, "tenant-unknown", "there is no such tenant"),
        });
    };
    let Some(placement) = &route.placement else {
        let detail = "no node has room for this tenant yet";
        return Destination::Refused(
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, "tenant-not-placed", detail).retry_after(RETRY_SECONDS),
        );
    };
    if let TenantHint::Forwarded(forwarded) = hint {
        // A forwarded request is never forwarded again, and both sides must mean the same placement.
        if placement.node != *this_node || placement.epoch != forwarded.epoch {
            return Destination::Refused(not_the_owner("serves this tenant no longer, or not yet, at that epoch"));
        }
    }
    if placement.node == *this_node {
        return Destination::Here {
            route: Arc::clone(route),
            epoch: placement.epoch,
        };
    }
    match table.node(&placement.node) {
        Some(node) => Destination::Node {
            node: node.clone(),
            forwarded: Forwarded {
                tenant: route.uid,
                epoch: placement.epoch,
            },
        },
        None => Destination::Refused(
            Problem::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "owner-unknown",
                "the serving node's address is not known yet",
            )
            .retry_after(RETRY_SECONDS),
        ),
    }
}

/// 421: the forwarding node turns it into a 503 for its client, since only the placement is in motion.
fn not_the_owner(what: &str) -> Problem {
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "not-the-owner",
        format!("this node {what}"),
    )
}

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

type Forwarding = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

impl<S> Service<Request<Body>> for Route<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Either<Forwarding, Ready<Result<Response<Body>, Infallible>>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let refuse = |problem: Problem| Either::Right(Either::Right(ready(Ok(problem.into_response()))));
        let Some(hint) = request.extensions().get::<TenantHint>() else {
            return refuse(Problem::new(
                StatusCode::BAD_REQUEST,
                "tenant-not-named",
                "the request names no tenant",
            ));
        };
        let table = self.settings.table.current();
        match destination(&table, &self.settings.this_node, hint) {
            Destination::Here { route, epoch } => {
                let access = request
                    .extensions()
                    .get::<Access>()
                    .copied()
                    .unwrap_or(Access::ReadOnly);
                let (uid, name, quota) = (route.uid, route.name.clone(), route.quota);
                let weight = table.weight(route.tier);
                request.extensions_mut().insert(TenantContext {
                    uid,
                    name,
                    epoch,
                    weight,
                    quota,
                    access,
                });
                Either::Left(self.inner.call(request))
            }
            Destination::Node { node, forwarded } => {
                let forwarder = self.settings.forwarder.clone();
                let forwarding = async move { Ok(forwarder.forward(request, &node, forwarded).await) };
                Either::Right(Either::Left(Box::pin(forwarding)))
            }
            Destination::Refused(problem) => refuse(problem),
        }
    }
}

#[cfg(test)]
mod tests {
    use tenantry_types::{Revision, TenantName, TenantUid};

    use super::*;
    use crate::placement::table_tests::route;

    fn table() -> RoutingTable {
        let mut table = RoutingTable::default();
        table.revision = Revision(5);
        table.put_tenant(route(1, "here", "node-1"));
        table.put_tenant(route(2, "there", "node-2"));
        table.put_tenant(route(3, "lost", "node-3"));
        table.put_tenant(TenantRoute {
            placement: None,
            ..route(4, "nowhere", "node-1")
        });
        table.put_node(NodeRoute {
            id: NodeId::new("node-2").unwrap(),
            peer_address: "127.0.0.1:1".into(),
        });
        table
    }

    fn outcome(table: &RoutingTable, hint: &TenantHint) -> String {
        match destination(table, &NodeId::new("node-1").unwrap(), hint) {
            Destination::Here { route, .. } => format!("here {}", route.name),
            Destination::Node { node, forwarded } => format!("{} {}", node.id, forwarded.tenant.as_u128()),
            Destination::Refused(problem) => format!("{} {}", problem.status().as_u16(), problem.kind()),
        }
    }

    #[test]
    fn a_named_tenant_is_served_forwarded_or_refused() {
        let named = |name| outcome(&table(), &TenantHint::Name(TenantName::new(name).unwrap()));
        assert_eq!(named("here"), "here here");
        assert_eq!(named("there"), "node-2 2");
        assert_eq!(named("lost"), "503 owner-unknown");
        assert_eq!(named("nowhere"), "503 tenant-not-placed");
        assert_eq!(named("never"), "404 tenant-unknown");
        let empty = RoutingTable::default();
        assert_eq!(
            outcome(&empty, &TenantHint::Name(TenantName::new("here").unwrap())),
            "503 routing-table-missing"
        );
    }

    #[test]
    fn a_forwarded_request_is_served_here_at_its_epoch_or_not_at_all() {
        let forwarded = |tenant, epoch| {
            let forwarded = Forwarded {
                tenant: TenantUid::from_u128(tenant),
                epoch: Epoch(epoch),
            };
            outcome(&table(), &TenantHint::Forwarded(forwarded))
        };
        assert_eq!(forwarded(1, 1), "here here");
        assert_eq!(forwarded(1, 2), "421 not-the-owner");
        assert_eq!(forwarded(2, 1), "421 not-the-owner");
        assert_eq!(forwarded(9, 1), "421 not-the-owner");
    }
}
