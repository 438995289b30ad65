//! A cluster whose messages are values in a bag. Nothing happens unless a test makes it happen.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Read as _;

use bytes::Bytes;
use tempfile::TempDir;
use tenantry_types::MemberId;

use super::key_values::{KeyValues, set};
use crate::raft::{
    Applier, ApplyJob, Beginning, GENESIS, InitialMembers, LogWriter, Opened, OutgoingSnapshot, Output, ProposalId,
    ProposeRefusal, ReadId, Replica, ReplicaConfig, ReplicaError, Role, SnapshotOutcome, WriteJob, bootstrap, open,
};
use crate::storage::{AnnouncedSnapshot, Identity, MemoryDisk, MemoryLogStore, SnapshotFolder, measure};

/// A member whose disk is as slow as a test wants it.
pub(super) struct Member {
    pub(super) replica: Replica,
    writer: LogWriter<MemoryLogStore>,
    applier: Applier<KeyValues>,
    writes: Vec<WriteJob>,
    pub(super) disk: DiskSpeed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiskSpeed {
    /// Writes are done at once.
    Immediate,
    /// Writes wait until the test has them done.
    Held,
}

impl Member {
    pub(super) fn applied(&self) -> u64 {
        self.applier.progress().applied.get()
    }

    pub(super) fn digest(&self) -> u64 {
        self.applier.progress().digest
    }

    pub(super) fn machine(&self) -> &KeyValues {
        self.applier.machine()
    }
}

pub(super) struct Bag {
    pub(super) members: BTreeMap<u64, Member>,
    pub(super) disks: BTreeMap<u64, MemoryDisk>,
    pub(super) folders: BTreeMap<u64, TempDir>,
    /// Members that nobody hears and that hear nobody.
    pub(super) cut_off: BTreeSet<u64>,
    pub(super) messages: VecDeque<(u64, u64, Bytes)>,
    pub(super) answers: BTreeMap<(u64, u64), Option<String>>,
    pub(super) reads: Vec<(u64, u64, u64)>,
    pub(super) errors: BTreeMap<u64, ReplicaError>,
    pub(super) snapshots_sent: usize,
    pub(super) snapshots_fail: bool,
    adjust: fn(&mut ReplicaConfig),
    initial: BTreeMap<MemberId, String>,
    sequence: u64,
}

pub(super) fn id(member: u64) -> MemberId {
    MemberId::new(member).unwrap()
}

impl Bag {
    pub(super) fn of_three(adjust: fn(&mut ReplicaConfig)) -> Self {
        let initial = (1..=3).map(|member| (id(member), format!("host-{member}:1"))).collect();
        let mut bag = Self {
            members: BTreeMap::new(),
            disks: (1..=3).map(|member| (member, MemoryDisk::default())).collect(),
            folders: (1..=3).map(|member| (member, tempfile::tempdir().unwrap())).collect(),
            cut_off: BTreeSet::new(),
            messages: VecDeque::new(),
            answers: BTreeMap::new(),
            reads: Vec::new(),
            errors: BTreeMap::new(),
            snapshots_sent: 0,
            snapshots_fail: false,
            adjust,
            initial,
            sequence: 0,
        };
        (1..=3).for_each(|member| bag.start(member).unwrap());
        bag
    }

    pub(super) fn start(&mut self, member: u64) -> Result<(), ReplicaError> {
        let initial = InitialMembers::new(id(1), self.initial.clone()).unwrap();
        let fingerprint = initial.fingerprint();
        let mut config = ReplicaConfig::new(id(member), fingerprint);
        let pinned = 10 + 3 * usize::try_from(member).unwrap();
        config.election_range = Some((pinned, pinned + 1));
        (self.adjust)(&mut config);
        let identity = Identity {
            member: id(member),
            fingerprint,
        };
        let mut store = MemoryLogStore::open(self.disks[&member].clone(), identity)?;
        let folder = self.snapshot_folder(member);
        let machine = KeyValues::default();
        if self.initial.contains_key(&id(member)) {
            bootstrap(&config, &mut store, &folder, &machine, &initial, GENESIS)?;
        } else {
            config.beginning = Beginning::Joining;
        }
        let Opened {
            replica,
            writer,
            applier,
        } = open(config, store, folder, machine)?;
        let running = Member {
            replica,
            writer,
            applier,
            writes: Vec::new(),
            disk: DiskSpeed::Immediate,
        };
        self.members.insert(member, running);
        Ok(())
    }

    pub(super) fn snapshot_folder(&self, member: u64) -> SnapshotFolder {
        let fingerprint = InitialMembers::new(id(1), self.initial.clone()).unwrap().fingerprint();
        SnapshotFolder::open(self.folders[&member].path(), fingerprint).unwrap()
    }

