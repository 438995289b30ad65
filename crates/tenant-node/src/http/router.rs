//! The request stack, top to bottom as a request meets it.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Method, Request, Response, Uri};
use mutual_tls::Security;
use tenantry_layers::clock::Clock;
use tenantry_layers::quota::Charge;
use tenantry_layers::{AdmitLayer, IdentifyLayer, ObserveLayer, QuotaEvent};
use tenantry_types::NodeId;
use tokio::sync::mpsc;
use tower::util::BoxCloneService;
use tower::{Service, ServiceBuilder, ServiceExt as _};

use super::body::Body;
use super::browsers::cross_origin;
use super::compression::compression;
use super::probes::ProbesLayer;
use super::refusals::RefusalsLayer;
use super::tenant_service::TenantService;
use crate::hrana::HranaService;
use crate::layers::{
    AuthenticateLayer, Authentication, CatchUpLayer, Forwarder, Ingress, IngressLayer, RouteLayer, TenantContext,
};
use crate::usage::UsageReader;

/// What the stack is built from.
pub struct StackParts {
    /// This node.
    pub node: NodeId,
    /// Tenants live at `TENANT.host_suffix`.
    pub host_suffix: String,
    /// Whether callers must prove who they are.
    pub authentication: Authentication,
    /// How the other nodes are reached.
    pub security: Security,
    /// Figures, quotas, routes and time.
    pub reader: UsageReader,
    /// What answers say of the limits.
    pub rate_limit_fields: RateLimitFields,
    /// Crossed quotas.
    pub crossings: mpsc::Sender<QuotaEvent>,
    /// The database protocol.
    pub hrana: HranaService,
}

/// Which fields answers carry beside the draft's `RateLimit-Policy` and `RateLimit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RateLimitFields {
    /// None.
    Draft,
    /// `X-RateLimit-Limit`, `-Remaining` and `-Reset`, for clients that know nothing else.
    DraftAndLegacy,
}

/// Which requests count: all but questions about the tenant's own use, and CORS preflights.
fn charge_of(method: &Method, uri: &Uri) -> Charge {
    match (method, uri.path()) {
        (&Method::OPTIONS, _) | (&Method::GET | &Method::HEAD, "/v1/usage") => Charge::Free,
        _ => Charge::Counted,
    }
}

/// The whole stack. Always ready, never fails: every refusal is an answer.
pub type Stack = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// Builds it. Both listeners share it: what a request is believed depends on its ingress.
#[must_use]
pub fn stack(parts: StackParts) -> Stack {
    let service = TenantService::new(parts.hrana.clone(), parts.reader.clone());
    layers(parts, service)
}

/// All layers around `inner`, which takes the place of the database protocol: what they cost can be measured without it.
pub fn layers<S>(parts: StackParts, inner: S) -> Stack
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let StackParts {
        node,
        host_suffix,
        authentication,
        security,
        reader,
        rate_limit_fields,
        crossings,
        hrana: _,
    } = parts;
    let table = reader.table.clone();
    let (meters, quotas) = (Arc::clone(&reader.meters), Arc::clone(&reader.quotas));
    let clock: Arc<dyn Clock> = Arc::clone(&reader.clock);
    let admit = AdmitLayer::<TenantContext>::new(quotas, Arc::clone(&clock))
        .charging(charge_of)
        // The node that forwarded it holds refusals back.
        .leaving_holding_of(|extensions| extensions.get() == Some(&Ingress::Peer))
        .telling(crossings);
    let admit = match rate_limit_fields {
        RateLimitFields::Draft => admit,
        RateLimitFields::DraftAndLegacy => admit.with_legacy_fields(),
    };
    ServiceBuilder::new()
        // Outermost, since refusals come from everywhere below, the owner of a forwarded request included.
        .layer(RefusalsLayer)
        // Above all that asks who it is: a browser asks without a token whether it may call, and must be able to read every refusal. What is
        // answered here is nobody's request yet, and neither measured nor charged.
        .layer(cross_origin())
        // Outside of the measuring: how long a client takes for its answer counts, in whatever form it goes. Of a forwarded
        // answer, the owner has compressed it already, and it passes as it is.
        .layer(compression())
        // What another node says of a request is believed, what a client says as one is not. 400.
        .layer(IngressLayer)
        // Whose request is it? 400.
        .map_response(|response: Response<_>| response.map(super::body::boxed))
        .layer(IdentifyLayer::new(&host_suffix))
        // Is it a question that has one answer for all? Above all that asks for a token, since SDKs ask it without one.
        .layer(ProbesLayer)
        // Does the node that sent it know more than we? Then we wait for our table, before it is held against the caller. 421.
        .layer(CatchUpLayer::new(table.clone()))
        // May the caller speak for that tenant? 401, 403, and 503 as long as we know nothing. Before routing, so that strangers cost no
        // forwarding.
        .layer(AuthenticateLayer::new(
            authentication,
            table.clone(),
            Arc::clone(&clock),
        ))
        // Here, elsewhere, or nowhere? 404, 503. What is forwarded is measured and charged by the owner alone.
        .layer(RouteLayer::new(node, table, Forwarder::new(security)))
        .map_response(|response: Response<_>| response.map(super::body::boxed))
        // Around everything below, so that refusals count, too.
        .layer(ObserveLayer::<TenantContext>::new(meters))
        // Within the quotas? 429. Before a database is opened and a body is read.
        .layer(admit)
        .service(inner)
        .boxed_clone()
}
