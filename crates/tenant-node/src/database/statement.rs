//! Runs one statement on one connection: compile, bind, step, and hand every row over at once.

use rusqlite::types::Value;
use rusqlite::{CachedStatement, ErrorCode, Row, Statement, StatementStatus};

use super::StatementError;
use super::connection::{Stopped, TenantConnection};

/// Values for a statement's parameters.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Arguments {
    /// By position, the first for parameter 1.
    pub positional: Vec<Value>,
    /// By name, with or without the leading `:`, `@` or `$`. Win over positional ones.
    pub named: Vec<(String, Value)>,
}

/// A result column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column<'a> {
    /// The name that SQLite gives it.
    pub name: &'a str,
    /// The declared type, for columns that come straight from a table.
    pub declared_type: Option<&'a str>,
}

/// The sink has no room for more: the statement is to be stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ResultTooLarge;

/// Takes a statement's result as it is read, and bounds it.
pub trait RowSink {
    /// Called once, before the rows.
    ///
    /// # Errors
    /// When the result would be too large.
    fn columns(&mut self, columns: &[Column<'_>]) -> Result<(), ResultTooLarge>;

    /// Called for each row; it has as many values as there are columns.
    ///
    /// # Errors
    /// When the result would be too large.
    fn row(&mut self, row: &Row<'_>) -> Result<(), ResultTooLarge>;
}

/// What a statement did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StatementSummary {
    /// Rows that it changed directly.
    pub affected_rows: u64,
    /// The last inserted rowid of the stream; `None` for statements that only read.
    pub last_insert_rowid: Option<i64>,
    /// Rows returned or stepped over by full scans, whichever is more.
    pub rows_read: u64,
    /// Rows changed, triggers and cascades included.
    pub rows_written: u64,
}

/// What a statement looks like, without running it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// The parameters' names with their sign; `None` for those without.
    pub parameters: Vec<Option<String>>,
    /// Names and declared types of the result columns.
    pub columns: Vec<(String, Option<String>)>,
    /// Whether it is an EXPLAIN.
    pub is_explain: bool,
    /// Whether it leaves the database as it is.
    pub is_readonly: bool,
}

/// Longest text of one statement, in bytes without blanks at its ends: what connections set as `SQLITE_LIMIT_SQL_LENGTH`.
pub(super) const MOST_SQL_BYTES: usize = 4 << 20;

/// Most parameters of a statement: what connections set as `SQLITE_LIMIT_VARIABLE_NUMBER`.
pub const MOST_PARAMETERS: usize = 32_766;

/// Whether SQLite would refuse the text for its length. So it can be refused before it is copied, hashed and read.
#[must_use]
pub fn is_too_long(sql: &str) -> bool {
    sql.len() > MOST_SQL_BYTES && sql.trim().len() > MOST_SQL_BYTES
}

/// Its file column would tell the node's paths, and the authorizer can only allow or refuse all of it.
const DATABASE_LIST: &str = "SELECT 0 AS seq, 'main' AS name, '' AS file";

/// The text that is run in place of `sql`.
pub(super) fn replaced(sql: &str) -> &str {
    let mut words = sql.trim().trim_end_matches(';').split_ascii_whitespace();
    let is_list = words.next().is_some_and(|word| word.eq_ignore_ascii_case("pragma"))
        && words
            .next()
            .is_some_and(|word| word.eq_ignore_ascii_case("database_list"))
        && words.next().is_none();
    if is_list { DATABASE_LIST } else { sql }
}

pub(super) fn compile<'c>(connection: &'c TenantConnection, sql: &str) -> Result<CachedStatement<'c>, StatementError> {
    if is_too_long(sql) {
        return Err(StatementError::too_long(sql.len()));
    }
    let statement = connection
        .sqlite()
        .prepare_cached(replaced(sql))
        .map_err(|error| tenant_error(connection, &error))?;
    if is_empty(&statement) {
        return Err(StatementError::NoStatement);
    }
    Ok(statement)
}

/// SQLite compiles a text of blanks and comments to nothing, which looks like a statement without parameters and columns.
fn is_empty(statement: &Statement<'_>) -> bool {
    statement.readonly()
        && statement.column_count() == 0
        && statement.parameter_count() == 0
        && statement.expanded_sql().is_none()
}

