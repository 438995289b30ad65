//! Redo against WAL files that SQLite wrote: whatever a power loss took from a file, each acknowledged row is there afterwards.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rusqlite::Connection;
use tempfile::TempDir;
use tenantry_types::TenantUid;

use super::support::{database_path, open_real, tenant, until};
use crate::wal::{self, Chain};
use crate::{CommitRecord, Lsn, NodeLog, OpenError};

/// A tenant's database, whose commits go into a log.
pub(super) struct Database {
    uid: TenantUid,
    wal: PathBuf,
    pub(super) connection: Connection,
    /// How far the WAL file is in the log.
    logged: u64,
    /// Which life of the file that is.
    salts: [u8; 8],
    rows: i64,
}

impl Database {
    pub(super) fn open(tenants: &Path, uid: TenantUid) -> Self {
        let path = database_path(tenants, uid);
        let wal = path.with_file_name("db.sqlite-wal");
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let connection = Connection::open(path).unwrap();
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = 0;
                 CREATE TABLE IF NOT EXISTS t (id INTEGER PRIMARY KEY, content BLOB);",
            )
            .unwrap();
        // As the caller owes: what the file holds before the first append is synced.
        File::open(&wal).unwrap().sync_all().unwrap();
        let file = fs::read(&wal).unwrap();
        let (logged, salts) = (valid_end(&file), salts(&file));
        let rows = count(&connection);
        Self {
            uid,
            wal,
            connection,
            logged,
            salts,
            rows,
        }
    }

    pub(super) fn insert(&mut self, bytes: i64) {
        self.connection
            .execute("INSERT INTO t (content) VALUES (randomblob(?1))", [bytes])
            .unwrap();
        self.rows += 1;
    }

    pub(super) fn run(&mut self, sql: &str) {
        self.connection.execute_batch(sql).unwrap();
    }

    pub(super) fn count(&self) -> i64 {
        count(&self.connection)
    }

    /// Hands the commits since the last time to the log, and waits until they are acknowledged.
    pub(super) fn log(&mut self, log: &NodeLog) {
        let file = fs::read(&self.wal).unwrap();
        let end = valid_end(&file);
        if salts(&file) != self.salts {
            self.salts = salts(&file);
            self.logged = wal::HEADER as u64;
        }
        if end == self.logged {
            return;
        }
        let range = usize::try_from(self.logged).unwrap()..usize::try_from(end).unwrap();
        let record = CommitRecord {
            tenant: self.uid,
            salts: self.salts,
            offset: self.logged,
            frames: file[range].to_vec(),
        };
        let mut lsn = Lsn::NOTHING;
        until("there is room", || {
            log.append(record.clone()).is_ok_and(|appended| {
                lsn = appended;
                true
            })
        });
        log.wait(lsn).unwrap();
        self.logged = end;
    }

    pub(super) fn checkpoint(&mut self) {
        self.connection
            .query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))
            .unwrap();
    }
}

fn salts(file: &[u8]) -> [u8; 8] {
    file[16..24].try_into().unwrap()
}

/// Where the chain of checksums ends.
fn valid_end(file: &[u8]) -> u64 {
    let mut chain = Chain::begin(file.first_chunk().unwrap()).unwrap();
    let frame = chain.frame();
    let valid = file[wal::HEADER..]
        .chunks_exact(frame)
        .take_while(|bytes| chain.add_frame(bytes).is_ok())
        .count();
    (wal::HEADER + valid * frame) as u64
}

fn count(connection: &Connection) -> i64 {
    connection
        .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
        .unwrap()
}

/// The folder of a node: `log`, and the tenants beside it.
pub(super) struct Node {
    pub(super) folder: TempDir,
}

impl Node {
    pub(super) fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn open(&self) -> Result<(NodeLog, crate::Recovery), OpenError> {
        open_real(&self.folder.path().join("log"), self.folder.path())
    }

    /// Another node with the files that are there at this moment, without those that SQLite keeps for a process.
    pub(super) fn copy(&self) -> Self {
        let copy = Self::new();
        for folder in fs::read_dir(self.folder.path()).unwrap() {
            let folder = folder.unwrap().path();
            let target = copy.folder.path().join(folder.file_name().unwrap());
            fs::create_dir(&target).unwrap();
            for file in fs::read_dir(&folder).unwrap() {
                let file = file.unwrap().path();
                if file.extension().is_none_or(|extension| extension != "sqlite-shm") {
                    let copied = fs::copy(&file, target.join(file.file_name().unwrap()));
                    // A log that runs makes files ahead of need and gives them their names when they are complete.
                    assert!(copied.is_ok() || !file.exists(), "{}", file.display());
                }
            }
        }
        copy
    }

