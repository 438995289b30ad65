//! The steps of a request, one tower layer a file, in the order in which a request meets them.

mod admit;
mod authenticate;
mod context;
mod destination;
mod first_word;
mod forward;
mod identify;
mod ingress;
mod observe;
mod peer_headers;
pub(crate) mod peer_protocol;
mod peers;
mod route;
mod token;
mod token_cache;
mod upload;

pub use admit::{Admit, AdmitFuture, AdmitLayer, AdmittedBody, QuotaEvent};
pub use authenticate::{Authenticate, AuthenticateLayer, Authentication};
pub use context::{Access, TenantContext};
pub use forward::Forwarder;
pub use identify::{Identify, IdentifyLayer, TENANT_HEADER, TenantHint};
pub use ingress::{Forwarded, Ingress};
pub use observe::{Observe, ObserveFuture, ObserveLayer, ObservedBody};
pub use route::{Route, RouteFuture, RouteLayer};
