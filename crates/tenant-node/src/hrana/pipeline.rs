//! Runs a pipeline's requests in order on one session and writes the results. Blocks: for database threads only.
//!
//! A pipeline can stop in the middle, when a statement has to wait for its turn to write, and be continued later.

use std::collections::HashMap;
use std::time::Instant;

use super::batch::StepOutcome;
use super::json::{self, NoRows, ResultWriter};
use super::request::{Sql, Step, Stmt, StreamRequest};
use crate::database::{ActiveSession, Arguments, Attempt, StatementError, first_statement};

/// Stored SQL texts of one stream: more are refused.
const MOST_STORED_TEXTS: usize = 128;

/// SQL texts that a stream has stored, by the client's number.
pub(super) type StoredSql = HashMap<i32, String>;

/// Whether the pipeline has come to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    Done,
    /// The next statement writes, and another stream of the tenant is writing.
    NeedsWriter,
}

/// A pipeline and how far it has come.
pub(super) struct PipelineRun {
    requests: Vec<StreamRequest>,
    next: usize,
    within: Within,
    closed: bool,
    sqls: StoredSql,
    answer: Answer,
}

/// The place inside the request that is being run.
#[derive(Default)]
struct Within {
    /// Bytes of a sequence that have been run.
    offset: usize,
    batch: BatchProgress,
}

#[derive(Default)]
struct BatchProgress {
    outcomes: Vec<StepOutcome>,
    results: Vec<u8>,
    errors: Vec<u8>,
}

/// The results as they are written.
struct Answer {
    json: Vec<u8>,
    limit: usize,
    /// The first failure that decides the status of the whole answer.
    refusal: Option<StatementError>,
}

/// What a finished pipeline leaves.
pub(super) struct Finished {
    /// The elements of `results`, with commas between.
    pub(super) results: Vec<u8>,
    pub(super) sqls: StoredSql,
    /// Whether the client closed the stream.
    pub(super) closed: bool,
    /// The failure that decides the status of the whole answer.
    pub(super) refusal: Option<StatementError>,
}

impl PipelineRun {
    /// `prefix` is put in front of the results; they take at most `limit` bytes.
    pub(super) fn new(requests: Vec<StreamRequest>, sqls: StoredSql, prefix: &[u8], limit: u64) -> Self {
        Self {
            requests,
            next: 0,
            within: Within::default(),
            closed: false,
            sqls,
            answer: Answer {
                json: prefix.to_vec(),
                limit: usize::try_from(limit).unwrap_or(usize::MAX),
                refusal: None,
            },
        }
    }

    /// Runs until the end or until a statement has to wait.
    pub(super) fn advance(&mut self, session: &mut ActiveSession<'_>) -> Progress {
        while let Some(request) = self.requests.get(self.next) {
            let before = self.answer.json.len();
            if self.next > 0 {
                self.answer.json.push(b',');
            }
            if self.closed {
                self.answer.error(
                    "the stream was closed by an earlier request of this pipeline",
                    "STREAM_CLOSED",
                );
            } else if run(
                request,
                &mut self.within,
                &mut self.closed,
                &mut self.sqls,
                &mut self.answer,
                session,
            ) == Progress::NeedsWriter
            {
                // The request is begun anew, or gone on with, when its turn has come.
                self.answer.json.truncate(before);
                return Progress::NeedsWriter;
            }
            self.within = Within::default();
            self.next += 1;
        }
        Progress::Done
    }

    pub(super) fn finish(self) -> Finished {
        Finished {
            results: self.answer.json,
            sqls: self.sqls,
            closed: self.closed,
            refusal: self.answer.refusal,
        }
    }
}

