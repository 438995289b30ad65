//! What is not as it was written is refused with its place, and nothing is skipped.

use std::path::{Path, PathBuf};

use super::forgetful_disk::ForgetfulDisk;
use super::support::{config, open_simulated, record, tenant};
use crate::disk::Disk;
use crate::{Lsn, NodeLogConfig, OpenError, segment};

fn roomy() -> NodeLogConfig {
    let small = config("/log");
    NodeLogConfig {
        most_bytes: 8 * small.segment_bytes,
        ..small
    }
}

/// A log of three segments, stopped.
fn three_segments() -> ForgetfulDisk {
    let disk = ForgetfulDisk::default();
    let (log, _, _) = open_simulated(&disk, roomy()).unwrap();
    while log.figures().live_segments < 3 {
        match log.append(record(tenant(1), 20_000)) {
            Ok(lsn) => log.wait(lsn).unwrap(),
            // The keeper is making a file.
            Err(_) => std::thread::yield_now(),
        }
    }
    log.stop();
    disk
}

fn in_log(name: &str) -> PathBuf {
    Path::new("/log").join(name)
}

fn change(disk: &ForgetfulDisk, file: &Path, offset: u64) {
    let file = disk.open(file).unwrap().unwrap();
    let mut byte = [0];
    file.read_at(&mut byte, offset).unwrap();
    file.write_at(&[byte[0] ^ 1], offset).unwrap();
}

#[test]
fn a_log_that_was_stopped_goes_on_with_the_next_number() {
    let disk = three_segments();
    let (log, recovery, _) = open_simulated(&disk, roomy()).unwrap();
    assert_eq!((recovery.segments, recovery.tenants, recovery.torn), (3, 1, false));
    assert_eq!(recovery.records, log.durable().get());
    assert_eq!(recovery.obsolete_records, recovery.records, "there is no WAL file");
    let next = log.append(record(tenant(1), 10)).unwrap();
    assert_eq!(next.get(), recovery.records + 1);
    log.wait(next).unwrap();
    drop(log);
    let (log, again, _) = open_simulated(&disk, roomy()).unwrap();
    assert_eq!(
        (again.records, again.segments),
        (1, 1),
        "what was written back is not read again"
    );
    assert_eq!(log.durable(), next);
}

#[test]
fn numbers_go_on_though_nothing_was_written_between() {
    let disk = three_segments();
    let numbers: Vec<Lsn> = (0..3)
        .map(|_| open_simulated(&disk, roomy()).unwrap().0.durable())
        .collect();
    assert_eq!(numbers, [numbers[0]; 3]);
    assert_ne!(numbers[0], Lsn::NOTHING);
}

/// A file, the first byte that may be named, and a part of what is said.
type Expected = (PathBuf, std::ops::RangeInclusive<u64>, &'static str);

#[test]
fn each_kind_of_damage_is_refused_with_its_place_and_what_to_do() {
    let first = in_log(&segment::name(1));
    let middle = in_log(&segment::name(2));
    let last = in_log(&segment::name(3));
    let start = in_log("start");
    type Harm<'a> = Box<dyn Fn(&ForgetfulDisk) + 'a>;
    let cases: Vec<(&str, Harm<'_>, Expected)> = vec![
        (
            "a byte of a record",
            Box::new(|disk| change(disk, &first, 4096 + 1000)),
            (first.clone(), 4096..=4096, "record 1 should be here"),
        ),
        (
            "a byte of a header",
            Box::new(|disk| change(disk, &middle, 30)),
            (middle.clone(), 0..=0, "checksum of its header"),
        ),
        (
            "a byte of the last header",
            Box::new(|disk| change(disk, &last, 30)),
            (last.clone(), 0..=0, "checksum of its header"),
        ),
        (
            "the oldest segment gone",
            Box::new(|disk| disk.remove(&first).unwrap()),
            (first.clone(), 0..=0, "it is missing"),
        ),
        (
            "a segment between gone",
            Box::new(|disk| disk.remove(&middle).unwrap()),
            (middle.clone(), 0..=0, "it is missing"),
        ),
        (
            "a segment under another's name",
            Box::new(|disk| disk.rename(&middle, &first).unwrap()),
            (middle.clone(), 0..=0, "it is missing"),
        ),
        (
            "two segments exchanged",
            Box::new(|disk| {
                disk.rename(&middle, &in_log("aside")).unwrap();
                disk.rename(&first, &middle).unwrap();
                disk.rename(&in_log("aside"), &first).unwrap();
            }),
            (first.clone(), 0..=0, "says that it is segment 2"),
        ),
        (
            "the beginning gone",
            Box::new(|disk| disk.remove(&start).unwrap()),
            (start.clone(), 0..=0, "it is missing, though there are segments"),
        ),
        (
            "a byte of the beginning",
            Box::new(|disk| change(disk, &start, 9)),
            (start.clone(), 0..=0, "not what was written"),
        ),
        (
            "a segment cut off",
            Box::new(|disk| {
                let bytes = disk.now(&middle).unwrap();
                let file = disk.create(&middle).unwrap();
                file.write_at(&bytes[..20_000], 0).unwrap();
            }),
            (middle.clone(), 4096..=24_000, "should be here"),
        ),
    ];
    for (harm, do_it, (file, offsets, words)) in cases {
        let disk = three_segments();
        do_it(&disk);
        let Err(error) = open_simulated(&disk, roomy()) else {
            panic!("{harm}: was opened");
        };
        let text = error.to_string();
        let OpenError::Damaged {
            file: named, offset, ..
        } = error
        else {
            panic!("{harm}: {text}");
        };
        assert_eq!(named, file, "{harm}: {text}");
        assert!(offsets.contains(&offset), "{harm}: {text}");
        assert!(text.contains(words), "{harm}: {text}");
        assert!(text.contains("move the folder /log away"), "{harm}: {text}");
        let again = open_simulated(&disk, roomy()).err().map(|error| error.to_string());
        assert_eq!(again, Some(text), "{harm}: it stays refused");
    }
}

#[test]
fn impossible_configurations_are_refused_by_the_rule() {
    for (config, rule) in [
        (
            NodeLogConfig {
                segment_bytes: 100_000,
                ..roomy()
            },
            "multiple of 4 KiB",
        ),
        (
            NodeLogConfig {
                segment_bytes: 4096,
                ..roomy()
            },
            "64 KiB to 1 GiB",
        ),
        (
            NodeLogConfig {
                most_bytes: 100_000,
                ..roomy()
            },
            "two segments",
        ),
        (
            NodeLogConfig {
                queue_bytes: 0,
                ..roomy()
            },
            "at least one byte",
        ),
    ] {
        let error = open_simulated(&ForgetfulDisk::default(), config).err().unwrap();
        assert!(error.to_string().contains(rule), "{error}");
    }
}
