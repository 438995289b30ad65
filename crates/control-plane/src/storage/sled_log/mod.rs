//! The log on sled: one tree, one atomic batch a write, then a flush and an fdatasync of our own.
//!
//! sled's own flush is not durable on Linux (it stops at `sync_file_range`), hence the second sync. Nothing here is
//! called on an async worker, and no request ever reads from sled: the log is held in memory above.
//!
//! In the folder: `sled` is the log, `sled.new` a copy that is being made, `sled.old` what a finished copy replaced,
//! `mark` says how much was durable, and `QUARANTINED` that nobody is to touch it.

mod database;
mod mark;
mod open;
mod quarantine;
mod rewrite;
mod space;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Instant;

use metrics::histogram;

use super::log_layout::Plan;
use super::{AppendBatch, HardState, Identity, LoadedLog, LogPosition, LogStore, MembersAt, StoreError};
use open::{Absent, Open, guarded};
use space::Limits;

/// Name of the histogram of the time that one durable write takes, in seconds.
pub(crate) const LOG_WRITE_SECONDS: &str = "tenantry_control_log_write_seconds";
/// Name of the counter of copies that were made to give back space.
pub(crate) const LOG_COPIES_TOTAL: &str = "tenantry_control_log_copies_total";

/// The log of one member in a folder of its own.
pub struct SledLogStore {
    folder: PathBuf,
    identity: Identity,
    limits: Limits,
    state: State,
}

enum State {
    Open(Open),
    /// A write was refused before it touched the disk.
    Refusing(Open),
    Closed,
}

impl SledLogStore {
    /// Opens the log of `identity`, or begins one in an empty folder.
    ///
    /// # Errors
    /// `Foreign` if the folder is another member's, `Damaged` if it cannot be read or was quarantined before, `Io` if
    /// the disk refuses or another process has the folder open.
    pub fn open(folder: &Path, identity: Identity) -> Result<Self, StoreError> {
        Self::opened(folder, identity, Absent::Begin)
    }

    /// Opens a log that must be there already.
    ///
    /// # Errors
    /// As [`open`](Self::open); also `Foreign` when the folder holds no log.
    pub fn open_existing(folder: &Path, identity: Identity) -> Result<Self, StoreError> {
        Self::opened(folder, identity, Absent::Refuse)
    }

    fn opened(folder: &Path, identity: Identity, absent: Absent) -> Result<Self, StoreError> {
        let limits = Limits::default();
        Ok(Self {
            folder: folder.to_owned(),
            identity,
            limits,
            state: State::Open(Open::new(folder, identity, absent, limits)?),
        })
    }

    fn usable(&self) -> Result<&Open, StoreError> {
        match &self.state {
            State::Open(open) => Ok(open),
            State::Refusing(_) | State::Closed => Err(StoreError::NeedsReopen),
        }
    }

    /// Makes a plan durable. After a failure the store is closed, since sled's errors stick and its state is unknown.
    fn commit(&mut self, doing: &'static str, plan: &Plan) -> Result<(), StoreError> {
        let State::Open(mut open) = std::mem::replace(&mut self.state, State::Closed) else {
            return Err(StoreError::NeedsReopen);
        };
        if let Err(refusal) = self.limits.check_space(&self.folder, doing) {
            self.state = State::Refusing(open);
            return Err(refusal);
        }
        let began = Instant::now();
        let written = guarded(doing, || open.database.write(doing, &plan.changes));
        match written.and_then(|()| open.mark.advance(plan.sequence())) {
            Ok(()) => {
                histogram!(LOG_WRITE_SECONDS).record(began.elapsed().as_secs_f64());
                open.layout.settle(plan);
                self.state = State::Open(open);
                Ok(())
            }
            Err(error) => {
                open.abandon()?;
                Err(error)
            }
        }
    }

    /// Copies the log into a fresh folder if too much of the present one is waste. The caller waits for it.
    fn give_back_space(&mut self) -> Result<(), StoreError> {
        let open = self.usable()?;
        if !self
            .limits
            .is_wasteful(open.database.size_bytes(), open.layout.live_bytes())
        {
            return Ok(());
        }
        let before = open.database.size_bytes();
        // Where there is no room for a copy, things stay as they are until the next snapshot.
        if self.limits.check_room(&self.folder, open.layout.live_bytes()).is_err() {
            tracing::warn!(
                bytes = before,
                "the log is mostly waste, and the disk has no room to copy it"
            );
            return Ok(());
        }
        let began = Instant::now();
        let State::Open(open) = std::mem::replace(&mut self.state, State::Closed) else {
            return Err(StoreError::NeedsReopen);
        };
        let open = quarantine::judge(&self.folder, open.rewritten(&self.folder, self.identity))?;
        let after = open.database.size_bytes();
        self.state = State::Open(open);
        metrics::counter!(LOG_COPIES_TOTAL).increment(1);
        let took_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(before, after, took_ms, "copied the log to give back space");
        Ok(())
    }
}

impl LogStore for SledLogStore {
    fn load(&mut self) -> Result<LoadedLog, StoreError> {
        let open = self.usable()?;
        guarded("read the log", || open.layout.load(&open.database))
    }

    fn append(&mut self, batch: &AppendBatch) -> Result<(), StoreError> {
        const DOING: &str = "append to the log";
        let open = self.usable()?;
        let plan = guarded(DOING, || open.layout.append(&open.database, batch))?;
        self.commit(DOING, &plan)
    }

    fn compact(
        &mut self,
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        const DOING: &str = "compact the log";
        let open = self.usable()?;
        let plan = guarded(DOING, || {
            open.layout.compact(&open.database, snapshot, through, hard_state)
        })?;
        self.commit(DOING, &plan)?;
        self.give_back_space()
    }

    fn install_snapshot(
        &mut self,
        snapshot: LogPosition,
        members: &MembersAt,
        hard_state: HardState,
    ) -> Result<(), StoreError> {
        let plan = self.usable()?.layout.install_snapshot(snapshot, members, hard_state);
        self.commit("install a snapshot", &plan)?;
        self.give_back_space()
    }

    fn reopen(&mut self) -> Result<(), StoreError> {
        self.limits.check_space(&self.folder, "open the log")?;
        match std::mem::replace(&mut self.state, State::Closed) {
            State::Open(open) | State::Refusing(open) => open.close()?,
            State::Closed => {}
        }
        self.state = State::Open(Open::new(&self.folder, self.identity, Absent::Refuse, self.limits)?);
        Ok(())
    }

    fn size_on_disk_bytes(&self) -> u64 {
        match &self.state {
            State::Open(open) | State::Refusing(open) => open.database.size_bytes(),
            State::Closed => 0,
        }
    }
}

impl Drop for SledLogStore {
    fn drop(&mut self) {
        if let State::Open(open) | State::Refusing(open) = std::mem::replace(&mut self.state, State::Closed)
            && let Err(error) = open.close()
        {
            tracing::warn!(%error, "the log was not closed in order");
        }
    }
}
