//! Figures of the process and its machine that belong to no tenant: the disk of the data folder, the certificate's end.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use metrics::{Unit, describe_gauge, gauge};
use service_runtime::disk::disk_space;
use tokio_util::sync::CancellationToken;

/// How often the disk is asked.
const INTERVAL: Duration = Duration::from_secs(10);
const CERTIFICATE_EXPIRY: &str = "tenantry_node_certificate_expiry_timestamp_seconds";
const DISK_SIZE: &str = "tenantry_node_disk_size_bytes";
const DISK_FREE: &str = "tenantry_node_disk_free_bytes";

pub(crate) fn describe() {
    describe_gauge!(
        CERTIFICATE_EXPIRY,
        Unit::Seconds,
        "When this node's certificate ends, in seconds since 1970."
    );
    describe_gauge!(DISK_SIZE, Unit::Bytes, "The data folder's file system.");
    describe_gauge!(
        DISK_FREE,
        Unit::Bytes,
        "What may still be taken of the data folder's file system."
    );
}

/// Shows when the certificate in use ends.
pub(crate) fn certificate_expires(at: SystemTime) {
    let since_1970 = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    gauge!(CERTIFICATE_EXPIRY).set(since_1970.as_secs_f64());
}

/// Shows how full the disk is, until `stop`. Of a disk that cannot be asked the last figures stay.
pub(crate) async fn follow_disk(data_dir: PathBuf, stop: CancellationToken) {
    loop {
        let asked = data_dir.clone();
        match tokio::task::spawn_blocking(move || disk_space(&asked)).await {
            Ok(Ok(space)) => {
                gauge!(DISK_SIZE).set(space.size as f64);
                gauge!(DISK_FREE).set(space.free as f64);
            }
            Ok(Err(error)) => tracing::warn!(%error, "the disk cannot be asked for its room"),
            Err(error) => tracing::error!(%error, "asking the disk panicked"),
        }
        if stop.run_until_cancelled(tokio::time::sleep(INTERVAL)).await.is_none() {
            return;
        }
    }
}
