//! The tables of `outbox.db`: how they are made and what is read of them at the start.
//!
//! `pending` is the outbox; an older version has it alone. `raised`, `class` and `hours` are what is known of tenants,
//! `unreported` is the newest state of what had to give way in a full outbox, `fact` is what is known of the node.

use std::path::{Path, PathBuf};

use prost::Message as _;
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Row, params};
use tenantry_proto::v1;
use tenantry_types::{Epoch, Incarnation, ReportSequence, Severity, TenantUid, Tier, UnixMillis};

use super::batch::Record;
use super::pending::{Entry, Pending, Position};
use super::subject::{Key, Subject, is_raised};
use crate::conditions::{ClassRecord, Fall, HourRing};

const TABLES: &str = "
    BEGIN;
    CREATE TABLE IF NOT EXISTS pending (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        incarnation INTEGER NOT NULL,
        sequence INTEGER NOT NULL,
        event BLOB NOT NULL,
        UNIQUE (incarnation, sequence)
    ) STRICT;
    CREATE TABLE IF NOT EXISTS raised (
        tenant BLOB NOT NULL,
        condition INTEGER NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (tenant, condition)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS unreported (
        tenant BLOB NOT NULL,
        subject INTEGER NOT NULL,
        event BLOB NOT NULL,
        PRIMARY KEY (tenant, subject)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS class (
        tenant BLOB PRIMARY KEY,
        class INTEGER NOT NULL,
        fall_since INTEGER,
        fall_highest INTEGER
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS hours (
        tenant BLOB PRIMARY KEY,
        requests BLOB NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS fact (
        name TEXT PRIMARY KEY,
        value INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    COMMIT;";

/// The start that began this record.
pub(super) const RECORD_SINCE: &str = "record_since";
/// Whether it was told last that records are refused: 1 or 0.
pub(super) const CONFIG_REFUSED: &str = "config_refused";
/// The log is cut back to this after it was longer.
const WAL_BYTES: u32 = 4 << 20;

/// Opens the file, or makes it. A file that SQLite cannot read is set aside under another name, in the place of one that was
/// set aside before: what it held is lost, and the record begins anew.
pub(super) fn open_or_set_aside(path: &Path) -> Result<Connection, rusqlite::Error> {
    match open(path) {
        Err(error) if is_damage(&error) => {
            let aside = beside(path, ".damaged");
            tracing::error!(
                %error,
                path = %path.display(),
                aside = %aside.display(),
                "the outbox is damaged and set aside: undelivered events are lost, and what is raised is found out anew"
            );
            metrics::counter!("tenantry_node_outbox_damaged_total").increment(1);
            set_aside(path, &aside).map_err(|error| {
                tracing::error!(%error, "the damaged outbox cannot be set aside");
                rusqlite::Error::InvalidPath(aside)
            })?;
            open(path)
        }
        opened => opened,
    }
}

fn open(path: &Path) -> Result<Connection, rusqlite::Error> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "journal_size_limit", WAL_BYTES)?;
    connection.execute_batch(TABLES)?;
    // The file is small; damage that is found later could no longer be told from a disk that does not work.
    let verdict: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let damage = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(damage, Some(verdict)));
    }
    Ok(connection)
}

fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

fn set_aside(path: &Path, aside: &Path) -> std::io::Result<()> {
    for companion in ["-wal", "-shm"] {
        match std::fs::remove_file(beside(path, companion)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    std::fs::rename(path, aside)
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Everything that waits, and the position after it. Events that nobody can read are removed.
pub(super) fn read_pending(connection: &Connection) -> Result<(Pending, Position), rusqlite::Error> {
    let mut pending = Pending::default();
    let (mut last, mut unreadable) = (0, Vec::new());
    let mut statement =
        connection.prepare("SELECT position, incarnation, sequence, event FROM pending ORDER BY position")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        last = row.get::<_, i64>(0)?.cast_unsigned();
        match read_entry(row)? {
            Some((entry, _)) => pending.push(last, entry),
            None => unreadable.push(last),
        }
    }
    for position in &unreadable {
        connection.execute("DELETE FROM pending WHERE position = ?", [signed(*position)])?;
    }
    if !unreadable.is_empty() {
        metrics::counter!("tenantry_node_events_dropped_total").increment(unreadable.len() as u64);
        tracing::error!(
            events = unreadable.len(),
            "events in the outbox do not parse and are dropped"
        );
    }
    Ok((pending, last + 1))
}

fn read_entry(row: &Row<'_>) -> Result<Option<(Entry, v1::ReportedEvent)>, rusqlite::Error> {
    let encoded = row.get_ref(3)?.as_blob()?;
    let Ok(event) = v1::ReportedEvent::decode(encoded) else {
        return Ok(None);
    };
    let Some(mut entry) = entry_of(&event) else {
        return Ok(None);
    };
    entry.incarnation = Incarnation(row.get::<_, i64>(1)?.cast_unsigned());
    entry.sequence = ReportSequence(row.get::<_, i64>(2)?.cast_unsigned());
    Ok(Some((entry, event)))
}

/// What is known of an event, but for its number.
pub(super) fn entry_of(event: &v1::ReportedEvent) -> Option<Entry> {
    let subject = Subject::of(event)?;
    let tenant = match event.tenant_uid.as_str() {
        "" => None,
        uid => Some(uid.parse().ok()?),
    };
    let detail = tenantry_types::EventDetail::try_from(event.detail.clone()?).ok()?;
    Some(Entry {
        incarnation: Incarnation(0),
        sequence: ReportSequence(event.sequence),
        key: (tenant, subject),
        info: detail.severity() == Severity::Info,
        dropped: match detail {
            tenantry_types::EventDetail::EventsDropped { count } => count,
            _ => 0,
        },
    })
}

/// The start that began the record; `incarnation` if there was none. A file of an older version says of conditions only what
/// still waits in it: that is where its record begins.
pub(super) fn begin_record(
    connection: &mut Connection,
    incarnation: Incarnation,
) -> Result<Incarnation, rusqlite::Error> {
    if let Some(since) = fact(connection, RECORD_SINCE)? {
        return Ok(Incarnation(since.cast_unsigned()));
    }
    let transaction = connection.transaction()?;
    {
        let mut statement =
            transaction.prepare("SELECT position, incarnation, sequence, event FROM pending ORDER BY position")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            if let Some((entry, event)) = read_entry(row)? {
                write_raised(&transaction, entry.key, &event)?;
            }
        }
    }
    write_fact(&transaction, RECORD_SINCE, signed(incarnation.get()))?;
    transaction.commit()?;
    Ok(incarnation)
}

/// Keeps what an event says of a condition.
pub(super) fn write_raised(
    connection: &Connection,
    key: Key,
    event: &v1::ReportedEvent,
) -> Result<(), rusqlite::Error> {
    let (Some(tenant), Subject::Condition(_)) = key else {
        return Ok(());
    };
    if is_raised(event) {
        connection
            .prepare_cached("INSERT OR REPLACE INTO raised (tenant, condition, event) VALUES (?, ?, ?)")?
            .execute(params![blob(Some(tenant)), key.1.number(), event.encode_to_vec()])?;
    } else {
        connection
            .prepare_cached("DELETE FROM raised WHERE tenant = ? AND condition = ?")?
            .execute(params![blob(Some(tenant)), key.1.number()])?;
    }
    Ok(())
}

/// What is on record of tenants and of the node.
pub(super) fn read_record(connection: &Connection) -> Result<Record, rusqlite::Error> {
    let mut record = Record {
        config_refused: fact(connection, CONFIG_REFUSED)?.is_some_and(|refused| refused != 0),
        ..Record::default()
    };
    let mut statement = connection.prepare("SELECT tenant, condition, event FROM raised")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let (Some(tenant), Some(condition)) = (tenant(row)?, Subject::condition(row.get(1)?)) {
            let kept = record.tenants.entry(tenant).or_default();
            kept.raised.push(condition);
            let event = v1::ReportedEvent::decode(row.get_ref(2)?.as_blob()?).ok();
            kept.epoch = event
                .map(|event| Epoch(event.epoch))
                .filter(|epoch| *epoch != Epoch::ZERO);
        }
    }
    let mut statement = connection.prepare("SELECT tenant, class, fall_since, fall_highest FROM class")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let (Some(tenant), Some(class)) = (tenant(row)?, tier(row.get(1)?)) {
            let since: Option<i64> = row.get(2)?;
            let highest = row.get::<_, Option<i64>>(3)?.and_then(tier);
            let fall = since.zip(highest).map(|(since, highest)| Fall {
                since: UnixMillis(since.cast_unsigned()),
                highest,
            });
            record.tenants.entry(tenant).or_default().class = Some(ClassRecord { class, fall });
        }
    }
    let mut statement = connection.prepare("SELECT tenant, requests FROM hours")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let Some(hours) = HourRing::from_bytes(row.get_ref(1)?.as_blob()?) else {
            continue;
        };
        match tenant(row)? {
            Some(tenant) => record.tenants.entry(tenant).or_default().hours = Some(hours),
            None => record.served = Some(hours),
        }
    }
    Ok(record)
}

