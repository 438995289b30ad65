//! The steps of a request, one tower layer a file, in the order in which a request meets them.

mod admit;
mod context;
mod observe;

pub use admit::{Admit, AdmitFuture, AdmitLayer, AdmittedBody, QuotaEvent};
pub use context::{Access, TenantContext};
pub use observe::{Observe, ObserveFuture, ObserveLayer, ObservedBody};
