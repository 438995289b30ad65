//! Where a segment ends: torn writes end the log, everything else is damage.

use proptest::prelude::*;

use super::support::{SEGMENT, record, tenant};
use crate::batch::PAGE;
use crate::folder::Spare;
use crate::lsn::Lsn;
use crate::queue::Queue;
use crate::record::{CommitRecord, Summed};
use crate::ring::Ring;
use crate::scan::{Damage, Scanned, Standing, scan};
use crate::segment::SegmentHeader;

/// A segment that was written, and where its last batch lies in it.
struct Written {
    header: SegmentHeader,
    bytes: Vec<u8>,
    last_batch: std::ops::Range<usize>,
    records: usize,
}

/// Writes batches with records of these lengths into a file that held `before`.
fn written(batches: &[&[usize]], before: &[u8]) -> Written {
    let mut ring = Ring::new(4, vec![Spare::freed(1), Spare::freed(2)], 8, 0);
    let mut queue = Queue::new(SEGMENT, Lsn::new(100));
    let mut bytes = before.to_vec();
    let mut header = None;
    let mut last_batch = 0..0;
    for lengths in batches {
        for &length in *lengths {
            queue
                .push(&Summed::new(&record(tenant(1), length)).unwrap(), &mut ring)
                .unwrap();
        }
        let batch = queue.take().unwrap();
        if let Some((begun, _)) = &batch.begins {
            bytes[..PAGE].copy_from_slice(&begun.page());
            header = Some(*begun);
        }
        let offset = usize::try_from(batch.offset).unwrap();
        last_batch = offset..offset + batch.bytes.len();
        bytes[last_batch.clone()].copy_from_slice(&batch.bytes);
        queue.done(batch);
    }
    Written {
        header: header.unwrap(),
        bytes,
        last_batch,
        records: batches.iter().map(|lengths| lengths.len()).sum(),
    }
}

fn fresh() -> Vec<u8> {
    vec![0; usize::try_from(SEGMENT).unwrap()]
}

/// A file full of records of a former life, at the places where the new ones will be.
fn recycled() -> Vec<u8> {
    written(&[&[100, 200, 300], &[50], &[60, 70], &[5000], &[1, 2, 3]], &fresh()).bytes
}

fn numbers(scanned: &Scanned) -> Vec<u64> {
    scanned.commits.iter().map(|commit| commit.lsn.get()).collect()
}

#[test]
fn whatever_byte_the_last_write_breaks_off_at_what_was_synced_before_is_read() {
    for before in [fresh(), recycled()] {
        let whole = written(&[&[100, 200, 300], &[50], &[60, 70]], &before);
        let all = scan(&whole.bytes, whole.header, Standing::Last).unwrap();
        assert_eq!(numbers(&all), [100, 101, 102, 103, 104, 105]);
        assert_eq!((all.next, all.commits[5].frames.len()), (Lsn::new(106), 70));
        let ends: Vec<usize> = all.commits.iter().map(|commit| commit.frames.end).collect();
        for cut in whole.last_batch.clone() {
            let mut bytes = whole.bytes.clone();
            bytes[cut..].copy_from_slice(&before[cut..]);
            let scanned = scan(&bytes, whole.header, Standing::Last).unwrap();
            // What the file held before may happen to be the same as what was written.
            let least = ends.iter().filter(|&&end| end <= cut).count();
            assert!(scanned.commits.len() >= least.max(4), "cut at {cut}");
            assert_eq!(scanned.commits, all.commits[..scanned.commits.len()], "cut at {cut}");
            assert_eq!(scanned.next.get(), 100 + scanned.commits.len() as u64);
        }
    }
}

#[test]
fn nothing_of_a_files_former_life_is_read() {
    let whole = written(&[&[100, 200, 300]], &recycled());
    let scanned = scan(&whole.bytes, whole.header, Standing::Last).unwrap();
    assert_eq!(numbers(&scanned), [100, 101, 102]);
    assert!(scanned.torn, "the former life is told from zeros");
}

#[test]
fn each_changed_byte_before_the_last_batch_is_damage_in_the_last_segment_too() {
    let whole = written(&[&[100, 200, 300], &[50], &[60, 70]], &fresh());
    for at in PAGE..whole.last_batch.start {
        let mut bytes = whole.bytes.clone();
        bytes[at] ^= 0x10;
        let Damage { offset, what } = scan(&bytes, whole.header, Standing::Last).unwrap_err();
        assert!(usize::try_from(offset).unwrap() <= at, "{at}: {what}");
        assert!(what.contains("since a later batch was written"), "{at}: {what}");
    }
}

