//! `AdminService`: tenants, tiers, tokens and usage. Mutations run on the leader; other members hand them over before they
//! get here. Reads of tenants and tiers run on every member.

use std::sync::Arc;

use tenantry_proto::convert::names::TenantRef;
use tenantry_proto::convert::{self, Within as _, names};
use tenantry_proto::v1;
use tenantry_proto::v1::admin_service_server::AdminService;
use tenantry_state::{Answer, Command, DeletedTenants, State, TenantFilter};
use tenantry_types::{Durability, Revision, Tenant, TenantName, TenantSpec, TenantUid, TenantUsage, TierDefinition};
use tonic::{Request, Response, Status};

use super::control_plane::ControlPlane;
use super::deadline::Deadline;
use super::{page, placing, quotas, status, tokens, usage};

/// An update without an etag is tried again when the tenant changed between its reading and its writing.
const UPDATE_ATTEMPTS: usize = 4;

/// The service.
#[derive(Clone)]
pub struct Admin {
    control_plane: Arc<ControlPlane>,
}

impl Admin {
    /// Works on the given control plane.
    #[must_use]
    pub const fn new(control_plane: Arc<ControlPlane>) -> Self {
        Self { control_plane }
    }

    async fn run(
        &self,
        deadline: Deadline,
        validate_only: bool,
        request: Option<tenantry_state::Request>,
        command: Command,
    ) -> Result<v1::Tenant, Status> {
        let answer = if validate_only {
            self.control_plane.try_out(command)
        } else {
            self.control_plane.propose_by(deadline.at(), request, command).await
        };
        self.tenant(answer)
    }

    /// The message of an answer that must be a tenant.
    fn tenant(&self, answer: Result<Answer, Status>) -> Result<v1::Tenant, Status> {
        match answer? {
            Answer::Tenant(tenant) => Ok(message(&self.control_plane.published.current().state, &tenant)),
            other => Err(status::internal(format!("a tenant was expected, not {other:?}"))),
        }
    }

    /// What the node that serves a tenant last reported of it.
    fn last_usage(&self, tenant: &Tenant) -> Option<TenantUsage> {
        let placement = tenant.placement.as_ref()?;
        self.control_plane
            .observations(|observations| observations.usage(&placement.node, tenant.uid))
    }

    /// Proposes a change of the signing keys; gives back the id of the key.
    async fn key(
        &self,
        deadline: Deadline,
        request: Option<tenantry_state::Request>,
        command: Command,
    ) -> Result<String, Status> {
        match self.control_plane.propose_by(deadline.at(), request, command).await? {
            Answer::SigningKey { key_id, .. } => Ok(key_id),
            other => Err(status::internal(format!("a signing key was expected, not {other:?}"))),
        }
    }

    /// The revised spec goes in only if the tenant is still what the revision rests on.
    async fn update(
        &self,
        deadline: Deadline,
        message: &v1::UpdateTenantRequest,
        request: Option<tenantry_state::Request>,
    ) -> Result<v1::Tenant, Status> {
        let new = message
            .tenant
            .as_ref()
            .ok_or_else(|| status::invalid_field("tenant", "must be given"))?;
        let name = names::parse_tenant_ref("tenant.name", &new.name).map_err(status::invalid)?;
        let etag = etag("tenant.etag", &new.etag)?;
        let spec = new.spec.clone().unwrap_or_default();
        let paths = message
            .update_mask
            .as_ref()
            .map(|mask| mask.paths.clone())
            .unwrap_or_default();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let published = self.control_plane.read(deadline).await?;
            if let Some(answer) = ControlPlane::answered(&published, request.as_ref()) {
                return self.tenant(answer);
            }
            let current = find(&published.state, &name)?;
            let spec = convert::apply_update_mask(&current.spec, &spec, &paths).map_err(status::invalid)?;
            refuse_unkept(&spec)?;
            let expected = Some(etag.unwrap_or(current.revision));
            let command = Command::UpdateTenant {
                uid: current.uid,
                expected,
                spec,
            };
            let result = self.run(deadline, message.validate_only, request, command).await;
            let changed_meanwhile = matches!(&result, Err(status) if status.code() == tonic::Code::Aborted);
            // A request id remembers the rejection, too, so only a call without one can be tried again under the hood.
            if changed_meanwhile && etag.is_none() && request.is_none() && attempt < UPDATE_ATTEMPTS {
                continue;
            }
            return result;
        }
    }
}

