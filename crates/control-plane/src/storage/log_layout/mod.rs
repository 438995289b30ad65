//! How a log lies in an ordered tree of keys and values: packed records of entries, and a head that describes the whole.
//!
//! Both stores share this, so that what is simulated is what is shipped. The head is written with every change: it
//! counts the changes, says where the log ends, and sums up the members. A record that was lost, or came back from the
//! past, therefore does not fit it. Nothing here does I/O of its own; a [`Plan`] is carried out by the store.

mod head;
mod plan;

use std::collections::BTreeMap;

use super::binary::{Input, Malformed, take_members};
use super::log_store::{check_append, check_compact};
use super::{
    AppendBatch, HardState, Identity, LoadedLog, LogEntry, LogPosition, MembersAt, StoreError, frame, records,
};
use crate::mutants::{Mutant, mutated};

use head::Head;
use plan::RecordAt;
pub(super) use plan::{Changes, Plan};

const HEAD: &[u8] = b"head";
const IDENTITY: &[u8] = b"identity";
const MEMBERS: &[u8] = b"members";

/// Reads a tree as it is at the moment.
pub(super) trait Tree {
    /// The framed value under `key`.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// Visits all keys with their framed values, in order.
    fn for_each(&self, visit: &mut Visit<'_>) -> Result<(), StoreError>;
}

pub(super) type Visit<'a> = dyn FnMut(&[u8], &[u8]) -> Result<(), StoreError> + 'a;

/// Where everything lies. Held in memory beside the tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layout {
    head: Head,
    /// By first index.
    records: BTreeMap<u64, RecordAt>,
}

impl Layout {
    /// An empty log of `identity`.
    pub(super) fn begin(identity: Identity) -> (Self, Plan) {
        let head = Head {
            sequence: 1,
            ..Head::default()
        };
        let mut changes = Changes::default();
        changes.put(IDENTITY, identity.to_text().as_bytes());
        changes.put(HEAD, &head.encode());
        let plan = Plan {
            changes,
            head,
            removed: Vec::new(),
            added: Vec::new(),
        };
        let layout = Self {
            head,
            records: BTreeMap::new(),
        };
        (layout, plan)
    }

    /// Reads and checks everything. `None`: the tree is empty.
    ///
    /// # Errors
    /// `Foreign` if it is another member's log, `Damaged` if anything is missing, changed, or out of place.
    pub(super) fn read(tree: &impl Tree, place: &str, identity: Identity) -> Result<Option<Self>, StoreError> {
        let mut parts: BTreeMap<u64, (u16, Vec<u8>)> = BTreeMap::new();
        let mut seen_any = false;
        tree.for_each(&mut |key, framed| {
            seen_any = true;
            let value = frame::open(key, framed).map_err(damaged)?;
            if key.starts_with(&records::key_prefix()) {
                let (first, part) = records::parse_key(key).map_err(damaged)?;
                let (seen, bytes) = parts.entry(first).or_default();
                if part != *seen {
                    return Err(damage(format!("part {seen} of the record at {first} is missing")));
                }
                *seen = seen.saturating_add(1);
                bytes.extend_from_slice(value);
            } else if ![HEAD, IDENTITY, MEMBERS].contains(&key) {
                return Err(damage("an unknown key".into()));
            }
            Ok(())
        })?;
        if !seen_any {
            return Ok(None);
        }
        let found = value(tree, IDENTITY)?.ok_or_else(|| damage("the identity is missing".into()))?;
        identity.check(place, &found)?;
        let head = value(tree, HEAD)?.ok_or_else(|| damage("the head is missing".into()))?;
        let head = Head::decode(&head).map_err(damaged)?;
        let members_crc = value(tree, MEMBERS)?.map_or(0, |bytes| crc32fast::hash(&bytes));
        if members_crc != head.members_crc {
            return Err(damage("the members are not the newest".into()));
        }
        let mut layout = Self {
            head,
            records: BTreeMap::new(),
        };
        layout.take_records(parts)?;
        Ok(Some(layout))
    }

    fn take_records(&mut self, parts: BTreeMap<u64, (u16, Vec<u8>)>) -> Result<(), StoreError> {
        let head = self.head;
        let mut end = head.compacted;
        let mut next = None;
        for (first, (parts, bytes)) in parts {
            let joins_on = match next {
                None => first <= head.compacted.index.saturating_add(1),
                Some(next) => first == next,
            };
            if !joins_on {
                return Err(damage(format!("the entries before {first} are missing")));
            }
            let entries = records::unpack(first, &bytes).map_err(damaged)?;
            end = entries.last().map_or(end, |entry| entry.position);
            next = end.index.checked_add(1);
            let record = RecordAt {
                last: end.index,
                parts,
                bytes: bytes.len() as u64,
            };
            self.records.insert(first, record);
        }
        if end != head.last {
            return Err(damage(format!(
                "the log ends at entry {} of term {}, its head says {} of term {}",
                end.index, end.term, head.last.index, head.last.term
            )));
        }
        if head.hard_state.commit > end.index {
            return Err(damage(format!(
                "entries up to {} were committed, the log ends at {}",
                head.hard_state.commit, end.index
            )));
        }
        Ok(())
    }

