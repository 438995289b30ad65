//! What one tenant was measured to use.

use crate::{EffectiveQuota, Epoch, HotspotScore, TenantUid, Tier, UnixMillis};

/// How fast a database grows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum GrowthRate {
    /// Too few points, or too close together, to say.
    NotEnoughData,
    /// Bytes per hour; negative when it shrinks.
    BytesPerHour(f64),
}

/// A tenant's figures at one moment, all measured on the serving node.
#[derive(Debug, Clone, PartialEq)]
pub struct TenantUsage {
    /// Whose.
    pub tenant: TenantUid,
    /// The placement that it was measured under.
    pub epoch: Epoch,
    /// When.
    pub measured_at: UnixMillis,
    /// The limits in force.
    pub quota: EffectiveQuota,
    /// Requests charged in the last 24 hours.
    pub requests_last_day: u64,
    /// Requests being served now.
    pub concurrent_requests: u32,
    /// Bytes of the database file.
    pub database_bytes: u64,
    /// Bytes of the write-ahead log.
    pub wal_bytes: u64,
    /// Bytes of free pages inside the database file.
    pub free_bytes: u64,
    /// How fast the database grows.
    pub growth: GrowthRate,
    /// Requests that came in the last 60 seconds.
    pub requests_last_minute: u64,
    /// 5xx answers other than 507 that ended in the last 60 seconds, and answers that broke off.
    pub errors_last_minute: u64,
    /// The busiest minute of the last 60.
    pub peak_requests_per_minute: u64,
    /// Average over the last 5 minutes, in microseconds; `None` without requests.
    pub average_response_micros: Option<u64>,
    /// 5xx answers over all answers in the last hour, 0 to 1; `None` without requests.
    pub error_ratio: Option<f64>,
    /// CPU time on database threads over the last sample period, in thousandths of one core.
    pub cpu_millicores: u64,
    /// Bytes of SQLite memory of its connections.
    pub memory_bytes: u64,
    /// Rows read since the node started.
    pub rows_read: u64,
    /// Rows written since the node started.
    pub rows_written: u64,
    /// The class that size and traffic put it in.
    pub observed_class: Tier,
    /// How hot it is.
    pub hotspot: HotspotScore,
}

/// By what tenants are ranked, most first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsageOrder {
    /// Requests of the last minute.
    Requests,
    /// CPU time on database threads.
    Cpu,
    /// Bytes of the database file.
    DatabaseBytes,
    /// Errors of the last minute.
    Errors,
}

impl UsageOrder {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Requests, Self::Cpu, Self::DatabaseBytes, Self::Errors];

    /// The figure that counts. A tenant with none of it has no rank.
    #[must_use]
    pub const fn rank(self, usage: &TenantUsage) -> u64 {
        match self {
            Self::Requests => usage.requests_last_minute,
            Self::Cpu => usage.cpu_millicores,
            Self::DatabaseBytes => usage.database_bytes,
            Self::Errors => usage.errors_last_minute,
        }
    }
}
