//! The JSON output, which is an API: fields are added, never renamed or removed.
//!
//! Names are snake_case; times are RFC 3339 in UTC; sizes are bytes; ratios and shares are numbers where 1 is the whole. A
//! value that there is none of is `null`, never left out. Lists are arrays, but `events list` and `events watch` print an object a line, whose
//! `type` is `event` or `gap`; `top` an object a line for each round.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Serialize;
use tenantry_proto::v1;

use super::{protocol_names as word, units};
use crate::resource_name::short;

type Word = Option<&'static str>;

fn given(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| short(text).to_owned())
}

#[derive(Debug, Serialize)]
pub(crate) struct Tenant {
    name: String,
    uid: String,
    etag: String,
    state: Word,
    tier: Word,
    tier_mode: Word,
    max_tier: Word,
    observed_class: Word,
    durability: Word,
    node: Option<String>,
    epoch: Option<u64>,
    /// Tokens of earlier generations are revoked.
    token_generation: u64,
    labels: BTreeMap<String, String>,
    domains: Vec<String>,
    /// The limits in force.
    quota: Option<Quota>,
    /// The limits that the tenant sets itself; `null` follows the tier.
    quota_overrides: QuotaOverrides,
    create_time: Option<String>,
    update_time: Option<String>,
    delete_time: Option<String>,
    purge_time: Option<String>,
}

