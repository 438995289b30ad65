//! The keeper: sees to it that there is always a file for the next segment.
//!
//! It renames freed segments, makes files ahead of need, and where room gets short syncs the WAL files whose records keep the oldest
//! segment. It must not touch the segment that is being filled.

use std::sync::Arc;
use std::time::Instant;

use tenantry_types::TenantUid;

use crate::figures::add;
use crate::folder::Made;
use crate::shared::{Phase, RETRY, Shared};

/// One thing to do.
#[derive(Debug)]
enum Chore {
    /// Make spares of these.
    Rename(Vec<u64>),
    /// Make a file with this number.
    Make(u64),
    /// Sync the WAL files of these.
    Sync(Vec<TenantUid>),
}

/// Runs until the log is stopped or has failed.
pub(crate) fn run(shared: &Arc<Shared>) {
    while let Some(chore) = next_chore(shared) {
        let done = match chore {
            Chore::Rename(numbers) => rename(shared, &numbers),
            Chore::Make(number) => make(shared, number),
            Chore::Sync(tenants) => tenants.into_iter().try_for_each(|tenant| sync(shared, tenant)),
        };
        if let Err(reason) = done {
            shared.fail(reason);
            return;
        }
    }
}

/// Waits for something to do; `None` when there will be nothing.
fn next_chore(shared: &Shared) -> Option<Chore> {
    let mut guard = shared.state.lock();
    loop {
        let state = &mut *guard;
        if state.phase != Phase::Running {
            return None;
        }
        let freed = state.ring.take_freed();
        if !freed.is_empty() {
            return Some(Chore::Rename(freed));
        }
        if state.make_again_at.is_none()
            && let Some(number) = state.ring.wanted_file()
        {
            return Some(Chore::Make(number));
        }
        let short = state.ring.is_short() || (state.make_again_at.is_some() && state.ring.is_out());
        let keeping = if short {
            state.ring.keeping_the_oldest()
        } else {
            Vec::new()
        };
        if keeping.is_empty() {
            shared.chores.wait(&mut guard);
            continue;
        }
        match state.sync_again_at {
            Some(at) if Instant::now() < at => {
                shared.chores.wait_until(&mut guard, at);
            }
            _ => {
                state.sync_again_at = None;
                return Some(Chore::Sync(keeping));
            }
        }
    }
}

fn rename(shared: &Shared, numbers: &[u64]) -> Result<(), String> {
    let spares = shared
        .folder
        .free(numbers)
        .map_err(|error| format!("cannot free segments of the node's log: {error}"))?;
    shared.add_spares(spares);
    Ok(())
}

fn make(shared: &Shared, number: u64) -> Result<(), String> {
    match shared.folder.make(number) {
        Ok(Made::Spare(spare)) => shared.add_spares([spare]),
        Ok(Made::NoRoom(reason)) => {
            tracing::warn!(reason, "there is no room for a further segment of the node's log");
            shared.state.lock().make_again_at = Some(Instant::now() + RETRY);
        }
        // Nothing depends on a file that is not there yet.
        Err(error) => {
            tracing::warn!(%error, "a further segment of the node's log cannot be made");
            shared.state.lock().make_again_at = Some(Instant::now() + RETRY);
        }
    }
    Ok(())
}

/// Syncs the WAL file of a tenant: then whatever was appended for it before is safe there. A file that is gone was copied into the
/// database, which SQLite syncs before.
fn sync(shared: &Shared, tenant: TenantUid) -> Result<(), String> {
    let appended = {
        let state = shared.state.lock();
        // Not while the log stops: whoever stops it waits for this thread.
        if state.phase != Phase::Running || state.sync_again_at.is_some() {
            return Ok(());
        }
        state.queue.last()
    };
    let path = shared.files.wal(tenant);
    match shared.folder.disk().open(&path) {
        Ok(None) => {}
        Ok(Some(file)) => {
            file.sync()
                .map_err(|error| format!("cannot sync {}: {error}", path.display()))?;
            add(&shared.counters.wals_synced, 1);
        }
        // Nothing was tried that could be half done; too many files may be open for a moment.
        Err(error) => {
            tracing::warn!(%tenant, %error, "cannot open a WAL file to make room in the node's log");
            shared.state.lock().sync_again_at = Some(Instant::now() + RETRY);
            return Ok(());
        }
    }
    shared.covered(tenant, appended);
    Ok(())
}
