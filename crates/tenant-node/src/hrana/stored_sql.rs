//! SQL texts that a stream has stored, by the client's number.

use std::collections::HashMap;

use super::request::Sql;
use super::stored_bytes::{Held, NoRoom, OfTenant};
use crate::database::StatementError;

/// Texts of one stream: more are refused.
const MOST_TEXTS: usize = 128;

/// The texts of one stream.
#[derive(Debug, Default)]
pub(super) struct StoredSql(HashMap<i32, Text>);

#[derive(Debug)]
struct Text {
    sql: String,
    _held: Held,
}

/// Why a text was not stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    #[error("the stream already has an SQL text with sql_id {0}")]
    InUse(i32),
    #[error("a stream stores at most {MOST_TEXTS} SQL texts")]
    Full,
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl StoreError {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::InUse(_) => "SQL_ID_IN_USE",
            Self::Full | Self::NoRoom(_) => "SQL_STORE_FULL",
        }
    }
}

impl StoredSql {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The text that a request means.
    pub(super) fn text<'a>(&'a self, sql: &'a Sql) -> Result<&'a str, StatementError> {
        match sql {
            Sql::Text(text) => Ok(text),
            Sql::TooLong { bytes } => Err(StatementError::too_long(*bytes)),
            Sql::Stored(id) => self
                .0
                .get(id)
                .map(|text| text.sql.as_str())
                .ok_or_else(|| StatementError::Sqlite {
                    code: "SQL_NOT_STORED",
                    message: format!("the stream has no SQL text with sql_id {id}"),
                }),
        }
    }

    /// Stores a text, whose bytes count for the tenant until it is closed.
    pub(super) fn store(&mut self, id: i32, sql: &str, bytes: &OfTenant) -> Result<(), StoreError> {
        if self.0.contains_key(&id) {
            return Err(StoreError::InUse(id));
        }
        if self.0.len() >= MOST_TEXTS {
            return Err(StoreError::Full);
        }
        let text = Text {
            _held: bytes.hold(sql.len())?,
            sql: sql.to_owned(),
        };
        self.0.insert(id, text);
        Ok(())
    }

    /// Forgets a text; one that is not there is forgotten already.
    pub(super) fn close(&mut self, id: i32) {
        self.0.remove(&id);
    }
}
