//! How much disk the Raft log takes over a million commands, and how long writes and compactions wait.
//!
//! ```text
//! cargo run --release -p control-plane --example log_space [ENTRIES] [BATCH]
//! ```
//!
//! Writes entries of 256 bytes in batches to a fresh log, forgets them behind snapshots as a member does, and prints the
//! size at each tenth. Then it opens the log again, after an orderly end and as after a kill, which copies it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use bytes::Bytes;
use control_plane::storage::{
    AppendBatch, EntryKind, HardState, Identity, LogEntry, LogPosition, LogStore, SledLogStore,
};
use tenantry_types::MemberId;

const ENTRY_BYTES: usize = 256;
/// As a member does by default: a snapshot each so many entries, and so many kept for slow followers.
const SNAPSHOT_EVERY: u64 = 10_000;
const KEPT: u64 = 5_000;

#[expect(clippy::print_stdout, reason = "the figures are the purpose")]
fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default: u64| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (total, batch) = (number(1_000_000)?, number(64)?.max(1));
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    let identity = Identity {
        member: MemberId::new(1)?,
        fingerprint: 1,
    };
    let mut store = SledLogStore::open(&path, identity)?;
    let (mut compacted, mut shown, mut largest) = (0, 0, 0);
    let (mut appends, mut compactions) = (Vec::new(), Vec::new());
    let mut last = 0;
    println!("{total} entries of {ENTRY_BYTES} bytes, {batch} a batch");
    while last < total {
        let first = last + 1;
        last = (last + batch).min(total);
        let hard_state = HardState {
            term: 1,
            vote: 1,
            commit: last,
        };
        let write = AppendBatch {
            entries: (first..=last).map(entry).collect(),
            hard_state: Some(hard_state),
            members: None,
        };
        let began = Instant::now();
        store.append(&write)?;
        appends.push(began.elapsed());
        if last >= compacted + SNAPSHOT_EVERY + KEPT {
            compacted = last - KEPT;
            let began = Instant::now();
            store.compact(position(last), position(compacted), hard_state)?;
            compactions.push(began.elapsed());
        }
        let size = store.size_on_disk_bytes();
        largest = largest.max(size);
        if last * 10 / total > shown {
            shown = last * 10 / total;
            println!("{:>4} %: {:>7.1} MB", shown * 10, megabytes(size));
        }
    }
    println!("largest: {:.1} MB", megabytes(largest));
    print_times("append", &mut appends);
    print_times("compaction", &mut compactions);
    // A copy of a log in use looks as if its process was killed.
    let killed = folder.path().join("killed");
    copy_folder(&path, &killed)?;
    drop(store);
    for (path, ending) in [(path, "an orderly end"), (killed, "a kill")] {
        let began = Instant::now();
        let mut store = SledLogStore::open_existing(&path, identity)?;
        let (held, took) = (store.load()?.entries.len(), millis(began.elapsed()));
        let size = megabytes(store.size_on_disk_bytes());
        println!("opened after {ending}: {held} entries in {took:.0} ms, {size:.1} MB");
    }
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn position(index: u64) -> LogPosition {
    LogPosition { index, term: 1 }
}

/// Contents that do not compress and do not repeat.
fn entry(index: u64) -> LogEntry {
    let mut state = index.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut data = Vec::with_capacity(ENTRY_BYTES);
    while data.len() < ENTRY_BYTES {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        data.extend_from_slice(&state.to_le_bytes());
    }
    LogEntry {
        position: position(index),
        kind: EntryKind::Command,
        context: Bytes::copy_from_slice(&index.to_le_bytes()),
        data: Bytes::from(data),
    }
}

#[expect(clippy::print_stdout, reason = "the figures are the purpose")]
fn print_times(what: &str, times: &mut [Duration]) {
    times.sort_unstable();
    let at = |share: usize| times.get(times.len().saturating_sub(1) * share / 1000);
    let shown = |share| at(share).map_or(0.0, |time| millis(*time));
    println!(
        "{what}: {} times; p50 {:.2} ms, p99 {:.2} ms, longest {:.1} ms",
        times.len(),
        shown(500),
        shown(990),
        shown(1000)
    );
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

#[expect(clippy::cast_precision_loss, reason = "sizes stay far below 2^53")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}
