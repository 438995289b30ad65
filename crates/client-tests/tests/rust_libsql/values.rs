//! Statements, arguments, values, columns and errors.

use std::collections::HashMap;

use anyhow::{Result, ensure};
use libsql::{Connection, Value};

use crate::clients::{Clients, refused, rows, value};

pub(crate) async fn create_the_tables(clients: &Clients) -> Result<()> {
    let schema = "
        create table owner (id integer primary key, name text not null unique);
        create table thing (id integer primary key, owner integer references owner (id), size integer check (size < 100));
        create table kept (value);
        insert into owner (name) values ('Ada')";
    clients.connect().await?.execute_batch(schema).await?;
    Ok(())
}

pub(crate) async fn connection_that_has_read(clients: &Clients) -> Result<Connection> {
    let connection = clients.connect().await?;
    ensure!(value(&connection, "select 1").await? == Value::Integer(1));
    Ok(connection)
}

pub(crate) async fn a_connection_goes_on_after_a_pause(connection: &Connection) -> Result<()> {
    ensure!(value(connection, "select 2").await? == Value::Integer(2));
    Ok(())
}

pub(crate) async fn create_insert_select(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let found = rows(&connection, "select id, name from owner", ()).await?;
    ensure!(
        found == [[Value::Integer(1), Value::Text("Ada".to_owned())]],
        "{found:?}"
    );
    Ok(())
}

pub(crate) async fn positional_and_named_arguments(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let text = |text: &str| Value::Text(text.to_owned());
    let found = rows(&connection, "select ?, ?2, ?1", ("a", "b")).await?;
    ensure!(found == [[text("a"), text("b"), text("a")]], "{found:?}");
    let named = libsql::named_params! { ":a": 1, "@b": "b", "$c": Value::Null };
    let found = rows(&connection, "select :a, @b, $c", named).await?;
    ensure!(found == [[Value::Integer(1), text("b"), Value::Null]], "{found:?}");
    Ok(())
}

pub(crate) async fn all_values_come_back(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let all_bytes: Vec<u8> = (0..=255).collect();
    let integers = [0, -1, (1 << 53) + 1, i64::MAX, i64::MIN].map(Value::Integer);
    let floats = [0.1, -0.0, 1e308, -1e308, 5e-324, f64::MAX, f64::MIN_POSITIVE].map(Value::Real);
    let texts = [
        "",
        "grüße",
        "👩‍👩‍👧‍👦",
        "e\u{301}",
        "\u{202e}abc",
        "a\0b",
        "\"'\\\n\r\t\u{2028}",
        "\u{10ffff}",
    ];
    let texts = texts.map(|text| Value::Text(text.to_owned()));
    let blobs = [vec![], vec![0], all_bytes.clone(), all_bytes.repeat(4096)].map(Value::Blob);
    let values = [
        vec![Value::Null],
        integers.to_vec(),
        floats.to_vec(),
        texts.to_vec(),
        blobs.to_vec(),
    ]
    .concat();
    connection.execute("delete from kept", ()).await?;
    for value in &values {
        connection
            .execute("insert into kept values (?)", [value.clone()])
            .await?;
    }
    let found = rows(&connection, "select value from kept order by rowid", ())
        .await?
        .concat();
    ensure!(
        found.len() == values.len(),
        "{} values instead of {}",
        found.len(),
        values.len()
    );
    for (found, value) in found.iter().zip(&values) {
        let same = match (found, value) {
            (Value::Real(found), Value::Real(value)) => found.to_bits() == value.to_bits(),
            (found, value) => found == value,
        };
        ensure!(same, "{found:?} instead of {value:?}");
    }
    Ok(())
}

pub(crate) async fn affected_rows_and_last_insert_id(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    connection.execute("delete from kept", ()).await?;
    ensure!(connection.execute("insert into kept values (1), (2), (3)", ()).await? == 3);
    ensure!(
        connection.last_insert_rowid() == 3,
        "{}",
        connection.last_insert_rowid()
    );
    ensure!(
        connection
            .execute("update kept set value = 9 where value > 1", ())
            .await?
            == 2
    );
    ensure!(connection.changes() == 2);
    ensure!(connection.execute("delete from kept where value = 9", ()).await? == 2);
    Ok(())
}

pub(crate) async fn column_names_and_declared_types(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let statement = connection
        .prepare("select id, name as called, 1 + 1 as two from owner")
        .await?;
    let columns = statement.columns();
    let names: Vec<&str> = columns.iter().map(libsql::Column::name).collect();
    ensure!(names == ["id", "called", "two"], "{names:?}");
    Ok(())
}

pub(crate) async fn a_prepared_statement_is_used_again(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    connection.execute("delete from kept", ()).await?;
    let insert = connection.prepare("insert into kept values (?)").await?;
    for number in 0..20_i64 {
        insert.reset();
        ensure!(insert.execute([number]).await? == 1);
    }
    ensure!(value(&connection, "select sum(value) from kept").await? == Value::Integer(190));
    Ok(())
}

pub(crate) async fn errors_tell_what_is_wrong(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let cases: HashMap<&str, [&str; 2]> = HashMap::from([
        (
            "insert into missing values (1)",
            ["no such table: missing", "SQLITE_ERROR"],
        ),
        (
            "insert into owner (name) values ('Ada')",
            ["UNIQUE constraint failed: owner.name", "SQLITE_CONSTRAINT"],
        ),
        (
            "insert into owner (name) values (null)",
            ["NOT NULL constraint failed: owner.name", "SQLITE_CONSTRAINT"],
        ),
        (
            "insert into thing (size) values (100)",
            ["CHECK constraint failed: size < 100", "SQLITE_CONSTRAINT"],
        ),
        (
            "insert into thing (owner) values (77)",
            ["FOREIGN KEY constraint failed", "SQLITE_CONSTRAINT"],
        ),
    ]);
    for (sql, words) in cases {
        refused(connection.execute(sql, ()).await, &words)?;
        refused(rows(&connection, sql, ()).await, &words)?;
    }
    refused(connection.query("selec 1", ()).await, &["syntax error"])?;
    ensure!(value(&connection, "select count(*) from thing").await? == Value::Integer(0));
    Ok(())
}

pub(crate) async fn a_hundred_thousand_rows(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let sql = "with recursive n (i) as (select 1 union all select i + 1 from n where i < 100000)
               select i, 'row ' || i, i / 2.0, null from n";
    let mut rows = connection.query(sql, ()).await?;
    let mut count = 0_i64;
    while let Some(row) = rows.next().await? {
        count += 1;
        let found = (
            row.get::<i64>(0)?,
            row.get::<String>(1)?,
            row.get_value(2)?,
            row.get_value(3)?,
        );
        let half = Value::Real(f64::from(i32::try_from(count)?) / 2.0);
        ensure!(
            found == (count, format!("row {count}"), half, Value::Null),
            "{found:?} at {count}"
        );
    }
    ensure!(count == 100_000, "{count} rows");
    Ok(())
}

pub(crate) async fn ten_mebibytes(clients: &Clients) -> Result<()> {
    let connection = clients.connect().await?;
    let sent: Vec<u8> = (0..=255).collect::<Vec<u8>>().repeat(10 << 12);
    let found = rows(&connection, "select ?", [sent.clone()]).await?;
    ensure!(found == [[Value::Blob(sent)]], "the value differs");
    Ok(())
}
