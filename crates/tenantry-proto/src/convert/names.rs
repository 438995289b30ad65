//! Resource names: `tenants/NAME`, `tenants/-/uids/UID`, `nodes/ID`, `webhooks/NAME`.

use tenantry_types::{NodeId, TenantName, TenantUid, WebhookName};

use super::InvalidField;
use super::field::read;

/// How a caller names a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TenantRef {
    /// `tenants/NAME`: the active tenant of that name.
    Name(TenantName),
    /// `tenants/-/uids/UID`: that one, deleted or not.
    Uid(TenantUid),
}

/// `tenants/NAME`.
#[must_use]
pub fn tenant(name: &TenantName) -> String {
    format!("tenants/{name}")
}

/// `tenants/-/uids/UID`.
#[must_use]
pub fn tenant_uid(uid: TenantUid) -> String {
    format!("tenants/-/uids/{uid}")
}

/// `nodes/ID`.
#[must_use]
pub fn node(id: &NodeId) -> String {
    format!("nodes/{id}")
}

/// `webhooks/NAME`.
#[must_use]
pub fn webhook(name: &WebhookName) -> String {
    format!("webhooks/{name}")
}

/// Reads `webhooks/NAME`.
///
/// # Errors
/// Names `field` when the text is not that.
pub fn parse_webhook(field: &str, text: &str) -> Result<WebhookName, InvalidField> {
    let name = text
        .strip_prefix("webhooks/")
        .ok_or_else(|| InvalidField::new(field, "must be `webhooks/NAME`"))?;
    read(field, WebhookName::new(name))
}

/// Reads either form of a tenant's name.
///
/// # Errors
/// Names `field` when the text is neither.
pub fn parse_tenant_ref(field: &str, text: &str) -> Result<TenantRef, InvalidField> {
    if let Some(uid) = text.strip_prefix("tenants/-/uids/") {
        return read(field, uid.parse().map(TenantRef::Uid));
    }
    let name = text
        .strip_prefix("tenants/")
        .ok_or_else(|| InvalidField::new(field, "must be `tenants/NAME` or `tenants/-/uids/UID`"))?;
    read(field, TenantName::new(name).map(TenantRef::Name))
}

/// Reads `tenants/NAME`.
///
/// # Errors
/// Names `field` when the text is not that.
pub fn parse_tenant(field: &str, text: &str) -> Result<TenantName, InvalidField> {
    let name = text
        .strip_prefix("tenants/")
        .ok_or_else(|| InvalidField::new(field, "must be `tenants/NAME`"))?;
    read(field, TenantName::new(name))
}

/// Reads `tenants/-/uids/UID`.
///
/// # Errors
/// Names `field` when the text is not that.
pub fn parse_tenant_uid(field: &str, text: &str) -> Result<TenantUid, InvalidField> {
    let uid = text
        .strip_prefix("tenants/-/uids/")
        .ok_or_else(|| InvalidField::new(field, "must be `tenants/-/uids/UID`"))?;
    read(field, uid.parse())
}

/// Reads `nodes/ID`.
///
/// # Errors
/// Names `field` when the text is not that.
pub fn parse_node(field: &str, text: &str) -> Result<NodeId, InvalidField> {
    let id = text
        .strip_prefix("nodes/")
        .ok_or_else(|| InvalidField::new(field, "must be `nodes/ID`"))?;
    read(field, NodeId::new(id))
}

/// A bare uid, 32 hexadecimal digits.
pub(super) fn bare_uid(field: &str, text: &str) -> Result<TenantUid, InvalidField> {
    read(field, text.parse())
}

/// A bare node id.
pub(super) fn bare_node(field: &str, text: &str) -> Result<NodeId, InvalidField> {
    read(field, NodeId::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_what_they_print() {
        let name = TenantName::new("acme").unwrap();
        let uid = TenantUid::from_u128(0xA);
        let id = NodeId::new("n1").unwrap();
        assert_eq!(parse_tenant("name", &tenant(&name)), Ok(name.clone()));
        assert_eq!(parse_tenant_ref("name", &tenant(&name)), Ok(TenantRef::Name(name)));
        assert_eq!(parse_tenant_uid("name", &tenant_uid(uid)), Ok(uid));
        assert_eq!(parse_tenant_ref("name", &tenant_uid(uid)), Ok(TenantRef::Uid(uid)));
        assert_eq!(parse_node("node", &node(&id)), Ok(id));
    }

    #[test]
    fn other_texts_are_refused_by_field() {
        let cases = [
            "",
            "acme",
            "tenants/",
            "tenants/-",
            "tenants/a/b",
            "tenants/-/uids/",
            "tenants/-/uids/xyz",
            "nodes/n1",
        ];
        for text in cases {
            assert_eq!(parse_tenant_ref("name", text).unwrap_err().field, "name", "{text}");
        }
        for text in ["", "n1", "nodes/", "nodes/N1", "tenants/n1"] {
            assert_eq!(
                parse_node("tenant.node", text).unwrap_err().field,
                "tenant.node",
                "{text}"
            );
        }
    }
}
