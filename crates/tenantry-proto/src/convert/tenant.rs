//! Tenants and their specs in `tenant.proto`.

use std::collections::BTreeSet;

use tenantry_types::{
    DomainName, Durability, Epoch, Labels, Placement, Tenant, TenantSpec, TenantState, Tier, TierDefinition,
    TierPolicy, TokenGeneration, UnixMillis,
};

use super::field::{InvalidField, Within, read};
use super::names::{self, bare_uid};
use super::node::{etag, parse_etag};
use super::tier::{tier_from_wire, to_wire};
use super::time::{required, timestamp, unix_millis};
use crate::v1;

/// How many domains one tenant may have.
pub const MAX_DOMAINS: usize = 32;

impl From<&TenantSpec> for v1::TenantSpec {
    fn from(spec: &TenantSpec) -> Self {
        let (tier_mode, max_tier) = match spec.tier_policy {
            TierPolicy::Pinned => (v1::TierMode::Pinned, v1::Tier::Unspecified),
            TierPolicy::Auto { max_tier } => (v1::TierMode::Auto, max_tier.into()),
        };
        Self {
            tier: to_wire(spec.tier),
            tier_mode: tier_mode.into(),
            max_tier: max_tier.into(),
            quota: Some((&spec.quota).into()),
            durability: durability_to_wire(spec.durability),
            labels: spec.labels.pairs().clone(),
            domains: spec.domains.iter().map(ToString::to_string).collect(),
        }
    }
}

impl TryFrom<v1::TenantSpec> for TenantSpec {
    type Error = InvalidField;

    /// Unspecified are: the tier, small; its mode, pinned; the largest tier of an automatic one, enterprise; the
    /// durability, local.
    fn try_from(spec: v1::TenantSpec) -> Result<Self, InvalidField> {
        let tier_policy = tier_policy(spec.tier_mode, spec.max_tier)?;
        Ok(Self {
            tier: tier_from_wire("tier", spec.tier)?.unwrap_or(Tier::Small),
            tier_policy,
            quota: spec.quota.unwrap_or_default().try_into().within("quota")?,
            durability: durability_from_wire("durability", spec.durability)?,
            labels: read("labels", Labels::new(spec.labels))?,
            domains: domains("domains", &spec.domains)?,
        })
    }
}

fn tier_policy(mode: i32, max_tier: i32) -> Result<TierPolicy, InvalidField> {
    let max_tier = tier_from_wire("max_tier", max_tier)?;
    match v1::TierMode::try_from(mode) {
        Ok(v1::TierMode::Auto) => Ok(TierPolicy::Auto {
            max_tier: max_tier.unwrap_or(Tier::Enterprise),
        }),
        Ok(v1::TierMode::Unspecified | v1::TierMode::Pinned) if max_tier.is_some() => Err(InvalidField::new(
            "max_tier",
            "is for tier_mode TIER_MODE_AUTO; a pinned tier has no bound",
        )),
        Ok(v1::TierMode::Unspecified | v1::TierMode::Pinned) => Ok(TierPolicy::Pinned),
        Err(_) => Err(InvalidField::new("tier_mode", format!("there is no mode {mode}"))),
    }
}

/// The number of a durability.
pub(super) fn durability_to_wire(durability: Durability) -> i32 {
    match durability {
        Durability::Local => v1::Durability::Local,
        Durability::Replicated => v1::Durability::Replicated,
    }
    .into()
}

/// Unspecified means local.
pub(super) fn durability_from_wire(field: &str, number: i32) -> Result<Durability, InvalidField> {
    match v1::Durability::try_from(number) {
        Ok(v1::Durability::Unspecified | v1::Durability::Local) => Ok(Durability::Local),
        Ok(v1::Durability::Replicated) => Ok(Durability::Replicated),
        Err(_) => Err(InvalidField::new(field, format!("there is no durability {number}"))),
    }
}

pub(super) fn domains(field: &str, texts: &[String]) -> Result<Vec<DomainName>, InvalidField> {
    if texts.len() > MAX_DOMAINS {
        return Err(InvalidField::new(field, format!("must be at most {MAX_DOMAINS}")));
    }
    let mut seen = BTreeSet::new();
    let mut domains = Vec::with_capacity(texts.len());
    for (index, text) in texts.iter().enumerate() {
        let field = format!("{field}[{index}]");
        if !seen.insert(text) {
            return Err(InvalidField::new(&field, "is there twice"));
        }
        domains.push(read(&field, DomainName::new(text))?);
    }
    Ok(domains)
}

