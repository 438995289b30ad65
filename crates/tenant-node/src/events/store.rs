//! The file behind the outbox: events that are not acknowledged, and the record that they tell of.
//!
//! Everything that changes at once is one transaction, so that whatever is raised on record was told or will be. An event
//! keeps the incarnation and sequence that it was first numbered with: a repeated delivery is recognised, also across a
//! restart. There is room for so many events; `pending` says which give way. The newest state of a subject that has to is
//! kept beside them, and told when the outbox has drained below half.

use std::collections::BTreeSet;
use std::path::Path;

use bytes::Bytes;
use prost::Message as _;
use rusqlite::{Connection, Transaction};
use tenantry_proto::v1;
use tenantry_types::{EventDetail, Incarnation, ReportSequence, UnixMillis};

use super::batch::{Batch, NewEvent, Record};
use super::pending::{Pending, Position};
use super::plan::{Displaced, Plan, encoded, write_state};
use super::schema::{self, signed};
use super::subject::{self, Key};

/// An event that waits for its acknowledgement.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingEvent {
    /// Its place in the outbox of its incarnation.
    pub sequence: ReportSequence,
    /// As it goes over the wire.
    pub event: v1::ReportedEvent,
}

/// The oldest events of one incarnation, in order.
#[derive(Debug, Clone, PartialEq)]
pub struct PendingBatch {
    /// The start of this node that numbered them.
    pub incarnation: Incarnation,
    /// Never empty.
    pub events: Vec<PendingEvent>,
}

/// The open file.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    incarnation: Incarnation,
    record_since: Incarnation,
    capacity: u64,
    pending: Pending,
    next_position: Position,
    next_sequence: ReportSequence,
    /// The newest time that an event was told of.
    latest: UnixMillis,
    /// What gave way and is told later.
    unreported: BTreeSet<Key>,
}

impl Store {
    pub(super) fn open(path: &Path, incarnation: Incarnation, capacity: u64) -> Result<Self, rusqlite::Error> {
        let mut connection = schema::open_or_set_aside(path)?;
        let unreported = read_unreported(&connection)?;
        let (pending, next_position) = read_pending(&connection, &unreported)?;
        let record_since = schema::begin_record(&mut connection, incarnation)?;
        let last: Option<i64> = connection.query_row(
            "SELECT max(sequence) FROM pending WHERE incarnation = ?",
            [signed(incarnation.get())],
            |row| row.get(0),
        )?;
        let mut store = Self {
            connection,
            incarnation,
            record_since,
            capacity: capacity.max(2),
            pending,
            next_position,
            next_sequence: ReportSequence(last.map_or(0, i64::cast_unsigned)).next(),
            latest: UnixMillis(incarnation.get()),
            unreported,
        };
        if let Err(error) = store.tell_what_gave_way() {
            tracing::error!(%error, "what gave way in the outbox cannot be told yet");
        }
        Ok(store)
    }

    /// The start that began the record.
    pub(super) const fn record_since(&self) -> Incarnation {
        self.record_since
    }

    /// What is on record.
    pub(super) fn record(&self) -> Result<Record, rusqlite::Error> {
        schema::read_record(&self.connection)
    }

    /// How many events wait.
    pub(super) fn len(&self) -> u64 {
        self.pending.len()
    }

    /// Writes all of `batch`, or nothing.
    pub(super) fn append(&mut self, batch: &Batch) -> Result<(), rusqlite::Error> {
        let mut plan = Plan::default();
        let mut over = Vec::new();
        for tenant in batch.measured_anew.iter().chain(&batch.gone) {
            over.extend(schema::raised_of(&self.connection, *tenant)?);
        }
        self.clear(&mut plan, over);
        for event in &batch.events {
            self.latest = self.latest.max(event.occurred_at);
            self.push(&mut plan, encoded(event));
        }
        self.make_room(&mut plan);
        self.commit(&plan, |transaction| write_state(transaction, batch))?;
        self.unreported
            .retain(|(tenant, _)| !tenant.is_some_and(|tenant| batch.gone.contains(&tenant)));
        Ok(())
    }

