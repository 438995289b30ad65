//! A WAL file that does not hold what was acknowledged: its tenant alone is refused, and nothing that the log had is gone.

use std::path::{Path, PathBuf};

use rand::SeedableRng;
use rand::rngs::StdRng;
use tenantry_types::TenantUid;

use super::forgetful_disk::ForgetfulDisk;
use super::simulated_wal::{self, FRAME, SimulatedWal};
use super::support::{config, open_simulated, tenant, until};
use crate::disk::Disk;
use crate::{BrokenWal, CommitRecord, NodeLog, OpenError, Quarantine, Recovery};

const HEADER: u64 = 32;

fn mark(uid: TenantUid) -> PathBuf {
    simulated_wal::database_path(uid).with_file_name("QUARANTINED")
}

/// What a mark holds, by the letter of its format: the first lines and the commits.
fn read_mark(bytes: &[u8], uid: TenantUid) -> (String, Vec<CommitRecord>) {
    let (content, crc) = bytes.split_at(bytes.len() - 4);
    assert_eq!(crc32fast::hash(content).to_le_bytes(), crc);
    let zero = content.iter().position(|byte| *byte == 0).unwrap();
    let text = std::str::from_utf8(&content[..zero]).unwrap();
    assert!(text.starts_with("tenantry quarantine 1\n"), "{text}");
    assert_eq!(text.lines().count(), 11, "the runbook shows so many: {text}");
    let mut rest = &content[zero + 1..];
    let mut take = |count: usize| {
        let (taken, left) = rest.split_at(count);
        rest = left;
        taken
    };
    let count = u64::from_le_bytes(take(8).try_into().unwrap());
    let mut commits = Vec::new();
    let mut last = 0;
    for _ in 0..count {
        let lsn = u64::from_le_bytes(take(8).try_into().unwrap());
        assert!(lsn > last);
        last = lsn;
        commits.push(CommitRecord {
            tenant: uid,
            salts: take(8).try_into().unwrap(),
            offset: u64::from_le_bytes(take(8).try_into().unwrap()),
            frames: {
                let length = u32::from_le_bytes(take(4).try_into().unwrap());
                take(usize::try_from(length).unwrap()).to_vec()
            },
        });
    }
    assert!(rest.is_empty());
    (text.to_owned(), commits)
}

fn begin(disk: &ForgetfulDisk, uid: TenantUid, random: &mut StdRng) -> SimulatedWal {
    let wal = SimulatedWal::new(uid, random);
    simulated_wal::write(disk, uid, 0, &wal.bytes);
    simulated_wal::sync(disk, uid);
    wal
}

/// Commits through the log, without a sync of the WAL file.
fn commit(disk: &ForgetfulDisk, log: &NodeLog, wal: &mut SimulatedWal, random: &mut StdRng) -> CommitRecord {
    let commit = wal.commit(2, random);
    simulated_wal::write(disk, wal.tenant, commit.offset, &commit.frames);
    until("there is room", || log.append(commit.clone()).is_ok());
    commit
}

fn change(disk: &ForgetfulDisk, path: &Path, offset: u64) {
    let file = disk.open(path).unwrap().unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset).unwrap();
    file.write_at(&[byte[0] ^ 1], offset).unwrap();
    file.sync().unwrap();
}

/// A node whose first tenant's WAL file has lost what the log never had: a commit that was synced in its own place, and the log has the one
/// behind it. The second tenant's is only behind.
struct Crashed {
    disk: ForgetfulDisk,
    kept: CommitRecord,
    /// The first tenant's file, but for the changed byte.
    first: SimulatedWal,
    second: SimulatedWal,
}

