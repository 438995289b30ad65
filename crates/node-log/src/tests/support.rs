//! Logs for tests, and what they are given.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use tenantry_types::TenantUid;

use super::forgetful_disk::ForgetfulDisk;
use super::simulated_wal;
use crate::{CommitRecord, NodeLog, NodeLogConfig, OpenError, Recovery};

/// Longer than anything takes that will happen at all.
pub(super) const LONG: Duration = Duration::from_secs(30);

pub(super) const SEGMENT: u64 = 64 << 10;

pub(super) fn tenant(number: u128) -> TenantUid {
    TenantUid::from_u128(number)
}

/// A small ring: four segments of 64 KiB.
pub(super) fn config(folder: impl Into<PathBuf>) -> NodeLogConfig {
    NodeLogConfig {
        segment_bytes: SEGMENT,
        most_bytes: 4 * SEGMENT,
        keep_free_bytes: 0,
        ..NodeLogConfig::new(folder)
    }
}

/// A log on a disk in memory, and the reasons of its failures.
pub(super) fn open_simulated(
    disk: &ForgetfulDisk,
    config: NodeLogConfig,
) -> Result<(NodeLog, Recovery, Receiver<String>), OpenError> {
    let (failed, failures) = channel();
    let (log, recovery) = NodeLog::open_on(
        Arc::new(disk.clone()),
        config,
        Arc::new(simulated_wal::database_path),
        Box::new(move |reason| failed.send(reason).unwrap()),
    )?;
    Ok((log, recovery, failures))
}

/// A log in memory in its usual folder.
pub(super) fn simulated(disk: &ForgetfulDisk) -> (NodeLog, Receiver<String>) {
    let (log, _, failures) = open_simulated(disk, config("/log")).unwrap();
    (log, failures)
}

/// A log on real files, whose tenants' databases are `UID/db.sqlite` below `tenants`.
pub(super) fn open_real(folder: &Path, tenants: &Path) -> Result<(NodeLog, Recovery), OpenError> {
    let tenants = tenants.to_owned();
    // Wide enough that the keeper never syncs a WAL file.
    let config = NodeLogConfig {
        most_bytes: 64 * SEGMENT,
        ..config(folder)
    };
    NodeLog::open(
        config,
        Arc::new(move |uid| database_path(&tenants, uid)),
        Box::new(|reason| panic!("the log failed: {reason}")),
    )
}

pub(super) fn database_path(tenants: &Path, uid: TenantUid) -> PathBuf {
    tenants.join(uid.to_string()).join("db.sqlite")
}

/// A record of a tenant without a WAL file.
pub(super) fn record(uid: TenantUid, length: usize) -> CommitRecord {
    CommitRecord {
        tenant: uid,
        salts: *b"saltsalt",
        offset: 32,
        frames: vec![7; length],
    }
}

/// Waits until it is so.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < LONG, "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
