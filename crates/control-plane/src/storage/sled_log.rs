//! The log on sled: one tree, one atomic batch a write, then a flush and an fdatasync of our own.
//!
//! sled's own flush is not durable on Linux (it stops at `sync_file_range`), hence the second sync. Nothing here is
//! called on an async worker, and no request ever reads from sled: the log is held in memory above.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::binary::{
    Input, Malformed, decode_hard_state, decode_position, encode_hard_state, encode_position, put_members, take_members,
};
use super::log_store::{check_append, check_compact};
use super::{
    AppendBatch, HardState, Identity, IdentityError, LoadedLog, LogEntry, LogPosition, LogStore, MembersAt, StoreError,
    frame, records,
};

const CACHE_BYTES: u64 = 64 * 1024 * 1024;
/// sled collects garbage in this thread alone, so it stays on although we flush ourselves.
const BACKGROUND_FLUSH_MS: u64 = 500;

const LOCK_ATTEMPTS: u32 = 100;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Free space below which nothing is written.
const RESERVE_BYTES: u64 = 32 * 1024 * 1024;
/// Closing takes milliseconds unless it hangs.
const CLOSE_LIMIT: Duration = Duration::from_secs(10);

const IDENTITY: &[u8] = b"identity";
const HARD_STATE: &[u8] = b"hard-state";
const MEMBERS: &[u8] = b"members";
const SNAPSHOT: &[u8] = b"snapshot";
const COMPACTED: &[u8] = b"compacted";

/// The log of one member in a folder of its own.
pub struct SledLogStore {
    folder: PathBuf,
    identity: Identity,
    reserve_bytes: u64,
    open: Option<Open>,
}

/// What is lost by closing, and read again by opening.
struct Open {
    db: sled::Db,
    file: File,
    compacted: u64,
    /// First index of each record → its last index and number of parts.
    index: BTreeMap<u64, (u64, u16)>,
}

impl SledLogStore {
    /// Opens the log of `identity`, or begins one in an empty folder.
    ///
    /// # Errors
    /// `Foreign` if the folder is another member's, `Damaged` if sled cannot read it, `Io` if the disk refuses.
    pub fn open(folder: &Path, identity: Identity) -> Result<Self, StoreError> {
        let mut store = Self::closed(folder, identity);
        store.open = Some(Open::new(folder, identity, Absent::Begin)?);
        Ok(store)
    }

    /// Opens a log that must be there already.
    ///
    /// # Errors
    /// As [`open`](Self::open); also `Foreign` when the folder holds no log.
    pub fn open_existing(folder: &Path, identity: Identity) -> Result<Self, StoreError> {
        let mut store = Self::closed(folder, identity);
        store.open = Some(Open::new(folder, identity, Absent::Refuse)?);
        Ok(store)
    }

    fn closed(folder: &Path, identity: Identity) -> Self {
        Self {
            folder: folder.to_owned(),
            identity,
            reserve_bytes: RESERVE_BYTES,
            open: None,
        }
    }

    #[cfg(test)]
    pub(super) fn set_reserve_bytes(&mut self, reserve_bytes: u64) {
        self.reserve_bytes = reserve_bytes;
    }

    /// Keeps sled from ever meeting a full disk: it does not survive that in working order.
    fn check_space(&self, doing: &'static str) -> Result<(), StoreError> {
        let disk = rustix::fs::statvfs(&self.folder).map_err(|error| StoreError::Io {
            doing,
            source: error.into(),
        })?;
        if disk.f_bavail.saturating_mul(disk.f_frsize) < self.reserve_bytes {
            return Err(StoreError::Io {
                doing,
                source: io::ErrorKind::StorageFull.into(),
            });
        }
        Ok(())
    }

    fn opened(&self) -> Result<&Open, StoreError> {
        self.open.as_ref().ok_or(StoreError::NeedsReopen)
    }

    /// Writes durably; after a failure the store is closed, since sled's errors stick and its state is unknown.
    fn commit(&mut self, doing: &'static str, batch: sled::Batch) -> Result<&mut Open, StoreError> {
        self.check_space(doing)?;
        let open = self.open.take().ok_or(StoreError::NeedsReopen)?;
        if let Err(error) = guarded(doing, || open.write(doing, batch)) {
            close(open)?;
            return Err(error);
        }
        Ok(self.open.insert(open))
    }
}

impl LogStore for SledLogStore {
    fn load(&mut self) -> Result<LoadedLog, StoreError> {
        let open = self.opened()?;
        guarded("read the log", || open.load())
    }

