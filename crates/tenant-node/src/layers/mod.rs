//! The steps of a request, one tower layer a file, in the order in which a request meets them.

mod context;

pub use context::{Access, TenantContext};
