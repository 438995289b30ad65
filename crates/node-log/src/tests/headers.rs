//! WAL files of SQLite without a valid header: SQLite takes them for empty, so it has to be told whether that is right.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::sqlite::{Database, Node};
use super::support::tenant;
use crate::Recovery;

const HEADER: usize = 32;

/// A stopped node, whose tenant has five rows.
fn node(end: impl FnOnce(&mut Database)) -> Node {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let mut database = Database::open(node.folder.path(), tenant(1));
    for bytes in [100, 9000, 100, 12_000, 100] {
        database.insert(bytes);
        database.log(&log);
    }
    end(&mut database);
    log.stop();
    node.copy()
}

fn open(node: &Node) -> Recovery {
    let (log, recovery) = node.open().unwrap();
    log.stop();
    recovery
}

/// What a power loss leaves of the header of a file that begins anew in its place: the old frames are behind it.
fn tear_header(node: &Node) {
    let file = File::options().write(true).open(node.wal(tenant(1))).unwrap();
    file.write_all_at(&[0; HEADER], 0).unwrap();
}

/// Behind what a crash `left` of the WAL file nothing is missing.
fn is_served_whole(node: &Node, left: &[u8]) {
    let crashed = node.copy();
    fs::write(crashed.wal(tenant(1)), left).unwrap();
    let recovery = open(&crashed);
    assert_eq!((recovery.records, recovery.obsolete_records), (5, 5));
    assert!(recovery.broken.is_empty() && !is_quarantined(&crashed), "{recovery:?}");
    assert_eq!(crashed.rows(tenant(1)), 5);
}

fn is_quarantined(node: &Node) -> bool {
    node.wal(tenant(1)).with_file_name("QUARANTINED").exists()
}

#[test]
fn whichever_byte_of_the_header_changed_no_acknowledged_row_is_lost_silently() {
    let node = node(|_| {});
    for at in 0..HEADER as u64 {
        let crashed = node.copy();
        let file = File::options()
            .read(true)
            .write(true)
            .open(crashed.wal(tenant(1)))
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ 1], at).unwrap();
        let recovery = open(&crashed);
        assert_eq!(recovery.obsolete_records, 0, "byte {at}");
        let [broken] = &recovery.broken[..] else {
            panic!("byte {at}: {recovery:?}");
        };
        assert_eq!((broken.tenant, broken.offset), (tenant(1), 0), "byte {at}");
        assert!(is_quarantined(&crashed), "byte {at}");
    }
}

#[test]
fn a_header_that_was_never_acknowledged_hides_nothing() {
    let in_place = node(Database::checkpoint);
    let truncated = node(|database| {
        database
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    });
    // What a power loss leaves of the header of a file that begins anew: old frames behind it, or nothing.
    let behind = fs::read(in_place.wal(tenant(1))).unwrap()[HEADER..].to_vec();
    assert!(!behind.is_empty());
    let torn = |bytes: &[u8], behind: &[u8]| [bytes, behind].concat();
    for (node, left) in [
        (&in_place, torn(&[0; HEADER], &behind)),
        (&in_place, torn(&[0xa5; HEADER], &behind)),
        (&truncated, torn(&[0; HEADER], &[])),
        (&truncated, torn(&[0x37, 0x7f, 6, 0x82, 0, 0x2d], &[])),
        (&truncated, torn(&[0xa5; HEADER], &[])),
    ] {
        is_served_whole(node, &left);
    }
}

#[test]
fn a_file_that_ends_with_its_header_is_nothing_whatever_the_log_has() {
    let node = node(|database| {
        // Of these pages the log has older ones, since a commit that is too long for it is synced in its own place.
        database.run("UPDATE t SET content = x'01'");
        database
            .connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
    });
    for left in [&[0; HEADER][..], &[0xa5; HEADER], &[0; 7], &[]] {
        is_served_whole(&node, left);
    }
}

