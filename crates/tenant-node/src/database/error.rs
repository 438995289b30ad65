//! What can go wrong, by place: starting, reaching a tenant's database, running one statement.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::{ErrorCode, ffi};

use super::statement::MOST_SQL_BYTES;

/// The node cannot start its database layer.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Older libraries can corrupt a write-ahead log.
    #[error("the SQLite library is version {found}, but at least {required} is needed")]
    OutdatedSqlite {
        /// The version that is linked.
        found: &'static str,
        /// The oldest that is accepted.
        required: &'static str,
    },
    /// The data folder cannot be made or found.
    #[error("cannot use the data folder {path}")]
    DataDir {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The node's log cannot be read or made.
    #[error("cannot use the node's log")]
    Log(#[source] node_log::OpenError),
    /// A thread could not be started.
    #[error("cannot start a database thread")]
    Thread(#[source] std::io::Error),
}

/// A tenant's database cannot be reached at all. Statements have their own errors, [`StatementError`].
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A shortage of the node's own; a retry can succeed.
    #[error("the node has no free {what} for this request")]
    Overloaded {
        /// What ran short.
        what: &'static str,
        /// When to try again.
        retry_after: Duration,
    },
    /// The node is stopping.
    #[error("the node is stopping")]
    Stopping,
    /// The file is not a database, or a damaged one. Other tenants are not affected.
    #[error("the database file is damaged: {0}")]
    Damaged(#[source] rusqlite::Error),
    /// The tenant's own log does not hold what was acknowledged. Not opened before an operator has decided; other tenants are not affected.
    #[error("the database is in quarantine, and the mark {} says what to do: {why}", .mark.display())]
    Quarantined {
        /// The file that keeps the database from being opened.
        mark: PathBuf,
        /// Why, for an operator.
        why: String,
    },
    /// Whether the tenant is in quarantine cannot be read.
    #[error("the tenant's folder cannot be searched for a mark: {0}")]
    Mark(#[source] std::io::Error),
    /// The disk or the file system failed.
    #[error("the database file cannot be opened: {0}")]
    Open(#[source] rusqlite::Error),
    /// The tenant's folder cannot be made.
    #[error("the tenant's folder cannot be made: {0}")]
    Folder(#[source] std::io::Error),
    /// What an earlier process left in the write-ahead log cannot be made durable.
    #[error("the write-ahead log cannot be synced: {0}")]
    Log(#[source] std::io::Error),
    /// The code that ran the statements panicked; the connection was thrown away.
    #[error("the request failed inside the node")]
    Crashed,
}

impl DatabaseError {
    pub(super) fn opening(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Damaged(error),
            _ => Self::Open(error),
        }
    }
}

/// One statement failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StatementError {
    /// SQLite could not read the text.
    #[error("SQL input error: {message} (at offset {offset})")]
    Syntax {
        /// SQLite's words.
        message: String,
        /// Bytes from the start of the text.
        offset: i32,
    },
    /// The text holds no statement.
    #[error("SQL string does not contain any statement")]
    NoStatement,
    /// The text holds more than one.
    #[error("SQL string contains more than one statement")]
    ManyStatements,
    /// Arguments and parameters do not match.
    #[error("Arguments do not match SQL parameters: {0}")]
    Arguments(String),
    /// SQLite reported an error.
    #[error("SQLite error: {message}")]
    Sqlite {
        /// The result code, extended where that says more: `SQLITE_CONSTRAINT_UNIQUE`, `SQLITE_ERROR`.
        code: &'static str,
        /// SQLite's words.
        message: String,
    },
    /// The statement is not available to tenants.
    #[error("{0}")]
    Refused(String),
    /// The caller may only read.
    #[error("the access token allows reading only, and this statement writes")]
    ReadOnlyAccess,
    /// The write needed more pages than the tenant's quota has.
    #[error(
        "storage quota exceeded: the database has {used_bytes} bytes of at most {limit_bytes}; \
         reading, DELETE, DROP and VACUUM still work"
    )]
    StorageQuotaExceeded {
        /// Bytes of the database after the statement was undone.
        used_bytes: u64,
        /// The quota.
        limit_bytes: u64,
    },
    /// The statement ran longer than the tenant's quota allows.
    #[error("the statement was stopped: it ran longer than the limit of {limit_ms} ms (query_time_ms)")]
    QueryTime {
        /// The quota, in milliseconds.
        limit_ms: u64,
    },
    /// The answer would be larger than the tenant's quota allows.
    #[error("the result was cut off: it is larger than the limit of {limit_bytes} bytes (result_bytes)")]
    ResultTooLarge {
        /// The quota.
        limit_bytes: u64,
    },
    /// Another write transaction of the same tenant did not end in time.
    #[error("another write transaction of this database did not end within {waited_ms} ms")]
    WriterBusy {
        /// How long this statement waited, in milliseconds.
        waited_ms: u64,
    },
    /// The write-ahead log is as long as it may be.
    #[error(
        "the write-ahead log has {wal_bytes} bytes of at most {limit_bytes}: end the transactions that have been open for long, \
         reading ones too, or write less in one"
    )]
    LogFull {
        /// Its length.
        wal_bytes: u64,
        /// Its limit.
        limit_bytes: u64,
    },
    /// There was no place to begin with it, after others of its request were carried out.
    #[error("{message}; nothing of this statement was carried out")]
    NotBegun {
        /// What a refusal of the whole request would be called.
        code: &'static str,
        /// Why.
        message: String,
    },
    /// The caller went away.
    #[error("the request was cancelled")]
    Cancelled,
    /// The node's disk is full or failing: not the tenant's fault.
    #[error("the node's disk failed: {message}")]
    Disk {
        /// SQLite's words.
        message: String,
    },
    /// The database file is damaged.
    #[error("the database file is damaged: {message}")]
    Damaged {
        /// SQLite's words.
        message: String,
    },
}