    /// What was raised under another placement is over. The control plane has ended it with that placement; but where it was
    /// restored to one with the same number, a raising that is still on its way would stand for ever.
    fn clear(&mut self, plan: &mut Plan, raised: Vec<v1::ReportedEvent>) {
        for mut event in raised {
            if subject::clear(&mut event) {
                self.push(plan, event);
            }
        }
    }

    /// Tells everything that is raised once more, but for what waits to be told by this start anyway. What was handed out
    /// does not wait: it may have been taken by a control plane that forgot it since, and would be taken for a repetition.
    pub(super) fn tell_raised_again(&mut self) -> Result<(), rusqlite::Error> {
        let events = schema::read_events(
            &self.connection,
            "SELECT event FROM raised ORDER BY tenant, condition",
            [],
        )?;
        let mut plan = Plan::default();
        for event in events {
            let waits = schema::entry_of(&event)
                .and_then(|entry| self.pending.newest(entry.key))
                .is_some_and(|(position, entry)| {
                    entry.incarnation == self.incarnation && !self.pending.is_handed_out(position)
                });
            if !waits {
                self.push(&mut plan, event);
            }
        }
        self.make_room(&mut plan);
        self.commit(&plan, |_| Ok(()))
    }

    /// The oldest events, at most `most`; `None` when there are none.
    pub(super) fn oldest(&mut self, most: usize) -> Result<Option<PendingBatch>, rusqlite::Error> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT incarnation, sequence, event, position FROM pending ORDER BY position LIMIT ?")?;
        let mut rows = statement.query([i64::try_from(most).unwrap_or(i64::MAX)])?;
        let mut batch: Option<PendingBatch> = None;
        while let Some(row) = rows.next()? {
            let incarnation = Incarnation(row.get::<_, i64>(0)?.cast_unsigned());
            let sequence = ReportSequence(row.get::<_, i64>(1)?.cast_unsigned());
            let encoded: Vec<u8> = row.get(2)?;
            let Ok(event) = v1::ReportedEvent::decode(Bytes::from(encoded)) else {
                // Removed at the next start; it parsed at this one's.
                tracing::error!(%incarnation, %sequence, "an event in the outbox does not parse and is skipped");
                continue;
            };
            let pending = PendingEvent { sequence, event };
            match &mut batch {
                None => {
                    batch = Some(PendingBatch {
                        incarnation,
                        events: vec![pending],
                    });
                }
                Some(batch) if batch.incarnation == incarnation => batch.events.push(pending),
                // Another incarnation's events go into a batch of their own.
                Some(_) => break,
            }
            self.pending.hand_out(row.get::<_, i64>(3)?.cast_unsigned());
        }
        Ok(batch)
    }

    /// Forgets the events of `incarnation` up to `sequence`, and tells what gave way if there is room again.
    pub(super) fn acknowledge(
        &mut self,
        incarnation: Incarnation,
        sequence: ReportSequence,
    ) -> Result<(), rusqlite::Error> {
        self.connection
            .prepare_cached("DELETE FROM pending WHERE incarnation < ?1 OR (incarnation = ?1 AND sequence <= ?2)")?
            .execute([signed(incarnation.get()), signed(sequence.get())])?;
        self.pending.acknowledge(incarnation, sequence);
        self.tell_what_gave_way()
    }

    /// Below half of the room, a quarter of it is for the states that gave way.
    fn tell_what_gave_way(&mut self) -> Result<(), rusqlite::Error> {
        if self.unreported.is_empty() || self.pending.len() >= self.capacity / 2 {
            return Ok(());
        }
        let most = signed((self.capacity / 4).max(1));
        let query = "SELECT event FROM unreported ORDER BY tenant, subject LIMIT ?";
        let events = schema::read_events(&self.connection, query, [most])?;
        let mut plan = Plan::default();
        for event in events {
            self.push(&mut plan, event);
        }
        self.commit(&plan, |_| Ok(()))
    }

    /// Numbers an event and puts it at the end.
    fn push(&mut self, plan: &mut Plan, mut event: v1::ReportedEvent) {
        let (position, sequence) = (self.next_position, self.next_sequence);
        (self.next_position, self.next_sequence) = (position + 1, sequence.next());
        event.sequence = sequence.get();
        let Some(mut entry) = schema::entry_of(&event) else {
            // Only what the control plane alone may say has no subject.
            tracing::error!(?event, "an event that no node reports is dropped");
            return;
        };
        entry.incarnation = self.incarnation;
        plan.displaced.remove(&entry.key);
        plan.reported.insert(entry.key);
        self.pending.push(position, entry);
        plan.inserts.insert(position, event);
    }

    /// Lets events give way until there is room for all, and for the word on what was dropped.
    fn make_room(&mut self, plan: &mut Plan) {
        loop {
            let needs_word = plan.dropped > 0 && self.pending.growing_word_on_dropped().is_none();
            if self.pending.len() + u64::from(needs_word) <= self.capacity {
                break;
            }
            let Some(victim) = self.pending.give_way() else { break };
            if victim.superseded {
                plan.superseded += 1;
            } else {
                plan.dropped += victim.entry.dropped.max(1);
            }
            let new = plan.inserts.remove(&victim.position);
            if new.is_none() {
                plan.deletes.push(victim.position);
            }
            let key = victim.entry.key;
            if !victim.superseded && key.1.is_told_later() {
                plan.reported.remove(&key);
                let displaced = new.map_or(Displaced::Written(victim.position), Displaced::New);
                plan.displaced.insert(key, displaced);
            }
        }
        if plan.dropped == 0 {
            return;
        }
        let mut count = plan.dropped;
        if let Some((position, before)) = self.pending.growing_word_on_dropped() {
            self.pending.remove(position);
            plan.deletes.push(position);
            count += before;
        }
        let word = NewEvent {
            occurred_at: self.latest,
            tenant: None,
            epoch: None,
            detail: EventDetail::EventsDropped { count },
        };
        self.push(plan, encoded(&word));
    }

    /// Writes what was planned, and what goes with it. What cannot be written has not happened.
    fn commit(
        &mut self,
        plan: &Plan,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), rusqlite::Error> {
        let written = plan.write(&mut self.connection, self.incarnation, &self.unreported, also);
        if let Err(error) = written {
            (self.pending, _) = read_pending(&self.connection, &self.unreported)?;
            return Err(error);
        }
        for key in &plan.reported {
            self.unreported.remove(key);
        }
        self.unreported.extend(plan.displaced.keys());
        // A counter appears with its first count.
        if plan.superseded > 0 {
            metrics::counter!("tenantry_node_events_superseded_total").increment(plan.superseded);
        }
        if plan.dropped > 0 {
            metrics::counter!("tenantry_node_events_dropped_total").increment(plan.dropped);
        }
        Ok(())
    }
}

