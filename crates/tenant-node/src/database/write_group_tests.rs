use std::time::Duration;

use rusqlite::Row;
use tenantry_types::{EffectiveQuota, TenantUid, TierDefinition};

use super::*;
use crate::database::{
    Arguments, Attempt, Column, Databases, DatabasesConfig, ResultTooLarge, RowSink, Statements as _, WriteTurn,
};
use crate::layers::Access;

/// One statement and what became of it.
struct Statement {
    sql: String,
    outcome: Option<Result<(), String>>,
    /// How often it was run.
    runs: usize,
}

struct NoRows;

impl RowSink for NoRows {
    fn columns(&mut self, _columns: &[Column<'_>]) -> Result<(), ResultTooLarge> {
        Ok(())
    }

    fn row(&mut self, _row: &Row<'_>) -> Result<(), ResultTooLarge> {
        Ok(())
    }
}

impl Statement {
    fn new(sql: &str) -> Self {
        Self {
            sql: sql.to_owned(),
            outcome: None,
            runs: 0,
        }
    }
}

impl GroupedWork for Statement {
    fn advance(&mut self, session: &mut ActiveSession<'_>) {
        if self.outcome.is_some() {
            return;
        }
        if let Attempt::Finished(outcome) = session.execute(&self.sql, &Arguments::default(), &mut NoRows) {
            self.runs += 1;
            self.outcome = Some(outcome.map(|_| ()).map_err(|error| error.code().to_owned()));
        }
    }

    fn undo(&mut self) {
        self.outcome = None;
    }
}

struct Harness {
    databases: Databases,
    limits: StatementLimits,
    _folder: tempfile::TempDir,
}

const UID: TenantUid = TenantUid::from_u128(1);

impl Harness {
    async fn new(schema: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let databases = Databases::open(DatabasesConfig::new(folder.path())).unwrap();
        let quota: EffectiveQuota = TierDefinition::defaults()[2].quota;
        let limits = StatementLimits {
            access: Access::Full,
            quota,
        };
        let harness = Self {
            databases,
            limits,
            _folder: folder,
        };
        for sql in schema.split(';') {
            harness.alone(sql).await.unwrap();
        }
        harness
    }

    async fn session(&self) -> Session {
        Session::new(self.databases.lease(UID, 1).await.unwrap())
    }

    async fn run_alone(&self, session: Session, sql: &str) -> (Session, Result<(), String>) {
        let advance = |statement: &mut Statement, active: &mut ActiveSession<'_>| statement.advance(active);
        let statement = Statement::new(sql);
        let ran = session.run(
            self.limits,
            WriteTurn::GiveUp,
            Cancellation::default(),
            statement,
            advance,
        );
        let (session, statement, ran) = ran.await.unwrap();
        ran.unwrap();
        (session, statement.outcome.unwrap())
    }

    async fn alone(&self, sql: &str) -> Result<(), String> {
        self.run_alone(self.session().await, sql).await.1
    }

    async fn in_group(&self, sql: &str) -> (Session, Statement, GroupOutcome) {
        let session = self.session().await;
        let ran = session.run_in_group(Statement::new(sql), self.limits, Cancellation::default());
        let (session, statement, outcome) = ran.await.unwrap();
        (session, statement, outcome.unwrap())
    }

    /// All of them in one group: nobody of them gets a turn before all wait.
    async fn together(&self, statements: &[&str]) -> Vec<(Session, Statement, GroupOutcome)> {
        let (holder, begun) = self.run_alone(self.session().await, "begin immediate").await;
        begun.unwrap();
        let mut waiting: Vec<_> = statements.iter().map(|sql| Box::pin(self.in_group(sql))).collect();
        for future in &mut waiting {
            assert!(futures_util::poll!(future).is_pending());
        }
        let queued = self.databases.lease(UID, 1).await.unwrap();
        assert_eq!(queued.tenant().writes.state.lock().waiting.len(), statements.len());
        drop(holder);
        futures_util::future::join_all(waiting).await
    }

