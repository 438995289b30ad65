//! Sends raft-rs's own log lines, which it writes through slog, to tracing.

use std::fmt::{self, Write as _};

use slog::{Drain, Logger, OwnedKVList, Record, Serializer};

/// The logger handed to raft-rs.
pub(super) fn logger() -> Logger {
    Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, _values: &OwnedKVList) -> Result<(), slog::Never> {
        let level = record.level();
        if !self.is_enabled(level) {
            return Ok(());
        }
        let mut fields = Fields(String::new());
        // Writing into a string cannot fail.
        let _ = slog::KV::serialize(&record.kv(), record, &mut fields);
        let message = record.msg();
        let fields = fields.0;
        match level {
            slog::Level::Critical | slog::Level::Error => tracing::error!(target: "raft", "{message}{fields}"),
            slog::Level::Warning => tracing::warn!(target: "raft", "{message}{fields}"),
            slog::Level::Info => tracing::info!(target: "raft", "{message}{fields}"),
            slog::Level::Debug => tracing::debug!(target: "raft", "{message}{fields}"),
            slog::Level::Trace => tracing::trace!(target: "raft", "{message}{fields}"),
        }
        Ok(())
    }

    fn is_enabled(&self, level: slog::Level) -> bool {
        match level {
            slog::Level::Critical | slog::Level::Error => tracing::enabled!(target: "raft", tracing::Level::ERROR),
            slog::Level::Warning => tracing::enabled!(target: "raft", tracing::Level::WARN),
            slog::Level::Info => tracing::enabled!(target: "raft", tracing::Level::INFO),
            slog::Level::Debug => tracing::enabled!(target: "raft", tracing::Level::DEBUG),
            slog::Level::Trace => tracing::enabled!(target: "raft", tracing::Level::TRACE),
        }
    }
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, " {key}={value}")?;
        Ok(())
    }
}
