//! What a tenant was measured to use, in `tenant.proto`.

use tenantry_types::{Epoch, GrowthRate, HotspotScore, TenantUsage, UsageOrder};

use super::field::{InvalidField, Within};
use super::names::bare_uid;
use super::tier::{required_tier, to_wire};
use super::time::{required, timestamp};
use crate::v1;

impl From<&TenantUsage> for v1::TenantUsage {
    #[expect(clippy::cast_precision_loss, reason = "a response time in seconds")]
    fn from(usage: &TenantUsage) -> Self {
        Self {
            tenant_uid: usage.tenant.to_string(),
            epoch: usage.epoch.get(),
            measure_time: Some(timestamp(usage.measured_at)),
            quota: Some((&usage.quota).into()),
            requests_last_day: usage.requests_last_day,
            concurrent_requests: usage.concurrent_requests,
            database_bytes: usage.database_bytes,
            wal_bytes: usage.wal_bytes,
            free_bytes: usage.free_bytes,
            growth_bytes_per_hour: match usage.growth {
                GrowthRate::NotEnoughData => None,
                GrowthRate::BytesPerHour(rate) => Some(rate),
            },
            requests_last_minute: usage.requests_last_minute,
            errors_last_minute: usage.errors_last_minute,
            peak_requests_per_minute: usage.peak_requests_per_minute,
            average_response_seconds: usage.average_response_micros.map(|micros| micros as f64 / 1e6),
            error_ratio: usage.error_ratio,
            cpu_millicores: usage.cpu_millicores,
            memory_bytes: usage.memory_bytes,
            rows_read: usage.rows_read,
            rows_written: usage.rows_written,
            observed_class: to_wire(usage.observed_class),
            hotspot_score: usage.hotspot.get(),
        }
    }
}

impl TryFrom<v1::TenantUsage> for TenantUsage {
    type Error = InvalidField;

    fn try_from(usage: v1::TenantUsage) -> Result<Self, InvalidField> {
        let quota = usage.quota.ok_or_else(|| InvalidField::missing("quota"))?;
        let growth = usage
            .growth_bytes_per_hour
            .map(|rate| finite("growth_bytes_per_hour", rate))
            .transpose()?;
        Ok(Self {
            tenant: bare_uid("tenant_uid", &usage.tenant_uid)?,
            epoch: Epoch(usage.epoch),
            measured_at: required("measure_time", usage.measure_time.as_ref())?,
            quota: quota.try_into().within("quota")?,
            requests_last_day: usage.requests_last_day,
            concurrent_requests: usage.concurrent_requests,
            database_bytes: usage.database_bytes,
            wal_bytes: usage.wal_bytes,
            free_bytes: usage.free_bytes,
            growth: growth.map_or(GrowthRate::NotEnoughData, GrowthRate::BytesPerHour),
            requests_last_minute: usage.requests_last_minute,
            errors_last_minute: usage.errors_last_minute,
            peak_requests_per_minute: usage.peak_requests_per_minute,
            average_response_micros: usage.average_response_seconds.map(micros).transpose()?,
            error_ratio: usage.error_ratio.map(|ratio| share("error_ratio", ratio)).transpose()?,
            cpu_millicores: usage.cpu_millicores,
            memory_bytes: usage.memory_bytes,
            rows_read: usage.rows_read,
            rows_written: usage.rows_written,
            observed_class: required_tier("observed_class", usage.observed_class)?,
            hotspot: HotspotScore::clamped(share("hotspot_score", usage.hotspot_score)?),
        })
    }
}

/// The order of a number; requests where it is unspecified.
///
/// # Errors
/// Names `field` when there is no such order.
pub fn usage_order_from_wire(field: &str, number: i32) -> Result<UsageOrder, InvalidField> {
    let order = v1::TenantUsageOrder::try_from(number)
        .map_err(|_| InvalidField::new(field, format!("there is no order {number}")))?;
    Ok(match order {
        v1::TenantUsageOrder::Unspecified | v1::TenantUsageOrder::Requests => UsageOrder::Requests,
        v1::TenantUsageOrder::Cpu => UsageOrder::Cpu,
        v1::TenantUsageOrder::DatabaseBytes => UsageOrder::DatabaseBytes,
        v1::TenantUsageOrder::Errors => UsageOrder::Errors,
    })
}

/// Whole microseconds; more than a year is no response time.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range was checked"
)]
fn micros(seconds: f64) -> Result<u64, InvalidField> {
    const YEAR_SECONDS: f64 = 366.0 * 24.0 * 3600.0;
    if (0.0..=YEAR_SECONDS).contains(&seconds) {
        Ok((seconds * 1e6).round() as u64)
    } else {
        Err(InvalidField::new(
            "average_response_seconds",
            "must be from 0 to a year",
        ))
    }
}

/// A number from 0 to 1.
pub(super) fn share(field: &str, value: f64) -> Result<f64, InvalidField> {
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err(InvalidField::new(field, "must be from 0 to 1"))
    }
}

fn finite(field: &str, value: f64) -> Result<f64, InvalidField> {
    if value.is_finite() {
        Ok(value)
    } else {
        Err(InvalidField::new(field, "must be a number"))
    }
}