fn run(
    request: &StreamRequest,
    within: &mut Within,
    closed: &mut bool,
    sqls: &mut StoredSql,
    answer: &mut Answer,
    session: &mut ActiveSession<'_>,
) -> Progress {
    match request {
        StreamRequest::Execute(stmt) => return execute(stmt, sqls, answer, session),
        StreamRequest::Batch(steps) => return batch(steps, &mut within.batch, sqls, answer, session),
        StreamRequest::Sequence(sql) => return sequence(sql, &mut within.offset, sqls, answer, session),
        StreamRequest::Describe(sql) => match stored(sql, sqls).and_then(|sql| session.describe(sql)) {
            Ok(description) => {
                answer
                    .json
                    .extend_from_slice(b"{\"type\":\"ok\",\"response\":{\"type\":\"describe\",\"result\":");
                json::description(&mut answer.json, &description);
                answer.json.extend_from_slice(b"}}");
            }
            Err(failure) => answer.failure(&failure),
        },
        StreamRequest::StoreSql { id, sql } => {
            if sqls.contains_key(id) {
                answer.error(
                    &format!("the stream already has an SQL text with sql_id {id}"),
                    "SQL_ID_IN_USE",
                );
            } else if sqls.len() >= MOST_STORED_TEXTS {
                answer.error(
                    &format!("a stream stores at most {MOST_STORED_TEXTS} SQL texts"),
                    "SQL_STORE_FULL",
                );
            } else {
                sqls.insert(*id, sql.clone());
                answer.ok("store_sql");
            }
        }
        StreamRequest::CloseSql { id } => {
            sqls.remove(id);
            answer.ok("close_sql");
        }
        StreamRequest::GetAutocommit => {
            let response = format!(
                r#"{{"type":"ok","response":{{"type":"get_autocommit","is_autocommit":{}}}}}"#,
                session.is_autocommit()
            );
            answer.json.extend_from_slice(response.as_bytes());
        }
        StreamRequest::Close => {
            *closed = true;
            match session.close() {
                Ok(()) => answer.ok("close"),
                Err(error) => answer.error(&error.to_string(), "SQLITE_CANTOPEN"),
            }
        }
    }
    Progress::Done
}

fn execute(stmt: &Stmt, sqls: &StoredSql, answer: &mut Answer, session: &mut ActiveSession<'_>) -> Progress {
    let before = answer.json.len();
    answer
        .json
        .extend_from_slice(b"{\"type\":\"ok\",\"response\":{\"type\":\"execute\",\"result\":");
    match statement(stmt, sqls, &mut answer.json, answer.limit, session) {
        Attempt::NeedsWriter => return Progress::NeedsWriter,
        Attempt::Finished(Ok(())) => answer.json.extend_from_slice(b"}}"),
        Attempt::Finished(Err(failure)) => {
            answer.json.truncate(before);
            answer.failure(&failure);
        }
    }
    Progress::Done
}

fn batch(
    steps: &[Step],
    progress: &mut BatchProgress,
    sqls: &StoredSql,
    answer: &mut Answer,
    session: &mut ActiveSession<'_>,
) -> Progress {
    for step in steps.iter().skip(progress.outcomes.len()) {
        let (results_before, errors_before) = (progress.results.len(), progress.errors.len());
        if !progress.outcomes.is_empty() {
            progress.results.push(b',');
            progress.errors.push(b',');
        }
        let runs = step
            .condition
            .as_ref()
            .is_none_or(|condition| condition.holds(&progress.outcomes, session.is_autocommit()));
        if !runs {
            progress.results.extend_from_slice(b"null");
            progress.errors.extend_from_slice(b"null");
            progress.outcomes.push(StepOutcome::Skipped);
            continue;
        }
        let limit = answer.limit.saturating_sub(answer.json.len() + progress.errors.len());
        let result_start = progress.results.len();
        match statement(&step.stmt, sqls, &mut progress.results, limit, session) {
            Attempt::NeedsWriter => {
                progress.results.truncate(results_before);
                progress.errors.truncate(errors_before);
                return Progress::NeedsWriter;
            }
            Attempt::Finished(Ok(())) => {
                progress.errors.extend_from_slice(b"null");
                progress.outcomes.push(StepOutcome::Succeeded);
            }
            Attempt::Finished(Err(failure)) => {
                progress.results.truncate(result_start);
                progress.results.extend_from_slice(b"null");
                json::statement_error(&mut progress.errors, &failure);
                answer.note(&failure);
                progress.outcomes.push(StepOutcome::Failed);
            }
        }
    }
    let json = &mut answer.json;
    json.extend_from_slice(b"{\"type\":\"ok\",\"response\":{\"type\":\"batch\",\"result\":{\"step_results\":[");
    json.append(&mut progress.results);
    json.extend_from_slice(b"],\"step_errors\":[");
    json.append(&mut progress.errors);
    json.extend_from_slice(b"],\"replication_index\":null}}}");
    Progress::Done
}

