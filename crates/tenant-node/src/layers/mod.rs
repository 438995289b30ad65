//! The steps of a request that only a node knows, one tower layer a file: `ingress`, `catch_up`, `authenticate`, `route`. Those that any
//! service with tenants could use are in the crate `tenantry-layers`; `http::router` has them all in their order.

mod authenticate;
mod catch_up;
mod context;
mod decision;
mod destination;
mod first_word;
mod forward;
mod held_refusals;
mod ingress;
#[cfg(test)]
mod passenger_tests;
mod peer_headers;
pub(crate) mod peer_protocol;
mod peers;
mod route;
mod token;
mod token_cache;
mod upload;

pub use authenticate::{Authenticate, AuthenticateLayer, Authentication};
pub use catch_up::{CatchUp, CatchUpLayer};
pub use context::{Access, TenantContext};
pub use decision::Decision;
pub use forward::Forwarder;
pub use ingress::{Believe, Forwarded, Ingress, IngressLayer};
pub use route::{Route, RouteLayer};
