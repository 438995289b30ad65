//! Transactions, scripts and batches.

use anyhow::{Result, ensure};
use libsql::{Connection, TransactionBehavior, Value};

use crate::clients::{Clients, refused, rows, value};

const COUNT: &str = "select count(*) from kept";

async fn with_nothing_kept(clients: &Clients) -> Result<Connection> {
    let connection = clients.connect().await?;
    connection.execute("delete from kept", ()).await?;
    Ok(connection)
}

pub(crate) async fn commit_and_rollback(clients: &Clients) -> Result<()> {
    let (first, second) = (with_nothing_kept(clients).await?, clients.connect().await?);
    let transaction = first.transaction().await?;
    transaction
        .execute("insert into kept values ('seen later')", ())
        .await?;
    ensure!(value(&transaction, COUNT).await? == Value::Integer(1));
    ensure!(
        value(&second, COUNT).await? == Value::Integer(0),
        "seen before it was committed"
    );
    refused(
        transaction.execute("insert into owner (name) values ('Ada')", ()).await,
        &["UNIQUE"],
    )?;
    transaction.commit().await?;
    ensure!(value(&second, COUNT).await? == Value::Integer(1));
    let transaction = first.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    transaction
        .execute("insert into kept values ('never seen')", ())
        .await?;
    transaction.rollback().await?;
    ensure!(value(&second, COUNT).await? == Value::Integer(1));
    Ok(())
}

pub(crate) async fn a_dropped_transaction_is_rolled_back(clients: &Clients) -> Result<()> {
    let connection = with_nothing_kept(clients).await?;
    {
        let transaction = connection.transaction().await?;
        transaction
            .execute("insert into kept values ('never seen')", ())
            .await?;
    }
    ensure!(value(&connection, COUNT).await? == Value::Integer(0));
    connection.execute("insert into kept values ('after it')", ()).await?;
    ensure!(value(&connection, COUNT).await? == Value::Integer(1));
    Ok(())
}

pub(crate) async fn two_writers_wait_for_each_other(clients: &Clients) -> Result<()> {
    let (first, second) = (with_nothing_kept(clients).await?, clients.connect().await?);
    let transaction = first.transaction_with_behavior(TransactionBehavior::Immediate).await?;
    transaction.execute("insert into kept values ('first')", ()).await?;
    let write = tokio::spawn(async move { second.execute("insert into kept values ('second')", ()).await });
    transaction
        .execute("insert into kept values ('first again')", ())
        .await?;
    transaction.commit().await?;
    write.await??;
    let found = rows(&first, "select value from kept order by rowid", ())
        .await?
        .concat();
    let expected = ["first", "first again", "second"].map(|text| Value::Text(text.to_owned()));
    ensure!(found == expected, "{found:?}");
    Ok(())
}

pub(crate) async fn a_script_stops_at_its_first_error(clients: &Clients) -> Result<()> {
    let connection = with_nothing_kept(clients).await?;
    let script = "insert into kept values (1), (';'); insert into kept values (2); -- the end";
    connection.execute_batch(script).await?;
    ensure!(value(&connection, COUNT).await? == Value::Integer(3));
    let failing = "delete from kept where value = 2; insert into missing values (1); delete from kept";
    refused(
        connection.execute_batch(failing).await.map(drop),
        &["no such table: missing"],
    )?;
    ensure!(value(&connection, COUNT).await? == Value::Integer(2));
    Ok(())
}

pub(crate) async fn a_transactional_batch_is_all_or_nothing(clients: &Clients) -> Result<()> {
    let connection = with_nothing_kept(clients).await?;
    connection
        .execute_transactional_batch("insert into kept values (1); insert into kept values (2)")
        .await?;
    let failing = "delete from kept; insert into owner (name) values ('Ada'); insert into kept values (3)";
    refused(
        connection.execute_transactional_batch(failing).await.map(drop),
        &["UNIQUE"],
    )?;
    let found = rows(&connection, "select value from kept order by 1", ())
        .await?
        .concat();
    ensure!(found == [Value::Integer(1), Value::Integer(2)], "{found:?}");
    Ok(())
}

/// A transaction that has written and is not heard of again.
pub(crate) async fn leave_one_open(clients: &Clients) -> Result<libsql::Transaction> {
    let connection = clients.connect().await?;
    connection.execute_batch("create table kept (value)").await?;
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .await?;
    transaction.execute("insert into kept values ('forgotten')", ()).await?;
    Ok(transaction)
}

pub(crate) async fn one_left_open_was_rolled_back(clients: &Clients, left: libsql::Transaction) -> Result<()> {
    refused(
        left.execute("insert into kept values ('more')", ()).await,
        &["SPENT_BATON", "rolled back"],
    )?;
    let connection = clients.connect().await?;
    ensure!(value(&connection, COUNT).await? == Value::Integer(0));
    connection.execute("insert into kept values ('after it')", ()).await?;
    Ok(())
}
