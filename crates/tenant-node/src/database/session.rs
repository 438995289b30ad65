//! A stream of statements on one tenant's database. Between jobs it keeps a connection only while it has state there: an
//! open transaction, temporary objects, changed pragmas.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use tenantry_types::{EffectiveQuota, TenantUid};
use tokio::sync::OwnedSemaphorePermit;

use super::access_policy::Phase;
use super::connection::TenantConnection;
use super::durability::Settlement;
use super::schedule::NotRun;
use super::tenant::TenantDatabase;
use super::{
    Arguments, DatabaseError, Description, RowSink, StatementError, StatementSummary, Statements, TenantLease,
    WriteHistory, is_single_write, statement, storage_limit,
};
use crate::layers::Access;

/// Told to a running job when nobody waits for its result any more.
#[derive(Debug, Clone, Default)]
pub struct Cancellation(Arc<AtomicBool>);

impl Cancellation {
    /// Stops the running statement soon, and those after it at once.
    pub fn cancel(&self) {
        self.0.store(true, Relaxed);
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Relaxed)
    }
}

/// The limits that hold for the statements of one job.
#[derive(Debug, Clone, Copy)]
pub struct StatementLimits {
    /// Whether writes are let through.
    pub access: Access,
    /// The tenant's quota.
    pub quota: EffectiveQuota,
}

/// Whether a statement that has to write may ask for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteTurn {
    /// If another writer is busy, the job ends with [`Attempt::NeedsWriter`], to be continued when it is its turn.
    Ask,
    /// It has waited long enough: if another writer is busy, the statement fails.
    GiveUp,
}

/// How an attempt to run a statement ended.
#[derive(Debug)]
pub enum Attempt<T> {
    /// It was run, or failed.
    Finished(Result<T, StatementError>),
    /// It was not run: another stream of the tenant is writing, see [`Session::wait_for_writer`]; or it is no statement for a group.
    NeedsWriter,
}

/// Whether statements run in a transaction that others share.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Company {
    Alone,
    /// One write is let through.
    InGroup,
    /// The one write was run.
    DoneInGroup,
}

/// A stream of statements. Dropping it rolls back what is open, on a database thread.
pub struct Session {
    lease: TenantLease,
    connection: Option<Box<TenantConnection>>,
    write_permit: Option<OwnedSemaphorePermit>,
    history: WriteHistory,
}

impl Session {
    /// A new stream without state.
    #[must_use]
    pub fn new(lease: TenantLease) -> Self {
        Self::resumed(lease, WriteHistory::default())
    }

    /// A stream that goes on where one ended that held no connection.
    #[must_use]
    pub const fn resumed(lease: TenantLease, history: WriteHistory) -> Self {
        Self {
            lease,
            connection: None,
            write_permit: None,
            history,
        }
    }

    /// Whether it has state on a connection, which it then keeps open.
    #[must_use]
    pub const fn holds_connection(&self) -> bool {
        self.connection.is_some()
    }

    /// What its writes have left for its next statement to ask about.
    #[must_use]
    pub const fn history(&self) -> WriteHistory {
        self.history
    }

    /// Whose database it is.
    #[must_use]
    pub fn tenant(&self) -> TenantUid {
        self.lease.tenant().account().tenant
    }

    /// Whether no transaction is open.
    #[must_use]
    pub fn is_autocommit(&self) -> bool {
        let connection = self.connection.as_ref();
        connection.is_none_or(|connection| connection.sqlite().is_autocommit())
    }