/// The words by which what is raised of `tenant` was told.
pub(super) fn raised_of(connection: &Connection, tenant: TenantUid) -> Result<Vec<v1::ReportedEvent>, rusqlite::Error> {
    let query = "SELECT event FROM raised WHERE tenant = ? ORDER BY condition";
    read_events(connection, query, [blob(Some(tenant))])
}

/// The events that `query` selects, one column a row.
pub(super) fn read_events(
    connection: &Connection,
    query: &str,
    parameters: impl rusqlite::Params,
) -> Result<Vec<v1::ReportedEvent>, rusqlite::Error> {
    let mut statement = connection.prepare_cached(query)?;
    let rows = statement.query_map(parameters, |row| row.get::<_, Vec<u8>>(0))?;
    let mut events = Vec::new();
    for encoded in rows {
        match v1::ReportedEvent::decode(encoded?.as_slice()) {
            Ok(event) => events.push(event),
            Err(error) => tracing::error!(%error, "what is on record does not parse and is skipped"),
        }
    }
    Ok(events)
}

pub(super) fn write_class(
    connection: &Connection,
    tenant: TenantUid,
    record: ClassRecord,
) -> Result<(), rusqlite::Error> {
    let number = |tier: Tier| Tier::ALL.iter().position(|known| *known == tier).unwrap_or(0) as u64;
    connection
        .prepare_cached("INSERT OR REPLACE INTO class (tenant, class, fall_since, fall_highest) VALUES (?, ?, ?, ?)")?
        .execute(params![
            blob(Some(tenant)),
            signed(number(record.class)),
            record.fall.map(|fall| signed(fall.since.0)),
            record.fall.map(|fall| signed(number(fall.highest))),
        ])?;
    Ok(())
}

