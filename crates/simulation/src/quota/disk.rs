//! The disk that the ledgers are on: writes that take time, fail, are lost or land unnoticed when the process dies, and are
//! undone by a power cut when they were not synced. Bytes go through the real encoding.
//!
//! Tells the references what is written and found. Must not know what the numbers in a record mean, but for the reservation.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rand::Rng as _;
use rand::rngs::StdRng;
use tenantry_layers::TenantUid;
use tenantry_layers::quota::ledger::{LedgerRecord, ReadLedgerError, WriteLedgerError};
use tenantry_layers::quota::{LedgerFuture, LedgerStore};
use tokio::sync::oneshot;

use super::plan::Plan;
use super::reference::{Opened, Reference, Snapshot};
use super::timeline::Timeline;

type ReadOutcome = Result<Option<LedgerRecord>, ReadLedgerError>;
type WriteOutcome = Result<(), WriteLedgerError>;

/// A record as it is on the disk.
#[derive(Debug)]
struct Version {
    bytes: Vec<u8>,
    snapshot: Snapshot,
    intact: bool,
}

/// The file of one tenant.
#[derive(Debug, Default, Clone)]
struct Ledger {
    /// What is read while the machine runs.
    visible: Option<Arc<Version>>,
    /// What is read after a power cut, at least.
    synced: Option<Arc<Version>>,
}

/// What the disk does that takes time.
#[derive(Debug)]
struct Operation {
    tenant: usize,
    due: Duration,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Read(oneshot::Sender<ReadOutcome>),
    Write(Arc<Version>, oneshot::Sender<WriteOutcome>),
}

/// How a process or the machine ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// The machine runs on, with what the process handed to it.
    Process,
    /// What was not synced may be gone.
    Power,
}

/// What one tenant has on the disk and may expect.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) reference: Reference,
    ledger: Ledger,
    /// The limit that counts as used when the ledger is damaged, and the biggest since the process started.
    pub(super) limit: u64,
    pub(super) biggest_limit: u64,
    /// A reservation that was too big.
    pub(super) too_big: Option<u64>,
}

/// All that the disk holds and does.
#[derive(Debug)]
pub(super) struct Contents {
    pub(super) tenants: Vec<Books>,
    operations: Vec<Operation>,
    rng: StdRng,
    slow: f64,
    failing: f64,
    pub(super) counts: DiskCounts,
}

/// How often things happened.
#[derive(Debug, Default)]
pub(super) struct DiskCounts {
    pub(super) reads: u64,
    pub(super) damaged: u64,
    pub(super) burnt: u64,
    pub(super) failed_writes: u64,
    pub(super) failed_reads: u64,
    pub(super) lost: u64,
    pub(super) landed: u64,
    pub(super) undone: u64,
}

/// The disk, as processes use it; it outlives them.
#[derive(Debug, Clone)]
pub(super) struct Disk {
    contents: Arc<Mutex<Contents>>,
    timeline: Arc<Timeline>,
}

impl Disk {
    pub(super) fn new(timeline: Arc<Timeline>, plan: &Plan, rng: StdRng) -> Self {
        let tenants = (0..plan.tenants).map(|_| Books {
            reference: Reference::new(Default::default()),
            ledger: Ledger::default(),
            limit: 0,
            biggest_limit: 0,
            too_big: None,
        });
        let contents = Contents {
            tenants: tenants.collect(),
            operations: Vec::new(),
            rng,
            slow: plan.slow_disk,
            failing: plan.failing_disk,
            counts: DiskCounts::default(),
        };
        Self {
            contents: Arc::new(Mutex::new(contents)),
            timeline,
        }
    }

    pub(super) fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next operation is done.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.contents().operations.iter().map(|operation| operation.due).min()
    }

    /// Ends the operation that is due first.
    pub(super) fn finish_next(&self) {
        let mut contents = self.contents();
        let first = (0..contents.operations.len()).min_by_key(|place| contents.operations[*place].due);
        let Some(place) = first else { return };
        let operation = contents.operations.remove(place);
        match operation.kind {
            // Whoever asked may be gone.
            Kind::Read(answer) => drop(answer.send(contents.read(operation.tenant, &self.timeline))),
            Kind::Write(version, answer) => drop(answer.send(contents.write(operation.tenant, &version))),
        }
    }

    /// What becomes of the disk when its user ends in the middle. Whether something was under way.
    pub(super) fn cut_off(&self, end: End) -> bool {
        let mut contents = self.contents();
        let operations = std::mem::take(&mut contents.operations);
        for operation in &operations {
            if let Kind::Write(version, _) = &operation.kind {
                match contents.rng.random_bool(0.5) {
                    true => {
                        contents.tenants[operation.tenant].ledger.visible = Some(Arc::clone(version));
                        contents.counts.landed += 1;
                    }
                    false => contents.counts.lost += 1,
                }
            }
        }
        if end == End::Power {
            contents.lose_power();
        }
        !operations.is_empty()
    }

    /// Changes some bytes of a tenant's ledger. Whether there was one.
    pub(super) fn damage(&self, tenant: usize) -> bool {
        let mut contents = self.contents();
        let Contents { tenants, rng, .. } = &mut *contents;
        let ledger = &mut tenants[tenant].ledger;
        let Some(version) = &ledger.visible else { return false };
        let mut bytes = version.bytes.clone();
        let place = rng.random_range(0..bytes.len());
        match rng.random_bool(0.5) {
            true => bytes.truncate(place),
            false => bytes[place] ^= 1 << rng.random_range(0..8),
        }
        let snapshot = version.snapshot;
        ledger.visible = Some(Arc::new(Version {
            bytes,
            snapshot,
            intact: false,
        }));
        ledger.synced.clone_from(&ledger.visible);
        true
    }

    /// Whether a damaged ledger may be read under limits that are not those of this moment.
    pub(super) fn needs_limits_to_stay(&self, tenant: usize) -> bool {
        let contents = self.contents();
        let visible = &contents.tenants[tenant].ledger.visible;
        visible.as_ref().is_some_and(|version| !version.intact)
            && contents.operations.iter().any(|operation| operation.tenant == tenant)
    }
}