    /// Runs `work` with `state` on a database thread. Returns when everything is durable that it wrote or could have seen. Where the
    /// database cannot be reached, or the node is too busy to begin in time, that stands in the place of the output: session and state
    /// are as they were.
    ///
    /// # Errors
    /// When `work` panicked. The session is gone then, and what it had open is rolled back.
    pub async fn run<S: Send + 'static, T: Send + 'static>(
        self,
        limits: StatementLimits,
        turn: WriteTurn,
        cancellation: Cancellation,
        state: S,
        work: impl FnOnce(&mut S, &mut ActiveSession<'_>) -> T + Send + 'static,
    ) -> Result<(Self, S, Result<T, DatabaseError>), DatabaseError> {
        let shared = Arc::clone(self.lease.shared());
        let account = self.lease.tenant().account();
        let work = move |(mut session, mut state): (Self, S)| {
            let output = session.work(limits, turn, &cancellation, |active| work(&mut state, active));
            (session, state, output)
        };
        match shared.threads.run_with(account, (self, state), work).await {
            Ok((session, state, output)) => {
                session.lease.tenant().durability.settled().await;
                Ok((session, state, output))
            }
            Err(NotRun {
                error,
                state: Some((session, state)),
            }) => Ok((session, state, Err(error))),
            Err(NotRun { error, state: None }) => Err(error),
        }
    }

    /// For answers that are sent while they are made: each piece has to wait until what it shows is durable.
    #[must_use]
    pub fn settlement(&self) -> Settlement {
        Settlement::of(Arc::clone(&self.lease.tenant().durability))
    }

    /// Runs `work` inside the transaction of a group, which is open on that connection. Blocks.
    pub(super) fn run_inside_group(
        &mut self,
        connection: &mut TenantConnection,
        limits: StatementLimits,
        work: impl FnOnce(&mut ActiveSession<'_>),
    ) {
        self.history.restore(connection.sqlite());
        work(&mut ActiveSession {
            tenant: self.lease.tenant(),
            connection,
            write_permit: &mut None,
            limits,
            turn: WriteTurn::Ask,
            // Stopped halfway, it would undo what the others did.
            cancellation: &Cancellation::default(),
            company: Company::InGroup,
        });
        self.history = WriteHistory::of(connection.sqlite());
    }

    /// Goes back to what was there before [`Self::run_inside_group`], since the group was undone.
    pub(super) const fn forget_group(&mut self, before: WriteHistory) {
        self.history = before;
    }

    pub(super) const fn lease(&self) -> &TenantLease {
        &self.lease
    }

    /// It is this session's turn to write.
    pub(super) fn give_turn(&mut self, permit: OwnedSemaphorePermit) {
        self.write_permit = Some(permit);
    }

    /// Waits for the turn to write, at most `limit`. Returns whether it came. No database thread is occupied meanwhile.
    pub async fn wait_for_writer(&mut self, limit: Duration) -> bool {
        let writer = Arc::clone(&self.lease.tenant().writer);
        match tokio::time::timeout(limit, writer.acquire_owned()).await {
            Ok(Ok(permit)) => {
                self.write_permit = Some(permit);
                true
            }
            Ok(Err(_)) | Err(_) => false,
        }
    }

    /// Gives back a turn to write that was waited for and not used.
    pub fn give_back_turn(&mut self) {
        self.write_permit = None;
    }

    /// Gives up the connection with all that is open on it, which is rolled back on a database thread.
    pub(super) fn give_up_connection(&mut self) {
        if let Some(mut connection) = self.connection.take() {
            let permit = self.write_permit.take();
            let lease = self.lease.clone();
            let account = lease.tenant().account();
            self.lease.shared().threads.clean_up(account, move || {
                let _memory = lease.tenant().account_memory();
                if connection.reset() {
                    lease.tenant().measure_sizes(&connection);
                    lease.tenant().give_back(connection);
                } else {
                    drop(connection);
                }
                // Only now may the next writer go on, and only now may the tenant close.
                drop(permit);
                drop(lease);
            });
        }
    }

    /// Rolls an open transaction back by giving up its connection, unless that would lose more than the transaction. Whether it did.
    pub(super) fn give_up_transaction(&mut self) -> bool {
        let has_more = |connection: &TenantConnection| !connection.keeps_statements();
        if self.is_autocommit() || self.connection.as_deref().is_some_and(has_more) {
            return false;
        }
        self.give_up_connection();
        true
    }

    /// Runs `work` on this thread. Blocks.
    ///
    /// # Errors
    /// When there is no connection for it. Nothing was done then.
    pub(super) fn work<T>(
        &mut self,
        limits: StatementLimits,
        turn: WriteTurn,
        cancellation: &Cancellation,
        work: impl FnOnce(&mut ActiveSession<'_>) -> T,
    ) -> Result<T, DatabaseError> {
        let tenant = self.lease.tenant();
        tenant.counters.memory().set_limit(limits.quota.memory_bytes);
        let _memory = tenant.account_memory();
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            // Without a connection nothing was written that the turn would be kept for.
            None => tenant.check_out().inspect_err(|_error| self.write_permit = None)?,
        };
        self.history.restore(connection.sqlite());
        let output = work(&mut ActiveSession {
            tenant,
            connection: &mut connection,
            write_permit: &mut self.write_permit,
            limits,
            turn,
            cancellation,
            company: Company::Alone,
        });
        self.history = WriteHistory::of(connection.sqlite());
        if connection.sqlite().is_autocommit() && self.write_permit.take().is_some() {
            // The last statement of the job was refused after it had its turn.
            tenant.measure_sizes(&connection);
        }
        if tenant.claims_background_checkpoint() {
            let lease = self.lease.clone();
            self.lease
                .shared()
                .threads
                .clean_up(tenant.account(), move || lease.tenant().checkpoint_in_background());
        }
        if connection.is_clean() {
            tenant.give_back(connection);
        } else {
            self.connection = Some(connection);
        }
        Ok(output)
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.give_up_connection();
    }
}

/// A session while it is on a database thread. Every method blocks.
pub struct ActiveSession<'a> {
    tenant: &'a TenantDatabase,
    connection: &'a mut TenantConnection,
    write_permit: &'a mut Option<OwnedSemaphorePermit>,
    limits: StatementLimits,
    turn: WriteTurn,
    cancellation: &'a Cancellation,
    company: Company,
}

impl Statements for ActiveSession<'_> {
    fn is_autocommit(&self) -> bool {
        self.is_in_group() || self.connection.sqlite().is_autocommit()
    }