    /// All that the tree holds.
    pub(super) fn load(&self, tree: &impl Tree) -> Result<LoadedLog, StoreError> {
        let mut entries = Vec::new();
        for (&first, record) in &self.records {
            entries.extend(read_record(tree, first, *record)?);
        }
        let forgotten = self.head.compacted.index + u64::from(mutated(Mutant::CompactsOneTooMany));
        entries.retain(|entry| entry.position.index > forgotten);
        if mutated(Mutant::LastEntryLost) {
            entries.pop();
        }
        let members = match value(tree, MEMBERS)? {
            Some(bytes) => {
                let mut input = Input(&bytes);
                let members = take_members(&mut input).map_err(damaged)?;
                input.finish().map_err(damaged)?;
                members
            }
            None => MembersAt::default(),
        };
        Ok(LoadedLog {
            hard_state: self.head.hard_state,
            members,
            snapshot: self.head.snapshot,
            compacted: self.head.compacted,
            entries,
        })
    }

    pub(super) fn append(&self, tree: &impl Tree, batch: &AppendBatch) -> Result<Plan, StoreError> {
        let head = &self.head;
        check_append(
            &batch.entries,
            head.compacted.index,
            head.hard_state.commit,
            head.last.index,
        )?;
        let mut plan = self.next();
        let mut packed = Vec::new();
        if let (Some(first), Some(last)) = (batch.entries.first(), batch.entries.last()) {
            let first = first.position.index;
            // Whatever follows the first new entry is stale; the record it falls into keeps its head.
            for (&start, &record) in self.records.iter().rev() {
                if record.last < first {
                    break;
                }
                if mutated(Mutant::StoreKeepsStaleTail) && start > last.position.index {
                    continue;
                }
                plan.remove(start, record);
                if start < first {
                    let mut kept = read_record(tree, start, record)?;
                    kept.retain(|entry| entry.position.index < first);
                    packed.extend(records::pack(&kept));
                }
            }
            packed.extend(records::pack(&batch.entries));
            plan.head.last = last.position;
        }
        for record in packed {
            plan.add(&record);
        }
        let forgets_votes = batch.entries.is_empty() && mutated(Mutant::VoteNotWritten);
        let hard_state = batch.hard_state.filter(|_| !forgets_votes);
        plan.set_state(hard_state, batch.members.as_ref());
        Ok(plan.sealed())
    }

    pub(super) fn compact(
        &self,
        tree: &impl Tree,
        snapshot: LogPosition,
        through: LogPosition,
        hard_state: HardState,
    ) -> Result<Plan, StoreError> {
        check_compact(snapshot, through, self.head.last.index)?;
        for position in [snapshot, through] {
            self.check_term(tree, position)?;
        }
        let mut plan = self.next();
        plan.head.snapshot = snapshot;
        if through.index > self.head.compacted.index {
            plan.head.compacted = through;
            for (&start, &record) in &self.records {
                if record.last > through.index {
                    break;
                }
                plan.remove(start, record);
            }
        }
        plan.set_state(Some(hard_state), None);
        Ok(plan.sealed())
    }

    pub(super) fn install_snapshot(&self, snapshot: LogPosition, members: &MembersAt, hard_state: HardState) -> Plan {
        let mut plan = self.next();
        for (&start, &record) in &self.records {
            if !mutated(Mutant::InstallKeepsOldLog) {
                plan.remove(start, record);
            }
        }
        plan.head.snapshot = snapshot;
        plan.head.compacted = snapshot;
        plan.head.last = snapshot;
        plan.set_state(Some(hard_state), Some(members));
        plan.sealed()
    }

    /// Takes note of a plan that is durable now.
    pub(super) fn settle(&mut self, plan: &Plan) {
        for first in &plan.removed {
            self.records.remove(first);
        }
        self.records.extend(plan.added.iter().copied());
        self.head = plan.head;
    }

    /// The number of the last change.
    pub(super) fn sequence(&self) -> u64 {
        self.head.sequence
    }

    /// What the entries take, apart from frames.
    pub(super) fn live_bytes(&self) -> u64 {
        self.records.values().map(|record| record.bytes).sum()
    }

    /// A position that the log holds must be the log's own.
    fn check_term(&self, tree: &impl Tree, position: LogPosition) -> Result<(), StoreError> {
        if position.index <= self.head.compacted.index {
            return Ok(());
        }
        let Some((&first, &record)) = self.records.range(..=position.index).next_back() else {
            return Ok(());
        };
        let entries = read_record(tree, first, record)?;
        let found = entries.iter().find(|entry| entry.position.index == position.index);
        match found {
            Some(entry) if entry.position.term != position.term => Err(StoreError::WrongTerm {
                index: position.index,
                given: position.term,
                found: entry.position.term,
            }),
            _ => Ok(()),
        }
    }

    fn next(&self) -> Plan {
        let mut head = self.head;
        head.sequence = head.sequence.saturating_add(1);
        Plan {
            changes: Changes::default(),
            head,
            removed: Vec::new(),
            added: Vec::new(),
        }
    }
}

fn read_record(tree: &impl Tree, first: u64, record: RecordAt) -> Result<Vec<LogEntry>, StoreError> {
    let mut bytes = Vec::new();
    for part in 0..record.parts {
        let part = value(tree, &records::key(first, part))?
            .ok_or_else(|| damage(format!("part {part} of the record at {first} is missing")))?;
        bytes.extend_from_slice(&part);
    }
    let entries = records::unpack(first, &bytes).map_err(damaged)?;
    match entries.last() {
        Some(entry) if entry.position.index == record.last => Ok(entries),
        _ => Err(damage(format!("the record at {first} is not the newest"))),
    }
}

fn value(tree: &impl Tree, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let framed = tree.get(key)?;
    framed
        .map(|framed| frame::open(key, &framed).map(<[u8]>::to_vec).map_err(damaged))
        .transpose()
}

fn damaged(error: Malformed) -> StoreError {
    damage(error.to_string())
}

fn damage(what: String) -> StoreError {
    StoreError::Damaged { what }
}