impl Contents {
    fn read(&mut self, tenant: usize, timeline: &Timeline) -> ReadOutcome {
        if self.rng.random_bool(self.failing) {
            self.counts.failed_reads += 1;
            let source = io::Error::other("simulated");
            return Err(ReadLedgerError::Io {
                path: PathBuf::new(),
                source,
            });
        }
        self.counts.reads += 1;
        let (now, wall, boot) = (timeline.now(), timeline.wall_millis(), timeline.boot());
        let books = &mut self.tenants[tenant];
        let Some(version) = &books.ledger.visible else {
            books.reference.opened(Opened::Nothing, now, wall, boot);
            return Ok(None);
        };
        match LedgerRecord::decode(&version.bytes, uid(tenant)) {
            Ok(record) => {
                let snapshot = version.snapshot;
                self.counts.burnt += u64::from(snapshot.reserved > 0);
                books.reference.opened(Opened::Record(&snapshot), now, wall, boot);
                Ok(Some(record))
            }
            Err(source) => {
                self.counts.damaged += 1;
                let limit = books.limit;
                books.reference.opened(Opened::Damaged { limit }, now, wall, boot);
                Err(ReadLedgerError::Corrupt {
                    path: PathBuf::new(),
                    source,
                })
            }
        }
    }

    fn write(&mut self, tenant: usize, version: &Arc<Version>) -> WriteOutcome {
        let fails = self.rng.random_bool(self.failing);
        if !fails || self.rng.random_bool(0.5) {
            let ledger = &mut self.tenants[tenant].ledger;
            ledger.visible = Some(Arc::clone(version));
            if !fails {
                ledger.synced = Some(Arc::clone(version));
            }
        }
        if fails {
            self.counts.failed_writes += 1;
            let source = io::Error::other("simulated");
            return Err(WriteLedgerError {
                path: PathBuf::new(),
                source,
            });
        }
        Ok(())
    }

    fn lose_power(&mut self) {
        for books in &mut self.tenants {
            let ledger = &mut books.ledger;
            let same = match (&ledger.visible, &ledger.synced) {
                (Some(visible), Some(synced)) => Arc::ptr_eq(visible, synced),
                (visible, synced) => visible.is_none() && synced.is_none(),
            };
            if same {
                continue;
            }
            match self.rng.random_bool(0.5) {
                true => ledger.synced.clone_from(&ledger.visible),
                false => {
                    ledger.visible.clone_from(&ledger.synced);
                    self.counts.undone += 1;
                }
            }
        }
    }

    /// When an operation that begins now is done; `None` when it is at once.
    fn due(&mut self, now: Duration) -> Option<Duration> {
        let slow = self.rng.random_bool(self.slow);
        slow.then(|| now + Duration::from_micros(1 << self.rng.random_range(0..26)))
    }
}

impl LedgerStore for Disk {
    fn read(&self, tenant: TenantUid) -> LedgerFuture<ReadOutcome> {
        let tenant = place(tenant);
        let mut contents = self.contents();
        let Some(due) = contents.due(self.timeline.now()) else {
            return Box::pin(std::future::ready(contents.read(tenant, &self.timeline)));
        };
        let (answer, outcome) = oneshot::channel();
        let kind = Kind::Read(answer);
        contents.operations.push(Operation { tenant, due, kind });
        let gone = |_| ReadLedgerError::Io {
            path: PathBuf::new(),
            source: io::Error::other("the process is gone"),
        };
        Box::pin(async move { outcome.await.map_err(gone)? })
    }

    fn write(&self, record: LedgerRecord) -> LedgerFuture<WriteOutcome> {
        let tenant = place(record.tenant);
        let (now, wall, boot) = (self.timeline.now(), self.timeline.wall_millis(), self.timeline.boot());
        let mut contents = self.contents();
        let books = &mut contents.tenants[tenant];
        if record.reserved > (books.biggest_limit / 1024).max(1) {
            books.too_big = Some(record.reserved);
        }
        let version = Arc::new(Version {
            bytes: record.encode(),
            snapshot: books.reference.snapshot(now, wall, boot, record.reserved),
            intact: true,
        });
        let Some(due) = contents.due(now) else {
            return Box::pin(std::future::ready(contents.write(tenant, &version)));
        };
        let (answer, outcome) = oneshot::channel();
        let kind = Kind::Write(version, answer);
        contents.operations.push(Operation { tenant, due, kind });
        let gone = |_| WriteLedgerError {
            path: PathBuf::new(),
            source: io::Error::other("the process is gone"),
        };
        Box::pin(async move { outcome.await.map_err(gone)? })
    }
}

pub(super) const fn uid(tenant: usize) -> TenantUid {
    TenantUid::from_u128(1 + tenant as u128)
}

fn place(tenant: TenantUid) -> usize {
    usize::try_from(tenant.as_u128() - 1).unwrap_or(usize::MAX)
}