impl StatementError {
    /// The machine-readable code, with the names that libSQL clients know.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "SQL_INPUT_ERROR",
            Self::NoStatement => "SQL_NO_STATEMENT",
            Self::ManyStatements => "SQL_MANY_STATEMENTS",
            Self::Arguments(_) => "ARGS_INVALID",
            Self::Sqlite { code, .. } | Self::NotBegun { code, .. } => code,
            Self::Refused(_) => "SQLITE_AUTH",
            Self::ReadOnlyAccess => "SQLITE_READONLY",
            Self::StorageQuotaExceeded { .. } => "SQLITE_FULL",
            Self::QueryTime { .. } | Self::Cancelled => "SQLITE_INTERRUPT",
            Self::ResultTooLarge { .. } => "RESPONSE_TOO_LARGE",
            Self::WriterBusy { .. } | Self::LogFull { .. } => "SQLITE_BUSY",
            Self::Disk { .. } => "SQLITE_IOERR",
            Self::Damaged { .. } => "SQLITE_CORRUPT",
        }
    }

    /// Whether it is no matter of this statement alone, so that the caller should be told before all else.
    #[must_use]
    pub const fn decides_answer(&self) -> bool {
        matches!(
            self,
            Self::StorageQuotaExceeded { .. } | Self::Disk { .. } | Self::Damaged { .. }
        )
    }

    /// A text of so many bytes that SQLite does not take it.
    #[must_use]
    pub fn too_long(bytes: usize) -> Self {
        Self::Sqlite {
            code: "SQLITE_TOOBIG",
            message: format!("statement too long: {bytes} bytes of SQL, at most {MOST_SQL_BYTES} are taken"),
        }
    }

    /// A statement that was not begun, since its database could not be reached.
    pub(super) fn not_begun(error: &DatabaseError) -> Self {
        let message = error.to_string();
        match error {
            DatabaseError::Overloaded { .. } => Self::NotBegun {
                code: "OVERLOADED",
                message,
            },
            DatabaseError::Stopping => Self::NotBegun {
                code: "STOPPING",
                message,
            },
            DatabaseError::Crashed => Self::NotBegun {
                code: "INTERNAL",
                message,
            },
            // Their words name files of the node.
            DatabaseError::Damaged(_) => Self::Damaged {
                message: "the database is damaged".to_owned(),
            },
            DatabaseError::Quarantined { .. }
            | DatabaseError::Mark(_)
            | DatabaseError::Open(_)
            | DatabaseError::Folder(_)
            | DatabaseError::Log(_) => Self::Disk {
                message: "the database cannot be opened".to_owned(),
            },
        }
    }

    /// The same of a script of which so many bytes were carried out before: whoever sends all of it again does that twice.
    #[must_use]
    pub fn after_part_of_script(self, bytes: usize) -> Self {
        match self {
            Self::NotBegun { message, .. } if bytes > 0 => Self::Sqlite {
                code: "SCRIPT_CUT_SHORT",
                message: format!("{message}; the first {bytes} bytes of the script were carried out, the rest was not"),
            },
            other => other,
        }
    }

    /// An error of SQLite that has no meaning of its own here.
    pub(super) fn from_sqlite(error: &rusqlite::Error) -> Self {
        match error {
            rusqlite::Error::MultipleStatement => Self::ManyStatements,
            rusqlite::Error::SqlInputError { msg, offset, .. } => Self::Syntax {
                message: msg.clone(),
                offset: *offset,
            },
            rusqlite::Error::SqliteFailure(failure, message) => {
                let message = message.clone().unwrap_or_else(|| failure.to_string());
                match failure.code {
                    ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Damaged { message },
                    ErrorCode::SystemIoFailure | ErrorCode::CannotOpen => Self::Disk { message },
                    code => Self::Sqlite {
                        code: extended_name(failure.extended_code).unwrap_or_else(|| code_name(code)),
                        message,
                    },
                }
            }
            other => Self::Sqlite {
                code: "SQLITE_ERROR",
                message: other.to_string(),
            },
        }
    }
}

