//! What a client asks for, in whatever encoding it was sent.

use std::borrow::Cow;

use rusqlite::types::Value;

use super::batch::Condition;
use crate::database::{Arguments, is_rollback, is_single_read, is_single_write, is_too_long};

/// A body that is not a request of the protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed {
    /// Where, as `requests[0].stmt.args[1].value`. `.` for the whole body.
    pub(super) field: String,
    pub(super) reason: String,
}

/// Requests on a stream, each with a result of its own.
#[derive(Debug, PartialEq)]
pub(super) struct Pipeline {
    pub(super) baton: Option<String>,
    pub(super) requests: Vec<StreamRequest>,
}

/// A batch whose results are read entry by entry.
#[derive(Debug, PartialEq)]
pub(super) struct Cursor {
    pub(super) baton: Option<String>,
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, PartialEq)]
pub(super) enum StreamRequest {
    Close,
    Execute(Stmt),
    Batch(Vec<Step>),
    Sequence(Sql),
    Describe(Sql),
    StoreSql { id: i32, sql: String },
    CloseSql { id: i32 },
    GetAutocommit,
}

#[derive(Debug, PartialEq)]
pub(super) enum Sql {
    Text(String),
    Stored(i32),
    /// A text that SQLite would refuse for its length, of which nothing was kept.
    TooLong {
        bytes: usize,
    },
}

#[derive(Debug, PartialEq)]
pub(super) struct Stmt {
    pub(super) sql: Sql,
    pub(super) arguments: Arguments,
    pub(super) rows: Rows,
}

/// Whether rows belong into the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Wanted,
    Unwanted,
}

#[derive(Debug, PartialEq)]
pub(super) struct Step {
    pub(super) condition: Option<Condition>,
    pub(super) stmt: Stmt,
}

/// What a pipeline looks like. Found out where it is read, since a look through long texts takes long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PipelineLooks {
    pub(super) leaves: Leaves,
    /// Whether its first statement is a ROLLBACK.
    pub(super) begins_with_rollback: bool,
}

/// What a cursor looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CursorLooks {
    pub(super) leaves: Leaves,
    /// Whether its first statement is a ROLLBACK.
    pub(super) begins_with_rollback: bool,
    /// Whether it reads and does nothing else.
    pub(super) only_reads: bool,
}

/// What a request can leave behind in its stream, by its looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Nothing that does not fit into a baton.
    Nothing,
    /// A transaction, temporary objects, stored SQL.
    State,
}

impl Leaves {
    fn state_unless(is_harmless: bool) -> Self {
        if is_harmless { Self::Nothing } else { Self::State }
    }
}

impl Pipeline {
    /// The same, with its looks.
    pub(super) fn looked_at(self) -> (Self, PipelineLooks) {
        let looks = PipelineLooks {
            leaves: self.leaves(),
            begins_with_rollback: self.begins_with_rollback(),
        };
        (self, looks)
    }

    fn begins_with_rollback(&self) -> bool {
        let sql = match self.requests.first() {
            Some(StreamRequest::Execute(stmt)) => Some(&stmt.sql),
            Some(StreamRequest::Batch(steps)) => steps.first().map(|step| &step.stmt.sql),
            Some(StreamRequest::Sequence(sql)) => Some(sql),
            _ => None,
        };
        sql.is_some_and(Sql::is_rollback)
    }

    fn leaves(&self) -> Leaves {
        let is_harmless = |request: &StreamRequest| match request {
            StreamRequest::Execute(stmt) => stmt.sql.is_of_rows(),
            StreamRequest::Batch(steps) => steps.iter().all(|step| step.stmt.sql.is_of_rows()),
            // To look at a statement is to compile it, which carries out some pragmas.
            StreamRequest::Describe(sql) => sql.is_of_rows(),
            StreamRequest::CloseSql { .. } | StreamRequest::GetAutocommit | StreamRequest::Close => true,
            StreamRequest::Sequence(_) | StreamRequest::StoreSql { .. } => false,
        };
        let closes = self.requests.contains(&StreamRequest::Close);
        Leaves::state_unless(closes || self.requests.iter().all(is_harmless))
    }
}

