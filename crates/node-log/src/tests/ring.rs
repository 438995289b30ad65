//! Segments are freed and used again, and a full disk is no failure.

use std::path::Path;

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::forgetful_disk::ForgetfulDisk;
use super::simulated_wal::{self, SimulatedWal};
use super::support::{LONG, SEGMENT, config, open_simulated, record, simulated, tenant, until};
use crate::disk::Disk;
use crate::folder::Spare;
use crate::ring::Ring;
use crate::{AppendError, CommitRecord, Lsn, NodeLog};

/// Appends; where there is no room at the moment, again later.
fn append(log: &NodeLog, record: &CommitRecord) -> Lsn {
    let mut taken = None;
    until("there is room", || match log.append(record.clone()) {
        Ok(lsn) => {
            taken = Some(lsn);
            true
        }
        Err(AppendError::NoRoom) => false,
        Err(other) => panic!("{other}"),
    });
    taken.unwrap()
}

fn segment_files(disk: &ForgetfulDisk) -> usize {
    let names = disk.file_names();
    let ours = ["segment-", "spare-", "fresh-", "making"];
    names
        .iter()
        .filter(|name| ours.iter().any(|prefix| name.starts_with(prefix)))
        .count()
}

#[test]
fn a_small_ring_turns_many_times_and_the_keeper_syncs_what_leaves_it() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let mut random = StdRng::seed_from_u64(1);
    let mut wals: Vec<_> = (1..=3)
        .map(|number| SimulatedWal::new(tenant(number), &mut random))
        .collect();
    for wal in &wals {
        simulated_wal::write(&disk, wal.tenant, 0, &wal.bytes);
        simulated_wal::sync(&disk, wal.tenant);
    }
    for round in 0..1000 {
        let wal = &mut wals[round % 3];
        let commit = wal.commit(4, &mut random);
        simulated_wal::write(&disk, wal.tenant, commit.offset, &commit.frames);
        let lsn = append(&log, &commit);
        if round % 10 == 0 {
            log.wait(lsn).unwrap();
        }
    }
    log.stop();
    let figures = log.figures();
    assert!(figures.segments_freed > 20, "{figures:?}");
    assert!(figures.wals_synced > 20, "{figures:?}");
    assert!(segment_files(&disk) <= 4, "{:?}", disk.file_names());

    // What the log no longer has was synced; the rest is written back.
    let disk = disk.after_power_loss(&mut random);
    let (_log, _, _) = open_simulated(&disk, config("/log")).unwrap();
    for wal in wals {
        assert_eq!(disk.durable(&simulated_wal::path(wal.tenant)), Some(wal.bytes));
    }
}

#[test]
fn what_a_checkpoint_covered_is_freed_without_a_sync() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    for _ in 0..100 {
        let lsn = append(&log, &record(tenant(1), 10_000));
        log.wait(lsn).unwrap();
        log.covered(tenant(1), lsn);
    }
    let figures = log.figures();
    assert!(figures.segments_freed >= 15, "{figures:?}");
    assert_eq!(figures.wals_synced, 0, "{figures:?}");
}

#[test]
fn a_wal_that_is_gone_needs_no_sync() {
    let disk = ForgetfulDisk::default();
    let (log, failures) = simulated(&disk);
    for _ in 0..50 {
        let lsn = append(&log, &record(tenant(1), 20_000));
        log.wait(lsn).unwrap();
    }
    let figures = log.figures();
    assert!(figures.segments_freed >= 20, "{figures:?}");
    assert_eq!(figures.wals_synced, 0, "{figures:?}");
    assert_eq!(failures.try_iter().count(), 0);
}

#[test]
fn a_segment_is_freed_when_all_in_it_are_covered_and_a_later_one_is_durable() {
    let mut ring = Ring::new(8, (1..=4).map(Spare::freed).collect(), 1, 0);
    for (segment, records) in [(1, [(1, 1), (2, 2)]), (2, [(1, 3), (3, 4)]), (3, [(2, 5), (3, 6)])] {
        let (header, _) = ring.begin(Lsn::new(records[0].1)).unwrap();
        assert_eq!((header.number, header.oldest), (segment, 1));
        for (uid, lsn) in records {
            ring.note(tenant(uid), Lsn::new(lsn));
        }
    }
    assert_eq!(ring.keeping_the_oldest().len(), 2);
    ring.covered(tenant(1), Lsn::new(3));
    ring.covered(tenant(2), Lsn::new(1));
    assert!(!ring.settle(Lsn::new(6)), "record 2 is not covered");
    ring.covered(tenant(3), Lsn::new(6));
    assert!(!ring.settle(Lsn::new(6)), "the second segment waits for the first");
    ring.covered(tenant(2), Lsn::new(4));
    assert!(!ring.settle(Lsn::new(2)), "the second segment may not be on disk");
    assert!(ring.settle(Lsn::new(3)));
    assert_eq!(ring.take_freed(), [1]);
    assert!(ring.settle(Lsn::new(6)));
    assert_eq!(ring.take_freed(), [2]);
    ring.covered(tenant(2), Lsn::new(6));
    assert!(!ring.settle(Lsn::new(6)), "the one that is being filled stays");
    assert_eq!(ring.begin(Lsn::new(7)).unwrap().0.oldest, 3);
}

