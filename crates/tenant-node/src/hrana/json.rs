//! Writes Hrana's JSON straight into the answer's buffer: no tree of values in between.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::database::{Column, Description, ResultTooLarge, RowSink, StatementError, StatementSummary};

/// Appends `text` as a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // Writing into a Vec cannot fail, and a string is always valid JSON.
    let _infallible = serde_json::to_writer(out, text);
}

fn optional_string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends an `Error` structure.
pub(super) fn error(out: &mut Vec<u8>, message: &str, code: &str) {
    out.extend_from_slice(b"{\"message\":");
    string(out, message);
    out.extend_from_slice(b",\"code\":");
    string(out, code);
    out.push(b'}');
}

pub(super) fn statement_error(out: &mut Vec<u8>, failure: &StatementError) {
    error(out, &failure.to_string(), failure.code());
}

/// Appends a `Value` structure.
fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Null => out.extend_from_slice(b"{\"type\":\"null\"}"),
        ValueRef::Integer(number) => {
            out.extend_from_slice(b"{\"type\":\"integer\",\"value\":\"");
            integer(out, number);
            out.extend_from_slice(b"\"}");
        }
        ValueRef::Real(number) => {
            out.extend_from_slice(b"{\"type\":\"float\",\"value\":");
            float(out, number);
            out.push(b'}');
        }
        ValueRef::Text(bytes) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"value\":");
            // SQLite stores whatever bytes it was given; JSON cannot.
            string(out, &String::from_utf8_lossy(bytes));
            out.push(b'}');
        }
        ValueRef::Blob(bytes) => {
            out.extend_from_slice(b"{\"type\":\"blob\",\"base64\":\"");
            out.extend_from_slice(STANDARD.encode(bytes).as_bytes());
            out.extend_from_slice(b"\"}");
        }
    }
}

fn integer(out: &mut Vec<u8>, number: i64) {
    let _infallible = serde_json::to_writer(out, &number);
}

pub(super) fn unsigned(out: &mut Vec<u8>, number: u64) {
    let _infallible = serde_json::to_writer(out, &number);
}

/// JSON has no infinity; a number too large for a double reads as one in most languages. SQLite has no NaN.
fn float(out: &mut Vec<u8>, number: f64) {
    if number.is_finite() {
        let _infallible = serde_json::to_writer(out, &number);
    } else {
        out.extend_from_slice(if number > 0.0 { b"1e999" } else { b"-1e999" });
    }
}

/// Whether rows belong into the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    Wanted,
    Unwanted,
}

/// Writes the `cols` and `rows` members of a `StmtResult`, and stops when the whole answer would exceed its limit.
pub(super) struct ResultWriter<'a> {
    out: &'a mut Vec<u8>,
    limit: usize,
    rows: Rows,
    columns: usize,
    written: bool,
}

impl<'a> ResultWriter<'a> {
    /// `limit` is the largest length that `out` may reach, in bytes.
    pub(super) const fn new(out: &'a mut Vec<u8>, limit: usize, rows: Rows) -> Self {
        Self {
            out,
            limit,
            rows,
            columns: 0,
            written: false,
        }
    }

    /// Closes the structure.
    pub(super) fn finish(self, summary: &StatementSummary, milliseconds: f64) {
        let out = self.out;
        out.extend_from_slice(b"],\"affected_row_count\":");
        unsigned(out, summary.affected_rows);
        out.extend_from_slice(b",\"last_insert_rowid\":");
        match summary.last_insert_rowid {
            Some(rowid) => {
                out.push(b'"');
                integer(out, rowid);
                out.push(b'"');
            }
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"replication_index\":null,\"rows_read\":");
        unsigned(out, summary.rows_read);
        out.extend_from_slice(b",\"rows_written\":");
        unsigned(out, summary.rows_written);
        out.extend_from_slice(b",\"query_duration_ms\":");
        float(out, milliseconds);
        out.push(b'}');
    }

    const fn check(&self) -> Result<(), ResultTooLarge> {
        if self.out.len() > self.limit {
            Err(ResultTooLarge)
        } else {
            Ok(())
        }
    }
}

impl RowSink for ResultWriter<'_> {
    fn columns(&mut self, columns: &[Column<'_>]) -> Result<(), ResultTooLarge> {
        self.columns = columns.len();
        self.out.extend_from_slice(b"{\"cols\":[");
        for (index, column) in columns.iter().enumerate() {
            self.out
                .extend_from_slice(if index > 0 { b",{\"name\":" } else { b"{\"name\":" });
            string(self.out, column.name);
            self.out.extend_from_slice(b",\"decltype\":");
            optional_string(self.out, column.declared_type);
            self.out.push(b'}');
        }
        self.out.extend_from_slice(b"],\"rows\":[");
        self.check()
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), ResultTooLarge> {
        if self.rows == Rows::Unwanted {
            return Ok(());
        }
        if self.written {
            self.out.push(b',');
        }
        self.written = true;
        self.out.push(b'[');
        for index in 0..self.columns {
            if index > 0 {
                self.out.push(b',');
            }
            value(self.out, row.get_ref(index).unwrap_or(ValueRef::Null));
            self.check()?;
        }
        self.out.push(b']');
        self.check()
    }
}

/// Takes the rows of statements whose result nobody asked for.
pub(super) struct NoRows;

impl RowSink for NoRows {
    fn columns(&mut self, _columns: &[Column<'_>]) -> Result<(), ResultTooLarge> {
        Ok(())
    }

    fn row(&mut self, _row: &Row<'_>) -> Result<(), ResultTooLarge> {
        Ok(())
    }
}

/// Appends a `DescribeResult` structure.
pub(super) fn description(out: &mut Vec<u8>, description: &Description) {
    out.extend_from_slice(b"{\"params\":[");
    for (index, name) in description.parameters.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"name\":" } else { b"{\"name\":" });
        optional_string(out, name.as_deref());
        out.push(b'}');
    }
    out.extend_from_slice(b"],\"cols\":[");
    for (index, (name, declared_type)) in description.columns.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"name\":" } else { b"{\"name\":" });
        string(out, name);
        out.extend_from_slice(b",\"decltype\":");
        optional_string(out, declared_type.as_deref());
        out.push(b'}');
    }
    let flags = format!(
        "],\"is_explain\":{},\"is_readonly\":{}}}",
        description.is_explain, description.is_readonly
    );
    out.extend_from_slice(flags.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_the_protocol_has_them() {
        let cases: [(ValueRef<'_>, &str); 9] = [
            (ValueRef::Null, r#"{"type":"null"}"#),
            (
                ValueRef::Integer(i64::MIN),
                r#"{"type":"integer","value":"-9223372036854775808"}"#,
            ),
            (ValueRef::Real(1.5), r#"{"type":"float","value":1.5}"#),
            (ValueRef::Real(2.0), r#"{"type":"float","value":2.0}"#),
            (ValueRef::Real(f64::NEG_INFINITY), r#"{"type":"float","value":-1e999}"#),
            (
                ValueRef::Text("a\"\n\0é".as_bytes()),
                r#"{"type":"text","value":"a\"\n\u0000é"}"#,
            ),
            (ValueRef::Text(b"\xff"), "{\"type\":\"text\",\"value\":\"\u{fffd}\"}"),
            (ValueRef::Blob(b""), r#"{"type":"blob","base64":""}"#),
            (ValueRef::Blob(b"\x00\xff"), r#"{"type":"blob","base64":"AP8="}"#),
        ];
        for (input, expected) in cases {
            let mut out = Vec::new();
            value(&mut out, input);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
