//! What one transaction does to the file, worked out in memory before anything is written.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use rusqlite::{Connection, Transaction, params};
use tenantry_proto::v1;
use tenantry_types::{EventDetail, Incarnation, ReportSequence, ReportedEvent};

use super::batch::{Batch, NewEvent};
use super::pending::Position;
use super::schema::{self, blob, signed};
use super::subject::Key;

/// What a transaction does to the outbox, worked out before anything is written.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) inserts: BTreeMap<Position, v1::ReportedEvent>,
    pub(super) deletes: Vec<Position>,
    /// Newest states that give way: by key, where they are on disk, or what they are.
    pub(super) displaced: BTreeMap<Key, Displaced>,
    /// Told from now on, or superseded.
    pub(super) reported: BTreeSet<Key>,
    pub(super) superseded: u64,
    pub(super) dropped: u64,
}

pub(super) enum Displaced {
    Written(Position),
    New(v1::ReportedEvent),
}

impl Plan {
    /// Writes it, and what goes with it: all of it, or nothing.
    pub(super) fn write(
        &self,
        connection: &mut Connection,
        incarnation: Incarnation,
        unreported: &BTreeSet<Key>,
        also: impl FnOnce(&Transaction<'_>) -> Result<(), rusqlite::Error>,
    ) -> Result<(), rusqlite::Error> {
        let transaction = connection.transaction()?;
        for (key, displaced) in &self.displaced {
            match displaced {
                Displaced::Written(position) => transaction
                    .prepare_cached(
                        "INSERT OR REPLACE INTO unreported (tenant, subject, event)
                         SELECT ?, ?, event FROM pending WHERE position = ?",
                    )?
                    .execute(params![blob(key.0), key.1.number(), signed(*position)])?,
                Displaced::New(event) => transaction
                    .prepare_cached("INSERT OR REPLACE INTO unreported (tenant, subject, event) VALUES (?, ?, ?)")?
                    .execute(params![blob(key.0), key.1.number(), event.encode_to_vec()])?,
            };
        }
        for position in &self.deletes {
            transaction
                .prepare_cached("DELETE FROM pending WHERE position = ?")?
                .execute([signed(*position)])?;
        }
        for (position, event) in &self.inserts {
            transaction
                .prepare_cached("INSERT INTO pending (position, incarnation, sequence, event) VALUES (?, ?, ?, ?)")?
                .execute(params![
                    signed(*position),
                    signed(incarnation.get()),
                    signed(event.sequence),
                    event.encode_to_vec()
                ])?;
        }
        for key in self.reported.intersection(unreported) {
            transaction
                .prepare_cached("DELETE FROM unreported WHERE tenant = ? AND subject = ?")?
                .execute(params![blob(key.0), key.1.number()])?;
        }
        also(&transaction)?;
        transaction.commit()
    }
}

/// What the batch says of the state, apart from the events that tell of it.
pub(super) fn write_state(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), rusqlite::Error> {
    // First what is over: a tenant may have come back since.
    for tenant in &batch.measured_anew {
        transaction
            .prepare_cached("DELETE FROM raised WHERE tenant = ?")?
            .execute([blob(Some(*tenant))])?;
    }
    for tenant in &batch.gone {
        for table in ["raised", "unreported", "class", "hours"] {
            let statement = format!("DELETE FROM {table} WHERE tenant = ?");
            transaction.prepare_cached(&statement)?.execute([blob(Some(*tenant))])?;
        }
    }
    for event in &batch.events {
        let encoded = encoded(event);
        let Some(entry) = schema::entry_of(&encoded) else {
            continue;
        };
        match &event.detail {
            EventDetail::ConfigRefused { .. } => schema::write_fact(transaction, schema::CONFIG_REFUSED, 1)?,
            EventDetail::ConfigAccepted => schema::write_fact(transaction, schema::CONFIG_REFUSED, 0)?,
            _ => schema::write_raised(transaction, entry.key, &encoded)?,
        }
    }
    for (tenant, record) in &batch.classes {
        schema::write_class(transaction, *tenant, *record)?;
    }
    for (tenant, hours) in &batch.hours {
        schema::write_hours(transaction, Some(*tenant), hours)?;
    }
    if let Some(served) = &batch.served {
        schema::write_hours(transaction, None, served)?;
    }
    Ok(())
}

/// As it is kept, but for its number.
pub(super) fn encoded(event: &NewEvent) -> v1::ReportedEvent {
    v1::ReportedEvent::from(&ReportedEvent {
        sequence: ReportSequence::ZERO,
        occurred_at: event.occurred_at,
        tenant: event.tenant,
        epoch: event.epoch,
        detail: event.detail.clone(),
    })
}