#[test]
fn a_wal_that_cannot_be_synced_for_room_is_a_failure() {
    let disk = ForgetfulDisk::default();
    let (log, failures) = simulated(&disk);
    simulated_wal::write(&disk, tenant(1), 0, &[0; 32]);
    disk.fail_syncs_of("-wal");
    until("it fails", || {
        log.append(record(tenant(1), 20_000)) == Err(AppendError::Failed)
    });
    let reason = failures.recv_timeout(LONG).unwrap();
    assert!(
        reason.contains("-wal") && reason.contains("the disk is broken"),
        "{reason}"
    );
    log.stop();
    assert_eq!(failures.try_iter().count(), 0);
}

#[test]
fn files_that_cannot_be_opened_for_a_while_are_no_failure() {
    for part in ["-wal", "making"] {
        let disk = ForgetfulDisk::default();
        let (log, failures) = simulated(&disk);
        simulated_wal::write(&disk, tenant(1), 0, &[0; 32]);
        disk.refuse_to_open(Some(part));
        until("there is no room", || {
            log.append(record(tenant(1), 20_000)) == Err(AppendError::NoRoom) && log.figures().free_segments == 0
        });
        disk.refuse_to_open(None);
        let lsn = append(&log, &record(tenant(1), 20_000));
        log.wait(lsn).unwrap();
        log.stop();
        assert_eq!(failures.try_iter().count(), 0, "{part}");
    }
}

#[test]
fn without_room_for_a_segment_records_are_refused_until_there_is_some() {
    let disk = ForgetfulDisk::default();
    // Room for one segment and the small files.
    let capacity = usize::try_from(SEGMENT).unwrap() * 3 / 2;
    disk.set_capacity(capacity);
    let (log, failures) = simulated(&disk);
    until("it is full", || match log.append(record(tenant(1), 20_000)) {
        Ok(lsn) => {
            log.wait(lsn).unwrap();
            false
        }
        Err(error) => {
            assert_eq!(error, AppendError::NoRoom);
            true
        }
    });
    until("that is shown", || log.figures().unavailable);
    assert_eq!(log.durable(), Lsn::new(2));
    assert!(log.figures().refused >= 1);
    // A smaller record still finds its place.
    let small = log.append(record(tenant(1), 10)).unwrap();
    log.wait(small).unwrap();

    disk.set_capacity(10 * capacity);
    let lsn = append(&log, &record(tenant(1), 20_000));
    log.wait(lsn).unwrap();
    assert!(!log.figures().unavailable);
    assert_eq!(failures.try_iter().count(), 0);
    drop(log);
    let (_, recovery, _) = open_simulated(&disk, config("/log")).unwrap();
    assert_eq!(recovery.records, 4);
}

#[test]
fn a_disk_that_is_full_from_the_start_is_no_failure() {
    let disk = ForgetfulDisk::default();
    disk.set_capacity(1000);
    let (log, failures) = simulated(&disk);
    assert_eq!(log.append(record(tenant(1), 10)), Err(AppendError::NoRoom));
    disk.set_capacity(1 << 20);
    let lsn = append(&log, &record(tenant(1), 10));
    log.wait(lsn).unwrap();
    assert_eq!(failures.try_iter().count(), 0);
}

#[test]
fn a_record_larger_than_half_a_segment_is_refused_and_the_largest_is_not() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let half = usize::try_from(SEGMENT / 2).unwrap();
    assert_eq!(log.append(record(tenant(1), half - 55)), Err(AppendError::NoRoom));
    let lsn = log.append(record(tenant(1), half - 56)).unwrap();
    log.wait(lsn).unwrap();
}

#[test]
fn files_of_another_size_are_replaced() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let lsn = append(&log, &record(tenant(1), 20_000));
    log.wait(lsn).unwrap();
    drop(log);
    let mut larger = config("/log");
    larger.segment_bytes *= 2;
    let (log, recovery, _) = open_simulated(&disk, larger).unwrap();
    assert_eq!(recovery.records, 1);
    let next = append(&log, &record(tenant(1), 60_000));
    log.wait(next).unwrap();
    drop(log);
    for name in disk.file_names() {
        let length = disk.now(&Path::new("/log").join(&name)).unwrap().len() as u64;
        assert!(name == "start" || length == 2 * SEGMENT, "{name} has {length} bytes");
    }
    assert!(disk.open(Path::new("/log/making")).unwrap().is_none());
}
