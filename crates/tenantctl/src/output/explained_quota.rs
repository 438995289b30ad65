//! What is printed of an explained quota. The message is taken apart limit by limit: one that is added is not forgotten here.

use std::fmt;

use serde::Serialize;
use tenantry_proto::v1;

use super::json::Burst;
use super::table::{fields, or_none, rate, render};
use super::units::{NONE, bytes, count, percent, share};
use super::{protocol_names as word, units};
use crate::resource_name::short;

/// `node` is `null` for a tenant that no node serves, `measure_time` and every `used` before that node has reported.
#[derive(Debug, Serialize)]
pub(crate) struct ExplainedQuota {
    name: String,
    uid: String,
    tier: Option<&'static str>,
    node: Option<String>,
    measure_time: Option<String>,
    /// Whether the node kept these limits when it last reported; `null` before it has.
    in_force_on_node: Option<bool>,
    revision: u64,
    limits: Limits,
    weight: Limit<u64>,
}

#[derive(Debug, Serialize)]
struct Limits {
    database_bytes: Limit<u64>,
    requests_per_day: Limit<u64>,
    burst: Limit<Option<Burst>>,
    concurrent_requests: Limit<u64>,
    query_time_ms: Limit<u64>,
    memory_bytes: Limit<u64>,
    cpu_millicores: Limit<u64>,
    result_bytes: Limit<u64>,
    request_bytes: Limit<u64>,
}

/// `used` is `null` for limits of a single statement, answer or request, too: nothing adds up against them.
#[derive(Debug, Serialize)]
struct Limit<T> {
    in_force: T,
    origin: Option<&'static str>,
    of_tier: T,
    built_in: T,
    used: Option<u64>,
}

impl ExplainedQuota {
    /// `None` when the answer does not explain every limit.
    pub(crate) fn new(answer: &v1::ExplainTenantQuotaResponse) -> Option<Self> {
        let v1::ExplainedQuota {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = answer.quota?;
        let usage = answer.usage.as_ref();
        let used = |figure: fn(&v1::TenantUsage) -> u64| usage.map(figure);
        let limits = Limits {
            database_bytes: limit(database_bytes?, used(|usage| usage.database_bytes)),
            requests_per_day: limit(requests_per_day?, used(|usage| usage.requests_last_day)),
            burst: burst_limit(burst?),
            concurrent_requests: limit(concurrent_requests?, used(|usage| usage.concurrent_requests.into())),
            query_time_ms: limit(query_time_ms?, None),
            memory_bytes: limit(memory_bytes?, used(|usage| usage.memory_bytes)),
            cpu_millicores: limit(cpu_millicores?, used(|usage| usage.cpu_millicores)),
            result_bytes: limit(result_bytes?, None),
            request_bytes: limit(request_bytes?, None),
        };
        let kept = usage.and_then(|usage| usage.quota);
        Some(Self {
            name: short(&answer.name).to_owned(),
            uid: answer.uid.clone(),
            tier: word::tier(answer.tier),
            node: Some(short(&answer.node).to_owned()).filter(|node| !node.is_empty()),
            measure_time: usage.and_then(|usage| units::time(usage.measure_time.as_ref())),
            in_force_on_node: kept.map(|kept| limits.are(&kept)),
            revision: answer.revision,
            limits,
            weight: limit(answer.weight?, None),
        })
    }
}

impl Limits {
    /// Whether these are the limits that a node kept.
    fn are(&self, kept: &v1::Quota) -> bool {
        let v1::Quota {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = *kept;
        self.database_bytes.in_force == database_bytes
            && self.requests_per_day.in_force == requests_per_day
            && self.burst.in_force == burst.map(Burst::from)
            && self.concurrent_requests.in_force == u64::from(concurrent_requests)
            && self.query_time_ms.in_force == query_time_ms
            && self.memory_bytes.in_force == memory_bytes
            && self.cpu_millicores.in_force == u64::from(cpu_millicores)
            && self.result_bytes.in_force == result_bytes
            && self.request_bytes.in_force == request_bytes
    }
}

fn limit(explained: v1::ExplainedLimit, used: Option<u64>) -> Limit<u64> {
    Limit {
        in_force: explained.in_force,
        origin: word::limit_origin(explained.origin),
        of_tier: explained.of_tier,
        built_in: explained.built_in,
        used,
    }
}

fn burst_limit(explained: v1::ExplainedBurst) -> Limit<Option<Burst>> {
    Limit {
        in_force: explained.in_force.map(Burst::from),
        origin: word::limit_origin(explained.origin),
        of_tier: explained.of_tier.map(Burst::from),
        built_in: explained.built_in.map(Burst::from),
        used: None,
    }
}

impl fmt::Display for ExplainedQuota {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let there = match self.in_force_on_node {
            None => "not reported yet",
            Some(true) => "in force",
            Some(false) => "other limits when it last reported",
        };
        let summary = fields([
            ("name", self.name.clone()),
            ("tier", or_none(self.tier)),
            ("node", self.node.clone().unwrap_or_else(|| "not placed yet".to_owned())),
            ("on the node", there.to_owned()),
            ("measured", or_none(self.measure_time.clone())),
        ]);
        let millicores = |value: u64| format!("{} millicores", count(value));
        let milliseconds = |value: u64| format!("{} ms", count(value));
        let Limits {
            database_bytes,
            requests_per_day,
            burst,
            concurrent_requests,
            query_time_ms,
            memory_bytes,
            cpu_millicores,
            result_bytes,
            request_bytes,
        } = &self.limits;
        let number = |value: u64| count(value);
        let rows = [
            self.row("storage", database_bytes, bytes),
            self.row("requests/day", requests_per_day, number),
            self.cells("rate", burst, |burst| rate(burst.map(Into::into).as_ref())),
            self.row("concurrent", concurrent_requests, number),
            self.row("query time", query_time_ms, milliseconds),
            self.row("memory", memory_bytes, bytes),
            self.row("CPU", cpu_millicores, millicores),
            self.row("result size", result_bytes, bytes),
            self.row("request size", request_bytes, bytes),
            self.row("weight", &self.weight, number),
        ];
        let header = ["LIMIT", "IN FORCE", "FROM", "TIER GIVES", "USED", "SHARE"];
        write!(f, "{summary}\n{}", render(&header, rows))
    }
}

impl ExplainedQuota {
    fn row(&self, name: &str, limit: &Limit<u64>, show: fn(u64) -> String) -> Vec<String> {
        let mut cells = self.cells(name, limit, show);
        if let (Some(used), Some(last_two)) = (limit.used, cells.last_chunk_mut::<2>()) {
            *last_two = [show(used), or_none(share(used, limit.in_force).map(percent))];
        }
        cells
    }

    /// A limit whose use is not counted.
    fn cells<T: Copy + PartialEq>(&self, name: &str, limit: &Limit<T>, show: impl Fn(T) -> String) -> Vec<String> {
        let from = match limit.origin {
            Some("tier") => format!("tier {}", or_none(self.tier)),
            other => or_none(other),
        };
        let of_tier = match limit.of_tier == limit.built_in {
            true => show(limit.of_tier),
            false => format!("{} (edited; built in: {})", show(limit.of_tier), show(limit.built_in)),
        };
        let unused = || NONE.to_owned();
        vec![name.to_owned(), show(limit.in_force), from, of_tier, unused(), unused()]
    }
}