#[test]
fn what_a_database_is_short_of_is_found_behind_a_torn_header() {
    let before = node(|_| {});
    let after = node(Database::checkpoint);
    let database = after.wal(tenant(1)).with_file_name("db.sqlite");
    let whole = fs::read(&database).unwrap();
    tear_header(&after);
    let older = fs::read(before.wal(tenant(1)).with_file_name("db.sqlite")).unwrap();
    let mut other_page = whole.clone();
    let last = other_page.len() - 1;
    other_page[last] ^= 1;
    let cut = whole[..whole.len() - 1].to_vec();
    for left in [None, Some(Vec::new()), Some(older), Some(other_page), Some(cut)] {
        let crashed = after.copy();
        let database = crashed.wal(tenant(1)).with_file_name("db.sqlite");
        match left {
            Some(left) => fs::write(database, left).unwrap(),
            None => fs::remove_file(database).unwrap(),
        }
        let recovery = open(&crashed);
        assert_eq!(recovery.broken.len(), 1, "{recovery:?}");
        assert!(is_quarantined(&crashed));
    }
    assert!(open(&after).broken.is_empty());
}

#[test]
fn pages_that_a_shrinking_database_cut_off_are_not_missed() {
    // The commits go on in the next life of the log.
    let node = node(|_| {});
    let (log, _) = node.open().unwrap();
    let mut database = Database::open(node.folder.path(), tenant(1));
    for _ in 0..4 {
        database.insert(12_000);
        database.log(&log);
    }
    database.run("DELETE FROM t WHERE id > 1");
    database.log(&log);
    database.run("VACUUM");
    database.log(&log);
    database.checkpoint();
    log.stop();
    let crashed = node.copy();
    tear_header(&crashed);
    let recovery = open(&crashed);
    assert_eq!(
        (recovery.obsolete_records, recovery.broken.len()),
        (6, 0),
        "{recovery:?}"
    );
    assert_eq!(crashed.rows(tenant(1)), 1);
}

#[test]
fn pages_of_a_commit_that_gave_way_to_the_next_are_not_missed() {
    let node = Node::new();
    let (log, _) = node.open().unwrap();
    let mut given_up = Database::open(node.folder.path(), tenant(1));
    given_up.insert(100);
    given_up.log(&log);
    let before = node.copy();
    given_up.insert(9000);
    given_up.log(&log);
    // The same file without that commit goes on in the same place, with a shorter one.
    let mut next = Database::open(before.folder.path(), tenant(1));
    next.insert(200);
    next.log(&log);
    next.checkpoint();
    log.stop();
    let crashed = node.copy();
    let database = crashed.wal(tenant(1)).with_file_name("db.sqlite");
    fs::copy(before.wal(tenant(1)).with_file_name("db.sqlite"), database).unwrap();
    tear_header(&crashed);
    let recovery = open(&crashed);
    assert_eq!((recovery.records, recovery.broken.len()), (3, 0), "{recovery:?}");
    assert_eq!(crashed.rows(tenant(1)), 2);
}

#[test]
fn a_database_without_its_wal_file_is_served_whole_or_not_at_all() {
    let mut served = 0;
    let mut refused = 0;
    for seed in 0..6 {
        let mut random = StdRng::seed_from_u64(seed);
        let node = Node::new();
        let (log, _) = node.open().unwrap();
        let mut database = Database::open(node.folder.path(), tenant(1));
        // The log knows nothing of the table's own commit.
        database.checkpoint();
        for _ in 0..20 {
            let mut copied_back = false;
            match random.random_range(0..10) {
                0 => database.run("DELETE FROM t WHERE id % 3 = 0"),
                1 => database.run("UPDATE t SET content = x'00' WHERE id % 2 = 0"),
                2 => database.run("VACUUM"),
                3..=5 => {
                    database.checkpoint();
                    copied_back = true;
                }
                _ => database.insert(random.random_range(0..9000)),
            }
            database.log(&log);
            let crashed = node.copy();
            tear_header(&crashed);
            let recovery = open(&crashed);
            if recovery.broken.is_empty() {
                served += 1;
                assert_eq!(crashed.rows(tenant(1)), database.count(), "seed {seed}");
            } else {
                refused += 1;
                assert!(!copied_back, "seed {seed}: {recovery:?}");
            }
        }
        log.stop();
    }
    // Otherwise it would show nothing.
    assert!(served > 20 && refused > 20, "{served} {refused}");
}
