//! The protocol in JSON. A cursor's entries are lines.

mod read;
pub(super) mod v1;
mod write;

use super::encoding::{BatchParts, Done, Encoding, ErrorText, ResultKind, RowView, within};
use super::request::{Cursor, Malformed, Pipeline};
use crate::database::{Column, Description, ResultTooLarge, StatementSummary};

/// JSON.
pub(super) struct Json;

fn row(out: &mut Vec<u8>, row: &RowView<'_>) -> Result<(), ResultTooLarge> {
    out.push(b'[');
    row.write(out, |out, index, value| {
        if index > 0 {
            out.push(b',');
        }
        write::value(out, value);
    })?;
    out.push(b']');
    Ok(())
}

fn columns(out: &mut Vec<u8>, columns: &[Column<'_>], limit: usize) -> Result<(), ResultTooLarge> {
    let columns = columns.iter().map(|column| (column.name, column.declared_type));
    write::columns(out, columns, limit)
}

impl Encoding for Json {
    const PIPELINE_TYPE: &'static str = "application/json";
    const CURSOR_TYPE: &'static str = "application/x-ndjson";

    fn read_pipeline(body: &[u8]) -> Result<Pipeline, Malformed> {
        read::pipeline(body)
    }

    fn read_cursor(body: &[u8]) -> Result<Cursor, Malformed> {
        read::cursor(body)
    }

    fn begin_pipeline(out: &mut Vec<u8>) {
        out.extend_from_slice(b"{\"results\":[");
    }

    fn end_pipeline(out: &mut Vec<u8>, baton: Option<&str>) {
        out.extend_from_slice(b"],\"baton\":");
        write::optional_string(out, baton);
        out.extend_from_slice(b",\"base_url\":null}");
    }

    fn between_results(out: &mut Vec<u8>) {
        out.push(b',');
    }

    fn begin_result(out: &mut Vec<u8>, kind: ResultKind) -> usize {
        let start = out.len();
        out.extend_from_slice(match kind {
            ResultKind::Execute => b"{\"type\":\"ok\",\"response\":{\"type\":\"execute\",\"result\":",
            ResultKind::Batch => b"{\"type\":\"ok\",\"response\":{\"type\":\"batch\",\"result\":",
            ResultKind::Describe => b"{\"type\":\"ok\",\"response\":{\"type\":\"describe\",\"result\":",
        });
        start
    }

    fn end_result(out: &mut Vec<u8>, _start: usize, _kind: ResultKind) {
        out.extend_from_slice(b"}}");
    }

    fn done(out: &mut Vec<u8>, done: Done) {
        out.extend_from_slice(match done {
            Done::Close => b"{\"type\":\"ok\",\"response\":{\"type\":\"close\"}}",
            Done::Sequence => b"{\"type\":\"ok\",\"response\":{\"type\":\"sequence\"}}",
            Done::StoreSql => b"{\"type\":\"ok\",\"response\":{\"type\":\"store_sql\"}}",
            Done::CloseSql => b"{\"type\":\"ok\",\"response\":{\"type\":\"close_sql\"}}",
        });
    }

    fn autocommit(out: &mut Vec<u8>, is_autocommit: bool) {
        out.extend_from_slice(b"{\"type\":\"ok\",\"response\":{\"type\":\"get_autocommit\",\"is_autocommit\":");
        out.extend_from_slice(if is_autocommit { b"true}}" } else { b"false}}" });
    }

    fn error_result(out: &mut Vec<u8>, error: ErrorText<'_>) {
        out.extend_from_slice(b"{\"type\":\"error\",\"error\":");
        write::error(out, error);
        out.push(b'}');
    }

    fn columns(out: &mut Vec<u8>, cols: &[Column<'_>], limit: usize) -> Result<(), ResultTooLarge> {
        out.extend_from_slice(b"{\"cols\":");
        columns(out, cols, limit)?;
        out.extend_from_slice(b",\"rows\":[");
        Ok(())
    }

    fn row(out: &mut Vec<u8>, values: &RowView<'_>, number: u64) -> Result<(), ResultTooLarge> {
        if number > 0 {
            out.push(b',');
        }
        row(out, values)
    }

    fn summary(out: &mut Vec<u8>, summary: &StatementSummary, milliseconds: f64) {
        out.extend_from_slice(b"],\"affected_row_count\":");
        write::unsigned(out, summary.affected_rows);
        out.extend_from_slice(b",\"last_insert_rowid\":");
        write::rowid(out, summary.last_insert_rowid);
        out.extend_from_slice(b",\"replication_index\":null,\"rows_read\":");
        write::unsigned(out, summary.rows_read);
        out.extend_from_slice(b",\"rows_written\":");
        write::unsigned(out, summary.rows_written);
        out.extend_from_slice(b",\"query_duration_ms\":");
        write::float(out, milliseconds);
        out.push(b'}');
    }

    fn description(out: &mut Vec<u8>, description: &Description, limit: usize) -> Result<(), ResultTooLarge> {
        out.extend_from_slice(b"{\"params\":[");
        for (index, name) in description.parameters.iter().enumerate() {
            out.extend_from_slice(if index > 0 { b",{\"name\":" } else { b"{\"name\":" });
            write::optional_string(out, name.as_deref());
            out.push(b'}');
            within(out, limit)?;
        }
        out.extend_from_slice(b"],\"cols\":");
        let cols = description.columns.iter();
        let cols = cols.map(|(name, declared_type)| (name.as_str(), declared_type.as_deref()));
        write::columns(out, cols, limit)?;
        let flags = format!(
            ",\"is_explain\":{},\"is_readonly\":{}}}",
            description.is_explain, description.is_readonly
        );
        out.extend_from_slice(flags.as_bytes());
        within(out, limit)
    }

    fn begin_step(parts: &mut BatchParts, step: usize) -> usize {
        if step > 0 {
            parts.results.push(b',');
            parts.errors.push(b',');
        }
        parts.results.len()
    }

    fn end_step(parts: &mut BatchParts, _start: usize, _step: usize) {
        parts.errors.extend_from_slice(b"null");
    }

    fn skipped_step(parts: &mut BatchParts) {
        parts.results.extend_from_slice(b"null");
        parts.errors.extend_from_slice(b"null");
    }

    fn failed_step(parts: &mut BatchParts, _step: usize, error: ErrorText<'_>) {
        parts.results.extend_from_slice(b"null");
        write::error(&mut parts.errors, error);
    }

    fn batch(out: &mut Vec<u8>, parts: &mut BatchParts) {
        out.extend_from_slice(b"{\"step_results\":[");
        out.append(&mut parts.results);
        out.extend_from_slice(b"],\"step_errors\":[");
        out.append(&mut parts.errors);
        out.extend_from_slice(b"],\"replication_index\":null}");
    }

    fn cursor_head(out: &mut Vec<u8>, baton: Option<&str>) {
        out.extend_from_slice(b"{\"baton\":");
        write::optional_string(out, baton);
        out.extend_from_slice(b",\"base_url\":null}\n");
    }

    fn step_begin_entry(
        out: &mut Vec<u8>,
        step: usize,
        cols: &[Column<'_>],
        limit: usize,
    ) -> Result<(), ResultTooLarge> {
        out.extend_from_slice(b"{\"type\":\"step_begin\",\"step\":");
        write::unsigned(out, step as u64);
        out.extend_from_slice(b",\"cols\":");
        columns(out, cols, limit)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn row_entry(out: &mut Vec<u8>, values: &RowView<'_>) -> Result<(), ResultTooLarge> {
        out.extend_from_slice(b"{\"type\":\"row\",\"row\":");
        row(out, values)?;
        out.extend_from_slice(b"}\n");
        Ok(())
    }

    fn step_end_entry(out: &mut Vec<u8>, summary: &StatementSummary) {
        out.extend_from_slice(b"{\"type\":\"step_end\",\"affected_row_count\":");
        write::unsigned(out, summary.affected_rows);
        out.extend_from_slice(b",\"last_insert_rowid\":");
        write::rowid(out, summary.last_insert_rowid);
        out.extend_from_slice(b"}\n");
    }

    fn step_error_entry(out: &mut Vec<u8>, step: usize, error: ErrorText<'_>) {
        out.extend_from_slice(b"{\"type\":\"step_error\",\"step\":");
        write::unsigned(out, step as u64);
        out.extend_from_slice(b",\"error\":");
        write::error(out, error);
        out.extend_from_slice(b"}\n");
    }

    fn error_entry(out: &mut Vec<u8>, error: ErrorText<'_>) {
        out.extend_from_slice(b"{\"type\":\"error\",\"error\":");
        write::error(out, error);
        out.extend_from_slice(b"}\n");
    }

    fn begin_problem_of_pipeline(out: &mut Vec<u8>) {
        // It begins with its results.
        out.push(b']');
    }

    fn begin_problem_of_cursor(out: &mut Vec<u8>) {
        // The first line is the head. In the others, a line's end is no part of anything.
        let head = out
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(out.len(), |end| end + 1);
        out.splice(..head, *b"{\"entries\":[");
        if out.last() == Some(&b'\n') {
            out.pop();
        }
        for byte in out.iter_mut().filter(|byte| **byte == b'\n') {
            *byte = b',';
        }
        out.push(b']');
    }
}
