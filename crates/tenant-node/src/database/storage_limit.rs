//! The storage quota as SQLite's own page limit: exact at the moment of the write.

use std::path::Path;

use rusqlite::Connection;

use super::StatementError;

/// All databases are made with pages of this many bytes.
pub(super) const PAGE_BYTES: u64 = 4096;

/// SQLite says "full" for the page limit and for a full disk alike. With less free space than this it was the disk: SQLite
/// writes page by page, so at the moment of a real failure less than one page was left.
const DISK_FULL_BELOW_BYTES: u64 = 1 << 20;

/// The limit that was set last on any connection of a tenant, with the tenant's turn to write.
#[derive(Debug, Default)]
pub(super) struct LatestLimit {
    bytes: u64,
    changes: u64,
}

/// A limit and when it was set: after another limit the same one is a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct StorageLimit {
    bytes: u64,
    changes: u64,
}

impl LatestLimit {
    /// The tenant may use so many bytes from now on.
    pub(super) const fn set(&mut self, bytes: u64) -> StorageLimit {
        if self.bytes != bytes {
            self.bytes = bytes;
            self.changes += 1;
        }
        StorageLimit {
            bytes,
            changes: self.changes,
        }
    }
}

/// Sets the page limit of one connection. SQLite itself raises a limit below the present size to that size, so a lowered
/// quota stops growth only; and it keeps the raised value when the database shrinks, so this is called before every write
/// transaction until the limit was taken as it is, outside of any transaction. From then on no connection lets the database grow beyond
/// it, until another limit is set.
pub(super) fn apply(connection: &Connection, limit: StorageLimit) -> rusqlite::Result<Applied> {
    let pages = (limit.bytes / PAGE_BYTES).max(1);
    let effective: i64 = connection
        .prepare_cached(&format!("PRAGMA max_page_count={pages}"))?
        .query_row([], |row| row.get(0))?;
    Ok(match u64::try_from(effective) {
        Ok(effective) if effective == pages => Applied::AsAsked,
        Ok(_) | Err(_) => Applied::AtPresentSize,
    })
}

/// What became of a page limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Applied {
    /// It holds for the connection until another one is set on any connection of the tenant.
    AsAsked,
    /// The database is larger: it cannot grow, and may again when it has shrunk, which is not wanted.
    AtPresentSize,
}

/// What "full" meant, given the bytes that the disk had left.
pub(super) fn full_error(free_disk_bytes: Option<u64>, used_bytes: u64, limit_bytes: u64) -> StatementError {
    match free_disk_bytes {
        Some(free) if free < DISK_FULL_BELOW_BYTES => StatementError::Disk {
            message: "no space left on the device".to_owned(),
        },
        _ => StatementError::StorageQuotaExceeded {
            used_bytes,
            limit_bytes,
        },
    }
}

/// Bytes that an ordinary process can still write to the disk that holds `path`; `None` where the system does not tell.
pub(super) fn free_disk_bytes(path: &Path) -> Option<u64> {
    let stats = rustix::fs::statvfs(path).ok()?;
    Some(stats.f_bavail.saturating_mul(stats.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn full_means_the_quota_unless_the_disk_has_nothing_left() {
        let quota = StatementError::StorageQuotaExceeded {
            used_bytes: 5,
            limit_bytes: 6,
        };
        assert_eq!(full_error(None, 5, 6), quota);
        assert_eq!(full_error(Some(1 << 30), 5, 6), quota);
        assert!(matches!(full_error(Some(100), 5, 6), StatementError::Disk { .. }));
    }

    #[test]
    fn free_space_is_told_for_a_real_folder() {
        assert!(free_disk_bytes(&std::env::temp_dir()).is_some());
        assert_eq!(free_disk_bytes(Path::new("/does/not/exist")), None);
    }
}