/// Everything that waits. What gave way later, and is told later, is newer than what waits.
fn read_pending(connection: &Connection, unreported: &BTreeSet<Key>) -> Result<(Pending, Position), rusqlite::Error> {
    let (mut pending, next) = schema::read_pending(connection)?;
    unreported.iter().for_each(|key| pending.supersede(*key));
    Ok((pending, next))
}

/// What is told later. Rows that nobody can read are removed: they would stand before the others for ever.
fn read_unreported(connection: &Connection) -> Result<BTreeSet<Key>, rusqlite::Error> {
    let mut unreported = BTreeSet::new();
    let mut statement = connection.prepare("SELECT tenant, subject, event FROM unreported")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (tenant, subject): (Vec<u8>, i64) = (row.get(0)?, row.get(1)?);
        let event = v1::ReportedEvent::decode(row.get_ref(2)?.as_blob()?).ok();
        match event.as_ref().and_then(schema::entry_of) {
            Some(entry) => {
                unreported.insert(entry.key);
            }
            None => {
                tracing::error!("what was to be told later does not parse and is dropped");
                let statement = "DELETE FROM unreported WHERE tenant = ? AND subject = ?";
                connection.execute(statement, rusqlite::params![tenant, subject])?;
            }
        }
    }
    Ok(unreported)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
