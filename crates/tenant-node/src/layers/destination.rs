//! Where a request goes, told from a routing table alone. Pure.
//!
//! Must not wait, nor ask anybody: who does is `route`.

use std::sync::Arc;

use http::StatusCode;
use tenantry_layers::TenantHint;
use tenantry_types::{Epoch, NodeId, NodeRoute, TenantRoute};

use super::ingress::Forwarded;
use super::peer_headers;
use crate::http::problem::Problem;
use crate::placement::RoutingTable;

/// Seconds that a client is asked to wait for something that the control plane usually settles within a second or two.
const RETRY_SECONDS: u64 = 1;

/// The tenant that a request names, if the table has it.
pub(super) fn resolve<'table>(table: &'table RoutingTable, hint: &TenantHint) -> Option<&'table Arc<TenantRoute>> {
    match hint {
        TenantHint::Name(name) => table.by_name(name),
        TenantHint::Domain(domain) => table.by_domain(domain),
        TenantHint::Uid(uid) => table.tenant(*uid),
    }
}

/// Where a request goes.
#[derive(Debug)]
pub(super) enum Destination {
    /// This node serves the tenant.
    Here { route: Arc<TenantRoute>, epoch: Epoch },
    /// Another node does.
    Node { node: NodeRoute, forwarded: Forwarded },
    /// Nobody can.
    Refused(Problem),
}

/// `forwarded` is what the node said that sent the request, if one did.
pub(super) fn destination(
    table: &RoutingTable,
    this_node: &NodeId,
    hint: &TenantHint,
    forwarded: Option<Forwarded>,
) -> Destination {
    if let Some(forwarded) = forwarded {
        return forwarded_destination(table, this_node, forwarded);
    }
    let Some(route) = resolve(table, hint) else {
        return Destination::Refused(match table.is_empty() {
            true => routing_table_missing(),
            false => Problem::new(StatusCode::NOT_FOUND, "tenant-unknown", "there is no such tenant").of_a_stranger(),
        });
    };
    let Some(placement) = &route.placement else {
        return Destination::Refused(unsettled("tenant-not-placed", "no node has room for this tenant yet"));
    };
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
        None => Destination::Refused(unsettled(
            "owner-unknown",
            "the serving node's address is not known yet",
        )),
    }
}

/// A forwarded request is never forwarded again, and both sides must mean the same placement.
fn forwarded_destination(table: &RoutingTable, this_node: &NodeId, forwarded: Forwarded) -> Destination {
    let route = table.tenant(forwarded.tenant);
    let placement = route.and_then(|route| Some((route, route.placement.as_ref()?)));
    match placement {
        Some((route, placement)) if placement.node == *this_node && placement.epoch == forwarded.epoch => {
            Destination::Here {
                route: Arc::clone(route),
                epoch: placement.epoch,
            }
        }
        known => Destination::Refused(not_the_owner(known.map(|(_, placement)| placement.epoch))),
    }
}

/// The epoch at which a table has a tenant placed.
pub(super) fn known_epoch(table: &RoutingTable, hint: &TenantHint) -> Option<Epoch> {
    Some(resolve(table, hint)?.placement.as_ref()?.epoch)
}

/// 503: whatever the request is, nothing is known that could answer it.
pub(super) fn routing_table_missing() -> Problem {
    unsettled(
        "routing-table-missing",
        "this node has just started and has not learnt yet who serves whom",
    )
}

/// A 503 for what the control plane is about to settle.
pub(super) fn unsettled(kind: &'static str, detail: &str) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, kind, detail).retry_after(RETRY_SECONDS)
}

/// 421: the forwarding node turns it into a 503 for its client, since only the placement is in motion.
pub(super) fn not_the_owner(known: Option<Epoch>) -> Problem {
    let detail = "this node does not serve this tenant at that epoch";
    peer_headers::with_known_epoch(
        Problem::new(StatusCode::MISDIRECTED_REQUEST, "not-the-owner", detail),
        known,
    )
}

pub(super) fn placement_changing() -> Problem {
    unsettled("placement-changing", "the tenant is just changing its node; try again")
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

    fn outcome(table: &RoutingTable, hint: &TenantHint, forwarded: Option<Forwarded>) -> String {
        match destination(table, &NodeId::new("node-1").unwrap(), hint, forwarded) {
            Destination::Here { route, .. } => format!("here {}", route.name),
            Destination::Node { node, forwarded } => format!("{} {}", node.id, forwarded.tenant.as_u128()),
            Destination::Refused(problem) => format!("{} {}", problem.status().as_u16(), problem.kind()),
        }
    }

    #[test]
    fn a_named_tenant_is_served_forwarded_or_refused() {
        let named = |name| outcome(&table(), &TenantHint::Name(TenantName::new(name).unwrap()), None);
        assert_eq!(named("here"), "here here");
        assert_eq!(named("there"), "node-2 2");
        assert_eq!(named("lost"), "503 owner-unknown");
        assert_eq!(named("nowhere"), "503 tenant-not-placed");
        assert_eq!(named("never"), "404 tenant-unknown");
        let empty = RoutingTable::default();
        assert_eq!(
            outcome(&empty, &TenantHint::Name(TenantName::new("here").unwrap()), None),
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
            outcome(&table(), &TenantHint::Uid(forwarded.tenant), Some(forwarded))
        };
        assert_eq!(forwarded(1, 1), "here here");
        assert_eq!(forwarded(1, 2), "421 not-the-owner");
        assert_eq!(forwarded(2, 1), "421 not-the-owner");
        assert_eq!(forwarded(9, 1), "421 not-the-owner");
    }
}
