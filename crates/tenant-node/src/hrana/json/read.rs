//! Reads a request's JSON. Every refusal names the field that was wrong.
//!
//! The structures are read flat, without serde's tagged enums, because those lose the path of an error.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use rusqlite::types::Value;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::database::MOST_PARAMETERS;
use crate::hrana::batch::Condition;
use crate::hrana::request::{Cursor, Malformed, Pipeline, Sql, Step, Stmt, StreamRequest};

/// SDKs differ in whether they pad.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

#[derive(Deserialize)]
struct RawPipeline<'a> {
    #[serde(default)]
    baton: Option<String>,
    #[serde(borrow)]
    requests: Vec<RawRequest<'a>>,
}

#[derive(Deserialize)]
struct RawCursor<'a> {
    #[serde(default)]
    baton: Option<String>,
    #[serde(borrow)]
    batch: RawBatch<'a>,
}

#[derive(Deserialize)]
struct RawExecute<'a> {
    #[serde(borrow)]
    stmt: RawStmt<'a>,
}

#[derive(Deserialize)]
struct RawV1Batch<'a> {
    #[serde(borrow)]
    batch: RawBatch<'a>,
}

/// A text that may be long: it stays where it is in the body, unless something in it is escaped. By itself an `Option<Cow>` is always copied.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'a> Text<'a> {
    fn into_inner(self) -> Cow<'a, str> {
        self.0
    }
}

#[derive(Deserialize)]
struct RawRequest<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    stmt: Option<RawStmt<'a>>,
    #[serde(default, borrow)]
    batch: Option<RawBatch<'a>>,
    #[serde(default, borrow)]
    sql: Option<Text<'a>>,
    #[serde(default)]
    sql_id: Option<i32>,
}

#[derive(Deserialize)]
struct RawStmt<'a> {
    #[serde(default, borrow)]
    sql: Option<Text<'a>>,
    #[serde(default)]
    sql_id: Option<i32>,
    #[serde(default, borrow)]
    args: Option<Positional<'a>>,
    #[serde(default, borrow)]
    named_args: Option<Vec<RawNamedArg<'a>>>,
    #[serde(default)]
    want_rows: Option<bool>,
}

/// Positional arguments. Of more than a statement can have, all but one are passed over: the statement fails, whatever they are.
struct Positional<'a>(Vec<RawValue<'a>>);

impl<'de: 'a, 'a> Deserialize<'de> for Positional<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Kept<'a>(PhantomData<&'a ()>);

        impl<'de: 'a, 'a> Visitor<'de> for Kept<'a> {
            type Value = Positional<'a>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a sequence")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut arguments: A) -> Result<Self::Value, A::Error> {
                let mut kept = Vec::new();
                while let Some(argument) = arguments.next_element::<RawValue<'a>>()? {
                    if kept.len() <= MOST_PARAMETERS {
                        kept.push(argument);
                    }
                }
                Ok(Positional(kept))
            }
        }

        deserializer.deserialize_seq(Kept(PhantomData))
    }
}

#[derive(Deserialize)]
struct RawNamedArg<'a> {
    name: String,
    #[serde(borrow)]
    value: RawValue<'a>,
}

#[derive(Deserialize)]
struct RawValue<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default, borrow)]
    value: Option<RawScalar<'a>>,
    #[serde(default, borrow)]
    base64: Option<Text<'a>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum RawScalar<'a> {
    // First, since most are: trying the other one before would make an error of each, words and all.
    #[serde(borrow)]
    Text(Cow<'a, str>),
    Number(f64),
}

#[derive(Deserialize)]
struct RawBatch<'a> {
    #[serde(borrow)]
    steps: Vec<RawStep<'a>>,
}

#[derive(Deserialize)]
struct RawStep<'a> {
    #[serde(default, borrow)]
    condition: Option<RawCondition<'a>>,
    #[serde(borrow)]
    stmt: RawStmt<'a>,
}

#[derive(Deserialize)]
struct RawCondition<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(default)]
    step: Option<u32>,
    #[serde(default, borrow)]
    cond: Option<Box<RawCondition<'a>>>,
    #[serde(default, borrow)]
    conds: Option<Vec<RawCondition<'a>>>,
}

