//! Resource names of the protocol: written for requests, shortened for people.

use tenantry_types::{NodeId, TenantName, TenantUid, WebhookName};

pub(crate) fn tenant(name: &TenantName) -> String {
    format!("tenants/{name}")
}

pub(crate) fn tenant_by_uid(uid: TenantUid) -> String {
    format!("tenants/-/uids/{uid}")
}

pub(crate) fn node(id: &NodeId) -> String {
    format!("nodes/{id}")
}

pub(crate) fn webhook(name: &WebhookName) -> String {
    format!("webhooks/{name}")
}

/// The part that people type: `tenants/acme` is `acme`.
pub(crate) fn short(name: &str) -> &str {
    name.split_once('/').map_or(name, |(_, id)| id)
}