    pub(super) fn wal(&self, uid: TenantUid) -> PathBuf {
        database_path(self.folder.path(), uid).with_file_name("db.sqlite-wal")
    }

    pub(super) fn rows(&self, uid: TenantUid) -> i64 {
        let connection = Connection::open(self.wal(uid).with_file_name("db.sqlite")).unwrap();
        let check: String = connection
            .query_row("PRAGMA integrity_check", [], |row| row.get(0))
            .unwrap();
        assert_eq!(check, "ok");
        count(&connection)
    }
}

/// What a power loss does to a WAL file that was not synced beyond `synced`.
fn lose(path: &Path, synced: u64, random: &mut StdRng) {
    let file = File::options().write(true).open(path).unwrap();
    let length = file.metadata().unwrap().len();
    let cut = random.random_range(synced..=length);
    match random.random_range(0..3) {
        0 => file.set_len(synced).unwrap(),
        1 => file.set_len(cut).unwrap(),
        _ => {
            let mut garbage = vec![0; usize::try_from(length - cut).unwrap()];
            random.fill(&mut garbage[..]);
            file.write_all_at(&garbage, cut).unwrap();
        }
    }
}

#[test]
fn every_acknowledged_row_is_there_whatever_was_lost_of_the_wal_files() {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let mut databases: Vec<_> = (1..=3)
        .map(|number| Database::open(node.folder.path(), tenant(number)))
        .collect();
    let synced: Vec<u64> = databases.iter().map(|database| database.logged).collect();
    for round in 0..25 {
        let database = &mut databases[round % 3];
        database.insert(if round % 5 == 0 { 9000 } else { 100 });
        database.log(&log);
    }
    log.stop();
    for seed in 0..25 {
        let mut random = StdRng::seed_from_u64(seed);
        let crashed = node.copy();
        let mut harmed = false;
        for (database, &synced) in databases.iter().zip(&synced) {
            let path = crashed.wal(database.uid);
            let before = fs::read(&path).unwrap();
            lose(&path, synced, &mut random);
            harmed |= fs::read(&path).unwrap() != before;
        }
        let (log, recovery) = crashed.open().unwrap();
        assert_eq!(
            (recovery.records, recovery.tenants, recovery.obsolete_records),
            (25, 3, 0)
        );
        assert_eq!(recovery.wals_synced, 3);
        assert_eq!(recovery.frames_written_back > 0, harmed, "seed {seed}");
        for database in &databases {
            assert_eq!(crashed.rows(database.uid), database.rows, "seed {seed}");
        }
        drop(log);
        // Whoever crashes while he recovers recovers again.
        crashed.open().unwrap();
    }
}

#[test]
fn records_from_before_a_checkpoint_are_obsolete_and_later_ones_are_written_back() {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let mut database = Database::open(node.folder.path(), tenant(1));
    for _ in 0..5 {
        database.insert(3000);
        database.log(&log);
    }
    database.checkpoint();
    // The file begins anew and is longer than what is in it now: old frames stand behind the new ones.
    for _ in 0..2 {
        database.insert(100);
        database.log(&log);
    }
    log.stop();
    for keep in [32, 100, 32 + 4120, 32 + 4120 + 24] {
        let crashed = node.copy();
        let file = File::options().write(true).open(crashed.wal(tenant(1))).unwrap();
        file.set_len(keep).unwrap();
        let (_log, recovery) = crashed.open().unwrap();
        assert_eq!((recovery.records, recovery.obsolete_records), (7, 5));
        assert!(recovery.frames_written_back > 0);
        assert_eq!(crashed.rows(tenant(1)), 7, "kept {keep} bytes");
    }
}

#[test]
fn a_wal_that_is_gone_or_empty_needs_nothing() {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let mut database = Database::open(node.folder.path(), tenant(1));
    database.insert(100);
    database.log(&log);
    database
        .connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    log.stop();
    let empty = node.copy();
    assert_eq!(fs::metadata(empty.wal(tenant(1))).unwrap().len(), 0);
    let gone = node.copy();
    fs::remove_file(gone.wal(tenant(1))).unwrap();
    for crashed in [empty, gone] {
        let (_log, recovery) = crashed.open().unwrap();
        assert_eq!((recovery.obsolete_records, recovery.frames_written_back), (1, 0));
        assert_eq!(crashed.rows(tenant(1)), 1);
    }
}

