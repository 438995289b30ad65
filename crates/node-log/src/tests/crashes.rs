//! Random commits of several tenants, random checkpoints, and a power loss at a random moment, life after life: whatever was
//! acknowledged is there afterwards.

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tenantry_types::TenantUid;

use super::forgetful_disk::ForgetfulDisk;
use super::simulated_wal::{self, SimulatedWal};
use super::support::{SEGMENT, config, open_simulated, record, tenant, until};
use crate::{AppendError, Lsn, NodeLog};

const TENANTS: u128 = 4;

/// A tenant, as its clients know it.
struct Tenant {
    wal: SimulatedWal,
    /// Ends of commits in the WAL file that the log took, and that are not known to be durable yet.
    logged: Vec<(Lsn, usize)>,
    /// Where the last acknowledged commit ends.
    acknowledged: usize,
    last: Lsn,
}

impl Tenant {
    fn new(wal: SimulatedWal) -> Self {
        Self {
            acknowledged: wal.bytes.len(),
            wal,
            logged: Vec::new(),
            last: Lsn::NOTHING,
        }
    }

    fn acknowledge(&mut self, durable: Lsn) {
        for &(lsn, end) in &self.logged {
            if lsn <= durable {
                self.acknowledged = self.acknowledged.max(end);
            }
        }
        self.logged.retain(|(lsn, _)| *lsn > durable);
    }

