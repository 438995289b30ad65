//! Which listener a request came in by, and what that listener's requests are believed.

use tenantry_types::{Epoch, TenantUid};

/// Put into a request's extensions by the connection that it arrived on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ingress {
    /// From a client. Its headers say nothing about routing.
    Public,
    /// From another node, which has identified the tenant and must not be forwarded to again.
    Peer,
}

/// What a forwarding node says of a request; believed on [`Ingress::Peer`] only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Forwarded {
    /// Whom the request is for.
    pub tenant: TenantUid,
    /// The placement that the forwarding node acted on.
    pub epoch: Epoch,
}
