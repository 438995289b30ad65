//! The log with its neighbours: files that fail and forget, and real SQLite.

mod crashes;
mod damage;
mod forgetful_disk;
mod format;
mod groups;
mod headers;
mod quarantine;
mod ring;
mod simulated_wal;
mod sqlite;
mod support;
mod torn;
