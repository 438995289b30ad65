//! What the log of all tenants tells about itself, as Prometheus reads it.

use std::time::Duration;

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};
use node_log::NodeLogFigures;
use tokio_util::sync::CancellationToken;

use crate::database::Databases;

/// How often the log is asked.
const INTERVAL: Duration = Duration::from_secs(5);
const RECORDS: &str = "tenantry_node_log_records_total";
const WRITTEN: &str = "tenantry_node_log_written_bytes_total";
const SYNCS: &str = "tenantry_node_log_syncs_total";
const SYNC_TIME: &str = "tenantry_node_log_sync_seconds";
const REFUSED: &str = "tenantry_node_log_refused_total";
const WALS_SYNCED: &str = "tenantry_node_log_tenants_synced_total";
const QUEUED: &str = "tenantry_node_log_queued_bytes";
const UNAVAILABLE: &str = "tenantry_node_log_unavailable";
const QUARANTINED: &str = "tenantry_node_quarantined_tenants";

pub(crate) fn describe() {
    describe_counter!(RECORDS, Unit::Count, "Commits that the node's log has made durable.");
    describe_counter!(WRITTEN, Unit::Bytes, "Bytes written to the node's log.");
    describe_counter!(
        SYNCS,
        Unit::Count,
        "Writes to the node's log, each with one sync of the disk."
    );
    describe_gauge!(
        SYNC_TIME,
        Unit::Seconds,
        "Mean time of a write to the node's log with its sync, of those since the last look; as before where there were none."
    );
    describe_counter!(
        REFUSED,
        Unit::Count,
        "Commits that the node's log had no room for; each was synced in its tenant's own log."
    );
    describe_counter!(
        WALS_SYNCED,
        Unit::Count,
        "Tenants' own logs that were synced so that room in the node's log could be used again."
    );
    describe_gauge!(QUEUED, Unit::Bytes, "Bytes that wait to be written to the node's log.");
    describe_gauge!(
        UNAVAILABLE,
        Unit::Count,
        "1 while the node's log takes no commits, for want of room; 0 otherwise."
    );
    describe_gauge!(
        QUARANTINED,
        Unit::Count,
        "Tenants whose own logs do not hold what was acknowledged; their databases are not opened until an operator has decided."
    );
}

/// Shows the figures until `stop`.
pub(crate) async fn follow(databases: Databases, stop: CancellationToken) {
    let mut seen = NodeLogFigures::default();
    gauge!(SYNC_TIME).set(0.0);
    loop {
        let figures = databases.log_figures();
        counter!(RECORDS).absolute(figures.records);
        counter!(WRITTEN).absolute(figures.bytes);
        counter!(SYNCS).absolute(figures.syncs);
        let syncs = figures.syncs.saturating_sub(seen.syncs);
        if syncs > 0 {
            let time = figures.sync_time.saturating_sub(seen.sync_time);
            gauge!(SYNC_TIME).set(time.as_secs_f64() / syncs as f64);
        }
        seen = figures;
        counter!(REFUSED).absolute(figures.refused);
        counter!(WALS_SYNCED).absolute(figures.wals_synced);
        gauge!(QUEUED).set(figures.queued_bytes as f64);
        gauge!(UNAVAILABLE).set(f64::from(u8::from(figures.unavailable)));
        let looking = databases.clone();
        if let Ok(tenants) = tokio::task::spawn_blocking(move || looking.quarantined_tenants()).await {
            gauge!(QUARANTINED).set(tenants as f64);
        }
        if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}