    fn append(&mut self, batch: &AppendBatch) -> Result<(), StoreError> {
        let open = self.opened()?;
        check_append(&batch.entries, open.compacted, open.last())?;
        let mut write = sled::Batch::default();
        let mut removed = Vec::new();
        let mut records = Vec::new();
        if let Some(first) = batch.entries.first().map(|entry| entry.position.index) {
            // Whatever follows the first new entry is stale; the record it falls into keeps its head.
            for (&start, &(last, parts)) in open.index.iter().rev() {
                if last < first {
                    break;
                }
                removed.push(start);
                (0..parts).for_each(|part| write.remove(&records::key(start, part)));
                if start < first {
                    let mut head = guarded("read the log", || open.record(start, parts))?;
                    head.retain(|entry| entry.position.index < first);
                    records.extend(records::pack(&head));
                }
            }
            records.extend(records::pack(&batch.entries));
        }
        for record in &records {
            for (part, value) in (0_u16..).zip(&record.parts) {
                put(&mut write, &records::key(record.first, part), value);
            }
        }
        put_state(&mut write, batch.hard_state, batch.members.as_ref());
        let open = self.commit("append to the log", write)?;
        for start in removed {
            open.index.remove(&start);
        }
        for record in &records {
            let parts = u16::try_from(record.parts.len()).unwrap_or(u16::MAX);
            open.index.insert(record.first, (record.last, parts));
        }
        Ok(())
    }

    fn compact(
        &mut self,
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        let open = self.opened()?;
        check_compact(snapshot, through, open.last())?;
        let through = if through.index > open.compacted {
            Some(through)
        } else {
            None
        };
        let mut write = sled::Batch::default();
        put(&mut write, SNAPSHOT, &encode_position(snapshot));
        put_state(&mut write, Some(hard_state), None);
        let mut removed = Vec::new();
        if let Some(through) = through {
            put(&mut write, COMPACTED, &encode_position(through));
            for (&start, &(last, parts)) in &open.index {
                if last > through.index {
                    break;
                }
                removed.push(start);
                (0..parts).for_each(|part| write.remove(&records::key(start, part)));
            }
        }
        let open = self.commit("compact the log", write)?;
        for start in removed {
            open.index.remove(&start);
        }
        if let Some(through) = through {
            open.compacted = through.index;
        }
        Ok(())
    }

    fn install_snapshot(
        &mut self,
        snapshot: LogPosition,
        members: &MembersAt,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        let open = self.opened()?;
        let mut write = sled::Batch::default();
        for (&start, &(_, parts)) in &open.index {
            (0..parts).for_each(|part| write.remove(&records::key(start, part)));
        }
        put(&mut write, SNAPSHOT, &encode_position(snapshot));
        put(&mut write, COMPACTED, &encode_position(snapshot));
        put_state(&mut write, Some(hard_state), Some(members));
        let open = self.commit("install a snapshot", write)?;
        open.index.clear();
        open.compacted = snapshot.index;
        Ok(())
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.check_space("open the log")?;
        self.open.take().map_or(Ok(()), close)?;
        self.open = Some(Open::new(&self.folder, self.identity, Absent::Refuse)?);
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> u64 {
        self.open
            .as_ref()
            .and_then(|open| open.db.size_on_disk().ok())
            .unwrap_or(0)
    }
}

/// What to do with a folder that holds no log.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Absent {
    Begin,
    Refuse,
}

impl Open {
    fn new(folder: &Path, identity: Identity, absent: Absent) -> Result<Self, StoreError> {
        const DOING: &str = "open the log";
        if absent == Absent::Refuse && !folder.join("db").exists() {
            return Err(missing(folder));
        }
        guarded(DOING, || {
            let db = open_sled(folder).map_err(|error| sled_error(DOING, error))?;
            let io = |source| StoreError::Io { doing: DOING, source };
            let file = File::open(folder.join("db")).map_err(io)?;
            File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
            let mut open = Self {
                db,
                file,
                compacted: 0,
                index: BTreeMap::new(),
            };
            match open.get(IDENTITY)? {
                Some(found) => identity.check(&folder.display().to_string(), &found)?,
                None if absent == Absent::Refuse => return Err(missing(folder)),
                None => open.begin(identity)?,
            }
            open.compacted = open.get_as(COMPACTED, decode_position)?.unwrap_or_default().index;
            open.index = open.scan()?;
            Ok(open)
        })
    }

    fn begin(&self, identity: Identity) -> Result<(), StoreError> {
        const DOING: &str = "begin a log";
        let mut write = sled::Batch::default();
        put(&mut write, IDENTITY, identity.to_text().as_bytes());
        self.write(DOING, write)
    }

    /// Returns when the batch is durable.
    fn write(&self, doing: &'static str, batch: sled::Batch) -> Result<(), StoreError> {
        self.db.apply_batch(batch).map_err(|error| sled_error(doing, error))?;
        self.db.flush().map_err(|error| sled_error(doing, error))?;
        rustix::fs::fdatasync(&self.file).map_err(|error| StoreError::Io {
            doing,
            source: error.into(),
        })
    }

    fn last(&self) -> u64 {
        self.index
            .last_key_value()
            .map_or(self.compacted, |(_, &(last, _))| last.max(self.compacted))
    }

