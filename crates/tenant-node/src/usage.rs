//! Puts one tenant's figures together: what was counted, what the database measured, and how its quotas stand.

use std::sync::Arc;

use tenantry_layers::clock::Clock;
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::{QuotaError, QuotaRegistry, RequestLimits};
use tenantry_types::{TenantRoute, TenantUid, TenantUsage};

use crate::database::Databases;
use crate::metrics::{Changes, DatabaseSample, Period, Sample, SampledTenants, UsageInput};
use crate::placement::SharedRoutingTable;

/// Reads figures. Cheap to clone.
#[derive(Clone)]
pub struct UsageReader {
    /// What the request path counts.
    pub meters: Arc<MeterRegistry>,
    /// What is sampled beside it.
    pub sampled: Arc<SampledTenants>,
    /// How the request quotas stand.
    pub quotas: Arc<QuotaRegistry>,
    /// What the databases measure.
    pub databases: Databases,
    /// Limits and tiers in force.
    pub table: SharedRoutingTable,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl UsageReader {
    /// The figures of this moment.
    ///
    /// # Errors
    /// When the quota ledger cannot be read.
    pub async fn usage(&self, route: &TenantRoute) -> Result<TenantUsage, QuotaError> {
        let limits = RequestLimits::from(&route.quota);
        let standing = self.quotas.standing(route.uid, &limits).await?;
        let input = self.input(route, standing.daily_used);
        let now = self.clock.now();
        let requests = self.meters.meter(route.uid, &route.name).figures(now);
        Ok(self.sampled.tenant(route.uid).usage(now, &requests, &input))
    }

    /// The figures of a sample period that ends now, and what changes by them. `None` while the tenant's ledger is not read
    /// yet: a sample reads no disk, but for the sizes of files.
    pub fn sample(&self, route: &TenantRoute, period: &Period<'_>) -> Option<(Sample, Changes)> {
        let requests_last_day = self.quotas.known_use(route.uid, &RequestLimits::from(&route.quota))?;
        let input = self.input(route, requests_last_day);
        let now = self.clock.now();
        let requests = self.meters.meter(route.uid, &route.name).figures(now);
        let sampled = self.sampled.tenant(route.uid);
        Some(sampled.sample(now, &route.name, &requests, &input, period))
    }

    /// Forgets a tenant that is no longer served here. Publish its last sample before.
    pub fn forget(&self, uid: TenantUid) {
        self.meters.forget(uid);
        self.sampled.forget(uid);
    }

    fn input(&self, route: &TenantRoute, requests_last_day: u64) -> UsageInput {
        let figures = self.databases.figures(route.uid).unwrap_or_default();
        UsageInput {
            epoch: route
                .placement
                .as_ref()
                .map(|placement| placement.epoch)
                .unwrap_or_default(),
            quota: route.quota,
            requests_last_day,
            database: DatabaseSample {
                database_bytes: figures.database_bytes,
                wal_bytes: figures.wal_bytes,
                free_bytes: figures.free_bytes,
                memory_bytes: figures.memory_bytes,
                cpu_micros_total: figures.cpu_micros_total,
                rows_read: figures.rows_read,
                rows_written: figures.rows_written,
            },
            tier: route.tier,
        }
    }
}
