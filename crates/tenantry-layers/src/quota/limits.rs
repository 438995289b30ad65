//! The limits that the quota engine keeps.

use tenantry_types::{Burst, EffectiveQuota};

/// How many requests a tenant may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestLimits {
    /// In any 24 hours. Zero lets nothing through.
    pub requests_per_day: u64,
    /// Per second, and how many at once, where that is limited.
    pub burst: Option<Burst>,
    /// Being served at one moment. Zero lets nothing through.
    pub concurrent_requests: u32,
}

impl From<&EffectiveQuota> for RequestLimits {
    fn from(quota: &EffectiveQuota) -> Self {
        Self {
            requests_per_day: quota.requests_per_day,
            burst: quota.burst,
            concurrent_requests: quota.concurrent_requests,
        }
    }
}