    fn commit(&mut self, log: &NodeLog, disk: &ForgetfulDisk, random: &mut StdRng) {
        let frames = random.random_range(1..12);
        let commit = self.wal.commit(frames, random);
        simulated_wal::write(disk, self.wal.tenant, commit.offset, &commit.frames);
        if random.random_bool(0.02) {
            // Killed before it could append: nobody is answered, and the next commit would stand on it.
            simulated_wal::sync(disk, self.wal.tenant);
            return;
        }
        match log.append(commit) {
            Ok(lsn) => {
                self.last = lsn;
                self.logged.push((lsn, self.wal.bytes.len()));
            }
            Err(AppendError::NoRoom) => {
                simulated_wal::sync(disk, self.wal.tenant);
                self.acknowledged = self.wal.bytes.len();
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// Copies everything into the database; then the file may begin anew.
    fn checkpoint(&mut self, log: &NodeLog, disk: &ForgetfulDisk, random: &mut StdRng) {
        simulated_wal::sync(disk, self.wal.tenant);
        self.acknowledged = self.wal.bytes.len();
        self.logged.clear();
        log.covered(self.wal.tenant, self.last);
        if random.random_bool(0.5) {
            self.wal.begin_anew(random);
            simulated_wal::write(disk, self.wal.tenant, 0, &self.wal.bytes);
            simulated_wal::sync(disk, self.wal.tenant);
            self.acknowledged = self.wal.bytes.len();
        }
    }
}

/// One life: random work, then the disk after a power loss at a random moment.
fn live(
    log: &NodeLog,
    disk: &ForgetfulDisk,
    tenants: &mut BTreeMap<TenantUid, Tenant>,
    random: &mut StdRng,
) -> ForgetfulDisk {
    for _ in 0..random.random_range(0..150) {
        let uid = tenant(random.random_range(1..=TENANTS));
        let one = tenants.get_mut(&uid).unwrap();
        match random.random_range(0..20) {
            0 => one.checkpoint(log, disk, random),
            1 if one.last > log.durable() => log.wait(one.last).unwrap(),
            2 => std::thread::yield_now(),
            _ => one.commit(log, disk, random),
        }
    }
    // First what is acknowledged, then the loss: not the other way round.
    let durable = log.durable();
    let crashed = disk.after_power_loss(random);
    for one in tenants.values_mut() {
        one.acknowledge(durable);
    }
    crashed
}

#[test]
fn the_power_may_fail_at_each_step_of_beginning_a_segment() {
    for step in ["fresh-", "spare-", "segment-00000000000000000003"] {
        let disk = ForgetfulDisk::default();
        // Room for two files: what is freed is begun anew at once.
        disk.set_capacity(usize::try_from(2 * SEGMENT).unwrap() + 10_000);
        let (log, _, _) = open_simulated(&disk, config("/log")).unwrap();
        let _held = disk.hold(step);
        until("a sync waits", || {
            if let Ok(lsn) = log.append(record(tenant(1), 20_000)) {
                log.covered(tenant(1), lsn);
            }
            disk.is_held()
        });
        let acknowledged = log.durable();
        for seed in 0..60 {
            let crashed = disk.after_power_loss(&mut StdRng::seed_from_u64(seed));
            let (log, _, _) =
                open_simulated(&crashed, config("/log")).unwrap_or_else(|error| panic!("{step}, seed {seed}: {error}"));
            assert!(log.durable() >= acknowledged, "{step}, seed {seed}");
        }
        disk.release();
    }
}

#[test]
fn what_is_appended_while_the_keeper_syncs_is_not_covered_by_that() {
    let mut random = StdRng::seed_from_u64(3);
    let disk = ForgetfulDisk::default();
    let (log, _, _) = open_simulated(&disk, config("/log")).unwrap();
    let mut wal = SimulatedWal::new(tenant(1), &mut random);
    simulated_wal::write(&disk, wal.tenant, 0, &wal.bytes);
    simulated_wal::sync(&disk, wal.tenant);
    let commit = |wal: &mut SimulatedWal, random: &mut StdRng| {
        let commit = wal.commit(1, random);
        simulated_wal::write(&disk, wal.tenant, commit.offset, &commit.frames);
        until("there is room", || log.append(commit.clone()).is_ok());
    };
    // Somebody else, whose records need nothing, turns the ring.
    let turn = || {
        if let Ok(lsn) = log.append(record(tenant(2), 20_000)) {
            log.wait(lsn).unwrap();
            log.covered(tenant(2), lsn);
        }
    };
    commit(&mut wal, &mut random);
    let _held = disk.hold("-wal");
    until("the keeper syncs", || {
        turn();
        log.figures().live_segments >= 3
    });
    disk.wait_for_held();
    commit(&mut wal, &mut random);
    disk.release();
    let freed = log.figures().segments_freed;
    until("the ring turns", || {
        turn();
        log.figures().segments_freed > freed + 8
    });
    log.stop();
    let path = simulated_wal::path(wal.tenant);
    for seed in 0..8 {
        let crashed = disk.after_power_loss(&mut StdRng::seed_from_u64(seed));
        open_simulated(&crashed, config("/log")).unwrap();
        assert!(crashed.durable(&path).as_ref() == Some(&wal.bytes), "seed {seed}");
    }
}

#[test]
fn whatever_was_acknowledged_before_a_power_loss_is_there_afterwards() {
    let mut written_back = 0;
    let mut torn = 0;
    let mut freed = 0;
    for seed in 0..60 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut disk = ForgetfulDisk::default();
        let mut tenants = BTreeMap::new();
        for number in 1..=TENANTS {
            let wal = SimulatedWal::new(tenant(number), &mut random);
            simulated_wal::write(&disk, wal.tenant, 0, &wal.bytes);
            simulated_wal::sync(&disk, wal.tenant);
            tenants.insert(wal.tenant, Tenant::new(wal));
        }
        for life in 0..6 {
            let (log, recovery, failures) = open_simulated(&disk, config("/log"))
                .unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            written_back += recovery.frames_written_back;
            torn += u32::from(recovery.torn);
            // The power may fail again at once.
            let again = disk.after_power_loss(&mut random);
            for (uid, one) in &mut tenants {
                let path = simulated_wal::path(*uid);
                let acknowledged = one.wal.bytes[..one.acknowledged].to_vec();
                for disk in [&disk, &again] {
                    let file = disk.now(&path).unwrap();
                    let there = file.get(..acknowledged.len());
                    assert!(there == Some(&acknowledged), "seed {seed}, life {life}: tenant {uid}");
                }
                // SQLite goes on behind what is valid, and the node syncs what was there when it opened the file.
                *one = Tenant::new(SimulatedWal::read(*uid, &disk.now(&path).unwrap()));
                assert!(
                    one.wal.bytes.starts_with(&acknowledged),
                    "seed {seed}, life {life}: tenant {uid}"
                );
                simulated_wal::sync(&disk, *uid);
            }
            let crashed = live(&log, &disk, &mut tenants, &mut random);
            log.stop();
            freed += log.figures().segments_freed;
            assert_eq!(failures.try_iter().count(), 0, "seed {seed}, life {life}");
            disk = crashed;
        }
    }
    // Otherwise it would show nothing.
    assert!(
        written_back > 400 && torn > 10 && freed > 80,
        "{written_back} {torn} {freed}"
    );
}
