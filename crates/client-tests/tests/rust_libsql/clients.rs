//! The SDK, pointed at a tenant.

use std::convert::Infallible;
use std::net::SocketAddr;

use client_tests::Tenant;
use libsql::params::IntoParams;
use libsql::{Builder, Connection, Database, Value};
use libsql_hyper::client::HttpConnector;
use tower::service_fn;

/// Makes clients of one tenant.
#[derive(Debug)]
pub(crate) struct Clients {
    address: SocketAddr,
    tenant: Tenant,
    token: String,
}

impl Clients {
    pub(crate) const fn new(address: SocketAddr, tenant: Tenant, token: String) -> Self {
        Self { address, tenant, token }
    }

    /// A client as an application of its own has it: with its own HTTP connections.
    pub(crate) async fn database(&self) -> anyhow::Result<Database> {
        // `*.localhost` does not resolve everywhere: the connector knows where the host is.
        let ip = self.address.ip();
        let resolver = service_fn(move |_| async move { Ok::<_, Infallible>(std::iter::once(SocketAddr::new(ip, 0))) });
        let url = format!("http://{}.localhost:{}", self.tenant.name(), self.address.port());
        let builder = Builder::new_remote(url, self.token.clone());
        let connector = HttpConnector::new_with_resolver(resolver);
        Ok(builder.connector(connector).build().await?)
    }

    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Ok(self.database().await?.connect()?)
    }
}

/// All rows of a query.
pub(crate) async fn rows(
    connection: &Connection,
    sql: &str,
    arguments: impl IntoParams,
) -> libsql::Result<Vec<Vec<Value>>> {
    let mut rows = connection.query(sql, arguments).await?;
    let columns = rows.column_count();
    let mut all = Vec::new();
    while let Some(row) = rows.next().await? {
        all.push(
            (0..columns)
                .map(|column| row.get_value(column))
                .collect::<Result<_, _>>()?,
        );
    }
    Ok(all)
}

/// The only value of a query's only row.
pub(crate) async fn value(connection: &Connection, sql: &str) -> anyhow::Result<Value> {
    let rows = rows(connection, sql, ()).await?;
    match rows.as_slice() {
        [row] => match row.as_slice() {
            [value] => Ok(value.clone()),
            row => anyhow::bail!("{} values", row.len()),
        },
        rows => anyhow::bail!("{} rows", rows.len()),
    }
}

/// The error's words must have all of `words` in them.
pub(crate) fn refused<T: std::fmt::Debug>(outcome: libsql::Result<T>, words: &[&str]) -> anyhow::Result<()> {
    match outcome {
        Ok(value) => anyhow::bail!("no error, but {value:?}"),
        Err(error) => {
            let text = error.to_string();
            let missing = words.iter().find(|word| !text.contains(**word));
            missing.map_or(Ok(()), |word| Err(anyhow::anyhow!("{word:?} is not in: {text}")))
        }
    }
}