impl From<&v1::Tenant> for Tenant {
    fn from(tenant: &v1::Tenant) -> Self {
        let spec = tenant.spec.clone().unwrap_or_default();
        let status = tenant.status.clone().unwrap_or_default();
        Self {
            name: short(&tenant.name).to_owned(),
            uid: tenant.uid.clone(),
            etag: tenant.etag.clone(),
            state: word::tenant_state(status.state),
            tier: word::tier(spec.tier),
            tier_mode: word::tier_mode(spec.tier_mode),
            max_tier: word::tier(spec.max_tier),
            observed_class: word::tier(status.observed_class),
            durability: word::durability(spec.durability),
            node: status.placement.as_ref().and_then(|placement| given(&placement.node)),
            epoch: status.placement.as_ref().map(|placement| placement.epoch),
            token_generation: status.token_generation,
            labels: spec.labels,
            domains: spec.domains,
            quota: status.effective_quota.as_ref().map(Quota::from),
            quota_overrides: QuotaOverrides::from(&spec.quota.unwrap_or_default()),
            create_time: units::time(tenant.create_time.as_ref()),
            update_time: units::time(tenant.update_time.as_ref()),
            delete_time: units::time(tenant.delete_time.as_ref()),
            purge_time: units::time(tenant.purge_time.as_ref()),
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct Burst {
    requests_per_second: u32,
    size: u32,
}

impl From<v1::Burst> for Burst {
    fn from(burst: v1::Burst) -> Self {
        Self {
            requests_per_second: burst.requests_per_second,
            size: burst.size,
        }
    }
}

impl From<Burst> for v1::Burst {
    fn from(burst: Burst) -> Self {
        Self {
            requests_per_second: burst.requests_per_second,
            size: burst.size,
        }
    }
}

#[derive(Debug, Serialize)]
struct Quota {
    database_bytes: u64,
    requests_per_day: u64,
    burst: Option<Burst>,
    concurrent_requests: u32,
    query_time_ms: u64,
    memory_bytes: u64,
    cpu_millicores: u32,
    result_bytes: u64,
    request_bytes: u64,
}

impl From<&v1::Quota> for Quota {
    fn from(quota: &v1::Quota) -> Self {
        Self {
            database_bytes: quota.database_bytes,
            requests_per_day: quota.requests_per_day,
            burst: quota.burst.map(Burst::from),
            concurrent_requests: quota.concurrent_requests,
            query_time_ms: quota.query_time_ms,
            memory_bytes: quota.memory_bytes,
            cpu_millicores: quota.cpu_millicores,
            result_bytes: quota.result_bytes,
            request_bytes: quota.request_bytes,
        }
    }
}

#[derive(Debug, Serialize)]
struct QuotaOverrides {
    database_bytes: Option<u64>,
    requests_per_day: Option<u64>,
    burst: Option<Burst>,
    concurrent_requests: Option<u32>,
    query_time_ms: Option<u64>,
    memory_bytes: Option<u64>,
    cpu_millicores: Option<u32>,
    result_bytes: Option<u64>,
    request_bytes: Option<u64>,
}

impl From<&v1::QuotaOverrides> for QuotaOverrides {
    fn from(quota: &v1::QuotaOverrides) -> Self {
        Self {
            database_bytes: quota.database_bytes,
            requests_per_day: quota.requests_per_day,
            burst: quota.burst.map(Burst::from),
            concurrent_requests: quota.concurrent_requests,
            query_time_ms: quota.query_time_ms,
            memory_bytes: quota.memory_bytes,
            cpu_millicores: quota.cpu_millicores,
            result_bytes: quota.result_bytes,
            request_bytes: quota.request_bytes,
        }
    }
}

/// `figures` is `null` when nothing was reported yet.
#[derive(Debug, Serialize)]
pub(crate) struct Usage {
    node: Option<String>,
    figures: Option<UsageFigures>,
}

#[derive(Debug, Serialize)]
struct UsageFigures {
    tenant_uid: String,
    epoch: u64,
    measure_time: Option<String>,
    requests_last_day: u64,
    requests_last_minute: u64,
    errors_last_minute: u64,
    concurrent_requests: u32,
    database_bytes: u64,
    wal_bytes: u64,
    free_bytes: u64,
    growth_bytes_per_hour: Option<f64>,
    peak_requests_per_minute: u64,
    average_response_seconds: Option<f64>,
    error_ratio: Option<f64>,
    cpu_millicores: u64,
    memory_bytes: u64,
    rows_read: u64,
    rows_written: u64,
    observed_class: Word,
    hotspot_score: f64,
    quota: Option<Quota>,
    share_of_limit: Shares,
}

#[derive(Debug, Default, Serialize)]
struct Shares {
    requests_last_day: Option<f64>,
    concurrent_requests: Option<f64>,
    database_bytes: Option<f64>,
    cpu_millicores: Option<f64>,
    memory_bytes: Option<f64>,
}

impl From<&v1::GetTenantUsageResponse> for Usage {
    fn from(answer: &v1::GetTenantUsageResponse) -> Self {
        Self {
            node: given(&answer.node),
            figures: answer.usage.as_ref().map(UsageFigures::from),
        }
    }
}

impl From<&v1::TenantUsage> for UsageFigures {
    fn from(usage: &v1::TenantUsage) -> Self {
        let shares = usage.quota.as_ref().map_or_else(Shares::default, |quota| Shares {
            requests_last_day: units::share(usage.requests_last_day, quota.requests_per_day),
            concurrent_requests: units::share(usage.concurrent_requests.into(), quota.concurrent_requests.into()),
            database_bytes: units::share(usage.database_bytes, quota.database_bytes),
            cpu_millicores: units::share(usage.cpu_millicores, quota.cpu_millicores.into()),
            memory_bytes: units::share(usage.memory_bytes, quota.memory_bytes),
        });
        Self {
            tenant_uid: usage.tenant_uid.clone(),
            epoch: usage.epoch,
            measure_time: units::time(usage.measure_time.as_ref()),
            requests_last_day: usage.requests_last_day,
            requests_last_minute: usage.requests_last_minute,
            errors_last_minute: usage.errors_last_minute,
            concurrent_requests: usage.concurrent_requests,
            database_bytes: usage.database_bytes,
            wal_bytes: usage.wal_bytes,
            free_bytes: usage.free_bytes,
            growth_bytes_per_hour: usage.growth_bytes_per_hour,
            peak_requests_per_minute: usage.peak_requests_per_minute,
            average_response_seconds: usage.average_response_seconds,
            error_ratio: usage.error_ratio,
            cpu_millicores: usage.cpu_millicores,
            memory_bytes: usage.memory_bytes,
            rows_read: usage.rows_read,
            rows_written: usage.rows_written,
            observed_class: word::tier(usage.observed_class),
            hotspot_score: usage.hotspot_score,
            quota: usage.quota.as_ref().map(Quota::from),
            share_of_limit: shares,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Token {
    token: String,
    expire_time: Option<String>,
}

impl From<&v1::CreateTenantTokenResponse> for Token {
    fn from(answer: &v1::CreateTenantTokenResponse) -> Self {
        Self {
            token: answer.token.clone(),
            expire_time: units::time(answer.expire_time.as_ref()),
        }
    }
}

/// `sign_time` is `null` for a cluster's first key, `retire_time` for one that is not superseded.
#[derive(Debug, Serialize)]
pub(crate) struct TokenKey {
    key_id: String,
    phase: Word,
    sign_time: Option<String>,
    retire_time: Option<String>,
}

impl From<&v1::TokenKeyInfo> for TokenKey {
    fn from(key: &v1::TokenKeyInfo) -> Self {
        Self {
            key_id: key.key_id.clone(),
            phase: word::token_key_phase(key.phase),
            sign_time: units::time(key.sign_time.as_ref()),
            retire_time: units::time(key.retire_time.as_ref()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct RetiredKey {
    pub(crate) key_id: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct Tier {
    tier: Word,
    quota: Option<Quota>,
    weight: u32,
    observed_above_bytes: u64,
    observed_above_requests: u64,
}

impl From<&v1::TierDefinition> for Tier {
    fn from(definition: &v1::TierDefinition) -> Self {
        Self {
            tier: word::tier(definition.tier),
            quota: definition.quota.as_ref().map(Quota::from),
            weight: definition.weight,
            observed_above_bytes: definition.observed_above_bytes,
            observed_above_requests: definition.observed_above_requests,
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Node {
    id: String,
    etag: String,
    availability: Word,
    scheduling: Word,
    incarnation: u64,
    placed_tenants: u64,
    max_tenants: u64,
    disk_bytes: u64,
    data_address: String,
    peer_address: String,
    ops_address: String,
    zone: Option<String>,
    labels: BTreeMap<String, String>,
    register_time: Option<String>,
    load: Option<NodeLoad>,
}

#[derive(Debug, Serialize)]
struct NodeLoad {
    open_tenants: u64,
    requests_per_minute: u64,
    cpu_millicores: u64,
    disk_used_bytes: u64,
    disk_free_bytes: u64,
}

impl From<&v1::Node> for Node {
    fn from(node: &v1::Node) -> Self {
        let spec = node.spec.clone().unwrap_or_default();
        Self {
            id: short(&node.name).to_owned(),
            etag: node.etag.clone(),
            availability: word::availability(node.availability),
            scheduling: word::scheduling(node.scheduling),
            incarnation: node.incarnation,
            placed_tenants: node.placed_tenants,
            max_tenants: spec.max_tenants,
            disk_bytes: spec.disk_bytes,
            data_address: spec.data_address,
            peer_address: spec.peer_address,
            ops_address: spec.ops_address,
            zone: Some(spec.zone).filter(|zone| !zone.is_empty()),
            labels: spec.labels,
            register_time: units::time(node.register_time.as_ref()),
            load: node.load.as_ref().map(|load| NodeLoad {
                open_tenants: load.open_tenants,
                requests_per_minute: load.requests_per_minute,
                cpu_millicores: load.cpu_millicores,
                disk_used_bytes: load.disk_used_bytes,
                disk_free_bytes: load.disk_free_bytes,
            }),
        }
    }
}

/// `leader_id` is `null` without a leader; a member's `role` is `null` when it did not answer.
#[derive(Debug, Serialize)]
pub(crate) struct ClusterStatus {
    cluster_uid: Option<String>,
    cluster_epoch: Option<u64>,
    leader_id: Option<u64>,
    answered_by: u64,
    tenants: u64,
    nodes: u64,
    members: Vec<Member>,
}

#[derive(Debug, Serialize)]
struct Member {
    member_id: u64,
    address: String,
    role: Word,
    term: u64,
    commit_index: u64,
    applied_index: u64,
    first_log_index: u64,
    last_log_index: u64,
    snapshot_index: u64,
    /// 16 hexadecimal digits: more than a JSON number holds exactly.
    state_digest: String,
    storage_error: Option<String>,
}

impl From<&v1::GetClusterStatusResponse> for ClusterStatus {
    fn from(status: &v1::GetClusterStatusResponse) -> Self {
        let member = |member: &v1::MemberStatus| Member {
            member_id: member.member_id,
            address: member.address.clone(),
            role: word::member_role(member.role),
            term: member.term,
            commit_index: member.commit_index,
            applied_index: member.applied_index,
            first_log_index: member.first_log_index,
            last_log_index: member.last_log_index,
            snapshot_index: member.snapshot_index,
            state_digest: format!("{:016x}", member.state_digest),
            storage_error: Some(member.storage_error.clone()).filter(|error| !error.is_empty()),
        };
        Self {
            cluster_uid: given(&status.cluster_uid),
            cluster_epoch: Some(status.cluster_epoch).filter(|epoch| *epoch != 0),
            leader_id: Some(status.leader_id).filter(|id| *id != 0),
            answered_by: status.answered_by,
            tenants: status.tenants,
            nodes: status.nodes,
            members: status.members.iter().map(member).collect(),
        }
    }
}

/// `join_token`: 16 hexadecimal digits, more than a JSON number holds exactly.
#[derive(Debug, Serialize)]
pub(crate) struct MemberList {
    leader_id: Option<u64>,
    join_token: String,
    removed_ids: Vec<u64>,
    members: Vec<ListedMember>,
}

#[derive(Debug, Serialize)]
struct ListedMember {
    member_id: u64,
    address: String,
    kind: Word,
    matched_index: u64,
    active: bool,
}

impl From<&v1::ListMembersResponse> for MemberList {
    fn from(list: &v1::ListMembersResponse) -> Self {
        let member = |member: &v1::Member| ListedMember {
            member_id: member.member_id,
            address: member.address.clone(),
            kind: word::member_kind(member.kind),
            matched_index: member.matched_index,
            active: member.active,
        };
        Self {
            leader_id: Some(list.leader_id).filter(|id| *id != 0),
            join_token: list.join_token.clone(),
            removed_ids: list.removed_ids.clone(),
            members: list.members.iter().map(member).collect(),
        }
    }
}

/// Files that a command wrote.
#[derive(Debug, Serialize)]
pub(crate) struct WrittenFiles {
    files: Vec<String>,
}

impl WrittenFiles {
    pub(crate) fn new(files: &[PathBuf]) -> Self {
        Self {
            files: files.iter().map(|path| path.display().to_string()).collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct Snapshot {
    pub(crate) index: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct Leadership {
    pub(crate) leader_id: u64,
}

/// `node` is `null` when none has room.
#[derive(Debug, Serialize)]
pub(crate) struct Explanation {
    node: Option<String>,
    candidates: Vec<Candidate>,
}

#[derive(Debug, Serialize)]
struct Candidate {
    node: Option<String>,
    load: f64,
    rejection: Option<String>,
}

impl From<&v1::ExplainPlacementResponse> for Explanation {
    fn from(answer: &v1::ExplainPlacementResponse) -> Self {
        let candidate = |candidate: &v1::PlacementCandidate| Candidate {
            node: given(&candidate.node),
            load: candidate.load,
            rejection: Some(candidate.rejection.clone()).filter(|reason| !reason.is_empty()),
        };
        Self {
            node: given(&answer.node),
            candidates: answer.candidates.iter().map(candidate).collect(),
        }
    }
}