/// Reads the body of a cursor.
pub(super) fn cursor(body: &[u8]) -> Result<Cursor, Malformed> {
    let raw: RawCursor<'_> = whole(body)?;
    Ok(Cursor {
        baton: raw.baton,
        steps: steps(raw.batch, Place::Member("batch"))?,
    })
}

/// Reads the body of `/v1/execute`.
pub(super) fn v1_execute(body: &[u8]) -> Result<StreamRequest, Malformed> {
    let raw: RawExecute<'_> = whole(body)?;
    Ok(StreamRequest::Execute(statement(raw.stmt, Place::Member("stmt"))?))
}

/// Reads the body of `/v1/batch`.
pub(super) fn v1_batch(body: &[u8]) -> Result<StreamRequest, Malformed> {
    let raw: RawV1Batch<'_> = whole(body)?;
    Ok(StreamRequest::Batch(steps(raw.batch, Place::Member("batch"))?))
}

/// Reads the body of a pipeline.
pub(super) fn pipeline(body: &[u8]) -> Result<Pipeline, Malformed> {
    let raw: RawPipeline<'_> = whole(body)?;
    let requests = raw
        .requests
        .into_iter()
        .enumerate()
        .map(|(index, request)| stream_request(request, Place::Root("requests", index)))
        .collect::<Result<_, _>>()?;
    Ok(Pipeline {
        baton: raw.baton,
        requests,
    })
}

fn whole<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Malformed> {
    // To know at each moment where it stands costs about as much as reading. Only a wrong body is read like that.
    // To know that all of it is text costs less than to find out of each string.
    if let Ok(text) = std::str::from_utf8(body)
        && let Ok(raw) = serde_json::from_str(text)
    {
        return Ok(raw);
    }
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let raw = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| Malformed {
        field: field_of(error.path()),
        reason: error.inner().to_string(),
    })?;
    deserializer
        .end()
        .map_err(|error| Malformed::new(".", error.to_string()))?;
    Ok(raw)
}

/// A body that ends inside an object has no next field to name: the one around it is wrong.
fn field_of(path: &serde_path_to_error::Path) -> String {
    let path = path.to_string();
    match path.strip_suffix('?') {
        None => path,
        Some("") => ".".to_owned(),
        Some(around) => around.trim_end_matches('.').to_owned(),
    }
}

/// Where a structure stands in the body. Put into words where something is wrong with it, and only there.
#[derive(Clone, Copy)]
enum Place<'a> {
    /// A member of the body.
    Member(&'a str),
    /// An element of a list of the body.
    Root(&'a str, usize),
    /// A member of the structure at a place.
    In(&'a Place<'a>, &'a str),
    /// An element of a list of the structure at a place.
    Of(&'a Place<'a>, &'a str, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Member(name) => f.write_str(name),
            Self::Root(list, index) => write!(f, "{list}[{index}]"),
            Self::In(around, name) => write!(f, "{around}.{name}"),
            Self::Of(around, list, index) => write!(f, "{around}.{list}[{index}]"),
        }
    }
}

impl Place<'_> {
    fn missing(self, field: &str) -> Malformed {
        Malformed::missing(&self.to_string(), field)
    }

    fn around(self, wrong: Malformed) -> Malformed {
        wrong.within(&self.to_string())
    }
}

