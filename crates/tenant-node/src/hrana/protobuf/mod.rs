//! The protocol in protobuf. A cursor's entries are messages with their length in front.
//!
//! The schema is the appendix of the Hrana 3 specification. Messages are read and written by hand: a generated decoder builds
//! a tree before anything can be refused, and a generated encoder wants one before anything can be sent.

mod read;
mod wire;
mod write;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::encoding::{BatchParts, Done, Encoding, ErrorText, ResultKind, RowView, within};
use super::request::{Cursor, Malformed, Pipeline};
use crate::database::{Column, Description, ResultTooLarge, StatementSummary};

/// Protobuf.
pub(super) struct Protobuf;

/// Numbers of fields that a result is wrapped in, from the inside out.
mod field {
    /// `StreamResult.ok` in `PipelineRespBody.results`.
    pub(super) const OK: [u32; 2] = [1, 3];
    /// `StreamResult.error` in `PipelineRespBody.results`.
    pub(super) const ERROR: [u32; 2] = [2, 3];
    /// `ExecuteStreamResp.result` in `StreamResponse.execute`.
    pub(super) const EXECUTE: [u32; 4] = [1, 2, 1, 3];
    /// `BatchStreamResp.result` in `StreamResponse.batch`.
    pub(super) const BATCH: [u32; 4] = [1, 3, 1, 3];
    /// `DescribeStreamResp.result` in `StreamResponse.describe`.
    pub(super) const DESCRIBE: [u32; 4] = [1, 5, 1, 3];
}

impl Encoding for Protobuf {
    const PIPELINE_TYPE: &'static str = "application/x-protobuf";
    const CURSOR_TYPE: &'static str = "application/x-protobuf";

    fn read_pipeline(body: &[u8]) -> Result<Pipeline, Malformed> {
        read::pipeline(body)
    }

    fn read_cursor(body: &[u8]) -> Result<Cursor, Malformed> {
        read::cursor(body)
    }

    fn begin_pipeline(_out: &mut Vec<u8>) {}

    fn end_pipeline(out: &mut Vec<u8>, baton: Option<&str>) {
        write::optional_string(out, 1, baton);
    }

    fn between_results(_out: &mut Vec<u8>) {}

    fn begin_result(out: &mut Vec<u8>, _kind: ResultKind) -> usize {
        out.len()
    }

    fn end_result(out: &mut Vec<u8>, start: usize, kind: ResultKind) {
        let fields = match kind {
            ResultKind::Execute => field::EXECUTE,
            ResultKind::Batch => field::BATCH,
            ResultKind::Describe => field::DESCRIBE,
        };
        write::enclose(out, start, &fields);
    }

    fn done(out: &mut Vec<u8>, done: Done) {
        let start = out.len();
        let response = match done {
            Done::Close => 1,
            Done::Sequence => 4,
            Done::StoreSql => 6,
            Done::CloseSql => 7,
        };
        write::bytes(out, response, b"");
        write::enclose(out, start, &field::OK);
    }

    fn autocommit(out: &mut Vec<u8>, is_autocommit: bool) {
        let start = out.len();
        write::message(out, 8, |out| write::boolean(out, 1, is_autocommit));
        write::enclose(out, start, &field::OK);
    }

    fn error_result(out: &mut Vec<u8>, error: ErrorText<'_>) {
        let start = out.len();
        write::error(out, error);
        write::enclose(out, start, &field::ERROR);
    }

    fn columns(out: &mut Vec<u8>, columns: &[Column<'_>], limit: usize) -> Result<(), ResultTooLarge> {
        write::columns(out, 1, columns, limit)
    }

    fn row(out: &mut Vec<u8>, row: &RowView<'_>, _number: u64) -> Result<(), ResultTooLarge> {
        write::row(out, 2, row)
    }

    fn summary(out: &mut Vec<u8>, summary: &StatementSummary, _milliseconds: f64) {
        write::unsigned(out, 3, summary.affected_rows);
        write::optional_signed(out, 4, summary.last_insert_rowid);
    }

    fn description(out: &mut Vec<u8>, description: &Description, limit: usize) -> Result<(), ResultTooLarge> {
        for name in &description.parameters {
            write::message(out, 1, |out| write::optional_string(out, 1, name.as_deref()));
            within(out, limit)?;
        }
        for (name, declared_type) in &description.columns {
            write::message(out, 2, |out| {
                write::bytes(out, 1, name.as_bytes());
                write::optional_string(out, 2, declared_type.as_deref());
            });
            within(out, limit)?;
        }
        write::boolean(out, 3, description.is_explain);
        write::boolean(out, 4, description.is_readonly);
        within(out, limit)
    }

    fn begin_step(parts: &mut BatchParts, _step: usize) -> usize {
        parts.results.len()
    }

    fn end_step(parts: &mut BatchParts, start: usize, step: usize) {
        write::enclose_in_map(&mut parts.results, start, 1, step);
    }

    fn skipped_step(_parts: &mut BatchParts) {}

    fn failed_step(parts: &mut BatchParts, step: usize, error: ErrorText<'_>) {
        let start = parts.errors.len();
        write::error(&mut parts.errors, error);
        write::enclose_in_map(&mut parts.errors, start, 2, step);
    }

    fn batch(out: &mut Vec<u8>, parts: &mut BatchParts) {
        out.append(&mut parts.results);
        out.append(&mut parts.errors);
    }

    fn cursor_head(out: &mut Vec<u8>, baton: Option<&str>) {
        write::delimited(out, |out| write::optional_string(out, 1, baton));
    }

    fn step_begin_entry(
        out: &mut Vec<u8>,
        step: usize,
        columns: &[Column<'_>],
        limit: usize,
    ) -> Result<(), ResultTooLarge> {
        write::delimited(out, |out| {
            write::message(out, 1, |out| {
                write::unsigned(out, 1, step as u64);
                write::columns(out, 2, columns, limit)
            })
        })
    }

    fn row_entry(out: &mut Vec<u8>, row: &RowView<'_>) -> Result<(), ResultTooLarge> {
        write::delimited(out, |out| write::row(out, 4, row))
    }

    fn step_end_entry(out: &mut Vec<u8>, summary: &StatementSummary) {
        write::delimited(out, |out| {
            write::message(out, 2, |out| {
                write::unsigned(out, 1, summary.affected_rows);
                write::optional_signed(out, 2, summary.last_insert_rowid);
            });
        });
    }

    fn step_error_entry(out: &mut Vec<u8>, step: usize, error: ErrorText<'_>) {
        write::delimited(out, |out| {
            write::message(out, 3, |out| {
                write::unsigned(out, 1, step as u64);
                write::message(out, 2, |out| write::error(out, error));
            });
        });
    }

    fn error_entry(out: &mut Vec<u8>, error: ErrorText<'_>) {
        write::delimited(out, |out| write::message(out, 5, |out| write::error(out, error)));
    }

    fn begin_problem_of_pipeline(out: &mut Vec<u8>) {
        begin_problem(out, "results_protobuf");
    }

    fn begin_problem_of_cursor(out: &mut Vec<u8>) {
        begin_problem(out, "entries_protobuf");
    }
}

/// Problems are JSON, which has no other place for bytes than a text.
fn begin_problem(answer: &mut Vec<u8>, member: &str) {
    let mut document = format!("{{\"{member}\":\"");
    STANDARD.encode_string(&*answer, &mut document);
    document.push('"');
    *answer = document.into_bytes();
}
