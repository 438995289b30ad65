//! How a member's log began: with the cluster, or with a restore from a snapshot.
//!
//! A restored cluster has the old one's name, and often its members' ids and addresses. What keeps the two apart is the
//! fingerprint that goes with every message between members and with every snapshot; so it says what was restored.

use std::fs;
use std::io;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tenantry_types::ClusterEpoch;

use super::IdentityError;
use super::identity::write_marker;

const FILE_NAME: &str = "RESTORED";
const FORMAT: u32 = 1;

/// How a log began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provenance {
    /// Empty, with the cluster.
    Founded,
    /// With the state of a snapshot.
    Restored {
        /// The life that began then.
        epoch: ClusterEpoch,
        /// Hash over the snapshot file.
        file: u64,
    },
}

impl Provenance {
    /// Reads the folder's marker; without one, the log began with the cluster.
    ///
    /// # Errors
    /// When there is one that cannot be read.
    pub fn read(folder: &Path) -> Result<Self, IdentityError> {
        let path = folder.join(FILE_NAME);
        let text = match fs::read(&path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::Founded),
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        Self::parse(&text).ok_or_else(|| IdentityError::Foreign {
            place: path.display().to_string(),
            found: text.chars().take(200).collect(),
            expected: "the marker of a restored cluster".to_owned(),
        })
    }

    /// Writes the folder's marker durably. A log that began with the cluster has none.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn mark_folder(self, folder: &Path) -> Result<(), IdentityError> {
        let Self::Restored { epoch, file } = self else {
            return Ok(());
        };
        let path = folder.join(FILE_NAME);
        let text = format!("format={FORMAT}\nepoch={epoch}\nsnapshot={file:016x}\n");
        write_marker(path, &text)
    }

    /// What members of this cluster know each other by: equal on those with the same `members` (the hash over the initial
    /// list) that were restored from the same file into the same epoch, and on no others.
    #[must_use]
    pub fn fingerprint(self, members: u64) -> u64 {
        let Self::Restored { epoch, file } = self else {
            return members;
        };
        let mut hash = Sha256::new();
        for number in [members, epoch.get(), file] {
            hash.update(number.to_le_bytes());
        }
        first_word(&hash.finalize().into())
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix('=');
        if field("format")? != FORMAT.to_string() {
            return None;
        }
        let epoch = field("epoch")?.parse().ok()?;
        let file = u64::from_str_radix(field("snapshot")?, 16).ok()?;
        Some(Self::Restored {
            epoch: ClusterEpoch(epoch),
            file,
        })
    }
}

/// The first eight bytes of a hash as a number.
pub(crate) fn first_word(hash: &[u8; 32]) -> u64 {
    hash.first_chunk().map_or(0, |head: &[u8; 8]| u64::from_le_bytes(*head))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_reads_back_and_damage_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Provenance::read(folder.path()).unwrap(), Provenance::Founded);
        let restored = Provenance::Restored {
            epoch: ClusterEpoch(3),
            file: 0xabc,
        };
        restored.mark_folder(folder.path()).unwrap();
        assert_eq!(Provenance::read(folder.path()).unwrap(), restored);
        for text in [
            "",
            "format=2\nepoch=3\nsnapshot=abc\n",
            "format=1\nepoch=x\nsnapshot=abc\n",
        ] {
            fs::write(folder.path().join(FILE_NAME), text).unwrap();
            assert!(Provenance::read(folder.path()).is_err(), "{text}");
        }
    }

    #[test]
    fn restored_clusters_differ_by_members_epoch_and_file() {
        let restored = |epoch, file| Provenance::Restored {
            epoch: ClusterEpoch(epoch),
            file,
        };
        assert_eq!(Provenance::Founded.fingerprint(7), 7);
        let prints = [
            Provenance::Founded.fingerprint(7),
            restored(2, 1).fingerprint(7),
            restored(3, 1).fingerprint(7),
            restored(2, 2).fingerprint(7),
            restored(2, 1).fingerprint(8),
        ];
        let distinct: std::collections::BTreeSet<_> = prints.into_iter().collect();
        assert_eq!(distinct.len(), prints.len());
    }
}
