//! What only the store on sled must do: syncs that fail, interrupted copies, a folder that is locked, damaged or full.

mod damage;
mod synced;

use std::fs;
use std::os::unix::fs::MetadataExt as _;

use bytes::Bytes;
use tempfile::TempDir;
use tenantry_types::MemberId;

use super::*;
use crate::storage::{EntryKind, LogEntry};
use mark::Mark;

fn identity() -> Identity {
    Identity {
        member: MemberId::new(1).unwrap(),
        fingerprint: 0xfeed,
    }
}

fn entries(indexes: impl IntoIterator<Item = u64>) -> AppendBatch {
    let entry = |index: u64| LogEntry {
        position: LogPosition { index, term: 1 },
        kind: EntryKind::Command,
        context: Bytes::new(),
        data: Bytes::from(format!("entry-{index}-").repeat(30)),
    };
    AppendBatch {
        entries: indexes.into_iter().map(entry).collect(),
        ..AppendBatch::default()
    }
}

fn store_of(last: u64) -> (TempDir, SledLogStore) {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SledLogStore::open(folder.path(), identity()).unwrap();
    for index in 1..=last {
        store.append(&entries([index])).unwrap();
    }
    (folder, store)
}

fn last(store: &mut SledLogStore) -> u64 {
    store.load().unwrap().last().index
}

fn open(folder: &Path) -> Result<SledLogStore, StoreError> {
    SledLogStore::open_existing(folder, identity())
}

fn database_inode(folder: &Path) -> u64 {
    fs::metadata(rewrite::current(folder).join("db")).unwrap().ino()
}

/// From now on this store's fdatasync fails: a pipe cannot be synced.
fn break_sync(store: &mut SledLogStore) {
    let State::Open(open) = &mut store.state else {
        panic!("not open")
    };
    let (pipe, _) = std::io::pipe().unwrap();
    open.database.file = std::os::fd::OwnedFd::from(pipe).into();
}

/// Leaves a closed log as a killed process does.
fn look_killed(folder: &Path) {
    let (mut mark, _) = Mark::open(folder).unwrap();
    let sequence = mark.sequence();
    mark.begin(sequence).unwrap();
}

/// A write whose sync failed was read back from the page cache, taken for durable and acknowledged.
#[test]
fn after_a_failed_fdatasync_nothing_is_read_before_it_was_written_anew() {
    for restarted in [false, true] {
        let (folder, mut store) = store_of(2);
        let doubtful = database_inode(folder.path());
        break_sync(&mut store);
        let error = store.append(&entries([3])).unwrap_err();
        assert!(error.is_transient(), "{error}");
        assert!(matches!(store.load(), Err(StoreError::NeedsReopen)));
        assert!(matches!(store.append(&entries([3])), Err(StoreError::NeedsReopen)));
        if restarted {
            drop(store);
            store = open(folder.path()).unwrap();
        } else {
            store.reopen().unwrap();
        }
        assert_ne!(database_inode(folder.path()), doubtful);
        assert_eq!(last(&mut store), 3);
        store.append(&entries([4])).unwrap();
        drop(store);
        assert_eq!(last(&mut open(folder.path()).unwrap()), 4);
    }
}

#[test]
fn an_orderly_end_needs_no_copy_and_a_kill_does() {
    let (folder, store) = store_of(3);
    let first = database_inode(folder.path());
    drop(store);
    drop(open(folder.path()).unwrap());
    assert_eq!(database_inode(folder.path()), first);
    look_killed(folder.path());
    assert_eq!(last(&mut open(folder.path()).unwrap()), 3);
    assert_ne!(database_inode(folder.path()), first);
}

