//! Many clients, and what clients are told at a tenant's limits.

use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use libsql::{Connection, Value};

use crate::clients::{Clients, refused, rows};

const CLIENTS: i64 = 1_000;

pub(crate) async fn a_thousand_clients_at_once(clients: &Clients) -> Result<()> {
    let first = clients.connect().await?;
    first
        .execute_batch("create table crowd (id integer primary key, client integer)")
        .await?;
    let mut connections = Vec::new();
    for client in 0..CLIENTS {
        connections.push((client, clients.connect().await?));
    }
    // All have read, and keep what they read with, before the first of them writes.
    for step in 0..3 {
        let talks = connections.iter().map(|(client, connection)| async move {
            match step {
                1 => write(connection, *client).await,
                _ => read(connection, *client).await,
            }
        });
        let wrong: Vec<_> = join_all(talks).await.into_iter().filter_map(Result::err).collect();
        ensure!(wrong.is_empty(), "{} went wrong, such as {:#}", wrong.len(), wrong[0]);
    }
    let found = rows(
        &first,
        "select count(*), count(distinct client), sum(client) from crowd",
        (),
    )
    .await?;
    let expected = [CLIENTS, CLIENTS, CLIENTS * (CLIENTS - 1) / 2].map(Value::Integer);
    ensure!(found == [expected], "{found:?}");
    Ok(())
}

async fn read(connection: &Connection, client: i64) -> Result<()> {
    let found = rows(connection, "select ?, 'of ' || ?1", [client])
        .await
        .with_context(|| format!("client {client}"))?;
    ensure!(
        found == [[Value::Integer(client), Value::Text(format!("of {client}"))]],
        "{found:?}"
    );
    Ok(())
}

async fn write(connection: &Connection, client: i64) -> Result<()> {
    let insert = connection
        .execute("insert into crowd (client) values (?)", [client])
        .await;
    ensure!(insert.with_context(|| format!("client {client}"))? == 1);
    Ok(())
}

pub(crate) async fn the_daily_limit_is_told(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    for _ in 0..40 {
        let outcome = rows(&connection, "select 1", ()).await;
        if outcome.is_err() {
            return refused(outcome, &["429", "requests", "20"]);
        }
    }
    anyhow::bail!("forty requests were taken")
}

pub(crate) async fn a_full_database_is_told(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    connection.execute("create table pile (value)", ()).await?;
    let insert = "insert into pile values (randomblob(20000))";
    for _ in 0..200 {
        let transaction = connection.transaction().await?;
        let outcome = transaction.execute(insert, ()).await;
        if outcome.is_err() {
            refused(outcome, &["507", "storage quota exceeded", "1048576"])?;
            transaction.rollback().await.context("after the refusal")?;
            ensure!(connection.execute("delete from pile", ()).await? > 0);
            return Ok(());
        }
        transaction.commit().await?;
    }
    anyhow::bail!("4 MB were taken")
}