impl Cursor {
    /// The same, with its looks.
    pub(super) fn looked_at(self) -> (Self, CursorLooks) {
        let looks = CursorLooks {
            leaves: self.leaves(),
            begins_with_rollback: self.steps.first().is_some_and(|step| step.stmt.sql.is_rollback()),
            only_reads: self.steps.iter().all(|step| step.stmt.sql.is_read()),
        };
        (self, looks)
    }

    fn leaves(&self) -> Leaves {
        let is_harmless = |step: &Step| step.stmt.sql.is_of_rows();
        Leaves::state_unless(self.steps.iter().all(is_harmless))
    }
}

impl Malformed {
    pub(super) fn new(field: impl Into<String>, reason: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: reason.into(),
        }
    }

    /// The structure at `path` lacks a field.
    pub(super) fn missing(path: &str, field: &str) -> Self {
        Self::new(field, "is missing").within(path)
    }

    /// The same, told by somebody around the structure at `path`.
    pub(super) fn within(mut self, path: &str) -> Self {
        self.field = match self.field.as_str() {
            "." => path.to_owned(),
            field => format!("{path}.{field}"),
        };
        self
    }
}

impl Sql {
    /// A script of any number of statements. Exactly one of the two must be given.
    pub(super) fn of_script(text: Option<Cow<'_, str>>, id: Option<i32>) -> Result<Self, Malformed> {
        Self::new(text, id, |text| Self::Text(text.into_owned()))
    }

    /// A text that is compiled as one. Exactly one of the two must be given.
    pub(super) fn of_statement(text: Option<Cow<'_, str>>, id: Option<i32>) -> Result<Self, Malformed> {
        Self::new(text, id, |text| {
            if is_too_long(&text) {
                return Self::TooLong { bytes: text.len() };
            }
            Self::Text(text.into_owned())
        })
    }

    /// Of a stored text nothing is known here.
    fn is_rollback(&self) -> bool {
        matches!(self, Self::Text(sql) if is_rollback(sql))
    }

    fn new(
        text: Option<Cow<'_, str>>,
        id: Option<i32>,
        keep: impl FnOnce(Cow<'_, str>) -> Self,
    ) -> Result<Self, Malformed> {
        match (text, id) {
            (Some(text), None) => Ok(keep(text)),
            (None, Some(id)) => Ok(Self::Stored(id)),
            (None, None) => Err(Malformed::new("sql", "is missing: give `sql` or `sql_id`")),
            (Some(_), Some(_)) => Err(Malformed::new("sql_id", "cannot stand beside `sql`")),
        }
    }

    /// Whether it only reads. Of a stored text nothing is known here.
    fn is_read(&self) -> bool {
        matches!(self, Self::Text(sql) if is_single_read(sql))
    }

    /// Whether it only reads or writes rows.
    fn is_of_rows(&self) -> bool {
        matches!(self, Self::Text(sql) if is_single_read(sql) || is_single_write(sql))
    }
}

impl Stmt {
    pub(super) fn new(sql: Sql, positional: Vec<Value>, named: Vec<(String, Value)>, want_rows: Option<bool>) -> Self {
        Self {
            sql,
            arguments: Arguments { positional, named },
            rows: if want_rows.unwrap_or(true) {
                Rows::Wanted
            } else {
                Rows::Unwanted
            },
        }
    }
}

impl Condition {
    pub(super) const NOT_EARLIER: &'static str = "must be the index of an earlier step";

    /// The step that a condition of step `own` refers to, if it comes earlier.
    pub(super) fn earlier(step: u32, own: usize) -> Option<usize> {
        usize::try_from(step).ok().filter(|step| *step < own)
    }
}
