//! One sync for everything that waits, and what those who wait are told.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;

use super::forgetful_disk::ForgetfulDisk;
use super::support::{LONG, config, open_real, open_simulated, record, simulated, tenant, until};
use crate::{AppendError, Lsn, NeverDurable, NodeLogConfig, OpenError};

#[test]
fn what_queues_during_a_sync_shares_the_next_one() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let _held = disk.hold("segment-");
    log.append(record(tenant(1), 10)).unwrap();
    disk.wait_for_held();
    thread::scope(|scope| {
        for number in 0..8 {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..25 {
                    log.append(record(tenant(number), 10)).unwrap();
                }
            });
        }
    });
    assert_eq!(log.durable(), Lsn::NOTHING);
    disk.release();
    log.wait(Lsn::new(201)).unwrap();
    let figures = log.figures();
    assert_eq!((figures.records, figures.syncs, figures.queued_bytes), (201, 2, 0));
}

#[test]
fn callbacks_run_in_the_order_of_their_records_and_only_when_these_are_durable() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let (told, order) = channel();
    let tell = |lsn: u64| {
        let told = told.clone();
        move || {
            let thread = thread::current().name().map(str::to_owned);
            told.send((lsn, thread)).unwrap();
        }
    };
    log.when_durable(Lsn::NOTHING, Box::new(tell(0)));
    assert_eq!(order.try_recv().unwrap().0, 0, "nothing is durable at once");

    let _held = disk.hold("segment-");
    for _ in 0..20 {
        log.append(record(tenant(1), 10)).unwrap();
    }
    for index in 0..20 {
        let lsn = 1 + index * 7 % 20;
        log.when_durable(Lsn::new(lsn), Box::new(tell(lsn)));
    }
    disk.wait_for_held();
    assert!(order.try_recv().is_err());
    disk.release();
    for lsn in 1..=20 {
        let told = order.recv_timeout(LONG).unwrap();
        assert_eq!(told, (lsn, Some("node-log".to_owned())));
    }
    let own = thread::current().name().map(str::to_owned);
    log.when_durable(Lsn::new(3), Box::new(tell(3)));
    assert_eq!(order.try_recv().unwrap(), (3, own), "durable before: at once, here");
}

#[test]
fn a_full_queue_blocks_those_who_append_and_never_holds_more() {
    let disk = ForgetfulDisk::default();
    let limited = NodeLogConfig {
        queue_bytes: 5000,
        ..config("/log")
    };
    let (log, _, _) = open_simulated(&disk, limited).unwrap();
    let _held = disk.hold("segment-");
    thread::scope(|scope| {
        for number in 0..3 {
            let log = &log;
            scope.spawn(move || {
                for _ in 0..20 {
                    let lsn = log.append(record(tenant(number), 1000)).unwrap();
                    assert!(log.figures().queued_bytes < 5000 + 1056, "after record {lsn}");
                }
            });
        }
        until("all three wait", || log.shared.state.lock().blocked_appenders == 3);
        assert!(log.figures().queued_bytes >= 5000);
        disk.release();
    });
    log.wait(Lsn::new(60)).unwrap();
}

#[test]
fn stopping_writes_what_is_queued_and_takes_nothing_more() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let _held = disk.hold("segment-");
    let (told, order) = channel();
    for lsn in 1..=10 {
        log.append(record(tenant(1), 10)).unwrap();
        let told = told.clone();
        log.when_durable(Lsn::new(lsn), Box::new(move || told.send(lsn).unwrap()));
    }
    thread::scope(|scope| {
        let stopping = scope.spawn(|| log.stop());
        until("it stops", || {
            log.append(record(tenant(1), 10)) == Err(AppendError::Stopped)
        });
        disk.release();
        stopping.join().unwrap();
    });
    // A few may have been taken before the stop began.
    assert!(log.durable() >= Lsn::new(10));
    assert_eq!(order.try_iter().collect::<Vec<_>>(), (1..=10).collect::<Vec<_>>());
    let beyond = Lsn::new(log.durable().get() + 1);
    assert_eq!(log.wait(beyond), Err(NeverDurable(beyond)));
    log.stop();
    assert!(log.figures().unavailable);
}

