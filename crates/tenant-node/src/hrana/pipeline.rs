//! Runs a pipeline's requests in order on one session and writes the results.

use std::marker::PhantomData;
use std::time::Instant;

use rusqlite::Row;

use super::batch::StepOutcome;
use super::chunks::{Broken, ChunkSender};
use super::encoding::{BatchParts, Done, Encoding, ResultKind, RowView};
use super::pipeline_answer::Answer;
use super::request::{Rows, Sql, Step, Stmt, StreamRequest};
use super::run::{Progress, Run};
use super::stored_bytes::OfTenant;
use super::stored_sql::StoredSql;
use super::streams::Transaction;
use crate::database::{
    Arguments, Attempt, Column, ResultTooLarge, RowSink, StatementError, Statements, first_statement, is_single_write,
};

/// Longer writes are committed alone: to find out whether a text is a write takes a look past comments and common table expressions, which
/// can be long.
const MOST_GROUPED_SQL_BYTES: usize = 64 << 10;

/// Where nobody may block, longer scripts are not looked through for their first statement: nothing is carried out there anyway.
const LOOKED_THROUGH_IN_PLACE_BYTES: usize = 1 << 10;

/// A pipeline and how far it has come.
pub(super) struct PipelineRun<E> {
    requests: Vec<StreamRequest>,
    next: usize,
    within: Within,
    closed: bool,
    sqls: StoredSql,
    stored: OfTenant,
    transaction: Transaction,
    answer: Answer<E>,
    before_write: Mark,
}

/// Where a run was, to go back there.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    next: usize,
    out: usize,
}

/// The place inside the request that is being run.
#[derive(Default)]
struct Within {
    /// Bytes of a sequence that have been run.
    offset: usize,
    outcomes: Vec<StepOutcome>,
    parts: BatchParts,
}

/// What a finished pipeline leaves.
pub(super) struct Finished {
    /// The rest of the answer, without its end. Where it is refused, the beginning of the problem's document.
    pub(super) out: Vec<u8>,
    pub(super) sqls: StoredSql,
    pub(super) transaction: Transaction,
    /// Whether the client closed the stream.
    pub(super) closed: bool,
    /// The failure that decides the status of the whole answer, if that is still open.
    pub(super) refusal: Option<StatementError>,
    /// Why the answer could not be sent.
    pub(super) broken: Option<Broken>,
}

impl<E: Encoding> PipelineRun<E> {
    /// The answer takes at most `limit` bytes; what is stored counts among what the tenant has `stored`.
    pub(super) fn new(requests: Vec<StreamRequest>, sqls: StoredSql, stored: OfTenant, limit: u64) -> Self {
        Self {
            requests,
            next: 0,
            within: Within::default(),
            closed: false,
            sqls,
            stored,
            transaction: Transaction::AsKnown,
            answer: Answer::new(limit),
            before_write: Mark::default(),
        }
    }

    /// Sends what there is and, from now on, what comes.
    pub(super) fn send_to(&mut self, sender: ChunkSender) {
        self.answer.send_to(sender);
    }

    pub(super) fn finish(self) -> Finished {
        Finished {
            broken: self.answer.broken(),
            out: self.answer.out,
            sqls: self.sqls,
            transaction: self.transaction,
            closed: self.closed,
            refusal: self.answer.refusal,
        }
    }

