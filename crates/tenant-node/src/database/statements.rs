//! What the statements of a request are given to: a session on a database thread, or what refuses them where it got no place there.

use super::{Arguments, Attempt, DatabaseError, Description, RowSink, StatementError, StatementSummary};

/// Takes the statements of one stream, one after the other.
pub trait Statements {
    /// Whether no transaction is open.
    fn is_autocommit(&self) -> bool;

    /// Whether a transaction is shared with others: only [`Self::execute`] may be called then.
    fn is_in_group(&self) -> bool;

    /// Whether the caller may block, to wait for its client.
    fn may_block(&self) -> bool;

    /// To be asked before each request and each step. Where the answer is no, the caller leaves its thread to others and comes back.
    fn may_go_on(&mut self) -> bool;

    /// Rolls back what is open and drops all state of the connection.
    ///
    /// # Errors
    /// When no new connection could be opened.
    fn close(&mut self) -> Result<(), DatabaseError>;

    /// Looks at a statement without running it.
    ///
    /// # Errors
    /// When it cannot be compiled.
    fn describe(&mut self, sql: &str) -> Result<Description, StatementError>;

    /// Runs one statement.
    fn execute(&mut self, sql: &str, arguments: &Arguments, sink: &mut dyn RowSink) -> Attempt<StatementSummary>;
}