#[test]
fn a_copy_that_was_interrupted_anywhere_loses_nothing() {
    let (current, fresh, replaced) = ("sled", "sled.new", "sled.old");
    for step in 0..5 {
        let (folder, mut store) = store_of(5);
        store
            .compact(
                LogPosition { index: 4, term: 1 },
                LogPosition { index: 2, term: 1 },
                HardState::default(),
            )
            .unwrap();
        let held = store.load().unwrap();
        if step > 0 {
            rewrite::copy(&store.usable().unwrap().database, folder.path()).unwrap();
        }
        drop(store);
        look_killed(folder.path());
        let path = |name| folder.path().join(name);
        match step {
            0 => {
                // The copy had just begun.
                fs::create_dir(path(fresh)).unwrap();
                fs::write(path(fresh).join("db"), b"half").unwrap();
            }
            1 => {}
            2 => fs::rename(path(current), path(replaced)).unwrap(),
            3 => rewrite::swap(folder.path()).unwrap(),
            _ => {
                rewrite::swap(folder.path()).unwrap();
                fs::remove_file(path(replaced).join("db")).unwrap();
            }
        }
        let mut store = open(folder.path()).unwrap();
        assert_eq!(store.load().unwrap(), held, "step {step}");
        assert!(!path(fresh).exists() && !path(replaced).exists(), "step {step}");
        store.append(&entries([6])).unwrap();
        assert_eq!(last(&mut store), 6);
    }
}

#[test]
fn a_log_that_is_mostly_waste_is_copied_when_it_is_compacted() {
    let (folder, mut store) = store_of(0);
    for index in 0..60 {
        store.append(&entries(index * 100 + 1..=index * 100 + 100)).unwrap();
    }
    let position = LogPosition { index: 5_990, term: 1 };
    let (before, inode) = (store.size_on_disk_bytes(), database_inode(folder.path()));
    store.limits.wasteful_bytes = 0;
    // Without room for a copy it waits.
    store.limits.reserve_bytes = u64::MAX / 2;
    assert!(store.compact(position, position, HardState::default()).is_err());
    store.limits.reserve_bytes = 0;
    store.reopen().unwrap();
    store.compact(position, position, HardState::default()).unwrap();
    assert!(
        store.size_on_disk_bytes() < before / 2,
        "{before} to {}",
        store.size_on_disk_bytes()
    );
    assert_ne!(database_inode(folder.path()), inode);
    let held = store.load().unwrap();
    assert_eq!((held.compacted, held.entries.len()), (position, 10));
    store.append(&entries([6_001])).unwrap();
    drop(store);
    assert_eq!(last(&mut open(folder.path()).unwrap()), 6_001);
}

#[test]
fn sled_is_not_written_to_on_an_almost_full_disk_and_resumes_once_it_is_freed() {
    let (folder, mut store) = store_of(2);
    let inode = database_inode(folder.path());
    store.limits.reserve_bytes = u64::MAX;
    let error = store.append(&entries([3])).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(store.reopen().unwrap_err().is_transient());
    store.limits.reserve_bytes = 0;
    assert!(matches!(store.append(&entries([3])), Err(StoreError::NeedsReopen)));
    store.reopen().unwrap();
    assert_eq!(last(&mut store), 2);
    store.append(&entries([3])).unwrap();
    assert_eq!(last(&mut store), 3);
    assert_eq!(database_inode(folder.path()), inode, "nothing was in doubt");
}

#[test]
fn a_folder_that_is_in_use_is_refused_and_not_touched() {
    let (folder, mut store) = store_of(2);
    fs::create_dir(folder.path().join("sled.new")).unwrap();
    let error = open(folder.path()).map(drop).unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert!(folder.path().join("sled.new").exists());
    assert!(!folder.path().join("QUARANTINED").exists());
    store.append(&entries([3])).unwrap();
    assert_eq!(last(&mut store), 3);
}

#[test]
fn a_first_start_that_was_cut_short_is_repeated() {
    let (folder, store) = store_of(0);
    drop(store);
    fs::remove_file(folder.path().join("mark")).unwrap();
    let mut store = SledLogStore::open(folder.path(), identity()).unwrap();
    store.append(&entries([1])).unwrap();
    drop(store);
    assert_eq!(last(&mut open(folder.path()).unwrap()), 1);
    // A log with content has a mark.
    fs::remove_file(folder.path().join("mark")).unwrap();
    for outcome in [open(folder.path()), SledLogStore::open(folder.path(), identity())] {
        let error = outcome.map(drop).unwrap_err();
        assert!(matches!(error, StoreError::Damaged { .. }), "{error}");
    }
}