    async fn rows(&self, table: &str) -> i64 {
        struct Count(i64);
        impl RowSink for Count {
            fn columns(&mut self, _columns: &[Column<'_>]) -> Result<(), ResultTooLarge> {
                Ok(())
            }
            fn row(&mut self, row: &Row<'_>) -> Result<(), ResultTooLarge> {
                self.0 = row.get(0).unwrap();
                Ok(())
            }
        }
        let sql = format!("select count(*) from {table}");
        let read = move |count: &mut Count, active: &mut ActiveSession<'_>| {
            let attempt = active.execute(&sql, &Arguments::default(), count);
            assert!(matches!(attempt, Attempt::Finished(Ok(_))), "{attempt:?}");
        };
        let session = self.session().await;
        let ran = session.run(self.limits, WriteTurn::Ask, Cancellation::default(), Count(-1), read);
        let (_, count, read) = ran.await.unwrap();
        read.unwrap();
        count.0
    }
}

#[tokio::test]
async fn writes_that_wait_together_are_committed_together_and_each_has_its_own_history() {
    let harness = Harness::new("create table t (id integer primary key, x)").await;
    let statements: Vec<String> = (1..=50)
        .map(|id| format!("insert into t values ({}, 1)", 1_000 * id))
        .collect();
    let statements: Vec<&str> = statements.iter().map(String::as_str).collect();
    let answers = harness.together(&statements).await;
    for (index, (session, statement, outcome)) in (1..).zip(&answers) {
        assert_eq!(*outcome, GroupOutcome::Ran);
        assert_eq!((&statement.outcome, statement.runs), (&Some(Ok(())), 1));
        let history = WriteHistory {
            last_insert_rowid: 1_000 * index,
            changes: 1,
            total_changes: 1,
        };
        assert_eq!(session.history(), history);
    }
    assert_eq!(harness.rows("t").await, 50);
}

#[tokio::test]
async fn a_failing_statement_undoes_nothing_of_the_others() {
    let harness = Harness::new("create table t (x unique)").await;
    let answers = harness
        .together(&[
            "insert into t values (1)",
            "insert into t values (2), (1)",
            "insert into missing values (1)",
            "not even sql",
            "insert into t values (3)",
        ])
        .await;
    let ok: Vec<_> = answers
        .iter()
        .map(|(_, statement, _)| statement.outcome.as_ref().map(Result::is_ok))
        .collect();
    assert_eq!(ok, [Some(true), Some(false), Some(false), Some(false), Some(true)]);
    assert_eq!(harness.rows("t").await, 2);
}

#[tokio::test]
async fn what_undoes_the_whole_transaction_leaves_each_to_run_alone() {
    let schema = "create table t (x unique on conflict rollback); create table parent (id integer primary key); \
                  create table child (parent references parent (id) deferrable initially deferred)";
    let cases = [
        [
            "insert into t values (1)",
            "insert into t values (1)",
            "insert into t values (2)",
        ],
        [
            "insert into t values (1)",
            "insert into child values (7)",
            "insert into t values (2)",
        ],
    ];
    for statements in cases {
        let harness = Harness::new(schema).await;
        let mut succeeded = 0;
        for (session, statement, outcome) in harness.together(&statements).await {
            assert_eq!((outcome, &statement.outcome), (GroupOutcome::Undone, &None));
            assert_eq!(session.history(), WriteHistory::default());
            let (_, ran) = harness.run_alone(session, &statement.sql).await;
            succeeded += i64::from(ran.is_ok());
        }
        assert_eq!(succeeded, 2, "{statements:?}");
        assert_eq!(harness.rows("t").await, 2, "{statements:?}");
    }
}

#[tokio::test]
async fn a_statement_that_only_reads_is_not_run_among_uncommitted_writes() {
    let harness = Harness::new("create table t (x)").await;
    let answers = harness
        .together(&[
            "insert into t values (1)",
            "with c as (select count(*) from t) select * from c",
        ])
        .await;
    assert_eq!(answers[1].1.outcome, Some(Ok(())), "after the commit");
    assert_eq!(answers[1].1.runs, 1);
}

#[tokio::test]
async fn whoever_left_is_not_run_and_the_others_are() {
    let harness = Harness::new("create table t (x)").await;
    let (holder, _) = harness.run_alone(harness.session().await, "begin immediate").await;
    let cancellation = Cancellation::default();
    let session = harness.session().await;
    let mut leaving = Box::pin(session.run_in_group(
        Statement::new("insert into t values (1)"),
        harness.limits,
        cancellation.clone(),
    ));
    assert!(futures_util::poll!(&mut leaving).is_pending());
    let mut staying = Box::pin(harness.in_group("insert into t values (2)"));
    assert!(futures_util::poll!(&mut staying).is_pending());
    cancellation.cancel();
    drop(leaving);
    drop(holder);
    assert_eq!(staying.await.1.outcome, Some(Ok(())));
    assert_eq!(harness.rows("t").await, 1);
}

#[tokio::test]
async fn a_turn_that_does_not_come_in_time_is_told_and_nothing_is_written() {
    let mut harness = Harness::new("create table t (x)").await;
    let (holder, _) = harness.run_alone(harness.session().await, "begin immediate").await;
    harness.limits.quota.query_time_ms = 1;
    let (_, statement, outcome) = harness.in_group("insert into t values (1)").await;
    assert_eq!((outcome, statement.runs), (GroupOutcome::NotInTime, 0));
    drop(holder);
    harness.limits.quota.query_time_ms = 60_000;
    assert_eq!(harness.in_group("insert into t values (2)").await.2, GroupOutcome::Ran);
    assert_eq!(harness.rows("t").await, 1);
}

#[tokio::test]
async fn readers_may_not_write_in_a_group_either() {
    let mut harness = Harness::new("create table t (x)").await;
    let mut full = harness.limits;
    harness.limits.access = Access::ReadOnly;
    let (_, statement, _) = harness.in_group("insert into t values (1)").await;
    assert_eq!(statement.outcome, Some(Err("SQLITE_READONLY".to_owned())));
    full.quota.query_time_ms = 60_000;
    harness.limits = full;
    assert_eq!(harness.rows("t").await, 0);
}

#[tokio::test]
async fn a_stop_waits_for_the_writes_that_wait() {
    let harness = Harness::new("create table t (x)").await;
    let (holder, _) = harness.run_alone(harness.session().await, "begin immediate").await;
    let mut waiting = Box::pin(harness.in_group("insert into t values (1)"));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    let databases = harness.databases.clone();
    let stopping = tokio::spawn(async move { databases.close_all().await });
    drop(holder);
    let (session, statement, _) = waiting.await;
    assert_eq!(statement.outcome, Some(Ok(())));
    drop(session);
    tokio::time::timeout(Duration::from_secs(60), stopping)
        .await
        .unwrap()
        .unwrap();
}
