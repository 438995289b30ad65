//! The demo tenant: created through `tenantctl`, filled and asked over HTTP as any client would.

use std::path::Path;
use std::process::{Command, Output};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cluster;
use super::http;
use super::interrupt::Interrupt;

pub(crate) const TENANT: &str = "demo";

/// A new tenant is served as soon as its node has heard of it; that takes less than this.
const PLACEMENT_TIMEOUT: Duration = Duration::from_secs(20);
const POLL_INTERVAL: Duration = Duration::from_millis(200);

/// Equatorial radius in km, and moons known in 2023.
const PLANETS: &[(&str, f64, i64)] = &[
    ("Mercury", 2439.7, 0),
    ("Venus", 6051.8, 0),
    ("Earth", 6378.1, 1),
    ("Mars", 3396.2, 2),
    ("Jupiter", 71492.0, 95),
    ("Saturn", 60268.0, 146),
    ("Uranus", 25559.0, 28),
    ("Neptune", 24764.0, 16),
];

pub(crate) const QUERY: &str = "select name, moons from planets order by moons desc limit 3";

/// The demo tenant's virtual host on node 1.
pub(crate) fn host() -> String {
    format!("{TENANT}.localhost:{}", cluster::data_http(1).port())
}

/// Creates the tenant unless it is there.
pub(crate) fn create_tenant(tenantctl: &Path) -> Result<()> {
    let run = |words: &[&str]| -> Result<Output> {
        Command::new(tenantctl)
            .args(["--endpoint", &cluster::endpoints(), "-o", "json", "tenant"])
            .args(words)
            .output()
            .with_context(|| format!("cannot run {}", tenantctl.display()))
    };
    if run(&["get", TENANT])?.status.success() {
        return Ok(());
    }
    let created = run(&["create", TENANT])?;
    let message = String::from_utf8_lossy(&created.stderr);
    ensure!(
        created.status.success(),
        "tenantctl cannot create the tenant `{TENANT}`: {}",
        message.trim()
    );
    Ok(())
}

/// Loads the sample rows; rows that are there stay as they are.
pub(crate) fn load_rows(interrupt: &Interrupt) -> Result<()> {
    let mut statements = vec![statement(
        "create table if not exists planets (name text primary key, radius_km real not null, moons integer not null)",
        &[],
    )];
    statements.extend(PLANETS.iter().map(|&(name, radius_km, moons)| {
        let arguments = [
            json!({"type": "text", "value": name}),
            json!({"type": "float", "value": radius_km}),
            json!({"type": "integer", "value": moons.to_string()}),
        ];
        statement(
            "insert or ignore into planets (name, radius_km, moons) values (?, ?, ?)",
            &arguments,
        )
    }));
    pipeline(&statements, interrupt).context("cannot load the sample rows")?;
    Ok(())
}

/// Runs [`QUERY`] and returns its rows as lines, the column names first.
pub(crate) fn ask(interrupt: &Interrupt) -> Result<Vec<String>> {
    let results = pipeline(&[statement(QUERY, &[])], interrupt).context("cannot run the query")?;
    let Some(result) = results.first() else {
        bail!("the query has no result")
    };
    let header = result
        .cols
        .iter()
        .map(|column| column.name.clone().unwrap_or_default())
        .collect();
    let rows = result.rows.iter().map(|row| row.iter().map(cell).collect());
    Ok(align(
        &std::iter::once(header).chain(rows).collect::<Vec<Vec<String>>>(),
    ))
}

fn statement(sql: &str, arguments: &[Value]) -> Value {
    json!({"type": "execute", "stmt": {"sql": sql, "args": arguments}})
}

