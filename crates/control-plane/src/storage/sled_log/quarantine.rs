//! A log that is damaged is left where it is, and a file beside it says so to every later start.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::Path;

use super::super::StoreError;

const FILE_NAME: &str = "QUARANTINED";
const INSTRUCTIONS: &str = "\
Nothing in this folder was changed or deleted, and nothing will be: every start refuses it in these same words.

To bring the member back:
1. On a member that works: remove this member from the cluster.
2. Stop this member. Keep the whole data folder for examination, or move it away.
3. Start it under a new member id with an empty data folder, and add that id to the cluster. It receives everything
   from the others. It must not come back under its old id, since it may have forgotten whom it voted for.

If the cause lay outside this folder, say a disk that was not mounted in full: mend that, delete this file alone, and
start again. The log is then checked anew.
";

/// Refuses a folder that was put into quarantine.
pub(super) fn check(folder: &Path) -> Result<(), StoreError> {
    match fs::read(folder.join(FILE_NAME)) {
        Ok(text) => {
            let text = String::from_utf8_lossy(&text);
            let what = text.lines().next().unwrap_or_default();
            let what = what.strip_prefix(PREFIX).unwrap_or("it was put into quarantine");
            Err(StoreError::Damaged { what: what.to_owned() })
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(StoreError::Io {
            doing: "look for a quarantine",
            source,
        }),
    }
}

/// Puts the folder into quarantine if it is damaged, and hands the outcome on.
pub(super) fn judge<T>(folder: &Path, outcome: Result<T, StoreError>) -> Result<T, StoreError> {
    if let Err(StoreError::Damaged { what }) = &outcome
        && let Err(error) = write(folder, what)
    {
        tracing::warn!(%error, "the quarantine of the log could not be written down");
    }
    outcome
}

const PREFIX: &str = "the log store is damaged: ";

fn write(folder: &Path, what: &str) -> io::Result<()> {
    let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut file = match File::create_new(folder.join(FILE_NAME)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        created => created?,
    };
    write!(file, "{PREFIX}{what}\n\n{INSTRUCTIONS}")?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}