    fn is_in_group(&self) -> bool {
        self.company != Company::Alone
    }

    fn may_block(&self) -> bool {
        true
    }

    fn may_go_on(&mut self) -> bool {
        true
    }

    fn close(&mut self) -> Result<(), DatabaseError> {
        if !self.connection.reset() {
            *self.connection = *self.tenant.check_out()?;
        }
        if self.write_permit.take().is_some() {
            self.tenant.measure_sizes(self.connection);
        }
        Ok(())
    }

    fn describe(&mut self, sql: &str) -> Result<Description, StatementError> {
        self.connection
            .begin_statement(self.limits.quota.query_time(), self.cancellation);
        let description = statement::describe(self.connection, sql);
        self.connection.end_statement();
        description.map_err(|error| self.completed(error))
    }

    fn execute(&mut self, sql: &str, arguments: &Arguments, sink: &mut dyn RowSink) -> Attempt<StatementSummary> {
        if self.cancellation.is_cancelled() {
            return Attempt::Finished(Err(StatementError::Cancelled));
        }
        match self.company {
            Company::Alone => {}
            Company::InGroup if is_single_write(sql) => self.company = Company::DoneInGroup,
            Company::InGroup | Company::DoneInGroup => return Attempt::NeedsWriter,
        }
        self.connection
            .begin_statement(self.limits.quota.query_time(), self.cancellation);
        let attempt = self.attempt(sql, arguments, sink);
        self.connection.end_statement();
        let Attempt::Finished(outcome) = attempt else {
            return Attempt::NeedsWriter;
        };
        let outcome = outcome.map_err(|error| self.completed(error));
        if self.write_permit.is_some() && self.is_autocommit() {
            self.tenant.after_commit(self.connection);
            *self.write_permit = None;
        }
        let summary = outcome.as_ref().copied().unwrap_or_default();
        self.tenant
            .counters
            .add_statement(summary.rows_read, summary.rows_written);
        Attempt::Finished(outcome)
    }
}

