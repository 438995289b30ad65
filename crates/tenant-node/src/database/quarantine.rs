//! Tenants in quarantine: their own write-ahead logs do not hold what was acknowledged, and only an operator may say what is to become of
//! them. The node's log leaves a mark in the tenant's folder; here marks are looked for, told of and counted.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use node_log::Quarantine;
use parking_lot::Mutex;
use tenantry_types::TenantUid;

use super::DatabaseError;
use super::tenant::{database_path, tenants_path};

/// Who is known to be in quarantine.
pub(super) struct Quarantines {
    data_dir: PathBuf,
    known: Mutex<BTreeSet<TenantUid>>,
}

impl Quarantines {
    /// Looks into the folders of all tenants and tells of each mark. Blocks.
    ///
    /// # Errors
    /// When the folders cannot be listed.
    pub(super) fn find(data_dir: &Path) -> io::Result<Self> {
        let mut known = BTreeSet::new();
        for folder in std::fs::read_dir(tenants_path(data_dir))? {
            let Ok(tenant) = folder?.file_name().to_string_lossy().parse() else {
                continue;
            };
            match Quarantine::of(&database_path(data_dir, tenant)) {
                Ok(None) => {}
                Ok(Some(Quarantine { mark, why })) => {
                    known.insert(tenant);
                    tracing::error!(
                        %tenant,
                        why,
                        mark = %mark.display(),
                        "a tenant is in quarantine: its database is not opened until an operator has moved the mark away, which says what \
                         to do; the other tenants are served"
                    );
                }
                Err(error) => tracing::error!(%tenant, %error, "a tenant's folder cannot be searched for a mark"),
            }
        }
        Ok(Self {
            data_dir: data_dir.to_owned(),
            known: Mutex::new(known),
        })
    }

    /// Comes before a database is opened: an operator may have moved the mark away, or put a folder with one in its place. Blocks.
    ///
    /// # Errors
    /// [`DatabaseError::Quarantined`] if the tenant is, [`DatabaseError::Mark`] if that cannot be told.
    pub(super) fn check(&self, tenant: TenantUid) -> Result<(), DatabaseError> {
        match Quarantine::of(&database_path(&self.data_dir, tenant)).map_err(DatabaseError::Mark)? {
            Some(Quarantine { mark, why }) => {
                self.known.lock().insert(tenant);
                Err(DatabaseError::Quarantined { mark, why })
            }
            None => {
                self.forget(tenant);
                Ok(())
            }
        }
    }

    /// How many are in quarantine. Blocks.
    pub(super) fn count(&self) -> usize {
        let known = self.known.lock().clone();
        for tenant in known {
            if matches!(Quarantine::of(&database_path(&self.data_dir, tenant)), Ok(None)) {
                self.forget(tenant);
            }
        }
        self.known.lock().len()
    }

    fn forget(&self, tenant: TenantUid) {
        if self.known.lock().remove(&tenant) {
            tracing::warn!(%tenant, "a tenant is in quarantine no longer: its mark was moved away");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(number: u128) -> TenantUid {
        TenantUid::from_u128(number)
    }

    #[test]
    fn marks_are_found_at_the_start_and_whenever_they_come_and_go() {
        let data_dir = tempfile::tempdir().unwrap();
        let mark = |number| database_path(data_dir.path(), tenant(number)).with_file_name("QUARANTINED");
        for number in 1..=3 {
            std::fs::create_dir_all(mark(number).parent().unwrap()).unwrap();
        }
        std::fs::create_dir(tenants_path(data_dir.path()).join("lost+found")).unwrap();
        std::fs::write(mark(1), "tenantry quarantine 1\na byte is missing\n").unwrap();
        let quarantines = Quarantines::find(data_dir.path()).unwrap();
        assert_eq!(quarantines.count(), 1);
        let refused = quarantines.check(tenant(1)).unwrap_err().to_string();
        assert!(
            refused.contains("a byte is missing") && refused.contains("QUARANTINED"),
            "{refused}"
        );
        quarantines.check(tenant(2)).unwrap();
        // A folder of another node, say.
        std::fs::write(mark(3), "").unwrap();
        quarantines.check(tenant(3)).unwrap_err();
        assert_eq!(quarantines.count(), 2);
        std::fs::remove_file(mark(1)).unwrap();
        assert_eq!(quarantines.count(), 1);
        std::fs::remove_file(mark(3)).unwrap();
        quarantines.check(tenant(3)).unwrap();
        assert_eq!(quarantines.count(), 0);
    }

    #[test]
    fn a_folder_that_cannot_be_searched_is_no_permission() {
        let data_dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(tenants_path(data_dir.path())).unwrap();
        std::fs::write(tenants_path(data_dir.path()).join(tenant(1).to_string()), "").unwrap();
        let quarantines = Quarantines::find(data_dir.path()).unwrap();
        let refused = quarantines.check(tenant(1));
        assert!(matches!(refused, Err(DatabaseError::Mark(_))), "{refused:?}");
    }
}