#[derive(Debug, Deserialize)]
struct PipelineAnswer {
    results: Vec<StreamResult>,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamResult {
    Ok { response: StreamResponse },
    Error { error: StreamError },
}

#[derive(Debug, Deserialize)]
struct StreamError {
    message: String,
}

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum StreamResponse {
    Execute { result: StatementResult },
    Close,
}

#[derive(Debug, Deserialize)]
struct StatementResult {
    cols: Vec<Column>,
    rows: Vec<Vec<Value>>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: Option<String>,
}

/// Sends the statements as one pipeline. While the tenant is on its way to its node (404, 503), asks again.
fn pipeline(statements: &[Value], interrupt: &Interrupt) -> Result<Vec<StatementResult>> {
    let mut requests = statements.to_vec();
    requests.push(json!({"type": "close"}));
    let request = json!({"requests": requests}).to_string();
    let deadline = Instant::now() + PLACEMENT_TIMEOUT;
    loop {
        interrupt.check()?;
        let answer = http::post_json(cluster::data_http(1), &host(), "/v2/pipeline", &request)
            .with_context(|| format!("no answer from http://{}/v2/pipeline", host()))?;
        match answer.status {
            200 => return read_results(&answer.body, statements.len()),
            404 | 503 if Instant::now() < deadline => thread::sleep(POLL_INTERVAL),
            status => bail!(
                "http://{}/v2/pipeline answered {status}: {}",
                host(),
                answer.body.trim()
            ),
        }
    }
}

fn read_results(body: &str, statements: usize) -> Result<Vec<StatementResult>> {
    let answer: PipelineAnswer =
        serde_json::from_str(body).with_context(|| format!("not a pipeline answer: {body}"))?;
    let mut results = Vec::new();
    for result in answer.results {
        match result {
            StreamResult::Ok {
                response: StreamResponse::Execute { result },
            } => results.push(result),
            StreamResult::Ok {
                response: StreamResponse::Close,
            } => {}
            StreamResult::Error { error } => bail!("{}", error.message),
        }
    }
    ensure!(
        results.len() == statements,
        "{} results for {statements} statements",
        results.len()
    );
    Ok(results)
}

/// A Hrana value as text: `{"type": "integer", "value": "7"}`.
fn cell(value: &Value) -> String {
    match value.get("value") {
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
        None => "NULL".to_owned(),
    }
}

/// Rows as lines with columns of equal width.
pub(crate) fn align(rows: &[Vec<String>]) -> Vec<String> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
            .unwrap_or_default()
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:<width$}"))
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_read_and_the_first_error_is_told() {
        let execute = r#"{"type":"ok","response":{"type":"execute","result":{"cols":[{"name":"n","decltype":null}],"rows":[[{"type":"integer","value":"3"}]],"affected_row_count":0}}}"#;
        let close = r#"{"type":"ok","response":{"type":"close"}}"#;
        let body = |results: &[&str]| format!(r#"{{"baton":null,"base_url":null,"results":[{}]}}"#, results.join(","));
        let results = read_results(&body(&[execute, close]), 1).unwrap();
        assert_eq!(results[0].cols[0].name.as_deref(), Some("n"));
        assert_eq!(cell(&results[0].rows[0][0]), "3");

        let error = r#"{"type":"error","error":{"message":"no such table: planets","code":"SQLITE_ERROR"}}"#;
        assert_eq!(
            read_results(&body(&[error, close]), 1).unwrap_err().to_string(),
            "no such table: planets"
        );
        assert_eq!(
            read_results(&body(&[close]), 1).unwrap_err().to_string(),
            "0 results for 1 statements"
        );
        assert!(read_results("<html>", 1).is_err());
    }

    #[test]
    fn values_show_as_text() {
        for (value, text) in [
            (json!({"type": "text", "value": "Io"}), "Io"),
            (json!({"type": "float", "value": 1.5}), "1.5"),
            (json!({"type": "null"}), "NULL"),
        ] {
            assert_eq!(cell(&value), text);
        }
    }

    #[test]
    fn columns_line_up() {
        let rows = [
            vec!["name".to_owned(), "moons".to_owned()],
            vec!["Saturn".to_owned(), "146".to_owned()],
        ];
        assert_eq!(align(&rows), ["name    moons", "Saturn  146"]);
        assert_eq!(align(&[]), Vec::<String>::new());
    }
}