#[test]
fn a_callback_may_drop_the_last_handle() {
    let disk = ForgetfulDisk::default();
    let (log, _) = simulated(&disk);
    let _held = disk.hold("segment-");
    let log = Arc::new(log);
    let lsn = log.append(record(tenant(1), 10)).unwrap();
    let (told, dropped) = channel();
    let last = Arc::clone(&log);
    log.when_durable(
        lsn,
        Box::new(move || {
            drop(last);
            told.send(()).unwrap();
        }),
    );
    drop(log);
    disk.release();
    dropped.recv_timeout(LONG).unwrap();
}

#[test]
fn a_failed_sync_is_told_once_and_nobody_is_answered_any_more() {
    let disk = ForgetfulDisk::default();
    let (log, failures) = simulated(&disk);
    let durable = log.append(record(tenant(1), 10)).unwrap();
    log.wait(durable).unwrap();

    let _held = disk.hold("segment-");
    disk.fail_syncs_of("segment-");
    let (told, answers) = channel();
    let lost = log.append(record(tenant(1), 10)).unwrap();
    log.when_durable(lost, Box::new(move || told.send(()).unwrap()));
    disk.wait_for_held();
    // Queues behind the sync that fails.
    let never = log.append(record(tenant(2), 10)).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(|| log.wait(never));
        disk.release();
        assert_eq!(waiting.join().unwrap(), Err(NeverDurable(never)));
    });
    let reason = failures.recv_timeout(LONG).unwrap();
    assert!(reason.contains("segment-00000000000000000001"), "{reason}");
    assert!(reason.contains("the disk is broken"), "{reason}");
    assert_eq!(log.append(record(tenant(1), 10)), Err(AppendError::Failed));
    log.stop();
    assert_eq!(log.durable(), durable);
    assert!(answers.try_recv().is_err(), "nobody is answered");
    assert_eq!(failures.try_iter().count(), 0, "it is told once");
    assert_eq!(log.append(record(tenant(1), 10)), Err(AppendError::Failed));
    assert!(log.figures().unavailable);
}

#[test]
fn a_failure_that_the_caller_met_ends_the_log_too() {
    let disk = ForgetfulDisk::default();
    let (log, failures) = simulated(&disk);
    log.fail("a tenant's file cannot be synced");
    log.fail("another one neither");
    assert_eq!(
        failures.try_iter().collect::<Vec<_>>(),
        ["a tenant's file cannot be synced"]
    );
    assert_eq!(log.append(record(tenant(1), 10)), Err(AppendError::Failed));
}

#[test]
fn a_batch_that_is_written_after_a_failure_elsewhere_answers_nobody() {
    let disk = ForgetfulDisk::default();
    let (log, failures) = simulated(&disk);
    let _held = disk.hold("segment-");
    let lsn = log.append(record(tenant(1), 10)).unwrap();
    let (told, answers) = channel();
    log.when_durable(lsn, Box::new(move || told.send(()).unwrap()));
    disk.wait_for_held();
    // As the keeper does when it cannot sync a WAL file.
    log.shared.fail("a WAL file cannot be synced".to_owned());
    disk.release();
    log.stop();
    assert_eq!(log.durable(), Lsn::NOTHING);
    assert!(answers.try_recv().is_err());
    assert_eq!(failures.try_iter().count(), 1);
}

#[test]
fn who_waits_for_room_in_the_queue_is_told_of_the_failure() {
    let disk = ForgetfulDisk::default();
    let limited = NodeLogConfig {
        queue_bytes: 10,
        ..config("/log")
    };
    let (log, _, _failures) = open_simulated(&disk, limited).unwrap();
    let _held = disk.hold("segment-");
    disk.fail_syncs_of("segment-");
    log.append(record(tenant(1), 10)).unwrap();
    thread::scope(|scope| {
        let blocked = scope.spawn(|| log.append(record(tenant(1), 10)));
        until("it waits", || log.shared.state.lock().blocked_appenders == 1);
        disk.release();
        assert_eq!(blocked.join().unwrap(), Err(AppendError::Failed));
    });
}

#[test]
fn a_folder_in_use_is_refused_until_its_log_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let (log, _) = open_real(&path, folder.path()).unwrap();
    let lsn = log.append(record(tenant(1), 10)).unwrap();
    log.wait(lsn).unwrap();
    let refused = open_real(&path, folder.path()).err().unwrap();
    assert!(matches!(refused, OpenError::InUse(_)), "{refused}");
    assert!(refused.to_string().contains("in use by another process"), "{refused}");
    drop(log);
    let (log, recovery) = open_real(&path, folder.path()).unwrap();
    assert_eq!((recovery.records, log.durable()), (1, lsn));
}
