//! `/v3/cursor`: a batch whose results come as lines of JSON, one entry a line, as the protocol's version 3 has it.
//!
//! Turns the answer of a batch into entries without reading its cells: rows are passed on as they were written.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::json;

/// The result of a batch, as a pipeline answers it.
#[derive(Deserialize)]
struct BatchResult<'a> {
    #[serde(borrow)]
    step_results: Vec<Option<StepResult<'a>>>,
    #[serde(borrow)]
    step_errors: Vec<Option<&'a RawValue>>,
}

#[derive(Deserialize)]
struct StepResult<'a> {
    #[serde(borrow)]
    cols: &'a RawValue,
    #[serde(borrow)]
    rows: Vec<&'a RawValue>,
    affected_row_count: u64,
    #[serde(borrow)]
    last_insert_rowid: &'a RawValue,
}

/// The one element of a pipeline's `results` that a cursor's pipeline has.
enum Element<'a> {
    Ok { response: &'a RawValue },
    Error { error: &'a RawValue },
}

#[derive(Deserialize)]
struct Response<'a> {
    #[serde(borrow)]
    result: BatchResult<'a>,
}

/// The body of a cursor's answer. `element` is what the batch answered inside a pipeline.
pub(super) fn body(element: &[u8], baton: Option<&str>) -> Result<Vec<u8>, serde_json::Error> {
    let mut out = Vec::with_capacity(element.len() + element.len() / 4);
    out.extend_from_slice(b"{\"baton\":");
    match baton {
        Some(baton) => json::string(&mut out, baton),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"base_url\":null}\n");
    match read(element)? {
        Element::Error { error } => line(
            &mut out,
            &[b"{\"type\":\"error\",\"error\":", error.get().as_bytes(), b"}"],
        ),
        Element::Ok { response } => {
            let Response { result } = serde_json::from_str(response.get())?;
            for (step, (outcome, error)) in result.step_results.iter().zip(&result.step_errors).enumerate() {
                entries(&mut out, step, outcome.as_ref(), *error);
            }
        }
    }
    Ok(out)
}

/// Read flat, since serde's tagged enums cannot borrow raw values.
fn read(element: &[u8]) -> Result<Element<'_>, serde_json::Error> {
    #[derive(Deserialize)]
    struct Flat<'a> {
        #[serde(borrow)]
        response: Option<&'a RawValue>,
        #[serde(borrow)]
        error: Option<&'a RawValue>,
    }
    let flat: Flat<'_> = serde_json::from_slice(element)?;
    match (flat.response, flat.error) {
        (Some(response), _) => Ok(Element::Ok { response }),
        (None, Some(error)) => Ok(Element::Error { error }),
        (None, None) => Err(serde::de::Error::custom("a result is neither a response nor an error")),
    }
}

fn entries(out: &mut Vec<u8>, step: usize, outcome: Option<&StepResult<'_>>, error: Option<&RawValue>) {
    let step = step.to_string();
    if let Some(result) = outcome {
        let cols = result.cols.get().as_bytes();
        line(
            out,
            &[
                b"{\"type\":\"step_begin\",\"step\":",
                step.as_bytes(),
                b",\"cols\":",
                cols,
                b"}",
            ],
        );
        for row in &result.rows {
            line(out, &[b"{\"type\":\"row\",\"row\":", row.get().as_bytes(), b"}"]);
        }
        let affected = result.affected_row_count.to_string();
        let rowid = result.last_insert_rowid.get().as_bytes();
        let end: &[&[u8]] = &[
            b"{\"type\":\"step_end\",\"affected_row_count\":",
            affected.as_bytes(),
            b",\"last_insert_rowid\":",
            rowid,
            b"}",
        ];
        line(out, end);
    }
    if let Some(error) = error {
        let error = error.get().as_bytes();
        line(
            out,
            &[
                b"{\"type\":\"step_error\",\"step\":",
                step.as_bytes(),
                b",\"error\":",
                error,
                b"}",
            ],
        );
    }
}

fn line(out: &mut Vec<u8>, parts: &[&[u8]]) {
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(element: &str) -> Vec<String> {
        let body = body(element.as_bytes(), None).unwrap();
        String::from_utf8(body).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_batch_becomes_one_entry_a_line() {
        let element = r#"{"type":"ok","response":{"type":"batch","result":{"step_results":[
            {"cols":[{"name":"x","decltype":null}],"rows":[[{"type":"integer","value":"1"}],[{"type":"null"}]],
             "affected_row_count":0,"last_insert_rowid":null,"rows_read":2},null,null],
            "step_errors":[null,{"message":"no","code":"SQLITE_ERROR"},null],"replication_index":null}}}"#;
        assert_eq!(
            lines(element),
            [
                r#"{"baton":null,"base_url":null}"#,
                r#"{"type":"step_begin","step":0,"cols":[{"name":"x","decltype":null}]}"#,
                r#"{"type":"row","row":[{"type":"integer","value":"1"}]}"#,
                r#"{"type":"row","row":[{"type":"null"}]}"#,
                r#"{"type":"step_end","affected_row_count":0,"last_insert_rowid":null}"#,
                r#"{"type":"step_error","step":1,"error":{"message":"no","code":"SQLITE_ERROR"}}"#,
            ]
        );
    }

    #[test]
    fn a_batch_that_could_not_run_is_one_error() {
        let element = r#"{"type":"error","error":{"message":"closed","code":"STREAM_CLOSED"}}"#;
        let expected = r#"{"type":"error","error":{"message":"closed","code":"STREAM_CLOSED"}}"#;
        assert_eq!(lines(element)[1..], [expected]);
    }
}