fn crashed(seed: u64) -> Crashed {
    let mut random = StdRng::seed_from_u64(seed);
    let disk = ForgetfulDisk::default();
    let (log, _, _) = open_simulated(&disk, config("/log")).unwrap();
    let mut first = begin(&disk, tenant(1), &mut random);
    let mut second = begin(&disk, tenant(2), &mut random);
    let own = first.commit(3, &mut random);
    simulated_wal::write(&disk, tenant(1), own.offset, &own.frames);
    simulated_wal::sync(&disk, tenant(1));
    let kept = commit(&disk, &log, &mut first, &mut random);
    commit(&disk, &log, &mut second, &mut random);
    commit(&disk, &log, &mut second, &mut random);
    log.stop();
    let disk = disk.after_power_loss(&mut random);
    change(&disk, &simulated_wal::path(tenant(1)), HEADER + 40);
    Crashed {
        disk,
        kept,
        first,
        second,
    }
}

fn open(disk: &ForgetfulDisk) -> Result<Recovery, OpenError> {
    open_simulated(disk, config("/log")).map(|(log, recovery, _)| {
        log.stop();
        recovery
    })
}

#[test]
fn a_broken_wal_file_is_reported_and_the_others_are_completed() {
    for seed in 0..20 {
        let Crashed {
            disk,
            kept,
            first,
            second,
        } = crashed(seed);
        let recovery = open(&disk).unwrap();
        let expected = BrokenWal {
            tenant: tenant(1),
            file: simulated_wal::path(tenant(1)),
            offset: HEADER,
            end: first.bytes.len() as u64,
            what: "the checksum of a frame is wrong",
            mark: mark(tenant(1)),
        };
        assert_eq!(recovery.broken, [expected]);
        assert_eq!((recovery.records, recovery.tenants, recovery.wals_synced), (3, 2, 1));
        assert!(disk.durable(&simulated_wal::path(tenant(2))).as_ref() == Some(&second.bytes));
        // What the log had is in its place, and in the mark, whatever SQLite makes of the file.
        let file = disk.durable(&simulated_wal::path(tenant(1))).unwrap();
        assert!(file[usize::try_from(kept.offset).unwrap()..] == kept.frames);
        let (text, commits) = read_mark(&disk.durable(&mark(tenant(1))).unwrap(), tenant(1));
        assert_eq!(commits, [kept]);
        let why = text.lines().nth(1).unwrap();
        assert_eq!(why, recovery.broken[0].to_string());
        assert!(
            why.contains("breaks off at byte 32") && text.contains("Move this file"),
            "{text}"
        );
        // The log has nothing of it any more, and the mark stays.
        let again = open(&disk).unwrap();
        assert_eq!((again.records, again.broken.len()), (0, 0));
        assert!(disk.durable(&mark(tenant(1))).is_some());
        assert_eq!(disk.now(&mark(tenant(2))), None);
    }
}

#[test]
fn the_mark_is_durable_before_the_log_begins_anew() {
    let Crashed { disk, kept, .. } = crashed(1);
    disk.fail_syncs_of("start");
    assert!(matches!(open(&disk), Err(OpenError::Io { .. })));
    let first_mark = disk.durable(&mark(tenant(1))).unwrap();
    for seed in 0..20 {
        let disk = disk.after_power_loss(&mut StdRng::seed_from_u64(seed));
        let recovery = open(&disk).unwrap();
        assert_eq!((recovery.records, recovery.broken.len()), (3, 1));
        assert_eq!(disk.durable(&mark(tenant(1))).as_ref(), Some(&first_mark));
        let names = disk.file_names();
        let marks = names.iter().filter(|name| name.starts_with("QUARANTINED"));
        assert_eq!(marks.count(), 1, "the same content is kept once: {names:?}");
        assert_eq!(read_mark(&first_mark, tenant(1)).1, std::slice::from_ref(&kept));
    }
}

#[test]
fn without_a_mark_the_log_does_not_begin_anew() {
    let Crashed { disk, .. } = crashed(2);
    disk.fail_syncs_of("QUARANTINED");
    let error = open(&disk).unwrap_err().to_string();
    assert!(
        error.contains("QUARANTINED") && error.contains("the disk is broken"),
        "{error}"
    );
    let disk = disk.after_power_loss(&mut StdRng::seed_from_u64(1));
    assert_eq!(open(&disk).unwrap().broken.len(), 1, "everything is still in the log");
}