fn stream_request(raw: RawRequest<'_>, place: Place<'_>) -> Result<StreamRequest, Malformed> {
    let sql_id = raw.sql_id;
    Ok(match &*raw.kind {
        "close" => StreamRequest::Close,
        "get_autocommit" => StreamRequest::GetAutocommit,
        "execute" => {
            let stmt = raw.stmt.ok_or_else(|| place.missing("stmt"))?;
            StreamRequest::Execute(statement(stmt, Place::In(&place, "stmt"))?)
        }
        "batch" => {
            let batch = raw.batch.ok_or_else(|| place.missing("batch"))?;
            StreamRequest::Batch(steps(batch, Place::In(&place, "batch"))?)
        }
        "sequence" => {
            let script = Sql::of_script(raw.sql.map(Text::into_inner), sql_id);
            StreamRequest::Sequence(script.map_err(|wrong| place.around(wrong))?)
        }
        "describe" => {
            let sql = Sql::of_statement(raw.sql.map(Text::into_inner), sql_id);
            StreamRequest::Describe(sql.map_err(|wrong| place.around(wrong))?)
        }
        "store_sql" => StreamRequest::StoreSql {
            id: sql_id.ok_or_else(|| place.missing("sql_id"))?,
            sql: raw
                .sql
                .map(|text| text.into_inner().into_owned())
                .ok_or_else(|| place.missing("sql"))?,
        },
        "close_sql" => StreamRequest::CloseSql {
            id: sql_id.ok_or_else(|| place.missing("sql_id"))?,
        },
        other => {
            return Err(Malformed::new(
                format!("{place}.type"),
                format!("`{}` is not a request", shortened(other)),
            ));
        }
    })
}

fn steps(batch: RawBatch<'_>, place: Place<'_>) -> Result<Vec<Step>, Malformed> {
    batch
        .steps
        .into_iter()
        .enumerate()
        .map(|(index, step)| {
            let place = Place::Of(&place, "steps", index);
            Ok(Step {
                condition: step
                    .condition
                    .map(|raw| condition(raw, index, Place::In(&place, "condition")))
                    .transpose()?,
                stmt: statement(step.stmt, Place::In(&place, "stmt"))?,
            })
        })
        .collect()
}

fn condition(raw: RawCondition<'_>, own_step: usize, place: Place<'_>) -> Result<Condition, Malformed> {
    let earlier = |step: Option<u32>| {
        let step = step.ok_or_else(|| place.missing("step"))?;
        Condition::earlier(step, own_step)
            .ok_or_else(|| Malformed::new(format!("{place}.step"), Condition::NOT_EARLIER))
    };
    let all = |raw: Option<Vec<RawCondition<'_>>>| {
        raw.ok_or_else(|| place.missing("conds"))?
            .into_iter()
            .enumerate()
            .map(|(index, raw)| condition(raw, own_step, Place::Of(&place, "conds", index)))
            .collect::<Result<Vec<_>, _>>()
    };
    Ok(match &*raw.kind {
        "ok" => Condition::Ok(earlier(raw.step)?),
        "error" => Condition::Error(earlier(raw.step)?),
        "not" => {
            let inner = raw.cond.ok_or_else(|| place.missing("cond"))?;
            Condition::Not(Box::new(condition(*inner, own_step, Place::In(&place, "cond"))?))
        }
        "and" => Condition::And(all(raw.conds)?),
        "or" => Condition::Or(all(raw.conds)?),
        "is_autocommit" => Condition::IsAutocommit,
        other => {
            return Err(Malformed::new(
                format!("{place}.type"),
                format!("`{}` is not a condition", shortened(other)),
            ));
        }
    })
}

fn statement(raw: RawStmt<'_>, place: Place<'_>) -> Result<Stmt, Malformed> {
    let sql = Sql::of_statement(raw.sql.map(Text::into_inner), raw.sql_id).map_err(|wrong| place.around(wrong))?;
    let positional = raw
        .args
        .map(|positional| positional.0)
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, raw)| value(raw, Place::Of(&place, "args", index)))
        .collect::<Result<_, _>>()?;
    let named = raw
        .named_args
        .unwrap_or_default()
        .into_iter()
        .enumerate()
        .map(|(index, raw)| {
            let argument = Place::Of(&place, "named_args", index);
            Ok::<_, Malformed>((raw.name, value(raw.value, Place::In(&argument, "value"))?))
        })
        .collect::<Result<_, _>>()?;
    Ok(Stmt::new(sql, positional, named, raw.want_rows))
}