    /// Stops a member; what its disk had not synced is lost.
    pub(super) fn crash(&mut self, member: u64) {
        self.members.remove(&member);
        self.disks[&member].crash();
    }

    pub(super) fn restart(&mut self, member: u64) {
        self.crash(member);
        self.start(member).unwrap();
    }

    /// Starts a member that waits to be added.
    pub(super) fn join(&mut self, member: u64) {
        self.disks.insert(member, MemoryDisk::default());
        self.folders.insert(member, tempfile::tempdir().unwrap());
        self.start(member).unwrap();
    }

    /// A replaced machine: same id, empty disk.
    pub(super) fn wipe(&mut self, member: u64) {
        self.members.remove(&member);
        self.disks.insert(member, MemoryDisk::default());
        self.folders.insert(member, tempfile::tempdir().unwrap());
        self.start(member).unwrap();
    }

    /// Lets a member do all that it can, in the order in which the threads of a real one would.
    pub(super) fn process(&mut self, member: u64) {
        loop {
            let mut outputs = Vec::new();
            let Some(running) = self.members.get_mut(&member) else {
                return;
            };
            let outcome = running.replica.process_ready(&mut |output| outputs.push(output));
            self.carry_out_all(member, outputs);
            if let Err(error) = outcome {
                self.errors.insert(member, error);
            }
            let waits = |running: &Member| running.writes.is_empty() || running.disk == DiskSpeed::Held;
            if self.members.get(&member).is_none_or(waits) || self.errors.contains_key(&member) {
                return;
            }
            self.write(member, usize::MAX);
        }
    }

    /// Makes a disk hold its writes, or do what it held and then all others at once.
    pub(super) fn set_disk(&mut self, member: u64, disk: DiskSpeed) {
        let Some(running) = self.members.get_mut(&member) else {
            return;
        };
        running.disk = disk;
        if disk == DiskSpeed::Immediate && !self.errors.contains_key(&member) {
            self.process(member);
        }
    }

    /// Has the disk do the first `count` writes that wait for it.
    pub(super) fn write_some(&mut self, member: u64, count: usize) {
        self.write(member, count);
        if !self.errors.contains_key(&member) {
            self.process(member);
        }
    }

    fn write(&mut self, member: u64, count: usize) {
        let mut outputs = Vec::new();
        let Some(running) = self.members.get_mut(&member) else {
            return;
        };
        let count = count.min(running.writes.len());
        let jobs: Vec<WriteJob> = running.writes.drain(..count).collect();
        if jobs.is_empty() {
            return;
        }
        match running.writer.write(jobs) {
            Ok(written) => running.replica.written(written, &mut |output| outputs.push(output)),
            Err(error) => drop(self.errors.insert(member, error)),
        }
        self.carry_out_all(member, outputs);
    }

    /// What a member does when its disk works again.
    pub(super) fn rebuild(&mut self, member: u64) -> Result<(), ReplicaError> {
        let mut outputs = Vec::new();
        let running = self.members.get_mut(&member).unwrap();
        running.writes.clear();
        let reloaded = running.writer.reload()?;
        running.replica.rebuild(reloaded, &mut |output| outputs.push(output))?;
        self.carry_out_all(member, outputs);
        Ok(())
    }

    fn carry_out_all(&mut self, member: u64, outputs: Vec<Output>) {
        for output in outputs {
            self.carry_out(member, output);
        }
    }

    fn carry_out(&mut self, member: u64, output: Output) {
        match output {
            Output::Message { to, bytes } => self.messages.push_back((member, to.get(), bytes)),
            Output::Snapshot(snapshot) => self.send_snapshot(member, &snapshot),
            Output::Write(job) => self.members.get_mut(&member).unwrap().writes.push(job),
            Output::Apply(job) => self.apply(member, job),
            Output::Read { id, index } => self.reads.push((member, id.sequence, index.get())),
            Output::Role { .. } | Output::Members { .. } => {}
        }
    }

    fn apply(&mut self, member: u64, job: ApplyJob) {
        let mut answers = Vec::new();
        let running = self.members.get_mut(&member).unwrap();
        let outcome = running.applier.run(job, &mut |applied| answers.push(applied));
        for applied in answers {
            let proposal = applied.proposal.unwrap();
            if proposal.origin == member {
                self.answers.insert((member, proposal.sequence), applied.answer);
            }
        }
        let mut outputs = Vec::new();
        let outcome = outcome.and_then(|job| match job {
            None => Ok(()),
            Some(job) => {
                let written = job.run();
                running
                    .replica
                    .snapshot_written(written, &mut |output| outputs.push(output))
            }
        });
        if let Err(error) = outcome {
            self.errors.insert(member, error);
        }
        self.carry_out_all(member, outputs);
    }