    /// Runs from where it is to the end, or until there is a reason to leave the thread.
    fn run_requests(&mut self, session: &mut dyn Statements) -> Progress {
        while let Some(request) = self.requests.get(self.next) {
            if session.is_in_group() && !matches!(request, StreamRequest::Execute(_)) {
                return Progress::NeedsWriter;
            }
            if !session.may_go_on() {
                return Progress::NeedsWriter;
            }
            let before = self.answer.out.len();
            let was_in_transaction = !session.is_autocommit();
            if self.next > 0 {
                E::between_results(&mut self.answer.out);
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
                &self.stored,
                &mut self.answer,
                session,
            ) == Progress::NeedsWriter
            {
                // The request is begun anew, or gone on with, when its turn has come.
                self.answer.out.truncate(before);
                return Progress::NeedsWriter;
            }
            if was_in_transaction && self.answer.refusal.is_some() && session.is_autocommit() && !self.closed {
                self.transaction = Transaction::GoneUnseen;
            }
            self.within = Within::default();
            self.next += 1;
            if self.answer.is_full() {
                return Progress::Done;
            }
            // Where nobody may wait for the client, the rest goes with the end.
            let more_to_come = self.next < self.requests.len() && session.may_block();
            match self.answer.hand_over(more_to_come) {
                Ok(progress @ Progress::Large) => return progress,
                Ok(_) => {}
                Err(_broken) => return Progress::Done,
            }
        }
        Progress::Done
    }
}

impl<E: Encoding> Run for PipelineRun<E> {
    fn advance(&mut self, session: &mut dyn Statements) -> Progress {
        let progress = self.run_requests(session);
        if progress == Progress::Done && !session.is_in_group() {
            // Here, on the database thread: to take hundreds of thousands of them apart takes long, as it does to make a problem of much.
            self.requests = Vec::new();
            self.answer.begin_problem_if_refused();
        }
        progress
    }

    fn has_begun(&self) -> bool {
        self.next > 0 || self.within.offset > 0 || !self.within.outcomes.is_empty()
    }

    fn is_before_single_write(&mut self) -> bool {
        let Some(StreamRequest::Execute(stmt)) = self.requests.get(self.next) else {
            return false;
        };
        self.before_write = Mark {
            next: self.next,
            out: self.answer.out.len(),
        };
        let answers_later = self.answer.is_collected() && self.answer.refusal.is_none();
        let is_write = |sql: &str| sql.len() <= MOST_GROUPED_SQL_BYTES && is_single_write(sql);
        answers_later && !self.closed && self.sqls.text(&stmt.sql).is_ok_and(is_write)
    }

    fn undo_single_write(&mut self) {
        self.next = self.before_write.next;
        self.answer.out.truncate(self.before_write.out);
        self.answer.refusal = None;
    }
}

fn run<E: Encoding>(
    request: &StreamRequest,
    within: &mut Within,
    closed: &mut bool,
    sqls: &mut StoredSql,
    stored: &OfTenant,
    answer: &mut Answer<E>,
    session: &mut dyn Statements,
) -> Progress {
    match request {
        StreamRequest::Execute(stmt) => return execute(stmt, sqls, answer, session),
        StreamRequest::Batch(steps) => return batch(steps, within, sqls, answer, session),
        StreamRequest::Sequence(sql) => return sequence(sql, &mut within.offset, sqls, answer, session),
        StreamRequest::Describe(sql) => match sqls.text(sql).and_then(|sql| session.describe(sql)) {
            Ok(description) => answer.description(&description),
            Err(failure) => answer.failure(&failure),
        },
        StreamRequest::StoreSql { id, sql } => match sqls.store(*id, sql, stored) {
            Ok(()) => E::done(&mut answer.out, Done::StoreSql),
            Err(error) => answer.error(&error.to_string(), error.code()),
        },
        StreamRequest::CloseSql { id } => {
            sqls.close(*id);
            E::done(&mut answer.out, Done::CloseSql);
        }
        StreamRequest::GetAutocommit => E::autocommit(&mut answer.out, session.is_autocommit()),
        StreamRequest::Close => {
            *closed = true;
            *sqls = StoredSql::default();
            match session.close() {
                Ok(()) => E::done(&mut answer.out, Done::Close),
                Err(error) => answer.error(&error.to_string(), "SQLITE_CANTOPEN"),
            }
        }
    }
    Progress::Done
}

