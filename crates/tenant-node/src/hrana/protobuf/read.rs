//! Reads a request's protobuf. Every refusal names the field that was wrong.
//!
//! What cannot be carried out is refused where it stands, before what follows is read. Fields that are not known are passed
//! over, as the protocol demands.

use std::borrow::Cow;

use rusqlite::types::Value;

use super::wire::{Content, Fields, WireError, low_half, zigzag};
use crate::database::MOST_PARAMETERS;
use crate::hrana::batch::Condition;
use crate::hrana::request::{Cursor, Malformed, Pipeline, Sql, Step, Stmt, StreamRequest};

/// Conditions inside of conditions.
const DEEPEST_CONDITION: usize = 64;

/// Reads the body of a pipeline.
pub(super) fn pipeline(body: &[u8]) -> Result<Pipeline, Malformed> {
    let mut baton = None;
    let mut requests = Vec::new();
    for field in Fields::of(body) {
        match field? {
            (1, content) => baton = Some(text(content, "baton")?),
            (2, content) => {
                let request = inside(content, || format!("requests[{}]", requests.len()), stream_request)?;
                requests.push(request);
            }
            _ => {}
        }
    }
    Ok(Pipeline { baton, requests })
}

/// Reads the body of a cursor.
pub(super) fn cursor(body: &[u8]) -> Result<Cursor, Malformed> {
    let (mut baton, mut batch) = (None, None);
    for field in Fields::of(body) {
        match field? {
            (1, content) => baton = Some(text(content, "baton")?),
            (2, content) => batch = Some(inside(content, || "batch".to_owned(), steps)?),
            _ => {}
        }
    }
    Ok(Cursor {
        baton,
        steps: batch.ok_or_else(|| absent("batch"))?,
    })
}

fn stream_request(message: &[u8]) -> Result<StreamRequest, Malformed> {
    let mut request = None;
    for field in Fields::of(message) {
        request = Some(match field? {
            (1, content) => inside(content, || "close".to_owned(), |_| Ok(StreamRequest::Close))?,
            (2, content) => inside(
                content,
                || "execute".to_owned(),
                |message| only(message, "stmt", stmt).map(StreamRequest::Execute),
            )?,
            (3, content) => inside(
                content,
                || "batch".to_owned(),
                |message| only(message, "batch", steps).map(StreamRequest::Batch),
            )?,
            (4, content) => {
                let script = |message| sql(message, Sql::of_script);
                inside(content, || "sequence".to_owned(), script).map(StreamRequest::Sequence)?
            }
            (5, content) => {
                let statement = |message| sql(message, Sql::of_statement);
                inside(content, || "describe".to_owned(), statement).map(StreamRequest::Describe)?
            }
            (6, content) => inside(content, || "store_sql".to_owned(), store_sql)?,
            (7, content) => inside(content, || "close_sql".to_owned(), close_sql)?,
            (8, content) => inside(
                content,
                || "get_autocommit".to_owned(),
                |_| Ok(StreamRequest::GetAutocommit),
            )?,
            _ => continue,
        });
    }
    request.ok_or_else(|| absent("request"))
}

/// The one field of a message that is there to hold it.
fn only<T>(message: &[u8], name: &str, read: fn(&[u8]) -> Result<T, Malformed>) -> Result<T, Malformed> {
    let mut found = None;
    for field in Fields::of(message) {
        if let (1, content) = field? {
            found = Some(inside(content, || name.to_owned(), read)?);
        }
    }
    found.ok_or_else(|| absent(name))
}

