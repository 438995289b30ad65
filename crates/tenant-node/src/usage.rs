//! Puts one tenant's figures together: what was counted, what the database measured, and how its quotas stand.

use std::sync::Arc;

use tenantry_types::{EventDetail, TenantRoute, TenantUsage};

use crate::clock::Clock;
use crate::database::Databases;
use crate::metrics::{DatabaseSample, MeterRegistry, Sample, UsageInput};
use crate::placement::SharedRoutingTable;
use crate::quota::{QuotaError, QuotaRegistry};

/// Reads figures. Cheap to clone.
#[derive(Clone)]
pub struct UsageReader {
    /// What the request path counts.
    pub meters: Arc<MeterRegistry>,
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
        let input = self.input(route).await?;
        let meter = self.meters.meter(route.uid, &route.name);
        Ok(meter.usage(self.clock.now(), &input, self.table.current().tiers()))
    }

    /// The figures of a sample period that ends now, and what changed by them.
    ///
    /// # Errors
    /// When the quota ledger cannot be read.
    pub async fn sample(&self, route: &TenantRoute) -> Result<(Sample, Vec<EventDetail>), QuotaError> {
        let input = self.input(route).await?;
        let meter = self.meters.meter(route.uid, &route.name);
        Ok(meter.sample(self.clock.now(), &input, self.table.current().tiers()))
    }

    async fn input(&self, route: &TenantRoute) -> Result<UsageInput, QuotaError> {
        let standing = self.quotas.standing(route.uid, &route.quota).await?;
        let figures = self.databases.figures(route.uid).unwrap_or_default();
        Ok(UsageInput {
            epoch: route
                .placement
                .as_ref()
                .map(|placement| placement.epoch)
                .unwrap_or_default(),
            quota: route.quota,
            requests_last_day: standing.daily_used,
            database: DatabaseSample {
                database_bytes: figures.database_bytes,
                wal_bytes: figures.wal_bytes,
                free_bytes: figures.free_bytes,
                memory_bytes: figures.memory_bytes,
                cpu_micros_total: figures.cpu_micros_total,
                rows_read: figures.rows_read,
                rows_written: figures.rows_written,
            },
            known_class: None,
        })
    }
}
