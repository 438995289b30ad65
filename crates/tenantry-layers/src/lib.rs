//! Tower layers for services that serve many tenants: whose request is it, is it within that tenant's limits, and what does
//! the tenant use?
//!
//! | layer | what it does | refuses with |
//! |---|---|---|
//! | [`IdentifyLayer`] | reads the tenant's name from the host or a header: a [`TenantHint`] | 400 |
//! | [`ResolveLayer`] | finds the [`Tenant`] of that name in a [`Directory`] of yours | 404 |
//! | [`ObserveLayer`] | measures each request to the end of its answer: [`meter`] | |
//! | [`AdmitLayer`] | keeps the tenant within its limits: [`quota`] | 429, 503 |
//!
//! In this order from outside to inside, so that refusals are measured, too, and cost neither a charge nor a look at the
//! body. The layers take any request and response body and any error, and so go around a tower, hyper or axum service:
//! see `examples/ten_lines_of_axum.rs`. Instead of [`Tenant`] they take any type of yours that is a [`KnownTenant`] and is
//! in the request's extensions.
//!
//! Counters are exact because one process counts a tenant's requests; where several do, each has limits of its own. They
//! survive restarts in one small file for each tenant ([`quota::ledger`]). Whoever runs the layers should call
//! [`quota::QuotaRegistry::forget_idle`] from time to time and [`quota::QuotaRegistry::close_all`] at the end.
//!
//! Must not know databases, protocols, nodes or the control plane.

mod admit;
pub mod clock;
mod identify;
pub mod meter;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
mod mutants;
mod observe;
mod problem;
pub mod quota;
mod refusable;
mod resolve;
mod slot_ring;
mod tenant;
mod tenant_map;
#[cfg(test)]
mod test_body;

pub use admit::{Admit, AdmitFuture, AdmitLayer, AdmittedBody, QuotaEvent};
pub use identify::{Identify, IdentifyLayer, TENANT_HEADER, TenantHint};
pub use observe::{Observe, ObserveFuture, ObserveLayer, ObservedBody};
pub use problem::{OfAStranger, PROBLEM_TYPE, Problem};
pub use refusable::{BoxError, Refusable, RefusableFuture};
pub use resolve::{Directory, Resolve, ResolveLayer};
pub use tenant::{KnownTenant, Tenant};
pub use tenant_map::TenantMap;
pub use tenantry_types::{Burst, DomainName, EffectiveQuota, QuotaKind, TenantName, TenantUid, UnixMillis};
