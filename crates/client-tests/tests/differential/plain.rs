//! The reference: a connection of rusqlite's, set as the node sets its own where that shows.

use rusqlite::config::DbConfig;
use rusqlite::types::{Value, ValueRef};
use rusqlite::{Connection, Error, ErrorCode, params_from_iter};

use crate::script::Statement;
use crate::{Done, Outcome};

pub(crate) struct Plain(Connection);

impl Plain {
    pub(crate) fn open() -> Self {
        let connection = Connection::open_in_memory().unwrap();
        connection.pragma_update(None, "foreign_keys", true).unwrap();
        for (setting, on) in [
            (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
            (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
        ] {
            connection.set_db_config(setting, on).unwrap();
        }
        Self(connection)
    }

    pub(crate) fn is_autocommit(&self) -> bool {
        self.0.is_autocommit()
    }

    pub(crate) fn run(&self, statement: &Statement) -> Outcome {
        self.try_run(statement)
            .map_or_else(|error| failed(&error), Outcome::Done)
    }

    fn try_run(&self, statement: &Statement) -> rusqlite::Result<Done> {
        let changes_before = self.0.total_changes();
        let mut prepared = self.0.prepare(&statement.sql)?;
        let columns: Vec<_> = prepared
            .columns()
            .map(|column| (column.name().to_owned(), column.decl_type().map(str::to_owned)))
            .collect();
        let inserts = statement.sql.starts_with("insert") || statement.sql.starts_with("replace");
        let mut rows = prepared.query(params_from_iter(&statement.arguments))?;
        let mut all = Vec::new();
        while let Some(row) = rows.next()? {
            all.push(
                (0..columns.len())
                    .map(|column| cell(row.get_ref(column)?))
                    .collect::<Result<_, _>>()?,
            );
        }
        drop(rows);
        let wrote = self.0.total_changes() > changes_before;
        Ok(Done {
            columns,
            rows: all,
            affected_rows: if wrote { self.0.changes() } else { 0 },
            // After an insert that failed, SQLite tells the row id that was undone; only what an insert made is compared.
            last_insert_rowid: (inserts && wrote).then(|| self.0.last_insert_rowid()),
        })
    }

    /// Queries that show all there is, and that it is sound.
    pub(crate) fn dump(&self) -> Vec<Statement> {
        let mut statements: Vec<Statement> = [
            "select type, name, tbl_name, sql from sqlite_schema order by type, name",
            "pragma integrity_check",
            "pragma foreign_key_check",
            "pragma user_version",
        ]
        .map(Statement::without_arguments)
        .to_vec();
        let tables = "select name from sqlite_schema where type = 'table' order by name";
        let mut tables = self.0.prepare(tables).unwrap();
        let names = tables.query_map([], |row| row.get::<_, String>(0)).unwrap();
        for name in names {
            let name = name.unwrap();
            let columns = self
                .0
                .prepare(&format!("select * from \"{name}\""))
                .unwrap()
                .column_count();
            let order: Vec<String> = (1..=columns).map(|column| column.to_string()).collect();
            let sql = format!("select * from \"{name}\" order by {}", order.join(", "));
            statements.push(Statement::without_arguments(&sql));
        }
        statements
    }
}

/// Text that is no UTF-8, as a cast can make it, has no other way through JSON.
fn cell(value: ValueRef<'_>) -> rusqlite::Result<Value> {
    match value {
        ValueRef::Text(text) => Ok(Value::Text(String::from_utf8_lossy(text).into_owned())),
        other => Ok(Value::try_from(other)?),
    }
}

fn failed(error: &Error) -> Outcome {
    let (code, message) = match error {
        Error::SqlInputError { msg, .. } => ("SQL_INPUT_ERROR", msg.clone()),
        Error::SqliteFailure(failure, message) => {
            let code = match failure.code {
                ErrorCode::ConstraintViolation => "SQLITE_CONSTRAINT",
                ErrorCode::TypeMismatch => "SQLITE_MISMATCH",
                ErrorCode::Unknown => "SQLITE_ERROR",
                other => panic!("a script is not to meet {other:?}: {error}"),
            };
            (code, message.clone().unwrap_or_else(|| failure.to_string()))
        }
        other => panic!("a script is not to meet {other:?}"),
    };
    Outcome::Failed {
        code: code.to_owned(),
        message,
    }
}
