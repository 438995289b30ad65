//! The marker that binds a data folder to one member of one cluster.
//!
//! It is written once, when a folder is first used, and compared ever after.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use service_runtime::data_dir::write_atomically;
use tenantry_types::MemberId;

const FILE_NAME: &str = "MEMBER";
const FORMAT: u32 = 1;

/// Whose folder it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The member.
    pub member: MemberId,
    /// Hash over the cluster's initial member list.
    pub fingerprint: u64,
}

/// The folder is not this member's.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// It belongs to another member or cluster, or was written by another version.
    #[error("{place} belongs to {found}, but this is {expected}; point --data-dir at this member's own folder")]
    Foreign {
        /// Which marker.
        place: String,
        /// What the marker says.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// The marker names this member, but what it stands for is gone.
    #[error(
        "{folder} was used by this member before, but {missing} is gone; a member that lost its disk must not come back \
         under its old id: remove it from the cluster and join again under a new id with an empty folder"
    )]
    Incomplete {
        /// The data folder.
        folder: PathBuf,
        /// What is missing.
        missing: &'static str,
    },
    /// A file beside the marker is not what it should be.
    #[error("{path} is malformed; nothing was changed")]
    Malformed {
        /// Which file.
        path: PathBuf,
    },
    /// The marker cannot be read or written.
    #[error("cannot read or write {path}")]
    Io {
        /// The marker file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
}

impl Identity {
    /// The marker's text, also kept inside the log store.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!(
            "format={FORMAT}\nmember={}\ncluster={:016x}\n",
            self.member, self.fingerprint
        )
    }

    /// # Errors
    /// When `found` is not this identity.
    pub fn check(&self, place: &str, found: &[u8]) -> Result<(), IdentityError> {
        let expected = self.to_text();
        if found == expected.as_bytes() {
            return Ok(());
        }
        let readable: String = String::from_utf8_lossy(found).chars().take(200).collect();
        Err(IdentityError::Foreign {
            place: place.to_owned(),
            found: one_line(&readable),
            expected: one_line(&expected),
        })
    }

    /// Reads the folder's marker. `false`: there is none.
    ///
    /// # Errors
    /// When there is one and it is not this member's, or it cannot be read.
    pub fn check_folder(&self, folder: &Path) -> Result<bool, IdentityError> {
        let path = folder.join(FILE_NAME);
        match fs::read(&path) {
            Ok(found) => self.check(&path.display().to_string(), &found).map(|()| true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    /// Writes the folder's marker durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn mark_folder(&self, folder: &Path) -> Result<(), IdentityError> {
        write_marker(folder.join(FILE_NAME), &self.to_text())
    }
}

/// Writes one of a folder's markers durably, as a whole or not at all.
pub(super) fn write_marker(path: PathBuf, text: &str) -> Result<(), IdentityError> {
    write_atomically(&path, text.as_bytes()).map_err(|error| IdentityError::Io {
        path,
        source: error.source,
    })
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(member: u64, fingerprint: u64) -> Identity {
        Identity {
            member: MemberId::new(member).unwrap(),
            fingerprint,
        }
    }

    #[test]
    fn a_marked_folder_is_accepted_by_its_member_alone() {
        let folder = tempfile::tempdir().unwrap();
        assert!(!identity(1, 7).check_folder(folder.path()).unwrap());
        identity(1, 7).mark_folder(folder.path()).unwrap();
        assert!(identity(1, 7).check_folder(folder.path()).unwrap());
        for other in [identity(2, 7), identity(1, 8)] {
            let message = other.check_folder(folder.path()).unwrap_err().to_string();
            assert!(message.contains("member=1 cluster=0000000000000007"), "{message}");
            assert!(!message.contains('\n'), "{message}");
        }
    }
}