/// An SQL text or the number of a stored one, which `make` puts together.
fn sql(
    message: &[u8],
    make: fn(Option<Cow<'_, str>>, Option<i32>) -> Result<Sql, Malformed>,
) -> Result<Sql, Malformed> {
    let (mut sql, mut id) = (None, None);
    for field in Fields::of(message) {
        match field? {
            (1, content) => sql = Some(borrowed_text(content, "sql")?),
            (2, content) => id = Some(int32(content, "sql_id")?),
            _ => {}
        }
    }
    make(sql.map(Cow::Borrowed), id)
}

fn store_sql(message: &[u8]) -> Result<StreamRequest, Malformed> {
    let (mut id, mut sql) = (0, String::new());
    for field in Fields::of(message) {
        match field? {
            (1, content) => id = int32(content, "sql_id")?,
            (2, content) => sql = text(content, "sql")?,
            _ => {}
        }
    }
    Ok(StreamRequest::StoreSql { id, sql })
}

fn close_sql(message: &[u8]) -> Result<StreamRequest, Malformed> {
    let mut id = 0;
    for field in Fields::of(message) {
        if let (1, content) = field? {
            id = int32(content, "sql_id")?;
        }
    }
    Ok(StreamRequest::CloseSql { id })
}

fn stmt(message: &[u8]) -> Result<Stmt, Malformed> {
    let (mut sql, mut id, mut want_rows) = (None, None, None);
    let (mut positional, mut named) = (Vec::new(), Vec::new());
    for field in Fields::of(message) {
        match field? {
            (1, content) => sql = Some(borrowed_text(content, "sql")?),
            (2, content) => id = Some(int32(content, "sql_id")?),
            (3, content) => {
                let argument = inside(content, || format!("args[{}]", positional.len()), value)?;
                // With more than there can be, the statement fails, whatever they are.
                if positional.len() <= MOST_PARAMETERS {
                    positional.push(argument);
                }
            }
            (4, content) => named.push(inside(content, || format!("named_args[{}]", named.len()), named_arg)?),
            (5, content) => want_rows = Some(number(content, "want_rows")? != 0),
            _ => {}
        }
    }
    let sql = Sql::of_statement(sql.map(Cow::Borrowed), id)?;
    Ok(Stmt::new(sql, positional, named, want_rows))
}

fn named_arg(message: &[u8]) -> Result<(String, Value), Malformed> {
    let (mut name, mut found) = (String::new(), None);
    for field in Fields::of(message) {
        match field? {
            (1, content) => name = text(content, "name")?,
            (2, content) => found = Some(inside(content, || "value".to_owned(), value)?),
            _ => {}
        }
    }
    Ok((name, found.ok_or_else(|| absent("value"))?))
}

fn value(message: &[u8]) -> Result<Value, Malformed> {
    let mut found = None;
    for field in Fields::of(message) {
        found = Some(match field? {
            (1, content) => bytes(content, "null").map(|_| Value::Null)?,
            (2, content) => Value::Integer(zigzag(number(content, "integer")?)),
            (3, Content::Fixed64(bytes)) => Value::Real(f64::from_le_bytes(bytes)),
            (3, _) => return Err(wrong_kind("float")),
            (4, content) => Value::Text(text(content, "text")?),
            (5, content) => Value::Blob(bytes(content, "blob")?.to_vec()),
            _ => continue,
        });
    }
    found.ok_or_else(|| absent("value"))
}

fn steps(message: &[u8]) -> Result<Vec<Step>, Malformed> {
    let mut steps = Vec::new();
    for field in Fields::of(message) {
        if let (1, content) = field? {
            let own = steps.len();
            let step = inside(content, || format!("steps[{own}]"), |message| step(message, own))?;
            steps.push(step);
        }
    }
    Ok(steps)
}

fn step(message: &[u8], own: usize) -> Result<Step, Malformed> {
    let (mut condition, mut found) = (None, None);
    for field in Fields::of(message) {
        match field? {
            (1, content) => {
                let read = |message: &[u8]| self::condition(message, own, DEEPEST_CONDITION);
                condition = Some(inside(content, || "condition".to_owned(), read)?);
            }
            (2, content) => found = Some(inside(content, || "stmt".to_owned(), stmt)?),
            _ => {}
        }
    }
    Ok(Step {
        condition,
        stmt: found.ok_or_else(|| absent("stmt"))?,
    })
}

/// `depth` is how many further conditions may stand inside of it.
fn condition(message: &[u8], own: usize, depth: usize) -> Result<Condition, Malformed> {
    let earlier = |content, name| {
        let step = u32::from_le_bytes(low_half(number(content, name)?));
        Condition::earlier(step, own).ok_or_else(|| Malformed::new(name, Condition::NOT_EARLIER))
    };
    let deeper = depth
        .checked_sub(1)
        .ok_or_else(|| Malformed::new(".", "has conditions that are nested too deeply"));
    let mut found = None;
    for field in Fields::of(message) {
        found = Some(match field? {
            (1, content) => Condition::Ok(earlier(content, "step_ok")?),
            (2, content) => Condition::Error(earlier(content, "step_error")?),
            (3, content) => {
                let depth = deeper.clone()?;
                let inner = inside(content, || "not".to_owned(), |message| condition(message, own, depth))?;
                Condition::Not(Box::new(inner))
            }
            (4, content) => {
                let depth = deeper.clone()?;
                Condition::And(inside(
                    content,
                    || "and".to_owned(),
                    |message| conditions(message, own, depth),
                )?)
            }
            (5, content) => {
                let depth = deeper.clone()?;
                Condition::Or(inside(
                    content,
                    || "or".to_owned(),
                    |message| conditions(message, own, depth),
                )?)
            }
            (6, content) => bytes(content, "is_autocommit").map(|_| Condition::IsAutocommit)?,
            _ => continue,
        });
    }
    found.ok_or_else(|| absent("cond"))
}

fn conditions(message: &[u8], own: usize, depth: usize) -> Result<Vec<Condition>, Malformed> {
    let mut found = Vec::new();
    for field in Fields::of(message) {
        if let (1, content) = field? {
            let read = |message: &[u8]| condition(message, own, depth);
            let inner = inside(content, || format!("conds[{}]", found.len()), read)?;
            found.push(inner);
        }
    }
    Ok(found)
}

/// Reads the message in a field; a refusal from inside names the way to it.
fn inside<'a, T>(
    content: Content<'a>,
    name: impl Fn() -> String,
    read: impl FnOnce(&'a [u8]) -> Result<T, Malformed>,
) -> Result<T, Malformed> {
    match content {
        Content::Bytes(message) => read(message).map_err(|malformed| malformed.within(&name())),
        _ => Err(wrong_kind(&name())),
    }
}

fn text(content: Content<'_>, name: &str) -> Result<String, Malformed> {
    borrowed_text(content, name).map(str::to_owned)
}

fn borrowed_text<'a>(content: Content<'a>, name: &str) -> Result<&'a str, Malformed> {
    let bytes = bytes(content, name)?;
    std::str::from_utf8(bytes).map_err(|_| Malformed::new(name, "is not UTF-8"))
}