#[test]
fn a_mark_that_says_something_else_is_set_aside() {
    let Crashed { disk, kept, .. } = crashed(3);
    let aside = |number: u32| mark(tenant(1)).with_file_name(format!("QUARANTINED-{number}"));
    for (path, content) in [(mark(tenant(1)), "of long ago"), (aside(1), "of before")] {
        let file = disk.create(&path).unwrap();
        file.write_at(content.as_bytes(), 0).unwrap();
        file.sync().unwrap();
    }
    open(&disk).unwrap();
    assert_eq!(read_mark(&disk.durable(&mark(tenant(1))).unwrap(), tenant(1)).1, [kept]);
    assert_eq!(disk.durable(&aside(1)).unwrap(), b"of before");
    assert_eq!(disk.durable(&aside(2)).unwrap(), b"of long ago");
}

#[test]
fn commits_that_have_no_place_in_the_file_are_in_the_mark() {
    let mut random = StdRng::seed_from_u64(4);
    let disk = ForgetfulDisk::default();
    let (log, _, _) = open_simulated(&disk, config("/log")).unwrap();
    let mut wal = begin(&disk, tenant(1), &mut random);
    let mut commits = vec![commit(&disk, &log, &mut wal, &mut random)];
    let mut odd = wal.commit(1, &mut random);
    odd.frames.truncate(FRAME - 1);
    until("there is room", || log.append(odd.clone()).is_ok());
    commits.push(odd);
    log.stop();
    let recovery = open(&disk).unwrap();
    let [broken] = &recovery.broken[..] else {
        panic!("{recovery:?}");
    };
    assert_eq!(broken.offset, commits[1].offset);
    assert!(broken.what.contains("does not consist of frames"), "{broken}");
    assert_eq!(
        read_mark(&disk.durable(&mark(tenant(1))).unwrap(), tenant(1)).1,
        commits
    );
}

#[test]
fn a_file_that_fell_back_into_a_former_life_is_refused() {
    let mut random = StdRng::seed_from_u64(5);
    let disk = ForgetfulDisk::default();
    let (log, _, _) = open_simulated(&disk, config("/log")).unwrap();
    let mut wal = begin(&disk, tenant(1), &mut random);
    let mut commits = vec![commit(&disk, &log, &mut wal, &mut random)];
    let former = wal.bytes.clone();
    wal.begin_anew(&mut random);
    simulated_wal::write(&disk, tenant(1), 0, &wal.bytes);
    commits.push(commit(&disk, &log, &mut wal, &mut random));
    log.stop();
    simulated_wal::write(&disk, tenant(1), 0, &former);
    let recovery = open(&disk).unwrap();
    assert_eq!((recovery.records, recovery.obsolete_records), (2, 0));
    let [broken] = &recovery.broken[..] else {
        panic!("{recovery:?}");
    };
    assert!(broken.what.contains("later life"), "{broken}");
    assert_eq!(
        read_mark(&disk.durable(&mark(tenant(1))).unwrap(), tenant(1)).1,
        commits
    );
}

#[test]
fn a_mark_is_found_whatever_is_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("db.sqlite");
    assert_eq!(Quarantine::of(&database).unwrap(), None);
    let unknown = "the mark does not say why";
    for (content, why) in [
        (&b""[..], unknown),
        (b"something else", unknown),
        (b"tenantry quarantine 1\n", unknown),
        (b"tenantry quarantine 1\nsaid\n\nwhat to do\0\0\0", "said"),
        (b"tenantry quarantine 1\nsai\xff\0", "sai\u{fffd}"),
    ] {
        let path = folder.path().join("QUARANTINED");
        std::fs::write(&path, content).unwrap();
        let found = Quarantine::of(&database).unwrap().unwrap();
        assert_eq!((found.mark, found.why.as_str()), (path, why));
    }
    std::fs::remove_file(folder.path().join("QUARANTINED")).unwrap();
    assert_eq!(Quarantine::of(&database).unwrap(), None);
}