#[test]
fn a_wal_that_lacks_what_the_log_never_had_is_reported_with_tenant_and_place() {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let mut database = Database::open(node.folder.path(), tenant(7));
    database.insert(100);
    let unlogged = database.logged;
    database.log(&log);
    log.stop();
    drop(log);
    // A new log knows nothing of that commit.
    fs::remove_dir_all(node.folder.path().join("log")).unwrap();
    let (log, _) = node.open().unwrap();
    database.insert(100);
    database.log(&log);
    log.stop();
    let crashed = node.copy();
    let file = File::options().write(true).open(crashed.wal(tenant(7))).unwrap();
    file.write_all_at(&[0xff; 8], unlogged + 30).unwrap();
    let (_log, recovery) = crashed.open().unwrap();
    let [broken] = &recovery.broken[..] else {
        panic!("{recovery:?}");
    };
    let text = broken.to_string();
    assert_eq!((broken.tenant, broken.offset), (tenant(7), unlogged), "{text}");
    assert!(
        text.contains(&tenant(7).to_string()) && text.contains("checksum of a frame"),
        "{text}"
    );
    assert_eq!(crashed.rows(tenant(7)), 0, "that is what SQLite makes of the file");
}

#[test]
fn a_commit_that_sqlite_gave_up_after_it_was_logged_gives_way_to_the_next() {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let uid = tenant(1);
    let mut given_up = Database::open(node.folder.path(), uid);
    given_up.insert(100);
    given_up.log(&log);
    let (end, before) = (given_up.logged, node.copy());
    given_up.insert(15_000);
    given_up.log(&log);
    // The same file without that commit goes on in the same place, with a shorter one.
    let mut next = Database::open(before.folder.path(), uid);
    assert_eq!(next.logged, end);
    next.insert(200);
    next.log(&log);
    assert!(next.logged < given_up.logged);
    log.stop();
    let crashed = node.copy();
    let (_log, _) = crashed.open().unwrap();
    assert_eq!(crashed.rows(uid), 2);
    let connection = Connection::open(crashed.wal(uid).with_file_name("db.sqlite")).unwrap();
    let length: i64 = connection
        .query_row("SELECT length(content) FROM t WHERE id = 2", [], |row| row.get(0))
        .unwrap();
    assert_eq!(length, 200);
}

#[test]
fn a_database_goes_on_over_many_lives() {
    let mut node = Node::new();
    let uid = tenant(1);
    let mut rows = 0;
    let mut random = StdRng::seed_from_u64(5);
    for life in 0..12 {
        let (log, _) = node.open().unwrap();
        let mut database = Database::open(node.folder.path(), uid);
        assert!(database.rows >= rows, "life {life}: {} of {rows}", database.rows);
        let synced = database.logged;
        for _ in 0..random.random_range(1..6) {
            database.insert(2000);
            database.log(&log);
        }
        rows = database.rows;
        log.stop();
        // A commit that was not acknowledged, and whose place another one may take in the next life.
        database.insert(2000);
        let crashed = node.copy();
        lose(&crashed.wal(uid), synced, &mut random);
        drop(database);
        node = crashed;
    }
}

#[test]
fn big_endian_sums_are_followed_too() {
    // The letter of the format: the magic's lowest bit says how sums read their input.
    let mut header = Vec::new();
    for word in [0x377f_0683_u32, 3_007_000, 512, 0, 1, 2] {
        header.write_all(&word.to_be_bytes()).unwrap();
    }
    let mut sum = (0_u32, 0_u32);
    for pair in header.clone().chunks_exact(8) {
        let word = |at: usize| u32::from_be_bytes(pair[at..at + 4].try_into().unwrap());
        sum.0 = sum.0.wrapping_add(word(0)).wrapping_add(sum.1);
        sum.1 = sum.1.wrapping_add(word(4)).wrapping_add(sum.0);
    }
    header.extend_from_slice(&sum.0.to_be_bytes());
    header.extend_from_slice(&sum.1.to_be_bytes());
    let header: [u8; 32] = header.try_into().unwrap();
    assert_eq!(Chain::begin(&header).unwrap().frame(), 536);
    for at in 0..28 {
        let mut changed = header;
        changed[at] ^= 1;
        assert!(Chain::begin(&changed).is_err(), "byte {at}");
    }
}