pub(super) fn describe(connection: &TenantConnection, sql: &str) -> Result<Description, StatementError> {
    let statement = connection
        .sqlite()
        .prepare(replaced(sql))
        .map_err(|error| tenant_error(connection, &error))?;
    if is_empty(&statement) {
        return Err(StatementError::NoStatement);
    }
    Ok(Description {
        parameters: (1..=statement.parameter_count())
            .map(|index| statement.parameter_name(index).map(str::to_owned))
            .collect(),
        columns: statement
            .columns()
            .map(|column| (column.name().to_owned(), column.decl_type().map(str::to_owned)))
            .collect(),
        is_explain: statement.is_explain() != 0,
        is_readonly: statement.readonly(),
    })
}

/// # Errors
/// When an argument has no parameter, or a parameter no argument.
pub(super) fn bind(statement: &mut Statement<'_>, arguments: &Arguments) -> Result<(), StatementError> {
    let count = statement.parameter_count();
    let mut values: Vec<Option<&Value>> = vec![None; count];
    if arguments.positional.len() > MOST_PARAMETERS {
        return Err(StatementError::Arguments(format!(
            "more than {MOST_PARAMETERS} positional arguments for {count} parameters"
        )));
    }
    if arguments.positional.len() > count {
        return Err(StatementError::Arguments(format!(
            "{} positional arguments for {count} parameters",
            arguments.positional.len()
        )));
    }
    for (slot, value) in values.iter_mut().zip(&arguments.positional) {
        *slot = Some(value);
    }
    for (name, value) in &arguments.named {
        let slot = parameter_index(statement, name).and_then(|index| values.get_mut(index - 1));
        *slot.ok_or_else(|| StatementError::Arguments(format!("the statement has no parameter named `{name}`")))? =
            Some(value);
    }
    // `?5` alone makes five parameters of which four are used nowhere.
    let has_gaps = (1..=count).any(|index| {
        statement
            .parameter_name(index)
            .is_some_and(|name| name.starts_with('?'))
    });
    for (index, value) in (1..).zip(values) {
        match value {
            Some(value) => statement
                .raw_bind_parameter(index, value)
                .map_err(|error| StatementError::from_sqlite(&error))?,
            None if has_gaps && statement.parameter_name(index).is_none() => {}
            None => {
                let name = statement
                    .parameter_name(index)
                    .map_or_else(|| index.to_string(), str::to_owned);
                return Err(StatementError::Arguments(format!("parameter {name} has no argument")));
            }
        }
    }
    Ok(())
}

fn parameter_index(statement: &Statement<'_>, name: &str) -> Option<usize> {
    let find = |name: &str| statement.parameter_index(name).ok().flatten();
    if name.starts_with([':', '@', '$', '?']) {
        return find(name);
    }
    [':', '@', '$']
        .into_iter()
        .find_map(|sign| find(&format!("{sign}{name}")))
}

/// Steps through a bound statement.
///
/// A result that is too large undoes a writing statement; SQLite then also undoes the transaction around it.
pub(super) fn step(
    connection: &TenantConnection,
    statement: &mut Statement<'_>,
    limit_bytes: u64,
    sink: &mut dyn RowSink,
) -> Result<StatementSummary, StatementError> {
    let too_large = StatementError::ResultTooLarge { limit_bytes };
    let writes = !statement.readonly() && statement.is_explain() == 0;
    let changes_before = connection.sqlite().total_changes();
    {
        let described: Vec<_> = statement.columns().collect();
        let columns: Vec<Column<'_>> = described
            .iter()
            .map(|column| Column {
                name: column.name(),
                declared_type: column.decl_type(),
            })
            .collect();
        sink.columns(&columns).map_err(|ResultTooLarge| too_large.clone())?;
    }
    let mut returned: u64 = 0;
    let mut rows = statement.raw_query();
    let outcome = loop {
        match rows.next() {
            Ok(Some(row)) => {
                returned += 1;
                if sink.row(row).is_err() {
                    if writes {
                        // Ending it early would commit what it wrote.
                        connection.sqlite().get_interrupt_handle().interrupt();
                        let _interrupted = rows.next();
                    }
                    break Err(too_large);
                }
            }
            Ok(None) => break Ok(()),
            Err(error) => break Err(tenant_error(connection, &error)),
        }
    };
    drop(rows);
    let scanned = u64::try_from(statement.reset_status(StatementStatus::FullscanStep)).unwrap_or(0);
    outcome?;
    let rows_written = connection.sqlite().total_changes() - changes_before;
    Ok(StatementSummary {
        affected_rows: if rows_written > 0 {
            connection.sqlite().changes()
        } else {
            0
        },
        last_insert_rowid: writes.then(|| connection.sqlite().last_insert_rowid()),
        rows_read: returned.max(scanned),
        rows_written,
    })
}