/// The names of extended codes by which a client can decide what to do. Others keep their primary code.
const fn extended_name(code: i32) -> Option<&'static str> {
    Some(match code {
        ffi::SQLITE_CONSTRAINT_CHECK => "SQLITE_CONSTRAINT_CHECK",
        ffi::SQLITE_CONSTRAINT_COMMITHOOK => "SQLITE_CONSTRAINT_COMMITHOOK",
        ffi::SQLITE_CONSTRAINT_DATATYPE => "SQLITE_CONSTRAINT_DATATYPE",
        ffi::SQLITE_CONSTRAINT_FOREIGNKEY => "SQLITE_CONSTRAINT_FOREIGNKEY",
        ffi::SQLITE_CONSTRAINT_FUNCTION => "SQLITE_CONSTRAINT_FUNCTION",
        ffi::SQLITE_CONSTRAINT_NOTNULL => "SQLITE_CONSTRAINT_NOTNULL",
        ffi::SQLITE_CONSTRAINT_PINNED => "SQLITE_CONSTRAINT_PINNED",
        ffi::SQLITE_CONSTRAINT_PRIMARYKEY => "SQLITE_CONSTRAINT_PRIMARYKEY",
        ffi::SQLITE_CONSTRAINT_ROWID => "SQLITE_CONSTRAINT_ROWID",
        ffi::SQLITE_CONSTRAINT_TRIGGER => "SQLITE_CONSTRAINT_TRIGGER",
        ffi::SQLITE_CONSTRAINT_UNIQUE => "SQLITE_CONSTRAINT_UNIQUE",
        ffi::SQLITE_CONSTRAINT_VTAB => "SQLITE_CONSTRAINT_VTAB",
        ffi::SQLITE_BUSY_SNAPSHOT => "SQLITE_BUSY_SNAPSHOT",
        ffi::SQLITE_ABORT_ROLLBACK => "SQLITE_ABORT_ROLLBACK",
        _ => return None,
    })
}

const fn code_name(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::InternalMalfunction => "SQLITE_INTERNAL",
        ErrorCode::PermissionDenied => "SQLITE_PERM",
        ErrorCode::OperationAborted => "SQLITE_ABORT",
        ErrorCode::DatabaseBusy => "SQLITE_BUSY",
        ErrorCode::DatabaseLocked => "SQLITE_LOCKED",
        ErrorCode::OutOfMemory => "SQLITE_NOMEM",
        ErrorCode::ReadOnly => "SQLITE_READONLY",
        ErrorCode::OperationInterrupted => "SQLITE_INTERRUPT",
        ErrorCode::NotFound => "SQLITE_NOTFOUND",
        ErrorCode::DiskFull => "SQLITE_FULL",
        ErrorCode::FileLockingProtocolFailed => "SQLITE_PROTOCOL",
        ErrorCode::SchemaChanged => "SQLITE_SCHEMA",
        ErrorCode::TooBig => "SQLITE_TOOBIG",
        ErrorCode::ConstraintViolation => "SQLITE_CONSTRAINT",
        ErrorCode::TypeMismatch => "SQLITE_MISMATCH",
        ErrorCode::ApiMisuse => "SQLITE_MISUSE",
        ErrorCode::AuthorizationForStatementDenied => "SQLITE_AUTH",
        ErrorCode::ParameterOutOfRange => "SQLITE_RANGE",
        _ => "SQLITE_ERROR",
    }
}