/// A tenant by what a request calls it. Deleted ones are found by uid alone.
pub(super) fn find<'state>(state: &'state State, name: &TenantRef) -> Result<&'state Arc<Tenant>, Status> {
    let found = match name {
        TenantRef::Name(name) => state.tenant_by_name(name),
        TenantRef::Uid(uid) => state.tenant(*uid),
    };
    found.ok_or_else(|| {
        let name = match name {
            TenantRef::Name(name) => names::tenant(name),
            TenantRef::Uid(uid) => names::tenant_uid(*uid),
        };
        status::not_found("Tenant", &name)
    })
}

/// What a spec may ask for and no node keeps: nothing is uploaded to an object store, so an acknowledgement that claims it
/// would be a lie.
fn refuse_unkept(spec: &TenantSpec) -> Result<(), Status> {
    match spec.durability {
        Durability::Local => Ok(()),
        Durability::Replicated => Err(status::invalid_field(
            "spec.durability",
            "replicated durability is not offered by this version: use local",
        )),
    }
}

/// The revision that a caller has seen; `None`: it does not say.
fn etag(field: &str, text: &str) -> Result<Option<Revision>, Status> {
    let given = Some(text).filter(|text| !text.is_empty());
    given
        .map(|text| convert::parse_etag(field, text).map_err(status::invalid))
        .transpose()
}