fn value(raw: RawValue<'_>, place: Place<'_>) -> Result<Value, Malformed> {
    let wrong = |expected: &str| Malformed::new(format!("{place}.value"), format!("must be {expected}"));
    match (&*raw.kind, raw.value, raw.base64) {
        ("null", _, _) => Ok(Value::Null),
        ("integer", Some(RawScalar::Text(text)), _) => text
            .parse()
            .map(Value::Integer)
            .map_err(|_| wrong("a whole number of 64 bits in a string")),
        ("integer", _, _) => Err(wrong("a whole number of 64 bits in a string")),
        ("float", Some(RawScalar::Number(number)), _) => Ok(Value::Real(number)),
        ("float", _, _) => Err(wrong("a number")),
        ("text", Some(RawScalar::Text(text)), _) => Ok(Value::Text(text.into_owned())),
        ("text", _, _) => Err(wrong("a string")),
        ("blob", _, Some(text)) => BASE64
            .decode(text.0.as_bytes())
            .map(Value::Blob)
            .map_err(|error| Malformed::new(format!("{place}.base64"), format!("is not base64: {error}"))),
        ("blob", _, None) => Err(Malformed::new(format!("{place}.base64"), "is missing")),
        (other, _, _) => Err(Malformed::new(
            format!("{place}.type"),
            format!("`{}` is not a type of value", shortened(other)),
        )),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::hrana::request::Rows;

    #[test]
    fn a_refusal_names_the_field() {
        let cases = [
            ("", "."),
            ("{", "."),
            (r#"{"requests":[{"#, "requests[0]"),
            ("[]", "."),
            ("{}", "."),
            (r#"{"requests":1}"#, "requests"),
            (r#"{"requests":[]} x"#, "."),
            (r#"{"baton":1,"requests":[]}"#, "baton"),
            (r#"{"requests":[{"type":"fly"}]}"#, "requests[0].type"),
            (r#"{"requests":[{"type":"execute"}]}"#, "requests[0].stmt"),
            (r#"{"requests":[{"type":"execute","stmt":{}}]}"#, "requests[0].stmt.sql"),
            (
                r#"{"requests":[{"type":"execute","stmt":{"sql":"x","sql_id":1}}]}"#,
                "requests[0].stmt.sql_id",
            ),
            (
                r#"{"requests":[{"type":"execute","stmt":{"sql":1}}]}"#,
                "requests[0].stmt.sql",
            ),
            (
                r#"{"requests":[{"type":"execute","stmt":{"sql":"x","args":[{"type":"null"},{"type":"integer","value":1}]}}]}"#,
                "requests[0].stmt.args[1].value",
            ),
            (
                r#"{"requests":[{"type":"execute","stmt":{"sql":"x","args":[{"type":"integer","value":"9223372036854775808"}]}}]}"#,
                "requests[0].stmt.args[0].value",
            ),
            (
                r#"{"requests":[{"type":"execute","stmt":{"sql":"x","args":[{"type":"blob","base64":"%"}]}}]}"#,
                "requests[0].stmt.args[0].base64",
            ),
            (
                r#"{"requests":[{"type":"execute","stmt":{"sql":"x","named_args":[{"name":"a","value":{"type":"date"}}]}}]}"#,
                "requests[0].stmt.named_args[0].value.type",
            ),
            (
                r#"{"requests":[{"type":"batch","batch":{"steps":[{"stmt":{"sql":"x"},"condition":{"type":"ok","step":0}}]}}]}"#,
                "requests[0].batch.steps[0].condition.step",
            ),
            (
                r#"{"requests":[{"type":"batch","batch":{"steps":[{"stmt":{"sql":"x"},"condition":{"type":"and","conds":[{"type":"or"}]}}]}}]}"#,
                "requests[0].batch.steps[0].condition.conds[0].conds",
            ),
            (
                r#"{"requests":[{"type":"close"},{"type":"store_sql","sql":"x"}]}"#,
                "requests[1].sql_id",
            ),
        ];
        for (body, field) in cases {
            assert_eq!(pipeline(body.as_bytes()).unwrap_err().field, field, "{body}");
        }
    }

    #[test]
    fn unknown_fields_and_both_kinds_of_padding_are_accepted() {
        let body = r#"{"baton":null,"new":1,"requests":[{"type":"execute","stmt":{"sql":"x","want_rows":false,"args":[
            {"type":"blob","base64":"AA"},{"type":"blob","base64":"AA=="},{"type":"float","value":1}],
            "replication_index":null}}]}"#;
        let read = pipeline(body.as_bytes()).unwrap();
        let [StreamRequest::Execute(stmt)] = read.requests.as_slice() else {
            panic!("{read:?}")
        };
        assert_eq!(stmt.rows, Rows::Unwanted);
        let expected = [Value::Blob(vec![0]), Value::Blob(vec![0]), Value::Real(1.0)];
        assert_eq!(stmt.arguments.positional, expected);
    }

    #[test]
    fn long_texts_stay_in_the_body_until_they_are_wanted() {
        let raw: RawRequest<'_> = whole(
            br#"{"type":"execute","sql":"a","stmt":{"sql":"b","args":[{"type":"blob","base64":"AA"},{"type":"text","value":"c"}]}}"#,
        )
        .unwrap();
        let stmt = raw.stmt.unwrap();
        let args = stmt.args.unwrap().0;
        let [
            RawValue {
                base64: Some(base64), ..
            },
            RawValue {
                value: Some(RawScalar::Text(text)),
                ..
            },
        ] = args.as_slice()
        else {
            panic!("two arguments")
        };
        for text in [&raw.sql.unwrap().0, &stmt.sql.unwrap().0, &base64.0, text] {
            assert!(matches!(text, Cow::Borrowed(_)), "{text} was copied");
        }
    }

    #[test]
    fn of_more_arguments_than_a_statement_can_have_one_is_kept() {
        let of = |count: usize, last: &str| {
            let nulls = r#"{"type":"null"},"#.repeat(count - 1);
            let body = format!(r#"{{"requests":[{{"type":"execute","stmt":{{"sql":"x","args":[{nulls}{last}]}}}}]}}"#);
            pipeline(body.as_bytes())
        };
        for (count, kept) in [(32_766, 32_766), (32_767, 32_767), (100_000, 32_767)] {
            let read = of(count, r#"{"type":"null"}"#).unwrap();
            let [StreamRequest::Execute(stmt)] = read.requests.as_slice() else {
                panic!("one statement")
            };
            assert_eq!(stmt.arguments.positional.len(), kept);
        }
        let malformed = of(50_000, "7").unwrap_err();
        assert_eq!(malformed.field, "requests[0].stmt.args[49999]");
    }

    #[test]
    fn of_a_statement_that_is_too_long_nothing_is_kept_and_a_script_may_be_long() {
        let long = format!("select 1 -- {}", "x".repeat(4 << 20));
        let bytes = long.len();
        let of = |request: &str| {
            let body = format!(r#"{{"requests":[{request}]}}"#);
            pipeline(body.as_bytes()).unwrap().requests.remove(0)
        };
        for kind in ["execute", "describe"] {
            let read = of(&format!(
                r#"{{"type":"{kind}","sql":"{long}","stmt":{{"sql":"{long}"}}}}"#
            ));
            let (StreamRequest::Execute(Stmt { sql, .. }) | StreamRequest::Describe(sql)) = read else {
                panic!("{kind}")
            };
            assert_eq!(sql, Sql::TooLong { bytes });
        }
        let script = of(&format!(r#"{{"type":"sequence","sql":"{long}"}}"#));
        assert_eq!(script, StreamRequest::Sequence(Sql::Text(long)));
        let blanks = " ".repeat(5 << 20);
        let padded = of(&format!(r#"{{"type":"describe","sql":"select 1{blanks}"}}"#));
        assert_eq!(padded, StreamRequest::Describe(Sql::Text(format!("select 1{blanks}"))));
    }

    #[test]
    fn a_deep_condition_is_refused_and_not_followed() {
        let depth = 100_000;
        let body = format!(
            r#"{{"requests":[{{"type":"batch","batch":{{"steps":[{{"stmt":{{"sql":"x"}},"condition":{}"#,
            r#"{"type":"not","cond":"#.repeat(depth)
        );
        assert!(
            pipeline(body.as_bytes())
                .unwrap_err()
                .reason
                .contains("recursion limit")
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (pipeline(&body), cursor(&body), v1_execute(&body), v1_batch(&body));
        }
    }
}
