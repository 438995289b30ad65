//! Answers the rest of a request that has begun and then got no place to go on: nothing more of it is carried out.
//!
//! Nothing here needs a database thread, since there is none to be had. What only ends things is done all the same: a client that has read the
//! refusal of a batch would take the transaction for one that the batch's own ROLLBACK has ended, and write on in it.

use super::{
    Arguments, Attempt, DatabaseError, Description, ResultTooLarge, RowSink, Session, StatementError, StatementLimits,
    StatementSummary, Statements, is_rollback,
};

/// So many requests and steps are answered before the async worker is for others again.
const AT_ONCE: usize = 1_000;

/// No longer text is looked at to find out whether it is a ROLLBACK: a stored one can have megabytes of comment, and be meant a thousand times.
const LONGEST_ROLLBACK: usize = 256;

/// Refuses statements in the place of a session that got none.
pub struct RefusedStatements<'a> {
    session: &'a mut Session,
    error: StatementError,
    limits: StatementLimits,
    left: usize,
}

impl<'a> RefusedStatements<'a> {
    /// Answers a thousand requests and steps with this error; after that they are to be given to another one.
    #[must_use]
    pub fn new(session: &'a mut Session, error: &DatabaseError, limits: StatementLimits) -> Self {
        Self {
            session,
            error: StatementError::not_begun(error),
            limits,
            left: AT_ONCE,
        }
    }
}

impl Statements for RefusedStatements<'_> {
    fn is_autocommit(&self) -> bool {
        self.session.is_autocommit()
    }

    fn is_in_group(&self) -> bool {
        false
    }

    fn may_block(&self) -> bool {
        false
    }

    fn may_go_on(&mut self) -> bool {
        let left = self.left.checked_sub(1);
        self.left = left.unwrap_or_default();
        left.is_some()
    }

    fn close(&mut self) -> Result<(), DatabaseError> {
        self.session.give_up_connection();
        Ok(())
    }

    fn describe(&mut self, _sql: &str) -> Result<Description, StatementError> {
        Err(self.error.clone())
    }

    fn execute(&mut self, sql: &str, _arguments: &Arguments, sink: &mut dyn RowSink) -> Attempt<StatementSummary> {
        let is_rollback = sql.len() <= LONGEST_ROLLBACK && is_rollback(sql);
        if !is_rollback || !self.session.give_up_transaction() {
            return Attempt::Finished(Err(self.error.clone()));
        }
        let limit_bytes = self.limits.quota.result_bytes;
        Attempt::Finished(match sink.columns(&[]) {
            Ok(()) => Ok(StatementSummary::default()),
            Err(ResultTooLarge) => Err(StatementError::ResultTooLarge { limit_bytes }),
        })
    }
}
