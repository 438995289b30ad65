//! The limits as flags, shared by tenants and tiers.

use tenantry_proto::v1;
use tenantry_types::ByteSize;

/// Limits.
#[derive(Debug, Clone, Default, PartialEq, Eq, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct QuotaArguments {
    /// Requests in any 24 hours
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) requests_per_day: Option<u64>,
    /// Size of the database file, such as 1MiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) storage: Option<ByteSize>,
    /// Requests a second in the long run
    #[arg(long, value_name = "N", requires = "burst", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) requests_per_second: Option<u32>,
    /// Requests at once after a pause
    #[arg(long, value_name = "N", requires = "requests_per_second", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) burst: Option<u32>,
    /// Requests being served at one moment
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) concurrent: Option<u32>,
    /// Longest run of one statement, in milliseconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) query_time_ms: Option<u64>,
}

impl QuotaArguments {
    pub(crate) fn overrides(&self) -> v1::QuotaOverrides {
        v1::QuotaOverrides {
            database_bytes: self.storage.map(|size| size.0),
            requests_per_day: self.requests_per_day,
            burst: self.rate(),
            concurrent_requests: self.concurrent,
            query_time_ms: self.query_time_ms,
            ..v1::QuotaOverrides::default()
        }
    }

    /// Puts the given limits into `quota` and leaves the others.
    pub(crate) fn apply_to(&self, quota: &mut v1::Quota) {
        quota.database_bytes = self.storage.map_or(quota.database_bytes, |size| size.0);
        quota.requests_per_day = self.requests_per_day.unwrap_or(quota.requests_per_day);
        quota.burst = self.rate().or(quota.burst);
        quota.concurrent_requests = self.concurrent.unwrap_or(quota.concurrent_requests);
        quota.query_time_ms = self.query_time_ms.unwrap_or(quota.query_time_ms);
    }

    /// The given limits as paths of a field mask.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.storage.is_some(), "spec.quota.database_bytes"),
            (self.requests_per_day.is_some(), "spec.quota.requests_per_day"),
            (self.burst.is_some(), "spec.quota.burst"),
            (self.concurrent.is_some(), "spec.quota.concurrent_requests"),
            (self.query_time_ms.is_some(), "spec.quota.query_time_ms"),
        ]
        .into_iter()
        .filter_map(|(given, path)| given.then_some(path))
    }

    fn rate(&self) -> Option<v1::Burst> {
        Some(v1::Burst {
            requests_per_second: self.requests_per_second?,
            size: self.burst?,
        })
    }
}