    fn send_snapshot(&mut self, from: u64, snapshot: &OutgoingSnapshot) {
        self.snapshots_sent += 1;
        let to = snapshot.to.get();
        let lost = self.snapshots_fail || self.is_cut(from, to) || !self.members.contains_key(&to);
        if !lost {
            let mut file = self.snapshot_folder(from).open_raw(snapshot.position).unwrap();
            let (size_bytes, crc32) = measure(&mut file).unwrap();
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes).unwrap();
            let folder = self.snapshot_folder(to);
            let announced = AnnouncedSnapshot {
                position: snapshot.position,
                size_bytes,
                crc32,
            };
            let mut incoming = folder.receive(announced).unwrap();
            incoming.push(0, &bytes).unwrap();
            folder.verify(&mut incoming).unwrap();
            self.process(to);
            let receiver = self.members.get_mut(&to).unwrap();
            receiver.replica.step_snapshot(&snapshot.message, incoming).unwrap();
            self.process(to);
        }
        let outcome = if lost {
            SnapshotOutcome::Failed
        } else {
            SnapshotOutcome::Delivered
        };
        if let Some(sender) = self.members.get_mut(&from) {
            sender.replica.report_snapshot(snapshot.to, outcome);
        }
    }

    pub(super) fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut_off.contains(&from) || self.cut_off.contains(&to)
    }

    pub(super) fn deliver_one(&mut self) {
        let Some((from, to, bytes)) = self.messages.pop_front() else {
            return;
        };
        if self.is_cut(from, to) || self.errors.contains_key(&to) {
            return;
        }
        let Some(running) = self.members.get_mut(&to) else {
            return;
        };
        if let Err(error) = running.replica.step(&bytes) {
            self.errors.insert(to, error);
            return;
        }
        self.process(to);
    }

    /// Delivers everything that is on its way, and what that gives rise to.
    pub(super) fn settle(&mut self) {
        let running: Vec<u64> = self.members.keys().copied().collect();
        for member in running {
            if !self.errors.contains_key(&member) {
                self.process(member);
            }
        }
        for _ in 0..20_000 {
            if self.messages.is_empty() {
                return;
            }
            self.deliver_one();
        }
        panic!("the members never stop talking");
    }

    pub(super) fn tick(&mut self, count: usize) {
        for _ in 0..count {
            let well: Vec<u64> = self.members.keys().copied().collect();
            for member in well.into_iter().filter(|member| !self.errors.contains_key(member)) {
                self.members.get_mut(&member).unwrap().replica.tick();
            }
            self.settle();
        }
    }

    pub(super) fn leaders(&self) -> Vec<u64> {
        let leads = |(member, running): (&u64, &Member)| (running.replica.role() == Role::Leader).then_some(*member);
        self.members.iter().filter_map(leads).collect()
    }

    /// Lets time pass until there is exactly one leader among those who can talk.
    pub(super) fn elect(&mut self) -> u64 {
        for _ in 0..200 {
            self.tick(1);
            let reachable: Vec<u64> = self
                .leaders()
                .into_iter()
                .filter(|m| !self.cut_off.contains(m))
                .collect();
            if let [leader] = reachable[..] {
                return leader;
            }
        }
        panic!("no leader");
    }

    pub(super) fn propose(&mut self, member: u64, key: &str, value: &str) -> Result<u64, ProposeRefusal> {
        self.sequence += 1;
        let proposal = ProposalId {
            origin: member,
            sequence: self.sequence,
        };
        let replica = &mut self.members.get_mut(&member).unwrap().replica;
        replica.propose(vec![(proposal, set(key, value))])?;
        Ok(self.sequence)
    }

    pub(super) fn write_values(&mut self, member: u64, values: impl IntoIterator<Item = u64>) {
        for value in values {
            self.propose(member, &format!("k{}", value % 7), &value.to_string())
                .unwrap();
            self.settle();
        }
    }

    pub(super) fn read(&mut self, member: u64) -> u64 {
        self.sequence += 1;
        let sequence = self.sequence;
        let id = ReadId {
            origin: member,
            sequence,
        };
        self.members.get_mut(&member).unwrap().replica.read_index(id);
        sequence
    }

    /// All members have applied the same, and more than nothing.
    pub(super) fn assert_equal(&mut self) {
        self.tick(8);
        let states: Vec<_> = self.members.values().map(|m| (m.applied(), m.digest())).collect();
        assert_eq!(states.len(), 3);
        assert!(states[0].0 > 1);
        assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
        assert!(self.errors.is_empty(), "{:?}", self.errors);
    }
}
