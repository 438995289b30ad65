//! Appends the small parts of Hrana's JSON: strings, numbers, values, columns.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::ValueRef;

use crate::database::ResultTooLarge;
use crate::hrana::encoding::{ErrorText, within};

/// Appends a `Value` structure.
pub(super) fn value(out: &mut Vec<u8>, value: ValueRef<'_>) {
    match value {
        ValueRef::Integer(number) => {
            out.extend_from_slice(b"{\"type\":\"integer\",\"value\":\"");
            integer(out, number);
            out.extend_from_slice(b"\"}");
        }
        ValueRef::Real(number) if number.is_finite() => {
            out.extend_from_slice(b"{\"type\":\"float\",\"value\":");
            float(out, number);
            out.push(b'}');
        }
        // JSON has no word for an infinity, and readers that refuse a number which says one lose the whole answer. So it is what SQLite
        // makes of a NaN.
        ValueRef::Null | ValueRef::Real(_) => out.extend_from_slice(b"{\"type\":\"null\"}"),
        ValueRef::Text(bytes) => {
            out.extend_from_slice(b"{\"type\":\"text\",\"value\":");
            // SQLite stores whatever bytes it was given; JSON cannot.
            string(out, &String::from_utf8_lossy(bytes));
            out.push(b'}');
        }
        ValueRef::Blob(bytes) => {
            out.extend_from_slice(b"{\"type\":\"blob\",\"base64\":\"");
            base64(out, bytes);
            out.extend_from_slice(b"\"}");
        }
    }
}

pub(super) fn integer(out: &mut Vec<u8>, number: i64) {
    let _infallible = serde_json::to_writer(out, &number);
}

pub(super) fn unsigned(out: &mut Vec<u8>, number: u64) {
    let _infallible = serde_json::to_writer(out, &number);
}

/// Appends a number, or `null` for one that is not finite.
pub(super) fn float(out: &mut Vec<u8>, number: f64) {
    let _infallible = serde_json::to_writer(out, &number);
}

/// Appends a text as a JSON string.
pub(super) fn string(out: &mut Vec<u8>, text: &str) {
    // Writing into a Vec cannot fail, and a string is always valid JSON.
    let _infallible = serde_json::to_writer(out, text);
}

pub(super) fn optional_string(out: &mut Vec<u8>, text: Option<&str>) {
    match text {
        Some(text) => string(out, text),
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a rowid as the protocol has it: a string, since many readers hold numbers as doubles.
pub(super) fn rowid(out: &mut Vec<u8>, rowid: Option<i64>) {
    match rowid {
        Some(rowid) => {
            out.push(b'"');
            integer(out, rowid);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"null"),
    }
}

/// Appends a list of `Col` structures.
///
/// # Errors
/// When `out` outgrows `limit`; what is written is then a fragment.
pub(super) fn columns<'a>(
    out: &mut Vec<u8>,
    columns: impl Iterator<Item = (&'a str, Option<&'a str>)>,
    limit: usize,
) -> Result<(), ResultTooLarge> {
    out.push(b'[');
    for (index, (name, declared_type)) in columns.enumerate() {
        out.extend_from_slice(if index > 0 { b",{\"name\":" } else { b"{\"name\":" });
        string(out, name);
        out.extend_from_slice(b",\"decltype\":");
        optional_string(out, declared_type);
        out.push(b'}');
        within(out, limit)?;
    }
    out.push(b']');
    within(out, limit)
}

/// Appends an `Error` structure.
pub(super) fn error(out: &mut Vec<u8>, error: ErrorText<'_>) {
    out.extend_from_slice(b"{\"message\":");
    string(out, error.message);
    out.extend_from_slice(b",\"code\":");
    string(out, error.code);
    out.push(b'}');
}

fn base64(out: &mut Vec<u8>, bytes: &[u8]) {
    let start = out.len();
    out.resize(start + bytes.len().div_ceil(3) * 4, 0);
    let written = out
        .get_mut(start..)
        .and_then(|room| STANDARD.encode_slice(bytes, room).ok());
    out.truncate(start + written.unwrap_or(0));
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
            (ValueRef::Real(f64::NEG_INFINITY), r#"{"type":"null"}"#),
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