fn message(state: &State, tenant: &Tenant) -> v1::Tenant {
    convert::tenant_to_proto(tenant, state.tiers().get(tenant.spec.tier))
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn create_tenant(
        &self,
        request: Request<v1::CreateTenantRequest>,
    ) -> Result<Response<v1::CreateTenantResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("CreateTenant", &id, &message)?;
        // Nothing here is looked up by a name, so what is applied so far will do; apply itself knows the rest.
        if let Some(answer) = ControlPlane::answered(&self.control_plane.published.current(), request.as_ref()) {
            return Ok(Response::new(v1::CreateTenantResponse {
                tenant: Some(self.tenant(answer)?),
            }));
        }
        let name = TenantName::new(&message.tenant_id)
            .map_err(|error| status::invalid_field("tenant_id", error.to_string()))?;
        let spec = TenantSpec::try_from(message.spec.unwrap_or_default())
            .within("spec")
            .map_err(status::invalid)?;
        refuse_unkept(&spec)?;
        let uid = TenantUid::from_u128(uuid::Uuid::new_v4().as_u128());
        let placing = placing::choose(&self.control_plane, spec.tier);
        let node = placing.decision.chosen.clone();
        let command = Command::CreateTenant { uid, name, spec, node };
        let tenant = self.run(deadline, message.validate_only, request, command).await?;
        Ok(Response::new(v1::CreateTenantResponse { tenant: Some(tenant) }))
    }

    async fn get_tenant(
        &self,
        request: Request<v1::GetTenantRequest>,
    ) -> Result<Response<v1::GetTenantResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = names::parse_tenant_ref("name", &request.name).map_err(status::invalid)?;
        let published = self
            .control_plane
            .read_with(request.read, Revision::ZERO, deadline)
            .await?;
        let tenant = message(&published.state, find(&published.state, &name)?);
        Ok(Response::new(v1::GetTenantResponse {
            tenant: Some(tenant),
            revision: published.revision.get(),
        }))
    }

    async fn list_tenants(
        &self,
        request: Request<v1::ListTenantsRequest>,
    ) -> Result<Response<v1::ListTenantsResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let size = page::size(request.page_size)?;
        let query = page::query(&(&request.name_prefix, &request.node, request.tier, request.show_deleted));
        let (after, at_least) = page::tenant_after(&request.page_token, query)?;
        let node = match request.node.as_str() {
            "" => None,
            node => Some(names::parse_node("node", node).map_err(status::invalid)?),
        };
        let filter = TenantFilter {
            name_prefix: request.name_prefix,
            node,
            tier: convert::tier_from_wire("tier", request.tier).map_err(status::invalid)?,
            deleted: if request.show_deleted {
                DeletedTenants::Shown
            } else {
                DeletedTenants::Hidden
            },
        };
        // No page shows less than the one before it.
        let published = self.control_plane.read_with(request.read, at_least, deadline).await?;
        let found = published.state.tenants_page(&filter, after.as_ref(), size);
        let tenants = found
            .tenants
            .iter()
            .map(|tenant| message(&published.state, tenant))
            .collect();
        let next_page_token = found
            .next
            .map(|key| page::tenant_token(&key, published.revision, query))
            .unwrap_or_default();
        let revision = published.revision.get();
        Ok(Response::new(v1::ListTenantsResponse {
            tenants,
            next_page_token,
            revision,
        }))
    }

    async fn update_tenant(
        &self,
        request: Request<v1::UpdateTenantRequest>,
    ) -> Result<Response<v1::UpdateTenantResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("UpdateTenant", &id, &message)?;
        let tenant = self.update(deadline, &message, request).await?;
        Ok(Response::new(v1::UpdateTenantResponse { tenant: Some(tenant) }))
    }

    async fn delete_tenant(
        &self,
        request: Request<v1::DeleteTenantRequest>,
    ) -> Result<Response<v1::DeleteTenantResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("DeleteTenant", &id, &message)?;
        let published = self.control_plane.read(deadline).await?;
        let tenant = match ControlPlane::answered(&published, request.as_ref()) {
            Some(answer) => self.tenant(answer)?,
            None => {
                let name = names::parse_tenant_ref("name", &message.name).map_err(status::invalid)?;
                let expected = etag("etag", &message.etag)?;
                let uid = find(&published.state, &name)?.uid;
                let purge_at = ControlPlane::now().plus(self.control_plane.purge_after);
                self.run(
                    deadline,
                    message.validate_only,
                    request,
                    Command::DeleteTenant {
                        uid,
                        expected,
                        purge_at,
                    },
                )
                .await?
            }
        };
        Ok(Response::new(v1::DeleteTenantResponse { tenant: Some(tenant) }))
    }

    async fn undelete_tenant(
        &self,
        request: Request<v1::UndeleteTenantRequest>,
    ) -> Result<Response<v1::UndeleteTenantResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("UndeleteTenant", &id, &message)?;
        let published = self.control_plane.read(deadline).await?;
        let tenant = match ControlPlane::answered(&published, request.as_ref()) {
            Some(answer) => self.tenant(answer)?,
            None => {
                let name = names::parse_tenant_ref("name", &message.name).map_err(status::invalid)?;
                let uid = find(&published.state, &name)?.uid;
                self.run(deadline, false, request, Command::UndeleteTenant { uid })
                    .await?
            }
        };
        Ok(Response::new(v1::UndeleteTenantResponse { tenant: Some(tenant) }))
    }

    async fn get_tenant_usage(
        &self,
        request: Request<v1::GetTenantUsageRequest>,
    ) -> Result<Response<v1::GetTenantUsageResponse>, Status> {
        let deadline = Deadline::of(&request);
        let name = names::parse_tenant_ref("name", &request.into_inner().name).map_err(status::invalid)?;
        let published = self.control_plane.read(deadline).await?;
        let tenant = find(&published.state, &name)?;
        let placement = tenant.placement.as_ref();
        let usage = self.last_usage(tenant);
        let node = placement
            .map(|placement| names::node(&placement.node))
            .unwrap_or_default();
        Ok(Response::new(v1::GetTenantUsageResponse {
            usage: usage.as_ref().map(Into::into),
            node,
        }))
    }

    async fn list_tenant_usage(
        &self,
        request: Request<v1::ListTenantUsageRequest>,
    ) -> Result<Response<v1::ListTenantUsageResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let size = page::size(request.page_size)?;
        let order = convert::usage_order_from_wire("order", request.order).map_err(status::invalid)?;
        // Also says that this member still leads: another one hears the nodes otherwise.
        let published = self.control_plane.read(deadline).await?;
        Ok(Response::new(usage::ranked(
            &self.control_plane,
            &published,
            order,
            size,
        )))
    }

    async fn explain_tenant_quota(
        &self,
        request: Request<v1::ExplainTenantQuotaRequest>,
    ) -> Result<Response<v1::ExplainTenantQuotaResponse>, Status> {
        let deadline = Deadline::of(&request);
        let name = names::parse_tenant_ref("name", &request.into_inner().name).map_err(status::invalid)?;
        let published = self.control_plane.read(deadline).await?;
        let tenant = find(&published.state, &name)?;
        let usage = self.last_usage(tenant);
        Ok(Response::new(quotas::explain(&published.state, tenant, usage.as_ref())))
    }

    async fn create_tenant_token(
        &self,
        request: Request<v1::CreateTenantTokenRequest>,
    ) -> Result<Response<v1::CreateTenantTokenResponse>, Status> {
        let deadline = Deadline::of(&request);
        let request = request.into_inner();
        let name = names::parse_tenant_ref("name", &request.name).map_err(status::invalid)?;
        let published = self.control_plane.read(deadline).await?;
        let tenant = find(&published.state, &name)?;
        let now = ControlPlane::now();
        let key = published.state.signing_key(now).ok_or_else(status::no_leader)?;
        tokens::sign(key, tenant, request.scope(), request.ttl_seconds, now).map(Response::new)
    }

    async fn revoke_tenant_tokens(
        &self,
        request: Request<v1::RevokeTenantTokensRequest>,
    ) -> Result<Response<v1::RevokeTenantTokensResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("RevokeTenantTokens", &id, &message)?;
        let published = self.control_plane.read(deadline).await?;
        let tenant = match ControlPlane::answered(&published, request.as_ref()) {
            Some(answer) => self.tenant(answer)?,
            None => {
                let name = names::parse_tenant_ref("name", &message.name).map_err(status::invalid)?;
                let uid = find(&published.state, &name)?.uid;
                self.run(deadline, false, request, Command::RevokeTokens { uid })
                    .await?
            }
        };
        Ok(Response::new(v1::RevokeTenantTokensResponse { tenant: Some(tenant) }))
    }

    async fn list_token_keys(
        &self,
        request: Request<v1::ListTokenKeysRequest>,
    ) -> Result<Response<v1::ListTokenKeysResponse>, Status> {
        let published = self.control_plane.read(Deadline::of(&request)).await?;
        let keys = published.state.signing_keys(ControlPlane::now());
        let keys = keys.map(|(key, phase)| tokens::info(key, phase)).collect();
        Ok(Response::new(v1::ListTokenKeysResponse { keys }))
    }

    async fn rotate_token_key(
        &self,
        request: Request<v1::RotateTokenKeyRequest>,
    ) -> Result<Response<v1::RotateTokenKeyResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("RotateTokenKey", &id, &message)?;
        let signs_from = tokens::activation(ControlPlane::now(), message.activation_delay_seconds)?;
        let key = tokens::new_key(signs_from).map_err(|error| status::internal(error.to_string()))?;
        let key_id = self.key(deadline, request, Command::AddSigningKey { key }).await?;
        let published = self.control_plane.published.current();
        let mut keys = published.state.signing_keys(ControlPlane::now());
        // Absent when a retry is answered after the key was retired.
        let key = keys.find(|(key, _)| key.key_id == key_id);
        Ok(Response::new(v1::RotateTokenKeyResponse {
            key: Some(key.map_or_else(
                || v1::TokenKeyInfo {
                    key_id: key_id.clone(),
                    ..v1::TokenKeyInfo::default()
                },
                |(key, phase)| tokens::info(key, phase),
            )),
        }))
    }

    async fn retire_token_key(
        &self,
        request: Request<v1::RetireTokenKeyRequest>,
    ) -> Result<Response<v1::RetireTokenKeyResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("RetireTokenKey", &id, &message)?;
        let key_id = convert::key_id("key_id", message.key_id).map_err(status::invalid)?;
        let key_id = self
            .key(deadline, request, Command::RetireSigningKey { key_id })
            .await?;
        Ok(Response::new(v1::RetireTokenKeyResponse { key_id }))
    }

    async fn list_tiers(
        &self,
        request: Request<v1::ListTiersRequest>,
    ) -> Result<Response<v1::ListTiersResponse>, Status> {
        let deadline = Deadline::of(&request);
        let published = self
            .control_plane
            .read_with(request.into_inner().read, Revision::ZERO, deadline)
            .await?;
        let tiers = published.state.tiers().iter().map(Into::into).collect();
        Ok(Response::new(v1::ListTiersResponse {
            tiers,
            revision: published.revision.get(),
        }))
    }

    async fn update_tier(
        &self,
        request: Request<v1::UpdateTierRequest>,
    ) -> Result<Response<v1::UpdateTierResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut message = request.into_inner();
        let id = std::mem::take(&mut message.request_id);
        let request = ControlPlane::request("UpdateTier", &id, &message)?;
        let definition = message
            .definition
            .ok_or_else(|| status::invalid_field("definition", "must be given"))?;
        let definition = TierDefinition::try_from(definition)
            .within("definition")
            .map_err(status::invalid)?;
        match self
            .control_plane
            .propose_by(deadline.at(), request, Command::UpdateTier { definition })
            .await?
        {
            Answer::Tier(definition) => Ok(Response::new(v1::UpdateTierResponse {
                definition: Some((&*definition).into()),
            })),
            other => Err(status::internal(format!("a tier was expected, not {other:?}"))),
        }
    }
}
