//! The cluster as a whole: lets time pass, tick by tick, and has the checker look after every step.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{InitialMembers, StateMachine};
use ::control_plane::storage::MemoryDisk;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tenantry_state::Outcome;
use tenantry_types::{MemberId, UnixMillis};

use super::checked_log::Expected;
use super::checker::Checker;
use super::clients::{Clients, Patience};
use super::member::{Life, Machine, Member};
use super::network::Network;
use super::trace::Trace;
use super::{Breach, Plan, Report, Violation, Wipe};

const TICK_MS: u64 = 100;

pub(super) struct Cluster<'a, M: StateMachine<Answer = Outcome>, F> {
    pub(super) plan: Plan,
    pub(super) now: u64,
    pub(super) rng: StdRng,
    pub(super) members: BTreeMap<MemberId, Member<M>>,
    pub(super) network: Network,
    pub(super) report: Report,
    pub(super) checker: Checker,
    pub(super) trace: Trace,
    pub(super) clients: Clients,
    machines: F,
    folder: &'a TempDir,
    fingerprint: u64,
}

impl<'a, M, F> Cluster<'a, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(super) fn run(seed: u64, plan: &Plan, machines: F) -> Result<Report, Violation> {
        let at = |tick, breach, trace| Violation {
            seed,
            tick,
            breach: Box::new(breach),
            trace,
        };
        let folder = folder_in_memory()
            .map_err(|error| impossible("create a folder", &error))
            .map_err(|breach| at(0, breach, Vec::new()))?;
        let mut cluster = Cluster::new(seed, plan, machines, &folder).map_err(|breach| at(0, breach, Vec::new()))?;
        // A member that panics takes the whole simulation with it, which is looked at, but not run any further.
        let outcome = catch_unwind(AssertUnwindSafe(|| cluster.live())).unwrap_or_else(|panic| {
            Err(Breach::Panicked {
                reason: panic_text(panic.as_ref()),
            })
        });
        let trace = cluster.trace.hash();
        let lines = cluster.trace.take_lines();
        match outcome {
            Ok(()) => {
                cluster.report.unknown = cluster.clients.count_unknown();
                cluster.report.operations_judged = cluster.clients.history.len();
                cluster.report.ticks = cluster.now;
                Ok(Report {
                    trace,
                    lines,
                    ..cluster.report
                })
            }
            Err(breach) => Err(at(cluster.now, breach, lines)),
        }
    }

    fn new(seed: u64, plan: &Plan, machines: F, folder: &'a TempDir) -> Result<Self, Breach> {
        const DOING: &str = "set up the members";
        let mut rng = StdRng::seed_from_u64(seed);
        let plan = plan.drawn(&mut rng);
        let ids: Result<Vec<_>, _> = (1..=plan.members).map(MemberId::new).collect();
        let ids = ids.map_err(|error| impossible(DOING, &error))?;
        let addresses: BTreeMap<_, _> = ids.iter().map(|id| (*id, format!("member-{id}:1"))).collect();
        let mut ranks: Vec<usize> = (0..ids.len()).collect();
        ranks.shuffle(&mut rng);
        let mut members = BTreeMap::new();
        let mut fingerprint = 0;
        for (id, rank) in ids.into_iter().zip(ranks) {
            let initial = InitialMembers::new(id, addresses.clone()).map_err(|error| impossible(DOING, &error))?;
            fingerprint = initial.fingerprint();
            let machine = Machine {
                id,
                disk: MemoryDisk::default(),
                expected: Expected::default(),
                snapshots: folder.path().join(id.to_string()),
                damaged: BTreeSet::new(),
                fingerprint,
                initial: Some(initial),
                election_ticks: 10 + 5 * rank + rng.random_range(0..3),
                clock_ahead_ms: rng.random_range(0..5_000),
                snapshot_every: plan.snapshot_every,
                log_keep: plan.log_keep,
            };
            members.insert(id, Member::down(machine));
        }
        let mut cluster = Self {
            trace: Trace::new(plan.trace_lines),
            plan,
            now: 0,
            rng,
            members,
            network: Network::default(),
            report: Report::default(),
            checker: Checker::default(),
            clients: Clients::default(),
            fingerprint,
            machines,
            folder,
        };
        for id in cluster.ids() {
            cluster.start(id)?;
        }
        Ok(cluster)
    }

    /// A machine with a new id and an empty disk, which waits to be taken in.
    pub(super) fn add_machine(&mut self) -> Result<MemberId, Breach> {
        let count = self.members.len();
        let id = MemberId::new(count as u64 + 1).map_err(|error| impossible("add a machine", &error))?;
        let machine = Machine {
            id,
            disk: MemoryDisk::default(),
            expected: Expected::default(),
            snapshots: self.folder.path().join(id.to_string()),
            damaged: BTreeSet::new(),
            fingerprint: self.fingerprint,
            initial: None,
            election_ticks: 10 + 5 * count + self.rng.random_range(0..3),
            clock_ahead_ms: self.rng.random_range(0..5_000),
            snapshot_every: self.plan.snapshot_every,
            log_keep: self.plan.log_keep,
        };
        self.members.insert(id, Member::down(machine));
        self.start(id)?;
        Ok(id)
    }

    pub(super) fn ids(&self) -> Vec<MemberId> {
        self.members.keys().copied().collect()
    }

    fn live(&mut self) -> Result<(), Breach> {
        while self.now < self.plan.fault_ticks {
            self.break_something()?;
            if self.rng.random_ratio(self.plan.command, 1000) {
                self.wish(Patience::Ends)?;
            }
            if self.rng.random_ratio(self.plan.read, 1000) {
                self.read_somewhere()?;
            }
            self.pass_tick()?;
        }
        self.recover()?;
        if self.plan.wipe == Wipe::AtTheEnd {
            self.return_with_an_empty_disk()?;
        }
        self.clients.history.check()
    }

    /// Once nothing fails any more, every member serves again: writes, reads, and the same state as the others.
    fn recover(&mut self) -> Result<(), Breach> {
        self.trace.note(format_args!("{} everything is mended", self.now));
        self.heal_everything()?;
        let proof = self.wish(Patience::Endless)?;
        for id in self.ids() {
            self.read_through(id)?;
        }
        for _ in 0..self.plan.healing_ticks {
            self.pass_tick()?;
            if self.clients.is_acknowledged(proof) && self.clients.is_quiet() && self.is_equal() {
                return Ok(());
            }
        }
        Err(Breach::NoProgress {
            ticks: self.plan.healing_ticks,
            state: self.describe(),
        })
    }

    fn is_equal(&mut self) -> bool {
        let highest = self.checker.highest();
        let Some(ids) = self.current_members() else {
            return false;
        };
        ids.iter().all(|id| {
            let running = self.members.get_mut(id).and_then(Member::working);
            running.is_some_and(|it| it.applier.progress().applied == highest && it.reads.is_empty())
        })
    }

    fn describe(&mut self) -> String {
        let describe = |member: &mut Member<M>| match member.working() {
            Some(it) => format!(
                "{:?} in term {} at {} with {} reads waiting",
                it.replica.role(),
                it.replica.term(),
                it.applier.progress().applied,
                it.reads.len()
            ),
            None => "down".to_owned(),
        };
        let states: Vec<_> = self.members.values_mut().map(describe).collect();
        format!("committed {}; {}", self.checker.highest(), states.join(", "))
    }

    pub(super) fn pass_tick(&mut self) -> Result<(), Breach> {
        self.now += 1;
        for id in self.ids() {
            if let Some(running) = self.members.get_mut(&id).and_then(Member::working) {
                running.replica.tick();
                self.ask_for_reads(id);
            }
            self.process(id)?;
            self.write_due_snapshot(id)?;
        }
        self.deliver_due()?;
        self.ask()?;
        self.deliver_due()
    }

    pub(super) fn start(&mut self, id: MemberId) -> Result<(), Breach> {
        let machine = (self.machines)(id);
        let origin = self.rng.random();
        self.trace.note(format_args!("{} member {id} starts", self.now));
        if let Some(member) = self.members.get_mut(&id) {
            let started = member.machine.start(machine, origin);
            if let Some(what) = member.machine.expected.take_difference() {
                return Err(Breach::DiskDiffers { member: id, what });
            }
            let running = started.map_err(|error| stopped(id, &error))?;
            member.life = Life::Running(Box::new(running));
        }
        self.watch(id)
    }

    pub(super) fn clock(&self, id: MemberId) -> UnixMillis {
        let ahead = self.members.get(&id).map_or(0, |member| member.machine.clock_ahead_ms);
        UnixMillis(self.now * TICK_MS + ahead)
    }
}

/// Where snapshot files lie. In memory if the system offers that: whether they are synced is not what is simulated.
fn folder_in_memory() -> io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
}

/// A member that gave up, with all causes.
pub(super) fn stopped(member: MemberId, error: &dyn Error) -> Breach {
    let reason = chain(error);
    Breach::MemberStopped { member, reason }
}

/// What the simulation itself could not do.
pub(super) fn impossible(doing: &'static str, error: &dyn Error) -> Breach {
    let reason = chain(error);
    Breach::Simulation { doing, reason }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("without a message").to_owned()
}
