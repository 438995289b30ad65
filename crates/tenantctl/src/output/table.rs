//! Tables for people: columns in capitals without borders, and two columns for a single thing.

use comfy_table::{ContentArrangement, Table, presets};
use tenantry_proto::v1;

use super::units::{self, NONE, NOT_YET, bytes, count, percent};
use super::{protocol_names as word, units::share};
use crate::resource_name::short;

pub(super) fn or_none(text: Option<impl Into<String>>) -> String {
    text.map_or_else(|| NONE.to_owned(), Into::into)
}

pub(super) fn given(text: &str) -> String {
    or_none((!text.is_empty()).then(|| short(text)))
}

/// Lines without blanks at their ends, so that golden files and diffs stay calm.
pub(super) fn render(header: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_preset(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled);
    if !header.is_empty() {
        table.set_header(header.iter().copied());
    }
    for row in rows {
        // Values come from elsewhere: control characters must not reach a terminal.
        table.add_row(row.into_iter().map(|cell| cell.replace(char::is_control, " ")));
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

pub(super) fn fields<const N: usize>(fields: [(&str, String); N]) -> String {
    render(&[], fields.map(|(name, value)| vec![name.to_owned(), value]))
}

fn pairs(pairs: &std::collections::BTreeMap<String, String>) -> String {
    let joined: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
    or_none((!joined.is_empty()).then(|| joined.join(",")))
}

fn tier_with_mode(spec: &v1::TenantSpec) -> String {
    let tier = or_none(word::tier(spec.tier));
    match (spec.tier_mode(), word::tier(spec.max_tier)) {
        (v1::TierMode::Auto, Some(max)) => format!("{tier} (auto, up to {max})"),
        (v1::TierMode::Auto, None) => format!("{tier} (auto)"),
        _ => tier,
    }
}

pub(super) fn rate(burst: Option<&v1::Burst>) -> String {
    or_none(burst.map(|burst| format!("{}/s, {} at once", count(burst.requests_per_second), count(burst.size))))
}

/// Uids only where two tenants can have the same name.
pub(crate) fn tenants(tenants: &[v1::Tenant], show_deleted: bool) -> String {
    let mut header = vec![
        "NAME",
        "TIER",
        "CLASS",
        "STATE",
        "NODE",
        "STORAGE",
        "REQUESTS/DAY",
        "CREATED",
    ];
    if show_deleted {
        header.push("UID");
    }
    let row = |tenant: &v1::Tenant| {
        let spec = tenant.spec.clone().unwrap_or_default();
        let status = tenant.status.clone().unwrap_or_default();
        let quota = status.effective_quota;
        let mut row = vec![
            short(&tenant.name).to_owned(),
            tier_with_mode(&spec),
            or_none(word::tier(status.observed_class)),
            or_none(word::tenant_state(status.state)),
            status
                .placement
                .map_or_else(|| NONE.to_owned(), |placement| given(&placement.node)),
            or_none(quota.map(|quota| bytes(quota.database_bytes))),
            or_none(quota.map(|quota| count(quota.requests_per_day))),
            or_none(units::time(tenant.create_time.as_ref())),
        ];
        if show_deleted {
            row.push(tenant.uid.clone());
        }
        row
    };
    render(&header, tenants.iter().map(row))
}

pub(crate) fn tenant(tenant: &v1::Tenant) -> String {
    let spec = tenant.spec.clone().unwrap_or_default();
    let status = tenant.status.clone().unwrap_or_default();
    let quota = status.effective_quota.unwrap_or_default();
    let own = spec.quota.unwrap_or_default();
    let limit = |text: String, own: bool| if own { text } else { format!("{text} (tier)") };
    let (node, epoch) = status.placement.map_or_else(
        || ("not placed yet".to_owned(), NONE.to_owned()),
        |placement| (given(&placement.node), placement.epoch.to_string()),
    );
    fields([
        ("name", short(&tenant.name).to_owned()),
        ("uid", tenant.uid.clone()),
        ("state", or_none(word::tenant_state(status.state))),
        ("tier", tier_with_mode(&spec)),
        ("observed class", or_none(word::tier(status.observed_class))),
        ("durability", or_none(word::durability(spec.durability))),
        ("node", node),
        ("epoch", epoch),
        (
            "storage",
            limit(bytes(quota.database_bytes), own.database_bytes.is_some()),
        ),
        (
            "requests/day",
            limit(count(quota.requests_per_day), own.requests_per_day.is_some()),
        ),
        ("rate", limit(rate(quota.burst.as_ref()), own.burst.is_some())),
        (
            "concurrent",
            limit(count(quota.concurrent_requests), own.concurrent_requests.is_some()),
        ),
        (
            "query time",
            limit(
                format!("{} ms", count(quota.query_time_ms)),
                own.query_time_ms.is_some(),
            ),
        ),
        ("labels", pairs(&spec.labels)),
        (
            "domains",
            or_none((!spec.domains.is_empty()).then(|| spec.domains.join(","))),
        ),
        ("created", or_none(units::time(tenant.create_time.as_ref()))),
        ("updated", or_none(units::time(tenant.update_time.as_ref()))),
        ("deleted", or_none(units::time(tenant.delete_time.as_ref()))),
        ("purge from", or_none(units::time(tenant.purge_time.as_ref()))),
        ("etag", given(&tenant.etag)),
    ])
}

/// What became of all tokens of a tenant.
pub(crate) fn revoked(tenant: &v1::Tenant) -> String {
    let generation = tenant.status.as_ref().map_or(0, |status| status.token_generation);
    format!(
        "all tokens of {} before generation {generation} are revoked",
        short(&tenant.name).replace(char::is_control, " ")
    )
}

pub(crate) fn token_keys(keys: &[v1::TokenKeyInfo]) -> String {
    let row = |key: &v1::TokenKeyInfo| {
        vec![
            key.key_id.clone(),
            or_none(word::token_key_phase(key.phase)),
            or_none(units::time(key.sign_time.as_ref())),
            or_none(units::time(key.retire_time.as_ref())),
        ]
    };
    render(&["KEY", "PHASE", "SIGNS FROM", "RETIRED AT"], keys.iter().map(row))
}

pub(crate) fn usage(answer: &v1::GetTenantUsageResponse) -> String {
    let Some(usage) = &answer.usage else {
        return match answer.node.as_str() {
            "" => format!("{NOT_YET}: the tenant is not placed on a node"),
            node => format!("{NOT_YET}: {} has not reported the tenant", short(node)),
        };
    };
    let quota = usage.quota.unwrap_or_default();
    let row = |figure: &str, value: String, limit: String, share: Option<f64>| {
        vec![figure.to_owned(), value, limit, or_none(share.map(percent))]
    };
    let plain = |figure: &str, value: String| row(figure, value, NONE.to_owned(), None);
    let later = |value: Option<String>| value.unwrap_or_else(|| NOT_YET.to_owned());
    let millicores = |value: u64| format!("{} millicores", count(value));
    let rows = vec![
        row(
            "requests, 24 h",
            count(usage.requests_last_day),
            count(quota.requests_per_day),
            share(usage.requests_last_day, quota.requests_per_day),
        ),
        row(
            "requests, now",
            count(usage.concurrent_requests),
            count(quota.concurrent_requests),
            share(usage.concurrent_requests.into(), quota.concurrent_requests.into()),
        ),
        plain("requests, last minute", count(usage.requests_last_minute)),
        plain("errors, last minute", count(usage.errors_last_minute)),
        plain("peak requests/minute, 60 min", count(usage.peak_requests_per_minute)),
        plain(
            "average response, 5 min",
            later(usage.average_response_seconds.map(units::seconds)),
        ),
        plain("error ratio, 1 h", later(usage.error_ratio.map(percent))),
        row(
            "database",
            bytes(usage.database_bytes),
            bytes(quota.database_bytes),
            share(usage.database_bytes, quota.database_bytes),
        ),
        plain("free in database", bytes(usage.free_bytes)),
        plain("write-ahead log", bytes(usage.wal_bytes)),
        plain("growth", later(usage.growth_bytes_per_hour.map(units::growth))),
        row(
            "CPU",
            millicores(usage.cpu_millicores),
            millicores(quota.cpu_millicores.into()),
            share(usage.cpu_millicores, quota.cpu_millicores.into()),
        ),
        row(
            "memory",
            bytes(usage.memory_bytes),
            bytes(quota.memory_bytes),
            share(usage.memory_bytes, quota.memory_bytes),
        ),
        plain("rows read", count(usage.rows_read)),
        plain("rows written", count(usage.rows_written)),
        plain("class", or_none(word::tier(usage.observed_class))),
        plain("hotspot score", format!("{:.2}", usage.hotspot_score)),
        plain("measured", or_none(units::time(usage.measure_time.as_ref()))),
        plain("node", given(&answer.node)),
    ];
    render(&["FIGURE", "VALUE", "LIMIT", "SHARE"], rows)
}

pub(crate) fn tiers(tiers: &[v1::TierDefinition]) -> String {
    let header = [
        "TIER",
        "STORAGE",
        "REQUESTS/DAY",
        "RATE",
        "CONCURRENT",
        "QUERY TIME",
        "MEMORY",
        "CPU",
        "WEIGHT",
    ];
    let row = |tier: &v1::TierDefinition| {
        let quota = tier.quota.unwrap_or_default();
        vec![
            or_none(word::tier(tier.tier)),
            bytes(quota.database_bytes),
            count(quota.requests_per_day),
            rate(quota.burst.as_ref()),
            count(quota.concurrent_requests),
            format!("{} ms", count(quota.query_time_ms)),
            bytes(quota.memory_bytes),
            format!("{}m", quota.cpu_millicores),
            tier.weight.to_string(),
        ]
    };
    render(&header, tiers.iter().map(row))
}

pub(crate) fn nodes(nodes: &[v1::Node]) -> String {
    let header = [
        "ID",
        "STATUS",
        "SCHEDULING",
        "TENANTS",
        "OPEN",
        "REQUESTS/MIN",
        "DISK FREE",
        "ZONE",
        "ADDRESS",
    ];
    let row = |node: &v1::Node| {
        let spec = node.spec.clone().unwrap_or_default();
        vec![
            short(&node.name).to_owned(),
            or_none(word::availability(node.availability)),
            or_none(word::scheduling(node.scheduling)),
            format!("{}/{}", node.placed_tenants, spec.max_tenants),
            or_none(node.load.map(|load| count(load.open_tenants))),
            or_none(node.load.map(|load| count(load.requests_per_minute))),
            or_none(node.load.map(|load| bytes(load.disk_free_bytes))),
            given(&spec.zone),
            given(&spec.data_address),
        ]
    };
    render(&header, nodes.iter().map(row))
}

pub(crate) fn node(node: &v1::Node) -> String {
    let spec = node.spec.clone().unwrap_or_default();
    let load = node.load.as_ref();
    fields([
        ("id", short(&node.name).to_owned()),
        ("status", or_none(word::availability(node.availability))),
        ("scheduling", or_none(word::scheduling(node.scheduling))),
        (
            "tenants",
            format!("{} of {}", count(node.placed_tenants), count(spec.max_tenants)),
        ),
        ("open tenants", or_none(load.map(|load| count(load.open_tenants)))),
        (
            "requests/min",
            or_none(load.map(|load| count(load.requests_per_minute))),
        ),
        (
            "CPU",
            or_none(load.map(|load| format!("{} millicores", count(load.cpu_millicores)))),
        ),
        ("disk", bytes(spec.disk_bytes)),
        ("disk used", or_none(load.map(|load| bytes(load.disk_used_bytes)))),
        ("disk free", or_none(load.map(|load| bytes(load.disk_free_bytes)))),
        ("zone", given(&spec.zone)),
        ("labels", pairs(&spec.labels)),
        ("data address", given(&spec.data_address)),
        ("peer address", given(&spec.peer_address)),
        ("ops address", given(&spec.ops_address)),
        ("incarnation", node.incarnation.to_string()),
        ("registered", or_none(units::time(node.register_time.as_ref()))),
        ("etag", given(&node.etag)),
    ])
}

pub(crate) fn cluster(status: &v1::GetClusterStatusResponse) -> String {
    let summary = fields([
        ("cluster", given(&status.cluster_uid)),
        (
            "epoch",
            or_none((status.cluster_epoch != 0).then(|| status.cluster_epoch.to_string())),
        ),
        (
            "leader",
            or_none((status.leader_id != 0).then(|| status.leader_id.to_string())),
        ),
        ("tenants", count(status.tenants)),
        ("nodes", count(status.nodes)),
        ("answered by", status.answered_by.to_string()),
    ]);
    let header = [
        "MEMBER",
        "ADDRESS",
        "ROLE",
        "TERM",
        "COMMITTED",
        "APPLIED",
        "SNAPSHOT",
        "LOG",
        "DIGEST",
        "STORAGE",
    ];
    let row = |member: &v1::MemberStatus| {
        let mut row = vec![member.member_id.to_string(), member.address.clone()];
        match word::member_role(member.role) {
            None => row.push("no answer".to_owned()),
            Some(role) => row.extend([
                role.to_owned(),
                member.term.to_string(),
                member.commit_index.to_string(),
                member.applied_index.to_string(),
                member.snapshot_index.to_string(),
                format!("{}-{}", member.first_log_index, member.last_log_index),
                format!("{:016x}", member.state_digest),
                if member.storage_error.is_empty() {
                    "ok".to_owned()
                } else {
                    member.storage_error.clone()
                },
            ]),
        }
        row.resize(header.len(), NONE.to_owned());
        row
    };
    format!("{summary}\n{}", render(&header, status.members.iter().map(row)))
}

pub(crate) fn members(list: &v1::ListMembersResponse) -> String {
    let removed: Vec<_> = list.removed_ids.iter().map(ToString::to_string).collect();
    let summary = fields([
        (
            "leader",
            or_none((list.leader_id != 0).then(|| list.leader_id.to_string())),
        ),
        ("join token", given(&list.join_token)),
        ("removed ids", given(&removed.join(" "))),
    ]);
    let row = |member: &v1::Member| {
        vec![
            member.member_id.to_string(),
            member.address.clone(),
            or_none(word::member_kind(member.kind).map(ToOwned::to_owned)),
            member.matched_index.to_string(),
            if member.active { "yes" } else { "no" }.to_owned(),
        ]
    };
    let header = ["MEMBER", "ADDRESS", "KIND", "MATCHED", "ACTIVE"];
    format!("{summary}\n{}", render(&header, list.members.iter().map(row)))
}

pub(crate) fn explanation(answer: &v1::ExplainPlacementResponse) -> String {
    let chosen = match answer.node.as_str() {
        "" => "no node has room".to_owned(),
        node => format!("it would go to {}", short(node)),
    };
    let row = |candidate: &v1::PlacementCandidate| {
        let verdict = match candidate.rejection.as_str() {
            "" if candidate.node == answer.node => "chosen".to_owned(),
            "" => "possible".to_owned(),
            reason => format!("ruled out: {reason}"),
        };
        vec![given(&candidate.node), format!("{:.3}", candidate.load), verdict]
    };
    format!(
        "{chosen}\n\n{}",
        render(&["NODE", "LOAD", "VERDICT"], answer.candidates.iter().map(row))
    )
}