impl ActiveSession<'_> {
    fn attempt(&mut self, sql: &str, arguments: &Arguments, sink: &mut dyn RowSink) -> Attempt<StatementSummary> {
        let mut compiled = match statement::compile(self.connection, sql) {
            Ok(compiled) => compiled,
            Err(error) => return Attempt::Finished(Err(error)),
        };
        let is_pragma = self.connection.saw_pragma();
        // EXPLAIN only tells how a write would be done.
        let reads_only = compiled.is_explain() != 0 || (compiled.readonly() && !self.connection.saw_analysis());
        let admission = match (self.company, reads_only) {
            (Company::Alone, _) => admit_write(
                self.tenant,
                self.connection,
                self.write_permit,
                &self.limits,
                self.turn,
                reads_only,
            ),
            // A write by its words alone: it would read what is not committed.
            (Company::InGroup | Company::DoneInGroup, true) => Admission::NeedsWriter,
            (Company::InGroup | Company::DoneInGroup, false) if self.limits.access == Access::ReadOnly => {
                Admission::Refused(StatementError::ReadOnlyAccess)
            }
            (Company::InGroup | Company::DoneInGroup, false) => Admission::Admitted,
        };
        let attempt = match admission {
            Admission::Refused(error) => Attempt::Finished(Err(error)),
            Admission::NeedsWriter => Attempt::NeedsWriter,
            Admission::Admitted => {
                let database_bytes = self.tenant.counters.figures().database_bytes;
                self.connection.enter(Phase::Running {
                    vacuum_fits: database_bytes <= self.limits.quota.memory_bytes,
                    writes: !reads_only,
                });
                Attempt::Finished(statement::bind(&mut compiled, arguments).and_then(|()| {
                    statement::step(self.connection, &mut compiled, self.limits.quota.result_bytes, sink)
                }))
            }
        };
        if is_pragma || !self.connection.keeps_statements() {
            compiled.discard();
        }
        if is_pragma && !self.connection.keeps_statements() {
            // What was compiled before knows nothing of the pragma.
            self.connection.sqlite().flush_prepared_statement_cache();
        }
        attempt
    }

    /// Puts in what only the session knows.
    fn completed(&self, error: StatementError) -> StatementError {
        match error {
            StatementError::QueryTime { .. } => StatementError::QueryTime {
                limit_ms: self.limits.quota.query_time_ms,
            },
            StatementError::Sqlite {
                code: code @ "SQLITE_NOMEM",
                ..
            } => StatementError::Sqlite {
                code,
                message: format!(
                    "out of memory: all statements of the tenant together may use {} bytes (memory_bytes)",
                    self.limits.quota.memory_bytes
                ),
            },
            StatementError::Sqlite {
                code: "SQLITE_FULL", ..
            } => {
                self.tenant.measure_sizes(self.connection);
                storage_limit::full_error(
                    storage_limit::free_disk_bytes(self.tenant.database()),
                    self.tenant.counters.figures().database_bytes,
                    self.limits.quota.database_bytes,
                )
            }
            other => other,
        }
    }
}

enum Admission {
    Admitted,
    NeedsWriter,
    Refused(StatementError),
}

fn admit_write(
    tenant: &TenantDatabase,
    connection: &TenantConnection,
    permit: &mut Option<OwnedSemaphorePermit>,
    limits: &StatementLimits,
    turn: WriteTurn,
    readonly: bool,
) -> Admission {
    if readonly {
        return Admission::Admitted;
    }
    if limits.access == Access::ReadOnly {
        return Admission::Refused(StatementError::ReadOnlyAccess);
    }
    if permit.is_none() {
        *permit = Arc::clone(&tenant.writer).try_acquire_owned().ok();
    }
    if permit.is_none() {
        return match turn {
            WriteTurn::Ask => Admission::NeedsWriter,
            WriteTurn::GiveUp => Admission::Refused(StatementError::WriterBusy {
                waited_ms: limits.quota.query_time_ms,
            }),
        };
    }
    connection.enter(Phase::Internal);
    match tenant.prepare_write(connection, limits.quota.database_bytes) {
        Ok(()) => Admission::Admitted,
        Err(error) => Admission::Refused(error),
    }
}