    /// Finds every record and checks that they join on to each other.
    fn scan(&self) -> Result<BTreeMap<u64, (u64, u16)>, StoreError> {
        let mut parts: BTreeMap<u64, u16> = BTreeMap::new();
        for item in self.db.scan_prefix(records::key_prefix()) {
            let (key, _) = item.map_err(|error| sled_error("read the log", error))?;
            let (first, part) = records::parse_key(&key).map_err(damaged)?;
            let seen = parts.entry(first).or_insert(0);
            if part != *seen {
                return Err(StoreError::Damaged {
                    what: format!("part {seen} of the record at {first} is missing"),
                });
            }
            *seen = seen.saturating_add(1);
        }
        let mut index = BTreeMap::new();
        let mut end = None;
        for (first, parts) in parts {
            if end.map_or(first > self.compacted + 1, |end: u64| end.checked_add(1) != Some(first)) {
                return Err(StoreError::Damaged {
                    what: format!("the entries before {first} are missing"),
                });
            }
            let last = self
                .record(first, parts)?
                .last()
                .map_or(first, |entry| entry.position.index);
            index.insert(first, (last, parts));
            end = Some(last);
        }
        Ok(index)
    }

    fn load(&self) -> Result<LoadedLog, StoreError> {
        let mut entries = Vec::new();
        for (&first, &(_, parts)) in &self.index {
            entries.extend(self.record(first, parts)?);
        }
        entries.retain(|entry| entry.position.index > self.compacted);
        Ok(LoadedLog {
            hard_state: self.get_as(HARD_STATE, decode_hard_state)?.unwrap_or_default(),
            members: self
                .get_as(MEMBERS, |bytes| {
                    let mut input = Input(bytes);
                    let members = take_members(&mut input)?;
                    input.finish().map(|()| members)
                })?
                .unwrap_or_default(),
            snapshot: self.get_as(SNAPSHOT, decode_position)?.unwrap_or_default(),
            compacted: self.get_as(COMPACTED, decode_position)?.unwrap_or_default(),
            entries,
        })
    }

    fn record(&self, first: u64, parts: u16) -> Result<Vec<LogEntry>, StoreError> {
        let mut bytes = Vec::new();
        for part in 0..parts {
            let value = self
                .get(&records::key(first, part))?
                .ok_or_else(|| StoreError::Damaged {
                    what: format!("part {part} of the record at {first} is missing"),
                })?;
            bytes.extend_from_slice(&value);
        }
        records::unpack(first, &bytes).map_err(damaged)
    }

    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let framed = self.db.get(key).map_err(|error| sled_error("read the log", error))?;
        framed
            .map(|framed| frame::open(key, &framed).map(<[u8]>::to_vec).map_err(damaged))
            .transpose()
    }

    fn get_as<T>(
        &self,
        key: &[u8],
        decode: impl FnOnce(&[u8]) -> Result<T, Malformed>,
    ) -> Result<Option<T>, StoreError> {
        self.get(key)?.map(|bytes| decode(&bytes).map_err(damaged)).transpose()
    }
}

/// sled's own threads hold the lock on the folder for a moment after it was closed.
pub(super) fn open_sled(folder: &Path) -> sled::Result<sled::Db> {
    let config = sled::Config::new()
        .path(folder)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(BACKGROUND_FLUSH_MS));
    let mut attempts = LOCK_ATTEMPTS;
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if attempts > 0 && error.to_string().contains("acquire lock") => {
                attempts -= 1;
                std::thread::sleep(LOCK_PAUSE);
            }
            outcome => return outcome,
        }
    }
}

/// Closes on a thread of its own, because after some failed writes closing never ends.
fn close(open: Open) -> Result<(), StoreError> {
    let (closed, wait) = std::sync::mpsc::sync_channel(1);
    let work = move || {
        // A panic of sled's while closing leaves nothing to save.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(open)));
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

fn put(write: &mut sled::Batch, key: &[u8], value: &[u8]) {
    write.insert(key, frame::seal(key, value));
}

fn put_state(write: &mut sled::Batch, hard_state: Option<HardState>, members: Option<&MembersAt>) {
    if let Some(state) = hard_state {
        put(write, HARD_STATE, &encode_hard_state(state));
    }
    if let Some(members) = members {
        let mut bytes = Vec::new();
        put_members(&mut bytes, members);
        put(write, MEMBERS, &bytes);
    }
}

fn missing(folder: &Path) -> StoreError {
    IdentityError::Incomplete {
        folder: folder.to_owned(),
        missing: "its Raft log",
    }
    .into()
}

fn damaged(error: Malformed) -> StoreError {
    StoreError::Damaged {
        what: error.to_string(),
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

/// sled panics on some damage where it should answer an error.
fn guarded<T>(doing: &'static str, work: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|_| {
        Err(StoreError::Io {
            doing,
            source: io::Error::other("sled panicked"),
        })
    })
}