impl From<&Placement> for v1::Placement {
    fn from(placement: &Placement) -> Self {
        Self {
            node: names::node(&placement.node),
            epoch: placement.epoch.get(),
        }
    }
}

impl TryFrom<v1::Placement> for Placement {
    type Error = InvalidField;

    fn try_from(placement: v1::Placement) -> Result<Self, InvalidField> {
        Ok(Self {
            node: names::parse_node("node", &placement.node)?,
            epoch: epoch("epoch", placement.epoch)?,
        })
    }
}

/// The epoch of a placement: never zero.
pub(super) fn epoch(field: &str, number: u64) -> Result<Epoch, InvalidField> {
    if number == 0 {
        return Err(InvalidField::new(field, "must be at least 1"));
    }
    Ok(Epoch(number))
}

/// The message of a tenant whose contracted tier is defined by `tier`.
#[must_use]
pub fn tenant_to_proto(tenant: &Tenant, tier: &TierDefinition) -> v1::Tenant {
    let mut message = stored_to_proto(tenant);
    if let Some(status) = &mut message.status {
        status.effective_quota = Some((&tenant.effective_quota(tier)).into());
    }
    message
}

/// The message of a tenant without the limits in force, which do not belong to it alone: for storage.
#[must_use]
pub fn stored_to_proto(tenant: &Tenant) -> v1::Tenant {
    let (state, deleted_at, purge_at) = match tenant.state {
        TenantState::Active => (v1::TenantState::Active, None, None),
        TenantState::Deleted { deleted_at, purge_at } => (v1::TenantState::Deleted, Some(deleted_at), Some(purge_at)),
    };
    v1::Tenant {
        name: names::tenant(&tenant.name),
        uid: tenant.uid.to_string(),
        spec: Some((&tenant.spec).into()),
        status: Some(v1::TenantStatus {
            state: state.into(),
            placement: tenant.placement.as_ref().map(Into::into),
            observed_class: tenant.observed_class.map_or(0, to_wire),
            effective_quota: None,
            token_generation: tenant.token_generation.get(),
        }),
        etag: etag(tenant.revision),
        create_time: Some(timestamp(tenant.created_at)),
        update_time: Some(timestamp(tenant.updated_at)),
        delete_time: deleted_at.map(timestamp),
        purge_time: purge_at.map(timestamp),
    }
}

impl TryFrom<v1::Tenant> for Tenant {
    type Error = InvalidField;

    /// Reads what a server wrote: output-only fields must be there. The limits in force are left out; they follow from the
    /// spec and the tier.
    fn try_from(tenant: v1::Tenant) -> Result<Self, InvalidField> {
        let spec = tenant.spec.ok_or_else(|| InvalidField::missing("spec"))?;
        let status = tenant.status.ok_or_else(|| InvalidField::missing("status"))?;
        let optional =
            |field, time: Option<prost_types::Timestamp>| time.map(|time| unix_millis(field, &time)).transpose();
        let deleted_at = optional("delete_time", tenant.delete_time)?;
        let purge_at = optional("purge_time", tenant.purge_time)?;
        Ok(Self {
            uid: bare_uid("uid", &tenant.uid)?,
            name: names::parse_tenant("name", &tenant.name)?,
            spec: spec.try_into().within("spec")?,
            state: state(status.state, deleted_at, purge_at)?,
            placement: status
                .placement
                .map(Placement::try_from)
                .transpose()
                .within("status.placement")?,
            observed_class: tier_from_wire("status.observed_class", status.observed_class)?,
            token_generation: TokenGeneration(status.token_generation),
            created_at: required("create_time", tenant.create_time.as_ref())?,
            updated_at: required("update_time", tenant.update_time.as_ref())?,
            revision: parse_etag("etag", &tenant.etag)?,
        })
    }
}

fn state(
    number: i32,
    deleted_at: Option<UnixMillis>,
    purge_at: Option<UnixMillis>,
) -> Result<TenantState, InvalidField> {
    match v1::TenantState::try_from(number) {
        Ok(v1::TenantState::Active) => Ok(TenantState::Active),
        Ok(v1::TenantState::Deleted) => Ok(TenantState::Deleted {
            deleted_at: deleted_at.ok_or_else(|| InvalidField::missing("delete_time"))?,
            purge_at: purge_at.ok_or_else(|| InvalidField::missing("purge_time"))?,
        }),
        Ok(v1::TenantState::Unspecified) => Err(InvalidField::missing("status.state")),
        Err(_) => Err(InvalidField::new("status.state", format!("there is no state {number}"))),
    }
}