fn execute<E: Encoding>(
    stmt: &Stmt,
    sqls: &StoredSql,
    answer: &mut Answer<E>,
    session: &mut dyn Statements,
) -> Progress {
    let before = answer.out.len();
    let start = E::begin_result(&mut answer.out, ResultKind::Execute);
    let limit = answer.room();
    match statement::<E>(stmt, sqls, &mut answer.out, limit, session) {
        Attempt::NeedsWriter => return Progress::NeedsWriter,
        Attempt::Finished(Ok(())) => E::end_result(&mut answer.out, start, ResultKind::Execute),
        Attempt::Finished(Err(failure)) => {
            answer.out.truncate(before);
            answer.failure(&failure);
        }
    }
    Progress::Done
}

fn batch<E: Encoding>(
    steps: &[Step],
    within: &mut Within,
    sqls: &StoredSql,
    answer: &mut Answer<E>,
    session: &mut dyn Statements,
) -> Progress {
    let Within { outcomes, parts, .. } = within;
    for (number, step) in steps.iter().enumerate().skip(outcomes.len()) {
        if !session.may_go_on() {
            return Progress::NeedsWriter;
        }
        let (results_before, errors_before) = (parts.results.len(), parts.errors.len());
        let start = E::begin_step(parts, number);
        let runs = step
            .condition
            .as_ref()
            .is_none_or(|condition| condition.holds(outcomes, session.is_autocommit()));
        if !runs {
            E::skipped_step(parts);
            outcomes.push(StepOutcome::Skipped);
            continue;
        }
        let limit = answer.room().saturating_sub(answer.out.len() + parts.errors.len());
        match statement::<E>(&step.stmt, sqls, &mut parts.results, limit, session) {
            Attempt::NeedsWriter => {
                parts.results.truncate(results_before);
                parts.errors.truncate(errors_before);
                return Progress::NeedsWriter;
            }
            Attempt::Finished(Ok(())) => {
                E::end_step(parts, start, number);
                outcomes.push(StepOutcome::Succeeded);
            }
            Attempt::Finished(Err(failure)) => {
                parts.results.truncate(start);
                answer.failed_step(parts, number, &failure);
                outcomes.push(StepOutcome::Failed);
            }
        }
    }
    let start = E::begin_result(&mut answer.out, ResultKind::Batch);
    E::batch(&mut answer.out, parts);
    E::end_result(&mut answer.out, start, ResultKind::Batch);
    Progress::Done
}

fn sequence<E: Encoding>(
    sql: &Sql,
    offset: &mut usize,
    sqls: &StoredSql,
    answer: &mut Answer<E>,
    session: &mut dyn Statements,
) -> Progress {
    let script = match sqls.text(sql) {
        Ok(script) => script,
        Err(failure) => {
            answer.failure(&failure);
            return Progress::Done;
        }
    };
    while let Some(rest) = script.get(*offset..).filter(|rest| !rest.is_empty()) {
        let length = if session.may_block() || rest.len() <= LOOKED_THROUGH_IN_PLACE_BYTES {
            first_statement(rest)
        } else {
            rest.len()
        };
        let sql = rest.get(..length).unwrap_or(rest);
        match session.execute(sql, &Arguments::default(), &mut NoRows) {
            Attempt::NeedsWriter => return Progress::NeedsWriter,
            Attempt::Finished(Ok(_) | Err(StatementError::NoStatement)) => *offset += sql.len(),
            Attempt::Finished(Err(failure)) => {
                answer.failure(&failure.after_part_of_script(*offset));
                return Progress::Done;
            }
        }
    }
    E::done(&mut answer.out, Done::Sequence);
    Progress::Done
}

