//! Which files of a tenant are looked at, and where they lie.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tenantry_types::TenantUid;

/// Where the database file of a tenant lies. Its WAL file lies beside it, under that name with `-wal`, as SQLite has it. Called by the
/// keeper thread and while the log is opened; must not block.
pub type DatabasePath = Arc<dyn Fn(TenantUid) -> PathBuf + Send + Sync>;

/// Finds the files of any tenant.
pub(crate) struct TenantFiles(DatabasePath);

impl TenantFiles {
    pub(crate) fn new(database_path: DatabasePath) -> Self {
        Self(database_path)
    }

    pub(crate) fn database(&self, tenant: TenantUid) -> PathBuf {
        (self.0)(tenant)
    }

    pub(crate) fn wal(&self, tenant: TenantUid) -> PathBuf {
        wal_path(&self.database(tenant))
    }
}

fn wal_path(database: &Path) -> PathBuf {
    let mut name = OsString::from(database);
    name.push("-wal");
    PathBuf::from(name)
}
