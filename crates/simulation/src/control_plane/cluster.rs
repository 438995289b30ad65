//! The cluster as a whole: lets time pass, tick by tick, and has the checker look after every step.

use std::collections::BTreeMap;

use ::control_plane::codec;
use ::control_plane::machine::PublishedState;
use ::control_plane::raft::{InitialMembers, ProposalId, ReplicaError, StateMachine};
use ::control_plane::storage::MemoryDisk;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use tempfile::TempDir;
use tenantry_state::{Answer, Command, Envelope, Outcome, Request, SecretKey, SigningKey, Tiers};
use tenantry_types::{ClusterUid, MemberId, Revision, UnixMillis};

use super::checker::Checker;
use super::clients::{Clients, Patience};
use super::member::{Disk, Life, Machine, Member};
use super::network::Network;
use super::recorded::Observation;
use super::trace::Trace;
use super::{Breach, Plan, Report, Violation};

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
    clients: Clients,
    machines: F,
    _folder: &'a TempDir,
}

/// What becomes of what a member gives out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outputs {
    CarriedOut,
    /// The power goes before anything leaves the machine.
    Lost,
}

impl<'a, M, F> Cluster<'a, M, F>
where
    M: StateMachine<Answer = Outcome>,
    F: FnMut(MemberId) -> (M, PublishedState),
{
    pub(super) fn run(seed: u64, plan: &Plan, machines: F) -> Result<Report, Violation> {
        let at = |tick, breach| Violation { seed, tick, breach };
        let folder = tempfile::tempdir()
            .map_err(|error| Breach::Simulation {
                doing: "create a folder",
                reason: error.to_string(),
            })
            .map_err(|breach| at(0, breach))?;
        let mut cluster = Cluster::new(seed, plan, machines, &folder).map_err(|breach| at(0, breach))?;
        match cluster.live() {
            Ok(()) => {
                cluster.report.unknown = cluster.clients.count_unknown();
                cluster.report.ticks = cluster.now;
                cluster.report.trace = cluster.trace.hash();
                Ok(cluster.report)
            }
            Err(breach) => Err(at(cluster.now, breach)),
        }
    }

    fn new(seed: u64, plan: &Plan, machines: F, folder: &'a TempDir) -> Result<Self, Breach> {
        let invalid = |reason: String| Breach::Simulation {
            doing: "set up the members",
            reason,
        };
        let mut rng = StdRng::seed_from_u64(seed);
        let ids: Result<Vec<_>, _> = (1..=plan.members).map(MemberId::new).collect();
        let ids = ids.map_err(|error| invalid(error.to_string()))?;
        let addresses: BTreeMap<_, _> = ids.iter().map(|id| (*id, format!("member-{id}:1"))).collect();
        let mut ranks: Vec<usize> = (0..ids.len()).collect();
        ranks.shuffle(&mut rng);
        let mut members = BTreeMap::new();
        for (id, rank) in ids.into_iter().zip(ranks) {
            let machine = Machine {
                id,
                disk: MemoryDisk::default(),
                snapshots: folder.path().join(id.to_string()),
                initial: InitialMembers::new(id, addresses.clone()).map_err(|error| invalid(error.to_string()))?,
                election_ticks: 10 + 5 * rank + rng.random_range(0..3),
                clock_ahead_ms: rng.random_range(0..5_000),
                snapshot_every: plan.snapshot_every,
                log_keep: plan.log_keep,
            };
            let life = Life::Crashed { until: 0 };
            members.insert(
                id,
                Member {
                    machine,
                    life,
                    disk_fault: None,
                },
            );
        }
        let mut cluster = Self {
            plan: plan.clone(),
            now: 0,
            rng,
            members,
            network: Network::default(),
            report: Report::default(),
            checker: Checker::default(),
            trace: Trace::new(),
            clients: Clients::default(),
            machines,
            _folder: folder,
        };
        for id in cluster.ids() {
            cluster.start(id)?;
        }
        Ok(cluster)
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
            self.pass_tick()?;
        }
        self.heal_everything()?;
        let proof = self.wish(Patience::Endless)?;
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
        self.members.values_mut().all(|member| {
            member
                .working()
                .is_some_and(|it| it.applier.progress().applied == highest)
        })
    }

    fn describe(&mut self) -> String {
        let describe = |member: &mut Member<M>| match member.working() {
            Some(it) => format!(
                "{:?} in term {} at {}",
                it.replica.role(),
                it.replica.term(),
                it.applier.progress().applied
            ),
            None => "down".to_owned(),
        };
        let states: Vec<_> = self.members.values_mut().map(describe).collect();
        format!("committed {}; {}", self.checker.highest(), states.join(", "))
    }

    fn pass_tick(&mut self) -> Result<(), Breach> {
        self.now += 1;
        for id in self.ids() {
            if let Some(running) = self.members.get_mut(&id).and_then(Member::working) {
                running.replica.tick();
                self.process(id, Outputs::CarriedOut)?;
                self.write_due_snapshot(id)?;
            }
        }
        self.deliver_due()?;
        self.ask()?;
        self.deliver_due()
    }

    pub(super) fn start(&mut self, id: MemberId) -> Result<(), Breach> {
        let machine = (self.machines)(id);
        let origin = self.rng.random();
        if let Some(member) = self.members.get_mut(&id) {
            let running = member
                .machine
                .start(machine, origin)
                .map_err(|error| stopped(id, &error))?;
            member.life = Life::Running(Box::new(running));
        }
        self.trace.note("start", &[self.now, id.get(), origin], &[]);
        self.look_at(id)
    }

    /// Takes note of an error of a member: its disk may be to blame, nothing else.
    pub(super) fn fail(&mut self, id: MemberId, error: &ReplicaError) -> Result<(), Breach> {
        let Some(member) = self.members.get_mut(&id) else {
            return Ok(());
        };
        if !error.is_transient() || member.disk_fault.is_none() {
            return Err(stopped(id, error));
        }
        if let Some(running) = member.running() {
            running.disk = Disk::Failed;
            self.report.disk_failures += 1;
            self.trace.note("disk failure", &[self.now, id.get()], &[]);
        }
        Ok(())
    }

    /// Has the checker look at everything that a member did since the last time.
    pub(super) fn look_at(&mut self, id: MemberId) -> Result<(), Breach> {
        let Some(running) = self.members.get_mut(&id).and_then(Member::running) else {
            return Ok(());
        };
        for observation in running.observations.take() {
            match &observation {
                Observation::Applied { revision, digest, .. } => {
                    self.trace.note("applied", &[id.get(), revision.get(), *digest], &[]);
                }
                Observation::Reached { revision, digest } => {
                    self.trace.note("reached", &[id.get(), revision.get(), *digest], &[]);
                }
                Observation::Restored => self.trace.note("restored", &[id.get()], &[]),
            }
            self.checker.observe(id, observation, &mut self.report)?;
        }
        if running.leads() {
            self.checker.leads(id, running.replica.term(), &mut self.report)?;
        }
        let published = running.readers.current();
        if published.revision != running.checked {
            running.checked = published.revision;
            self.checker.check_state(id, &published)?;
        }
        Ok(())
    }

    pub(super) fn answer(
        &mut self,
        id: MemberId,
        revision: Revision,
        proposal: Option<ProposalId>,
        outcome: Outcome,
    ) -> Result<(), Breach> {
        let own = |member: &mut Member<M>| member.running().map(|running| running.origin);
        let origin = self.members.get_mut(&id).and_then(own);
        let Some(proposal) = proposal.filter(|proposal| Some(proposal.origin) == origin) else {
            return Ok(());
        };
        // The answer has to travel to the client as well.
        if self.rng.random_ratio(self.plan.drop, 1000) {
            self.report.drops += 1;
            return Ok(());
        }
        let again = self.rng.random_ratio(self.plan.repeat, 1000);
        let again = again.then(|| self.now + self.rng.random_range(1..=40));
        let Some(asked) = self.clients.answered(proposal) else {
            return Ok(());
        };
        self.report.acknowledged += u64::from(!asked.acknowledged);
        let request: Request = asked.request;
        let again = again.filter(|_| !asked.acknowledged);
        asked.acknowledge(again);
        if let Ok(Answer::Tenant(tenant)) = &outcome {
            self.clients.learn(tenant.uid, tenant.revision);
        }
        self.checker.acknowledge(id, request, outcome, revision)
    }

    fn wish(&mut self, patience: Patience) -> Result<u64, Breach> {
        self.clients
            .wish(self.now, patience, &mut self.rng)
            .map_err(|error| Breach::Simulation {
                doing: "think of a name",
                reason: error.to_string(),
            })
    }

    /// Clients ask whoever says that it leads, rightly or not; a leader of a new cluster gives it an identity first.
    fn ask(&mut self) -> Result<(), Breach> {
        let leads = |(id, member): (&MemberId, &mut Member<M>)| {
            member.working().is_some_and(|running| running.leads()).then_some(*id)
        };
        let leaders: Vec<_> = self.members.iter_mut().filter_map(leads).collect();
        for id in &leaders {
            let unknown = |running: &super::member::Running<M>| running.readers.current().state.cluster().is_none();
            if self
                .members
                .get_mut(id)
                .and_then(Member::working)
                .is_some_and(|running| unknown(running))
            {
                let uid = ClusterUid::from_u128(self.rng.random());
                let secret = SecretKey::new(self.rng.random());
                let signing_key = SigningKey {
                    key_id: "k1".to_owned(),
                    public: self.rng.random(),
                    secret,
                };
                let tiers = Box::new(Tiers::default());
                self.propose(
                    *id,
                    None,
                    Command::InitializeCluster {
                        uid,
                        tiers,
                        signing_key,
                    },
                )?;
            }
        }
        for number in self.clients.due(self.now) {
            let proposal = match leaders.len() {
                0 => None,
                count => match leaders.get(self.rng.random_range(0..count)) {
                    Some(leader) => self.ask_leader(*leader, number)?,
                    None => None,
                },
            };
            let repeated = self.clients.attempted(number, proposal, self.now, &mut self.rng);
            self.report.retries += u64::from(repeated);
        }
        Ok(())
    }

    fn ask_leader(&mut self, leader: MemberId, number: u64) -> Result<Option<ProposalId>, Breach> {
        let clock = self.clock(leader);
        let Some(running) = self.members.get_mut(&leader).and_then(Member::working) else {
            return Ok(None);
        };
        let published = running.readers.current();
        if published.state.cluster().is_none() {
            return Ok(None);
        }
        match self.clients.command(number, &published.state, clock, &mut self.rng) {
            Some((request, command)) => self.propose(leader, Some(request), command),
            None => Ok(None),
        }
    }

    fn clock(&self, id: MemberId) -> UnixMillis {
        let ahead = self.members.get(&id).map_or(0, |member| member.machine.clock_ahead_ms);
        UnixMillis(self.now * TICK_MS + ahead)
    }

    fn propose(
        &mut self,
        id: MemberId,
        request: Option<Request>,
        command: Command,
    ) -> Result<Option<ProposalId>, Breach> {
        let envelope = Envelope {
            now: self.clock(id),
            proposed_by: id,
            request,
            command,
        };
        let bytes = codec::encode_command(&envelope).map_err(|error| Breach::Simulation {
            doing: "encode a command",
            reason: error.to_string(),
        })?;
        let Some(running) = self.members.get_mut(&id).and_then(Member::working) else {
            return Ok(None);
        };
        running.sequence += 1;
        let proposal = ProposalId {
            origin: running.origin,
            sequence: running.sequence,
        };
        self.trace.note("propose", &[self.now, id.get()], &bytes);
        if running.replica.propose(vec![(proposal, bytes)]).is_err() {
            return Ok(None);
        }
        Ok(Some(proposal))
    }
}

pub(super) fn stopped(member: MemberId, error: &ReplicaError) -> Breach {
    let mut reason = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        reason = format!("{reason}: {cause}");
        source = cause.source();
    }
    Breach::MemberStopped { member, reason }
}
