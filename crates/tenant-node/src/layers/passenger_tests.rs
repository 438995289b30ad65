//! On whose account a connection's turns are: the tenant's of its last request, if the caller may speak for it.

use std::convert::Infallible;
use std::sync::Arc;

use http::header::AUTHORIZATION;
use http::{Request, Response};
use mutual_tls::Security;
use serde_json::json;
use tenantry_layers::IdentifyLayer;
use tenantry_layers::clock::ManualClock;
use tenantry_types::{NodeId, NodeRoute, Revision, TenantUid};
use tower::{ServiceBuilder, ServiceExt as _, service_fn};

use super::token::tests::{key, signed};
use super::{AuthenticateLayer, Authentication, Forwarder, RouteLayer};
use crate::http::body::{Body, empty};
use crate::http::lanes::Lanes;
use crate::placement::table_tests::route;
use crate::placement::{RoutingTable, SharedRoutingTable};

#[tokio::test]
async fn nobody_is_charged_for_requests_of_callers_that_may_not_speak_for_it() {
    let mut table = RoutingTable::default();
    table.revision = Revision(1);
    table.put_tenant(route(1, "acme", "node-1"));
    table.put_tenant(route(2, "elsewhere", "node-2"));
    table.put_node(NodeRoute {
        id: NodeId::new("node-2").unwrap(),
        peer_address: "127.0.0.1:1".into(),
    });
    table.set_token_keys(vec![key(1)]);
    let table = SharedRoutingTable::new(table);
    let inner = service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(empty())));
    let clock = Arc::new(ManualClock::at(10_000_000));
    let stack = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(crate::http::body::boxed))
        .layer(IdentifyLayer::new("localhost"))
        .layer(AuthenticateLayer::new(Authentication::Required, table.clone(), clock))
        .layer(RouteLayer::new(
            NodeId::new("node-1").unwrap(),
            table,
            Forwarder::new(Security::Plain),
        ))
        .service(inner);
    let (lanes, _workers) = Lanes::start().unwrap();
    let passenger = lanes.passenger().unwrap();
    let token_of = |uid: u128| {
        let subject = TenantUid::from_u128(uid).to_string();
        format!(
            "Bearer {}",
            signed(1, &json!({"sub": subject, "scope": "full", "exp": 20_000, "gen": 0}))
        )
    };
    // One connection, as that of a proxy: its requests are of many.
    for (host, token, status, tenant) in [
        ("acme.localhost", None, 401, None),
        ("acme.localhost", Some(token_of(1)), 200, Some(1)),
        ("acme.localhost", None, 401, None),
        ("acme.localhost", Some(token_of(2)), 403, None),
        ("elsewhere.localhost", Some(token_of(2)), 503, Some(2)),
        ("nobody.localhost", Some(token_of(1)), 403, None),
    ] {
        passenger.begin_request();
        let mut request = Request::get("/v2").header("host", host);
        if let Some(token) = &token {
            request = request.header(AUTHORIZATION, token);
        }
        let mut request = request.body(empty()).unwrap();
        request.extensions_mut().insert(passenger.clone());
        let answer = stack.clone().oneshot(request).await.unwrap();
        assert_eq!(answer.status(), status, "{host} {token:?}");
        assert_eq!(passenger.tenant(), tenant.map(TenantUid::from_u128), "{host} {token:?}");
    }
}