/// Those of the node where there is no tenant.
pub(super) fn write_hours(
    connection: &Connection,
    tenant: Option<TenantUid>,
    hours: &HourRing,
) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO hours (tenant, requests) VALUES (?, ?)")?
        .execute(params![blob(tenant), hours.to_bytes()])?;
    Ok(())
}

fn fact(connection: &Connection, name: &str) -> Result<Option<i64>, rusqlite::Error> {
    connection
        .query_row("SELECT value FROM fact WHERE name = ?", [name], |row| row.get(0))
        .optional()
}

pub(super) fn write_fact(connection: &Connection, name: &str, value: i64) -> Result<(), rusqlite::Error> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO fact (name, value) VALUES (?, ?)")?
        .execute(params![name, value])?;
    Ok(())
}

fn tier(number: i64) -> Option<Tier> {
    Tier::ALL.get(usize::try_from(number).ok()?).copied()
}

fn tenant(row: &Row<'_>) -> Result<Option<TenantUid>, rusqlite::Error> {
    let bytes = row.get_ref(0)?.as_blob()?;
    Ok(bytes
        .try_into()
        .ok()
        .map(|bytes| TenantUid::from_u128(u128::from_be_bytes(bytes))))
}

/// The node itself has no bytes.
pub(super) fn blob(tenant: Option<TenantUid>) -> Vec<u8> {
    tenant.map_or_else(Vec::new, |tenant| tenant.as_u128().to_be_bytes().to_vec())
}

/// SQLite's integers are signed; our counters stay far below the sign bit.
pub(super) const fn signed(value: u64) -> i64 {
    value.cast_signed()
}
