//! One sled database, and what it takes to make a write to it durable.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use super::super::StoreError;
use super::super::log_layout::{Changes, Tree, Visit};

const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// sled collects garbage in this thread alone, so it stays on although we flush ourselves.
const BACKGROUND_FLUSH_MS: u64 = 500;

const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// Closing takes milliseconds unless it hangs.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

pub(super) struct Database {
    db: sled::Db,
    /// Opened beside sled's own, since an error of the disk is reported once on each descriptor, and sled's background
    /// thread drops those that it meets.
    pub(super) file: File,
}

impl Database {
    pub(super) fn open(folder: &Path) -> Result<Self, StoreError> {
        let config = sled::Config::new()
            .path(folder)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(Some(BACKGROUND_FLUSH_MS));
        let mut attempts = LOCK_ATTEMPTS;
        let db = loop {
            match config.open() {
                // sled's own threads hold the lock on the folder for a moment after it was closed.
                Err(sled::Error::Io(error)) if attempts > 0 && error.to_string().contains("acquire lock") => {
                    attempts -= 1;
                    std::thread::sleep(LOCK_PAUSE);
                }
                outcome => break outcome.map_err(open_error)?,
            }
        };
        let file = File::open(folder.join("db")).map_err(|source| StoreError::Io {
            doing: "open the log",
            source,
        })?;
        Ok(Self { db, file })
    }

    /// Returns when the changes are durable.
    pub(super) fn write(&self, doing: &'static str, changes: &Changes) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, value) in &changes.0 {
            match value {
                Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                None => batch.remove(key.as_slice()),
            }
        }
        self.db.apply_batch(batch).map_err(|error| sled_error(doing, error))?;
        self.sync(doing)
    }

    /// Makes everything durable that was written.
    pub(super) fn sync(&self, doing: &'static str) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| sled_error(doing, error))?;
        rustix::fs::fdatasync(&self.file).map_err(|error| StoreError::Io {
            doing,
            source: error.into(),
        })
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.db.size_on_disk().unwrap_or(0)
    }

    /// Closes on a thread of its own, because after some failed writes closing never ends.
    pub(super) fn close(self) -> Result<(), StoreError> {
        let (closed, wait) = std::sync::mpsc::sync_channel(1);
        let work = move || {
            // A panic of sled's while closing leaves nothing to save.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(self)));
            // Nobody may be waiting any more.
            let _ = closed.send(());
        };
        let spawned = std::thread::Builder::new().name("raft-log-close".into()).spawn(work);
        spawned.map_err(|source| StoreError::Io {
            doing: "close the log",
            source,
        })?;
        wait.recv_timeout(CLOSE_LIMIT).map_err(|_| StoreError::Stuck)
    }
}

impl Tree for Database {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let found = self.db.get(key).map_err(|error| sled_error("read the log", error))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn for_each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError> {
        for item in &*self.db {
            let (key, value) = item.map_err(|error| sled_error("read the log", error))?;
            visit(&key, &value)?;
        }
        Ok(())
    }
}

fn sled_error(doing: &'static str, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => StoreError::Io { doing, source },
        other => StoreError::Damaged {
            what: other.to_string(),
        },
    }
}

/// While opening, a file that ends early or holds nonsense is damage, not a disk that fails.
fn open_error(error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source)
            if matches!(source.kind(), io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData) =>
        {
            StoreError::Damaged {
                what: source.to_string(),
            }
        }
        other => sled_error("open the log", other),
    }
}
