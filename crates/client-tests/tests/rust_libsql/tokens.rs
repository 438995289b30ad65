//! What clients are told whose token is not good enough.

use anyhow::{Result, ensure};
use libsql::Value;

use crate::clients::{Clients, refused, rows, value};

pub(crate) async fn a_read_only_token_reads(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    ensure!(value(&connection, "select count(*) >= 0 from kept").await? == Value::Integer(1));
    refused(
        connection.execute("insert into kept values (1)", ()).await,
        &["SQLITE_READONLY", "allows reading only"],
    )?;
    ensure!(value(&connection, "select 2").await? == Value::Integer(2));
    Ok(())
}

pub(crate) async fn refused_with_a_revoked_token(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    refused(rows(&connection, "select 1", ()).await, &["401", "revoked"])
}

pub(crate) async fn refused_with_anothers_token(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    refused(
        rows(&connection, "select 1", ()).await,
        &["403", "not made for this tenant"],
    )
}
