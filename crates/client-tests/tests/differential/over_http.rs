//! One Hrana stream, written against the protocol's specification and nothing else: JSON, `/v3/pipeline`.

use std::net::SocketAddr;

use process_tests::post;
use rusqlite::types::Value as Cell;
use serde_json::{Value, json};

use crate::script::Statement;
use crate::{Done, Outcome};

pub(crate) struct Stream {
    node: SocketAddr,
    host: String,
    baton: Value,
}

impl Stream {
    pub(crate) fn new(node: SocketAddr, tenant: &str) -> Self {
        Self {
            node,
            host: format!("{tenant}.localhost"),
            baton: Value::Null,
        }
    }

    /// Each statement as a request of its own.
    pub(crate) fn execute(&mut self, statements: &[Statement]) -> Vec<Outcome> {
        let requests = statements
            .iter()
            .map(|statement| json!({"type": "execute", "stmt": stmt(statement)}));
        let results = self.send(&requests.collect::<Vec<_>>());
        let outcome = |result: &Value| match result["type"].as_str() {
            Some("ok") => done(&result["response"]["result"]),
            _ => failed(&result["error"]),
        };
        results.iter().map(outcome).collect()
    }

    /// All statements as one batch without conditions.
    pub(crate) fn batch(&mut self, statements: &[Statement]) -> Vec<Outcome> {
        let steps: Vec<Value> = statements
            .iter()
            .map(|statement| json!({"stmt": stmt(statement)}))
            .collect();
        let results = self.send(&[json!({"type": "batch", "batch": {"steps": steps}})]);
        let result = &results[0]["response"]["result"];
        let outcome = |index: usize| match (&result["step_results"][index], &result["step_errors"][index]) {
            (Value::Null, error) => failed(error),
            (result, Value::Null) => done(result),
            both => panic!("a step has failed and not failed: {both:?}"),
        };
        (0..statements.len()).map(outcome).collect()
    }

    pub(crate) fn is_autocommit(&mut self) -> bool {
        let results = self.send(&[json!({"type": "get_autocommit"})]);
        results[0]["response"]["is_autocommit"].as_bool().unwrap()
    }

    fn send(&mut self, requests: &[Value]) -> Vec<Value> {
        let body = json!({"baton": self.baton, "requests": requests}).to_string();
        let headers = [("host", self.host.as_str()), ("content-type", "application/json")];
        let answer = post(self.node, "/v3/pipeline", &headers, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        let mut answer = answer.json();
        self.baton = answer["baton"].take();
        assert!(self.baton.is_string(), "the stream was closed: {answer}");
        let Value::Array(results) = answer["results"].take() else {
            panic!("no results: {answer}");
        };
        assert_eq!(results.len(), requests.len());
        results
    }
}

fn stmt(statement: &Statement) -> Value {
    let arguments: Vec<Value> = statement.arguments.iter().map(argument).collect();
    json!({"sql": statement.sql, "args": arguments})
}

fn argument(value: &Cell) -> Value {
    match value {
        Cell::Null => json!({"type": "null"}),
        Cell::Integer(number) => json!({"type": "integer", "value": number.to_string()}),
        Cell::Real(number) => json!({"type": "float", "value": number}),
        Cell::Text(text) => json!({"type": "text", "value": text}),
        Cell::Blob(bytes) => json!({"type": "blob", "base64": base64(bytes)}),
    }
}

fn done(result: &Value) -> Outcome {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let columns = result["cols"].as_array().unwrap().iter();
    let rows = result["rows"].as_array().unwrap().iter();
    let last_insert_rowid = &result["last_insert_rowid"];
    Outcome::Done(Done {
        columns: columns
            .map(|column| (text(&column["name"]).unwrap(), text(&column["decltype"])))
            .collect(),
        rows: rows
            .map(|row| row.as_array().unwrap().iter().map(cell).collect())
            .collect(),
        affected_rows: result["affected_row_count"].as_u64().unwrap(),
        last_insert_rowid: last_insert_rowid.as_str().map(|number| number.parse().unwrap()),
    })
}

fn failed(error: &Value) -> Outcome {
    Outcome::Failed {
        code: error["code"]
            .as_str()
            .unwrap_or_else(|| panic!("no code: {error}"))
            .to_owned(),
        message: error["message"].as_str().unwrap().to_owned(),
    }
}

fn cell(value: &Value) -> Cell {
    let text = || value["value"].as_str().unwrap();
    match value["type"].as_str().unwrap() {
        "null" => Cell::Null,
        "integer" => Cell::Integer(text().parse().unwrap()),
        "float" => Cell::Real(value["value"].as_f64().unwrap()),
        "text" => Cell::Text(text().to_owned()),
        "blob" => Cell::Blob(unbase64(value["base64"].as_str().unwrap())),
        other => panic!("a value of type {other}"),
    }
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// With padding.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let number = chunk.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let index = usize::try_from(number >> (18 - 6 * place) & 63).unwrap();
            text.push(if place <= chunk.len() {
                char::from(ALPHABET[index])
            } else {
                '='
            });
        }
    }
    text
}

/// With or without padding: servers differ.
fn unbase64(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text
        .bytes()
        .filter(|byte| *byte != b'=')
        .map(|byte| u32::try_from(ALPHABET.iter().position(|letter| *letter == byte).unwrap()).unwrap())
        .collect();
    let mut bytes = Vec::new();
    for chunk in digits.chunks(4) {
        let number = chunk.iter().fold(0, |number, digit| number << 6 | digit) << (6 * (4 - chunk.len()));
        bytes.extend_from_slice(&number.to_be_bytes()[1..chunk.len()]);
    }
    bytes
}

#[test]
fn base64_goes_both_ways() {
    for (bytes, text) in [
        (&b""[..], ""),
        (b"f", "Zg=="),
        (b"fo", "Zm8="),
        (b"foo", "Zm9v"),
        (b"foob", "Zm9vYg=="),
    ] {
        assert_eq!(base64(bytes), text);
        assert_eq!(unbase64(text), bytes);
        assert_eq!(unbase64(text.trim_end_matches('=')), bytes);
    }
    let all: Vec<u8> = (0..=255).collect();
    assert_eq!(unbase64(&base64(&all)), all);
}
