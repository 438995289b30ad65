//! The calls that are measured: one client's call on a connection, as its protocol means it.

use prost::bytes::Bytes;
use tenantry_proto::v1;
use tenantry_proto::v1::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::etcd_proto;
use crate::etcd_proto::kv_client::KvClient;

/// Payload of a write, in bytes: a label's key of one byte and the longest value that a label may have, or etcd's value.
pub(crate) const VALUE_BYTES: usize = 256;
/// The label that carries the payload.
const LABEL: &str = "v";

/// What one call does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    /// `AdminService.CreateTenant` with a label of [`VALUE_BYTES`] and a request id: one proposal.
    CreateTenant,
    /// `AdminService.CreateTenant` without a label, as most tenants are.
    CreateBareTenant,
    /// `AdminService.UpdateTenant` of that label with a request id: a confirmed read, then one proposal.
    UpdateTenant,
    /// `AdminService.GetTenant`: linearizable.
    GetTenant,
    /// etcd's `KV.Put` of [`VALUE_BYTES`].
    EtcdPut,
    /// etcd's `KV.Range` of one key: linearizable.
    EtcdRange,
}

impl Operation {
    /// Makes the call for the key with this number. A repetition of a creation must have the same `request_id`.
    ///
    /// # Errors
    /// With what the server, or the connection, said.
    pub(crate) async fn call(self, channel: Channel, key: u64, request_id: &str) -> Result<(), Status> {
        let request_id = request_id.to_owned();
        match self {
            Self::CreateTenant | Self::CreateBareTenant => {
                let spec = (self == Self::CreateTenant).then(|| labelled(key, 0));
                let request = v1::CreateTenantRequest {
                    tenant_id: tenant_id(key),
                    spec,
                    request_id,
                    ..v1::CreateTenantRequest::default()
                };
                AdminServiceClient::new(channel).create_tenant(request).await.map(drop)
            }
            Self::UpdateTenant => {
                let version = uuid::Uuid::new_v4().as_u64_pair().0;
                let tenant = v1::Tenant {
                    name: format!("tenants/{}", tenant_id(key)),
                    spec: Some(labelled(key, version)),
                    ..v1::Tenant::default()
                };
                let request = v1::UpdateTenantRequest {
                    tenant: Some(tenant),
                    request_id,
                    ..v1::UpdateTenantRequest::default()
                };
                AdminServiceClient::new(channel).update_tenant(request).await.map(drop)
            }
            Self::GetTenant => {
                let request = v1::GetTenantRequest {
                    name: format!("tenants/{}", tenant_id(key)),
                    ..v1::GetTenantRequest::default()
                };
                let answer = AdminServiceClient::new(channel).get_tenant(request).await?;
                found(answer.get_ref().tenant.is_some())
            }
            Self::EtcdPut => {
                let request = etcd_proto::PutRequest {
                    key: Bytes::from(tenant_id(key)),
                    value: Bytes::from(payload(key, 0, VALUE_BYTES)),
                };
                KvClient::new(channel).put(request).await.map(drop)
            }
            Self::EtcdRange => {
                let request = etcd_proto::RangeRequest {
                    key: Bytes::from(tenant_id(key)),
                };
                let answer = KvClient::new(channel).range(request).await?;
                found(!answer.get_ref().kvs.is_empty())
            }
        }
    }

    /// Draws what a call is recognised by when it is repeated.
    pub(crate) fn new_request_id() -> String {
        uuid::Uuid::new_v4().to_string()
    }
}

/// The name of tenant or key `key`.
pub(crate) fn tenant_id(key: u64) -> String {
    format!("t-{key:08}")
}

/// The number in a name that [`tenant_id`] made.
pub(crate) fn key_of(tenant_id: &str) -> Option<u64> {
    tenant_id.strip_prefix("t-")?.parse().ok()
}

fn labelled(key: u64, version: u64) -> v1::TenantSpec {
    let value = payload(key, version, VALUE_BYTES - LABEL.len());
    v1::TenantSpec {
        labels: [(LABEL.to_owned(), value)].into(),
        ..v1::TenantSpec::default()
    }
}

/// `length` letters and digits that differ from key to key and version to version.
fn payload(key: u64, version: u64, length: usize) -> String {
    // A linear congruential generator: all that matters is that the text is no run of equal bytes.
    let mut state = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ version;
    let mut text = String::with_capacity(length + 16);
    while text.len() < length {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        text.push_str(&format!("{state:016x}"));
    }
    text.truncate(length);
    text
}

fn found(found: bool) -> Result<(), Status> {
    if found {
        Ok(())
    } else {
        Err(Status::new(Code::NotFound, "the answer is empty"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_their_numbers() {
        for key in [0, 7, 99_999_999, 123_456_789] {
            assert_eq!(key_of(&tenant_id(key)), Some(key));
        }
        assert_eq!(key_of("acme"), None);
    }

    #[test]
    fn payloads_have_their_length_and_differ() {
        let one = payload(1, 0, 255);
        assert_eq!(one.len(), 255);
        assert_ne!(one, payload(2, 0, 255));
        assert_ne!(one, payload(1, 1, 255));
        assert_eq!(one, payload(1, 0, 255));
        let label = labelled(1, 0).labels.pop_first().unwrap();
        assert_eq!(label.0.len() + label.1.len(), VALUE_BYTES);
    }
}
