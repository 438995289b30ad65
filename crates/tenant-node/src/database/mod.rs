//! Tenants' SQLite databases: opening and closing them, running statements within limits, measuring what they cost.
//!
//! A request takes a [`TenantLease`] from [`Databases`], opens a [`Session`] on it and runs statements on one of the
//! database threads. This module must not know HTTP or Hrana: it takes SQL and values, and hands rows to a [`RowSink`].

mod access_policy;
mod checkpoint;
mod config;
mod connection;
mod databases;
mod descriptors;
mod durability;
mod error;
mod figures;
mod functions;
mod memory;
mod quarantine;
mod raw_sqlite;
mod refused;
mod schedule;
mod session;
mod split;
mod statement;
mod statements;
mod storage_limit;
mod tenant;
mod unsynced_frames;
mod wal_format;
mod write_group;

pub use config::{Clock, DatabasesConfig};
pub use databases::{Databases, TenantLease};
pub use durability::Settlement;
pub use error::{DatabaseError, StartError, StatementError};
pub use figures::{DatabaseCounters, DatabaseFigures};
pub use raw_sqlite::write_history::WriteHistory;
pub use refused::RefusedStatements;
pub use schedule::{is_errand, runs_long, while_waiting};
pub use session::{ActiveSession, Attempt, Cancellation, Session, StatementLimits, WriteTurn};
pub use split::{first_statement, is_rollback, is_single_read, is_single_write};
pub use statement::{
    Arguments, Column, Description, MOST_PARAMETERS, ResultTooLarge, RowSink, StatementSummary, is_too_long,
};
pub use statements::Statements;
pub use write_group::{GroupOutcome, GroupedWork};