fn bytes<'a>(content: Content<'a>, name: &str) -> Result<&'a [u8], Malformed> {
    match content {
        Content::Bytes(bytes) => Ok(bytes),
        _ => Err(wrong_kind(name)),
    }
}

fn number(content: Content<'_>, name: &str) -> Result<u64, Malformed> {
    match content {
        Content::Varint(number) => Ok(number),
        _ => Err(wrong_kind(name)),
    }
}

fn int32(content: Content<'_>, name: &str) -> Result<i32, Malformed> {
    number(content, name).map(|number| i32::from_le_bytes(low_half(number)))
}

fn absent(name: &str) -> Malformed {
    Malformed::new(name, "is missing")
}

fn wrong_kind(name: &str) -> Malformed {
    Malformed::new(name, "is not of the kind that the protocol has")
}

impl From<WireError> for Malformed {
    fn from(error: WireError) -> Self {
        Self::new(".", error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::write::{boolean, bytes, message, unsigned};
    use super::*;
    use crate::hrana::request::Rows;

    /// A pipeline of one request, whose field in the message is `number`.
    fn one(number: u32, request: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        message(&mut out, 2, |out| message(out, number, request));
        out
    }

    fn execute(stmt: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        one(2, |out| message(out, 1, stmt))
    }

    #[test]
    fn a_refusal_names_the_field() {
        let second_step = |condition: &dyn Fn(&mut Vec<u8>)| {
            one(3, |out| {
                message(out, 1, |out| {
                    message(out, 1, |out| message(out, 2, |out| bytes(out, 1, b"x")));
                    message(out, 1, |out| {
                        message(out, 1, |out| condition(out));
                        message(out, 2, |out| bytes(out, 1, b"x"));
                    });
                });
            })
        };
        let cases = [
            (vec![0xff], "."),
            (vec![0x12, 0x00], "requests[0].request"),
            (vec![0x08, 0x01], "baton"),
            (one(2, |_| ()), "requests[0].execute.stmt"),
            (one(3, |_| ()), "requests[0].batch.batch"),
            (one(4, |_| ()), "requests[0].sequence.sql"),
            (one(9, |_| ()), "requests[0].request"),
            (execute(|_| ()), "requests[0].execute.stmt.sql"),
            (execute(|out| bytes(out, 1, &[0xff])), "requests[0].execute.stmt.sql"),
            (
                execute(|out| {
                    bytes(out, 1, b"x");
                    unsigned(out, 2, 5);
                }),
                "requests[0].execute.stmt.sql_id",
            ),
            (
                execute(|out| {
                    message(out, 3, |out| bytes(out, 1, b""));
                    message(out, 3, |_| ());
                }),
                "requests[0].execute.stmt.args[1].value",
            ),
            (
                execute(|out| message(out, 3, |out| unsigned(out, 3, 1))),
                "requests[0].execute.stmt.args[0].float",
            ),
            (
                execute(|out| message(out, 4, |out| bytes(out, 1, b"a"))),
                "requests[0].execute.stmt.named_args[0].value",
            ),
            (
                second_step(&|out| unsigned(out, 1, 1)),
                "requests[0].batch.batch.steps[1].condition.step_ok",
            ),
            (
                second_step(&|out| message(out, 4, |out| message(out, 1, |_| ()))),
                "requests[0].batch.batch.steps[1].condition.and.conds[0].cond",
            ),
        ];
        for (body, field) in cases {
            assert_eq!(pipeline(&body).unwrap_err().field, field, "{body:02x?}");
        }
        assert_eq!(cursor(&[]).unwrap_err().field, "batch");
    }

    #[test]
    fn of_what_sqlite_would_refuse_for_its_size_little_is_kept() {
        let long = "x".repeat((4 << 20) + 1);
        let bytes_long = long.len();
        let read = pipeline(&execute(|out| bytes(out, 1, long.as_bytes()))).unwrap();
        let [StreamRequest::Execute(stmt)] = read.requests.as_slice() else {
            panic!("one statement")
        };
        assert_eq!(stmt.sql, Sql::TooLong { bytes: bytes_long });
        let many = execute(|out| {
            bytes(out, 1, b"x");
            for _ in 0..50_000 {
                message(out, 3, |out| bytes(out, 1, b""));
            }
        });
        let read = pipeline(&many).unwrap();
        let [StreamRequest::Execute(stmt)] = read.requests.as_slice() else {
            panic!("one statement")
        };
        assert_eq!(stmt.arguments.positional.len(), MOST_PARAMETERS + 1);
        let script = pipeline(&one(4, |out| bytes(out, 1, long.as_bytes()))).unwrap();
        assert_eq!(script.requests, [StreamRequest::Sequence(Sql::Text(long))]);
    }

    #[test]
    fn unknown_fields_are_passed_over_and_negative_ids_are_ids() {
        let body = execute(|out| {
            bytes(out, 99, b"new");
            unsigned(out, 2, u64::MAX);
            boolean(out, 5, false);
        });
        let read = pipeline(&body).unwrap();
        let [StreamRequest::Execute(stmt)] = read.requests.as_slice() else {
            panic!("{read:?}")
        };
        assert_eq!((&stmt.sql, stmt.rows), (&Sql::Stored(-1), Rows::Unwanted));
    }

    #[test]
    fn a_deep_condition_is_refused_and_not_followed() {
        let mut condition = vec![0x32, 0x00];
        for _ in 0..10_000 {
            let mut around = Vec::new();
            bytes(&mut around, 3, &condition);
            condition = around;
        }
        let mut body = Vec::new();
        message(&mut body, 2, |out| message(out, 1, |out| bytes(out, 1, &condition)));
        assert!(cursor(&body).unwrap_err().reason.contains("too deeply"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (pipeline(&body), cursor(&body));
        }

        #[test]
        fn a_changed_byte_is_survived(position: prop::sample::Index, byte: u8) {
            let mut body = execute(|out| {
                bytes(out, 1, b"select ?, :a");
                message(out, 3, |out| unsigned(out, 2, 7));
                message(out, 4, |out| {
                    bytes(out, 1, b"a");
                    message(out, 2, |out| bytes(out, 5, b"blob"));
                });
            });
            let position = position.index(body.len());
            body[position] = byte;
            let _ = (pipeline(&body), cursor(&body));
        }
    }
}