/// What an error means for a tenant. A full database stays `SQLITE_FULL`: the session knows the quota.
fn tenant_error(connection: &TenantConnection, error: &rusqlite::Error) -> StatementError {
    match error.sqlite_error_code() {
        Some(ErrorCode::AuthorizationForStatementDenied) => match connection.refusal() {
            Some(words) => StatementError::Refused(words),
            None => StatementError::from_sqlite(error),
        },
        Some(ErrorCode::OperationInterrupted) => match connection.stopped() {
            Some(Stopped::Cancelled) => StatementError::Cancelled,
            // The session fills in the limit.
            Some(Stopped::QueryTime) => StatementError::QueryTime { limit_ms: 0 },
            None => StatementError::from_sqlite(error),
        },
        // SQL that SQLite makes up while a statement runs is refused as an ordinary error.
        _ => match connection.refusal() {
            Some(words) => StatementError::Refused(words),
            None => StatementError::from_sqlite(error),
        },
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::Connection;

    use super::*;

    #[test]
    fn arguments_meet_their_parameters() {
        let connection = Connection::open_in_memory().unwrap();
        let int = Value::Integer;
        let named = |pairs: &[(&str, i64)]| {
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), int(*value)))
                .collect()
        };
        type Case = (
            &'static str,
            &'static [i64],
            Vec<(String, Value)>,
            Result<i64, &'static str>,
        );
        let cases: [Case; 9] = [
            ("select ?", &[7], named(&[]), Ok(7)),
            (
                "select :a + @b + $c",
                &[],
                named(&[("a", 1), ("b", 2), ("$c", 4)]),
                Ok(7),
            ),
            ("select ?3", &[1, 2, 7], named(&[]), Ok(7)),
            ("select ?2", &[], named(&[("?2", 7)]), Ok(7)),
            ("select :a", &[1], named(&[("a", 7)]), Ok(7)),
            ("select ?", &[], named(&[]), Err("parameter 1 has no argument")),
            ("select :a", &[], named(&[]), Err("parameter :a has no argument")),
            (
                "select 1",
                &[1],
                named(&[]),
                Err("1 positional arguments for 0 parameters"),
            ),
            (
                "select 1",
                &[],
                named(&[("x", 1)]),
                Err("the statement has no parameter named `x`"),
            ),
        ];
        for (sql, positional, named, expected) in cases {
            let mut statement = connection.prepare(sql).unwrap();
            let arguments = Arguments {
                positional: positional.iter().copied().map(int).collect(),
                named,
            };
            let outcome = bind(&mut statement, &arguments).map(|()| {
                let mut rows = statement.raw_query();
                rows.next().unwrap().unwrap().get::<_, i64>(0).unwrap()
            });
            match (outcome, expected) {
                (Ok(value), Ok(expected)) => assert_eq!(value, expected, "{sql}"),
                (Err(StatementError::Arguments(words)), Err(expected)) => assert_eq!(words, expected, "{sql}"),
                (outcome, expected) => panic!("{sql}: {outcome:?}, expected {expected:?}"),
            }
        }
    }

    #[test]
    fn only_the_bare_database_list_is_replaced() {
        assert_eq!(replaced("  pragma DATABASE_LIST ; "), DATABASE_LIST);
        assert_eq!(replaced("pragma table_list"), "pragma table_list");
        assert_eq!(
            replaced("pragma database_list; select 1"),
            "pragma database_list; select 1"
        );
    }
}