#[test]
fn a_segment_with_a_later_one_needs_its_end_mark() {
    let unfinished = written(&[&[100, 200]], &fresh());
    let damage = scan(&unfinished.bytes, unfinished.header, Standing::Earlier).unwrap_err();
    assert_eq!(damage.offset, 2 * PAGE as u64);
    assert!(damage.what.contains("since a later segment exists"), "{}", damage.what);

    // Fills the first segment, so that the second begins.
    let mut ring = Ring::new(4, vec![Spare::freed(1), Spare::freed(2)], 8, 0);
    let mut queue = Queue::new(SEGMENT, Lsn::new(100));
    let mut bytes = fresh();
    let mut first = None;
    while queue.last() < Lsn::new(103) {
        queue
            .push(&Summed::new(&record(tenant(1), 20_000)).unwrap(), &mut ring)
            .unwrap();
        while let Some(batch) = queue.take() {
            first = first.or(batch.begins.as_ref().map(|begins| begins.0));
            if batch.segment == 8 {
                let offset = usize::try_from(batch.offset).unwrap();
                bytes[offset..offset + batch.bytes.len()].copy_from_slice(&batch.bytes);
            }
            queue.done(batch);
        }
    }
    let scanned = scan(&bytes, first.unwrap(), Standing::Earlier).unwrap();
    assert_eq!(numbers(&scanned), [100, 101]);
    assert_eq!(scanned.next, Lsn::new(102));
}

#[test]
fn a_record_that_is_valid_but_not_the_next_is_damage() {
    let whole = written(&[&[100], &[50], &[60]], &fresh());
    let mut bytes = whole.bytes.clone();
    bytes.copy_within(3 * PAGE..4 * PAGE, 2 * PAGE);
    let damage = scan(&bytes, whole.header, Standing::Last).unwrap_err();
    assert_eq!(damage.offset, 2 * PAGE as u64);
    assert_eq!(damage.what, "record 102 is here, and 101 was expected");
}

proptest! {
    #[test]
    fn any_sectors_of_the_last_write_may_be_missing(lost in prop::collection::vec(any::<bool>(), 64), stale: bool) {
        let before = if stale { recycled() } else { fresh() };
        let whole = written(&[&[100, 200], &[50], &[400, 3000, 9, 5000, 700, 4000]], &before);
        let all = scan(&whole.bytes, whole.header, Standing::Last).unwrap();
        prop_assert_eq!(all.commits.len(), whole.records);
        let mut bytes = whole.bytes.clone();
        for (sector, lost) in whole.last_batch.clone().step_by(512).zip(lost) {
            if lost {
                bytes[sector..sector + 512].copy_from_slice(&before[sector..sector + 512]);
            }
        }
        let scanned = scan(&bytes, whole.header, Standing::Last).unwrap();
        prop_assert!(scanned.commits.len() >= 3);
        prop_assert_eq!(&scanned.commits[..], &all.commits[..scanned.commits.len()]);
    }

    #[test]
    fn records_of_all_lengths_are_placed_where_they_are_found(
        batches in prop::collection::vec(prop::collection::vec(0..6000_usize, 1..4), 1..8),
    ) {
        let mut ring = Ring::new(40, (1..30).map(Spare::freed).collect(), 1, 0);
        let mut queue = Queue::new(SEGMENT, Lsn::new(1));
        let mut files = std::collections::BTreeMap::new();
        let mut appended: Vec<CommitRecord> = Vec::new();
        for lengths in &batches {
            for &length in lengths {
                let commit = record(tenant(length as u128), length);
                queue.push(&Summed::new(&commit).unwrap(), &mut ring).unwrap();
                appended.push(commit);
            }
            while let Some(batch) = queue.take() {
                let (_, bytes) = match &batch.begins {
                    Some((header, _)) => files.entry(batch.segment).or_insert((*header, fresh())),
                    None => files.get_mut(&batch.segment).unwrap(),
                };
                let offset = usize::try_from(batch.offset).unwrap();
                let place = &mut bytes[offset..offset + batch.bytes.len()];
                prop_assert!(place.iter().all(|byte| *byte == 0), "written twice");
                place.copy_from_slice(&batch.bytes);
                queue.done(batch);
            }
        }
        prop_assert_eq!(queue.waiting(), 0);
        let last = *files.keys().last().unwrap();
        let mut found = Vec::new();
        for (number, (header, bytes)) in &files {
            prop_assert_eq!(header.first.get(), found.len() as u64 + 1);
            let standing = if *number == last { Standing::Last } else { Standing::Earlier };
            for commit in scan(bytes, *header, standing).unwrap().commits {
                found.push(record(commit.tenant, commit.frames.len()));
            }
        }
        prop_assert_eq!(found, appended);
    }
}
