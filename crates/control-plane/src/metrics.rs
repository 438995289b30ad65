//! What this member shows at `/metrics`.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{BuildError, PrometheusBuilder, PrometheusHandle};
use service_runtime::disk::{DiskSpace, disk_space};
use tokio::sync::watch;

use crate::machine::PublishedState;
use crate::raft::{Health, RaftStatus, Role};
use crate::storage::{LOG_COPIES_TOTAL, LOG_WRITE_SECONDS};

/// How often the figures are brought up to date.
const INTERVAL: Duration = Duration::from_secs(1);
/// How often the disk is asked.
const DISK_INTERVAL: Duration = Duration::from_secs(10);
/// Upper bounds of the histograms: a fast disk syncs in 0.1 ms, one that takes 1 s costs elections.
const UPPER_BOUNDS_SECONDS: [f64; 13] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

const CERTIFICATE_EXPIRY: &str = "tenantry_control_certificate_expiry_timestamp_seconds";

/// Shows when the certificate in use ends.
pub fn certificate_expires(at: SystemTime) {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(CERTIFICATE_EXPIRY).set(since_1970.as_secs_f64());
}

/// Installs the process's recorder and describes the figures. A second call in one process (in tests) gives a handle of
/// its own that shows nothing.
///
/// # Errors
/// When the exporter cannot be built.
pub fn install() -> Result<PrometheusHandle, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets(&UPPER_BOUNDS_SECONDS)?
        .build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("this process has a metrics recorder already");
    }
    describe_gauge!("tenantry_control_raft_is_leader", "1 on the member that leads.");
    describe_gauge!("tenantry_control_raft_has_leader", "1 on a member that knows a leader.");
    describe_gauge!(
        "tenantry_control_raft_term",
        "The newest Raft term that this member has seen."
    );
    describe_gauge!(
        "tenantry_control_raft_commit_index",
        "The last log index known to be committed."
    );
    describe_gauge!(
        "tenantry_control_raft_applied_index",
        "The last log index applied to the state."
    );
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "When this member's certificate ends, in seconds since 1970."
    );
    describe_gauge!("tenantry_control_raft_log_entries", "Entries that the log holds.");
    describe_gauge!(
        "tenantry_control_raft_snapshot_index",
        "The last log index that the newest snapshot covers."
    );
    describe_gauge!(
        "tenantry_control_raft_log_bytes",
        Unit::Bytes,
        "Disk that the log store occupies."
    );
    describe_histogram!(
        LOG_WRITE_SECONDS,
        Unit::Seconds,
        "Time that one write to the log took to be durable."
    );
    describe_counter!(
        LOG_COPIES_TOTAL,
        "Times that the log was copied to give back disk space."
    );
    describe_gauge!(
        "tenantry_control_disk_size_bytes",
        Unit::Bytes,
        "The data folder's file system."
    );
    describe_gauge!(
        "tenantry_control_disk_free_bytes",
        Unit::Bytes,
        "What may still be taken of the data folder's file system."
    );
    describe_gauge!("tenantry_control_storage_healthy", "1 while this member's disk works.");
    describe_gauge!("tenantry_control_tenants", "Tenants that are not deleted.");
    describe_gauge!("tenantry_control_nodes", "Registered tenant-nodes.");
    describe_gauge!(
        "tenantry_control_watchers",
        "Open watches of the routing table at this member."
    );
    describe_counter!(
        "tenantry_control_watch_snapshots_total",
        "Snapshots of the routing table that watchers were sent since they could not resume."
    );
    describe_counter!(
        "tenantry_control_watch_resyncs_total",
        "Watches of the routing table that ended since the watcher was too slow or too far behind."
    );
    describe_counter!(
        "tenantry_control_webhook_attempts_total",
        "Attempts to deliver a message to a webhook, by what came of them."
    );
    describe_gauge!(
        "tenantry_control_kept_answers",
        "Answers that are kept for callers that repeat a request id."
    );
    describe_counter!(
        "tenantry_control_answers_evicted_total",
        "Answers that were dropped before their 24 hours, since more came in than are kept."
    );
    Ok(handle)
}

/// Brings the figures up to date, for ever.
pub async fn publish(status: watch::Receiver<RaftStatus>, published: PublishedState) {
    loop {
        set(&status.borrow().clone(), &published);
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Shows how full the disk is, for ever. Apart from the other figures: a disk that hangs must not hold them up.
pub async fn publish_disk(data_dir: PathBuf) {
    loop {
        let asked = data_dir.clone();
        match tokio::task::spawn_blocking(move || disk_space(&asked)).await {
            Ok(Ok(space)) => set_disk(space),
            // The last figures stay; whether the log can be written is another figure.
            Ok(Err(error)) => tracing::debug!(%error, "the disk cannot be asked for its room"),
            Err(error) => tracing::error!(%error, "asking the disk panicked"),
        }
        tokio::time::sleep(DISK_INTERVAL).await;
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows floats alone; a few bytes do not matter"
)]
fn set_disk(space: DiskSpace) {
    gauge!("tenantry_control_disk_size_bytes").set(space.size as f64);
    gauge!("tenantry_control_disk_free_bytes").set(space.free as f64);
}

#[expect(
    clippy::cast_precision_loss,
    reason = "Prometheus knows floats alone; indexes stay far below 2^53"
)]
fn set(status: &RaftStatus, published: &PublishedState) {
    let flag = |holds: bool| if holds { 1.0 } else { 0.0 };
    gauge!("tenantry_control_raft_is_leader").set(flag(status.role == Role::Leader));
    gauge!("tenantry_control_raft_has_leader").set(flag(status.leader.is_some()));
    gauge!("tenantry_control_raft_term").set(status.term as f64);
    gauge!("tenantry_control_raft_commit_index").set(status.commit.get() as f64);
    gauge!("tenantry_control_raft_applied_index").set(status.applied.get() as f64);
    gauge!("tenantry_control_raft_log_entries").set((status.last_index + 1).saturating_sub(status.first_index) as f64);
    gauge!("tenantry_control_raft_snapshot_index").set(status.snapshot_index as f64);
    gauge!("tenantry_control_raft_log_bytes").set(status.log_bytes as f64);
    gauge!("tenantry_control_storage_healthy").set(flag(status.health == Health::Running));
    let state = &published.current().state;
    gauge!("tenantry_control_tenants").set(state.active_tenants() as f64);
    gauge!("tenantry_control_nodes").set(state.node_count() as f64);
    gauge!("tenantry_control_kept_answers").set(state.kept_answers() as f64);
}