/// Runs one statement and appends the body of its result. `limit` is the largest length that `out` may reach, in bytes.
fn statement<E: Encoding>(
    stmt: &Stmt,
    sqls: &StoredSql,
    out: &mut Vec<u8>,
    limit: usize,
    session: &mut dyn Statements,
) -> Attempt<()> {
    let sql = match sqls.text(&stmt.sql) {
        Ok(sql) => sql,
        Err(failure) => return Attempt::Finished(Err(failure)),
    };
    let mut writer = ResultWriter::<'_, E> {
        out,
        limit,
        rows: stmt.rows,
        width: 0,
        written: 0,
        encoding: PhantomData,
    };
    let started = Instant::now();
    match session.execute(sql, &stmt.arguments, &mut writer) {
        Attempt::NeedsWriter => Attempt::NeedsWriter,
        Attempt::Finished(Ok(summary)) => {
            E::summary(writer.out, &summary, started.elapsed().as_secs_f64() * 1e3);
            Attempt::Finished(Ok(()))
        }
        Attempt::Finished(Err(failure)) => Attempt::Finished(Err(failure)),
    }
}

/// Writes the columns and rows of a statement's result, and stops when the whole answer would exceed its limit.
struct ResultWriter<'a, E> {
    out: &'a mut Vec<u8>,
    limit: usize,
    rows: Rows,
    width: usize,
    written: u64,
    encoding: PhantomData<fn() -> E>,
}

impl<E: Encoding> RowSink for ResultWriter<'_, E> {
    fn columns(&mut self, columns: &[Column<'_>]) -> Result<(), ResultTooLarge> {
        self.width = columns.len();
        E::columns(self.out, columns, self.limit)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<(), ResultTooLarge> {
        if self.rows == Rows::Unwanted {
            return Ok(());
        }
        let view = RowView {
            row,
            width: self.width,
            limit: self.limit,
        };
        E::row(self.out, &view, self.written)?;
        self.written += 1;
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tenantry_types::{TenantUid, TierDefinition};

    use super::*;
    use crate::database::{Cancellation, Databases, DatabasesConfig, Session, StatementLimits};
    use crate::hrana::json::Json;
    use crate::hrana::remembered::Room;
    use crate::hrana::run::drive;
    use crate::hrana::stored_bytes::StoredBytes;
    use crate::layers::Access;

    fn execute(sql: &str) -> StreamRequest {
        StreamRequest::Execute(Stmt::new(Sql::Text(sql.to_owned()), Vec::new(), Vec::new(), None))
    }

    fn run(requests: Vec<StreamRequest>) -> PipelineRun<Json> {
        let stored = StoredBytes::new(Room {
            per_tenant: 0,
            total: 0,
        });
        let stored = Arc::new(stored).of(TenantUid::from_u128(1));
        PipelineRun::new(requests, StoredSql::default(), stored, 1 << 20)
    }

    #[tokio::test]
    async fn what_was_asked_for_is_taken_apart_where_it_was_run() {
        let folder = tempfile::tempdir().unwrap();
        let databases = Databases::open(DatabasesConfig::new(folder.path())).unwrap();
        let lease = databases.lease(TenantUid::from_u128(1), 1).await.unwrap();
        let limits = StatementLimits {
            access: Access::Full,
            quota: TierDefinition::defaults()[2].quota,
        };
        let asked = vec![
            execute("create table t (x)"),
            execute("insert into t values (1)"),
            execute("select 1"),
        ];
        let cancellation = Cancellation::default();
        let driving = drive(Session::new(lease), Box::new(run(asked)), limits, &cancellation);
        let (_, run, _) = driving.await.unwrap();
        assert_eq!((run.next, run.requests.capacity()), (3, 0));
    }

    #[test]
    fn what_begins_with_common_table_expressions_is_grouped_where_it_writes() {
        let with = |verb: &str| format!("with c as (select 1) {verb} * from c");
        assert!(run(vec![execute(&with("insert into t select"))]).is_before_single_write());
        assert!(!run(vec![execute(&with("select"))]).is_before_single_write());
    }

    #[test]
    fn nobody_looks_through_a_long_text_to_find_out_whether_it_is_a_write() {
        let after_comment = |length: usize| format!("/*{}*/ insert into t values (1)", "x".repeat(length));
        assert!(run(vec![execute(&after_comment(100))]).is_before_single_write());
        assert!(!run(vec![execute(&after_comment(MOST_GROUPED_SQL_BYTES))]).is_before_single_write());
    }
}
