//! What is printed of the busiest tenants.

use std::fmt;

use jiff::{Timestamp, Unit};
use serde::Serialize;
use tenantry_proto::v1;

use super::table::{given, or_none, render};
use super::units::{bytes, count, percent};
use super::{protocol_names as word, units};
use crate::resource_name::short;

/// One round. Figures are those that the nodes last reported; `measure_time` says when each was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Round {
    time: String,
    by: Option<&'static str>,
    measured_tenants: u64,
    tenants: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    tenant: String,
    node: Option<String>,
    measure_time: Option<String>,
    requests_last_minute: u64,
    peak_requests_per_minute: u64,
    errors_last_minute: u64,
    error_ratio: Option<f64>,
    average_response_seconds: Option<f64>,
    cpu_millicores: u64,
    database_bytes: u64,
}

impl Round {
    pub(crate) fn new(now: Timestamp, order: v1::TenantUsageOrder, answer: &v1::ListTenantUsageResponse) -> Self {
        Self {
            // Parts of a second tell nobody anything here, and make the line jump.
            time: now.round(Unit::Second).unwrap_or(now).to_string(),
            by: word::tenant_usage_order(order.into()),
            measured_tenants: answer.measured_tenants,
            tenants: answer.tenants.iter().map(Row::from).collect(),
        }
    }
}

impl From<&v1::RankedTenant> for Row {
    fn from(tenant: &v1::RankedTenant) -> Self {
        let usage = tenant.usage.clone().unwrap_or_default();
        Self {
            tenant: short(&tenant.name).to_owned(),
            node: Some(short(&tenant.node).to_owned()).filter(|node| !node.is_empty()),
            measure_time: units::time(usage.measure_time.as_ref()),
            requests_last_minute: usage.requests_last_minute,
            peak_requests_per_minute: usage.peak_requests_per_minute,
            errors_last_minute: usage.errors_last_minute,
            error_ratio: usage.error_ratio,
            average_response_seconds: usage.average_response_seconds,
            cpu_millicores: usage.cpu_millicores,
            database_bytes: usage.database_bytes,
        }
    }
}

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "TENANT",
            "NODE",
            "REQUESTS/MIN",
            "PEAK/MIN",
            "ERRORS/MIN",
            "ERRORS, 1 H",
            "RESPONSE, 5 MIN",
            "CPU",
            "DATABASE",
        ];
        let row = |row: &Row| {
            vec![
                row.tenant.clone(),
                row.node.as_deref().map_or_else(|| or_none(None::<String>), given),
                count(row.requests_last_minute),
                count(row.peak_requests_per_minute),
                count(row.errors_last_minute),
                or_none(row.error_ratio.map(percent)),
                or_none(row.average_response_seconds.map(units::seconds)),
                format!("{}m", row.cpu_millicores),
                bytes(row.database_bytes),
            ]
        };
        write!(
            f,
            "{}   by {}   {} of {} measured tenants\n\n{}",
            self.time,
            or_none(self.by),
            self.tenants.len(),
            count(self.measured_tenants),
            render(&header, self.tenants.iter().map(row))
        )
    }
}
