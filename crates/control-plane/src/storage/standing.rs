//! What a member knows about its place in the cluster besides its log: which log it has, and whether it may take part.
//!
//! Written before the log's first entry, and once more if the cluster has no place for this member any more.

use std::fs;
use std::io;
use std::path::Path;

use super::identity::write_marker;
use super::{IdentityError, LogId};

const FILE_NAME: &str = "STANDING";
const FORMAT: &str = "format=1";

/// A member's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// The log in this folder.
    pub log: LogId,
    /// Why the member must not take part. For ever: a folder does not come back from here.
    pub expelled: Option<Expulsion>,
}

/// Why a cluster has no place for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Expulsion {
    /// An operator took it out.
    #[error(
        "this member was removed from the cluster, and its id is never used again. To run a member here, empty the data \
         folder and add it under a new id (tenantctl cluster member add)"
    )]
    Removed,
    /// Its id stands for another log, which it does not have any more.
    #[error(
        "the cluster knows this member by another log: the disk with what it promised was lost or exchanged, and it must \
         not come back under its old id. Start a new member with a new id and an empty folder, and put it in this one's \
         place (tenantctl cluster member replace)"
    )]
    DiskLost,
}

impl Expulsion {
    const ALL: [Self; 2] = [Self::Removed, Self::DiskLost];

    const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::DiskLost => "disk-lost",
        }
    }
}

impl Standing {
    /// Reads the folder's standing; a folder without one gets a new log, named `draw`.
    ///
    /// `in_use`: the folder has a member already, so it must have a standing.
    ///
    /// # Errors
    /// When it cannot be read or written, is malformed, or is missing in a folder that is in use.
    pub fn open(folder: &Path, in_use: bool, draw: LogId) -> Result<Self, IdentityError> {
        let path = folder.join(FILE_NAME);
        match fs::read_to_string(&path) {
            Ok(text) => Self::parse(&text).ok_or(IdentityError::Malformed { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound && in_use => Err(IdentityError::Incomplete {
                folder: folder.to_owned(),
                missing: "its STANDING file",
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let standing = Self {
                    log: draw,
                    expelled: None,
                };
                standing.write(folder)?;
                Ok(standing)
            }
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }

    /// Writes the standing durably.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn write(&self, folder: &Path) -> Result<(), IdentityError> {
        write_marker(folder.join(FILE_NAME), &self.to_text())
    }

    fn to_text(self) -> String {
        let expelled = self.expelled.map_or("no", Expulsion::name);
        format!("{FORMAT}\nlog={}\nexpelled={expelled}\n", self.log)
    }

    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FORMAT {
            return None;
        }
        let log = lines.next()?.strip_prefix("log=")?.parse().ok()?;
        let expelled = match lines.next()?.strip_prefix("expelled=")? {
            "no" => None,
            name => Some(Expulsion::ALL.into_iter().find(|expulsion| expulsion.name() == name)?),
        };
        lines.next().is_none().then_some(Self { log, expelled })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log(id: u64) -> LogId {
        LogId::new(id).unwrap()
    }

    #[test]
    fn a_folder_keeps_its_first_log_and_an_expulsion() {
        let folder = tempfile::tempdir().unwrap();
        let first = Standing::open(folder.path(), false, log(7)).unwrap();
        assert_eq!(first.log, log(7));
        assert_eq!(Standing::open(folder.path(), true, log(8)).unwrap(), first);
        for expulsion in Expulsion::ALL {
            let expelled = Standing {
                expelled: Some(expulsion),
                ..first
            };
            expelled.write(folder.path()).unwrap();
            assert_eq!(Standing::open(folder.path(), false, log(9)).unwrap(), expelled);
        }
    }

    #[test]
    fn a_used_folder_without_a_standing_and_a_malformed_one_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = Standing::open(folder.path(), true, log(7)).unwrap_err();
        assert!(error.to_string().contains("STANDING"), "{error}");
        for text in [
            "",
            "format=1\nlog=7\nexpelled=no\n",
            "format=1\nlog=0000000000000007\nexpelled=maybe\n",
        ] {
            fs::write(folder.path().join(FILE_NAME), text).unwrap();
            let error = Standing::open(folder.path(), false, log(7)).unwrap_err();
            assert!(matches!(error, IdentityError::Malformed { .. }), "{error}");
        }
    }
}
