//! The seam between what happened and the bytes that say so. Each encoding of the protocol is one implementation.
//!
//! Everything is appended to the answer's buffer as it comes to pass: there is no tree of values in between. An encoding
//! must not decide anything, and knows nothing of sessions, streams or HTTP.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::request::{Cursor, Malformed, Pipeline};
use crate::database::{Column, Description, ResultTooLarge, StatementError, StatementSummary};

/// What a result of a pipeline is an answer to, where it has a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ResultKind {
    Execute,
    Batch,
    Describe,
}

/// What a result of a pipeline is an answer to, where being done is all there is to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Done {
    Close,
    Sequence,
    StoreSql,
    CloseSql,
}

/// The results and errors of a batch's steps, while they come to be.
#[derive(Debug, Default)]
pub(super) struct BatchParts {
    pub(super) results: Vec<u8>,
    pub(super) errors: Vec<u8>,
}

/// An `Error` structure.
#[derive(Debug, Clone, Copy)]
pub(super) struct ErrorText<'a> {
    pub(super) message: &'a str,
    pub(super) code: &'a str,
}

impl<'a> ErrorText<'a> {
    /// What a failed statement says; `message` are its words.
    pub(super) const fn of(failure: &StatementError, message: &'a str) -> Self {
        Self {
            message,
            code: failure.code(),
        }
    }
}

/// A row that SQLite stands on, and how much of it the answer can take.
pub(super) struct RowView<'a> {
    pub(super) row: &'a Row<'a>,
    pub(super) width: usize,
    /// The largest length that the answer's buffer may reach, in bytes.
    pub(super) limit: usize,
}

impl RowView<'_> {
    /// Hands every value to `write`, and stops at the limit: a single row can hold far more than memory has.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        mut write: impl FnMut(&mut Vec<u8>, usize, ValueRef<'_>),
    ) -> Result<(), ResultTooLarge> {
        for index in 0..self.width {
            write(out, index, self.row.get_ref(index).unwrap_or(ValueRef::Null));
            within(out, self.limit)?;
        }
        Ok(())
    }
}

/// Whether the answer's buffer is within its limit. Asked after each part that can be long.
pub(super) const fn within(out: &[u8], limit: usize) -> Result<(), ResultTooLarge> {
    if out.len() > limit { Err(ResultTooLarge) } else { Ok(()) }
}

/// One encoding of the protocol's structures.
pub(super) trait Encoding: Send + Sync + 'static {
    /// The media type of a pipeline's answer.
    const PIPELINE_TYPE: &'static str;
    /// The media type of a cursor's answer.
    const CURSOR_TYPE: &'static str;

    /// Reads the body of a pipeline.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    fn read_pipeline(body: &[u8]) -> Result<Pipeline, Malformed>;

    /// Reads the body of a cursor.
    ///
    /// # Errors
    /// Names the first field that is wrong.
    fn read_cursor(body: &[u8]) -> Result<Cursor, Malformed>;

    /// Begins the answer to a pipeline.
    fn begin_pipeline(out: &mut Vec<u8>);
    /// Ends the answer to a pipeline.
    fn end_pipeline(out: &mut Vec<u8>, baton: Option<&str>);
    /// Stands between two results of a pipeline.
    fn between_results(out: &mut Vec<u8>);
    /// Begins a successful result; its body follows. Returns what [`Encoding::end_result`] is to be given.
    fn begin_result(out: &mut Vec<u8>, kind: ResultKind) -> usize;
    /// Ends the result that began at `start`.
    fn end_result(out: &mut Vec<u8>, start: usize, kind: ResultKind);
    /// A successful result that only says so.
    fn done(out: &mut Vec<u8>, done: Done);
    /// The result of `get_autocommit`.
    fn autocommit(out: &mut Vec<u8>, is_autocommit: bool);
    /// A failed result.
    fn error_result(out: &mut Vec<u8>, error: ErrorText<'_>);

    /// Begins the body of a statement's result. Rows follow.
    ///
    /// # Errors
    /// When `out` outgrows `limit`; what is written is then a fragment.
    fn columns(out: &mut Vec<u8>, columns: &[Column<'_>], limit: usize) -> Result<(), ResultTooLarge>;
    /// One row.
    ///
    /// # Errors
    /// When `out` outgrows the limit; what is written is then a fragment.
    fn row(out: &mut Vec<u8>, row: &RowView<'_>, number: u64) -> Result<(), ResultTooLarge>;
    /// Ends the body of a statement's result, which took so many milliseconds.
    fn summary(out: &mut Vec<u8>, summary: &StatementSummary, milliseconds: f64);
    /// The body of a description.
    ///
    /// # Errors
    /// When `out` outgrows `limit`; what is written is then a fragment.
    fn description(out: &mut Vec<u8>, description: &Description, limit: usize) -> Result<(), ResultTooLarge>;

    /// Begins a step of a batch; a statement's result follows in `parts.results`, or one of the next two. Returns what
    /// [`Encoding::end_step`] is to be given.
    fn begin_step(parts: &mut BatchParts, step: usize) -> usize;
    /// The step succeeded; its result began at `start`.
    fn end_step(parts: &mut BatchParts, start: usize, step: usize);
    /// The step was not run.
    fn skipped_step(parts: &mut BatchParts);
    /// The step failed.
    fn failed_step(parts: &mut BatchParts, step: usize, error: ErrorText<'_>);
    /// The body of a batch's result. Empties `parts`.
    fn batch(out: &mut Vec<u8>, parts: &mut BatchParts);

    /// Begins the answer to a cursor.
    fn cursor_head(out: &mut Vec<u8>, baton: Option<&str>);
    /// Entry: a step has begun.
    ///
    /// # Errors
    /// When `out` outgrows `limit`; what is written is then a fragment.
    fn step_begin_entry(
        out: &mut Vec<u8>,
        step: usize,
        columns: &[Column<'_>],
        limit: usize,
    ) -> Result<(), ResultTooLarge>;
    /// Entry: a row of the step that has begun.
    ///
    /// # Errors
    /// When `out` outgrows the limit; what is written is then a fragment.
    fn row_entry(out: &mut Vec<u8>, row: &RowView<'_>) -> Result<(), ResultTooLarge>;
    /// Entry: the step has ended.
    fn step_end_entry(out: &mut Vec<u8>, summary: &StatementSummary);
    /// Entry: the step has failed, before or after it began.
    fn step_error_entry(out: &mut Vec<u8>, step: usize, error: ErrorText<'_>);
    /// Entry, the last one: the batch could not be run.
    fn error_entry(out: &mut Vec<u8>, error: ErrorText<'_>);

    /// Makes of an answer to a pipeline, before its end, the beginning of the JSON problem that is answered in its place: an object
    /// with the results as its only member, without its `}`.
    fn begin_problem_of_pipeline(out: &mut Vec<u8>);
    /// The same of an answer to a cursor.
    fn begin_problem_of_cursor(out: &mut Vec<u8>);
}