fn sequence(
    sql: &Sql,
    offset: &mut usize,
    sqls: &StoredSql,
    answer: &mut Answer,
    session: &mut ActiveSession<'_>,
) -> Progress {
    let script = match stored(sql, sqls) {
        Ok(script) => script,
        Err(failure) => {
            answer.failure(&failure);
            return Progress::Done;
        }
    };
    while let Some(rest) = script.get(*offset..).filter(|rest| !rest.is_empty()) {
        let length = first_statement(rest);
        let sql = rest.get(..length).unwrap_or(rest);
        match session.execute(sql, &Arguments::default(), &mut NoRows) {
            Attempt::NeedsWriter => return Progress::NeedsWriter,
            Attempt::Finished(Ok(_) | Err(StatementError::NoStatement)) => *offset += sql.len(),
            Attempt::Finished(Err(failure)) => {
                answer.failure(&failure);
                return Progress::Done;
            }
        }
    }
    answer.ok("sequence");
    Progress::Done
}

/// Runs one statement and appends its `StmtResult`.
fn statement(
    stmt: &Stmt,
    sqls: &StoredSql,
    out: &mut Vec<u8>,
    limit: usize,
    session: &mut ActiveSession<'_>,
) -> Attempt<()> {
    let sql = match stored(&stmt.sql, sqls) {
        Ok(sql) => sql,
        Err(failure) => return Attempt::Finished(Err(failure)),
    };
    let mut writer = ResultWriter::new(out, limit, stmt.rows);
    let started = Instant::now();
    match session.execute(sql, &stmt.arguments, &mut writer) {
        Attempt::NeedsWriter => Attempt::NeedsWriter,
        Attempt::Finished(Ok(summary)) => {
            writer.finish(&summary, started.elapsed().as_secs_f64() * 1e3);
            Attempt::Finished(Ok(()))
        }
        Attempt::Finished(Err(failure)) => Attempt::Finished(Err(failure)),
    }
}

fn stored<'a>(sql: &'a Sql, sqls: &'a StoredSql) -> Result<&'a str, StatementError> {
    match sql {
        Sql::Text(text) => Ok(text),
        Sql::Stored(id) => sqls.get(id).map(String::as_str).ok_or_else(|| StatementError::Sqlite {
            code: "SQL_NOT_STORED",
            message: format!("the stream has no SQL text with sql_id {id}"),
        }),
    }
}

impl Answer {
    fn ok(&mut self, kind: &str) {
        let response = format!(r#"{{"type":"ok","response":{{"type":"{kind}"}}}}"#);
        self.json.extend_from_slice(response.as_bytes());
    }

    fn failure(&mut self, failure: &StatementError) {
        self.note(failure);
        self.json.extend_from_slice(b"{\"type\":\"error\",\"error\":");
        json::statement_error(&mut self.json, failure);
        self.json.push(b'}');
    }

    fn error(&mut self, message: &str, code: &str) {
        self.json.extend_from_slice(b"{\"type\":\"error\",\"error\":");
        json::error(&mut self.json, message, code);
        self.json.push(b'}');
    }

    fn note(&mut self, failure: &StatementError) {
        let decides = matches!(
            failure,
            StatementError::StorageQuotaExceeded { .. } | StatementError::Disk { .. } | StatementError::Damaged { .. }
        );
        if decides && self.refusal.is_none() {
            self.refusal = Some(failure.clone());
        }
    }
}
