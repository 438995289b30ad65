//! How a program opens and takes connections.

use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::role::{Caller, Role, Roles};

/// How long a caller may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// Whether connections are proved and encrypted.
#[derive(Debug, Clone)]
pub enum Security {
    /// Neither: development on loopback.
    Plain,
    /// Both ends have certificates.
    MutualTls(Arc<Credentials>),
}

impl Security {
    /// Opens a connection to a program at `host:port` that plays the part `role`. `limit` is for all of it: the name's addresses, of
    /// which each has its share of the time, and the proof.
    ///
    /// # Errors
    /// When nobody answers in time, or it is somebody else.
    pub async fn connect(&self, address: &str, role: Role, limit: Duration) -> Result<Connection> {
        let connecting = async {
            let socket = reach(address, limit).await?;
            socket.set_nodelay(true)?;
            match self {
                Self::Plain => Ok(Connection::Plain(socket)),
                Self::MutualTls(credentials) => {
                    let connector = TlsConnector::from(Arc::clone(&credentials.current().client));
                    let stream = connector.connect(role.server_name(), socket).await?;
                    Ok(Connection::encrypted(stream))
                }
            }
        };
        in_time(limit, connecting).await
    }

    /// Takes a connection, and says who is at its other end.
    ///
    /// # Errors
    /// When the other end does not prove itself within five seconds.
    pub async fn accept(&self, socket: TcpStream) -> Result<(Connection, Caller)> {
        match self {
            Self::Plain => Ok((Connection::Plain(socket), Caller::Unasked)),
            Self::MutualTls(credentials) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&credentials.current().server));
                let stream = in_time(PATIENCE, acceptor.accept(socket)).await?;
                let proved = stream.get_ref().1.peer_certificates();
                let roles = proved.and_then(<[_]>::first).map(Roles::of);
                let roles = roles.ok_or_else(|| Error::new(ErrorKind::PermissionDenied, "no certificate"))?;
                Ok((Connection::encrypted(stream), Caller::Proved(roles)))
            }
        }
    }

    /// The certificates, if there are any.
    #[must_use]
    pub const fn credentials(&self) -> Option<&Arc<Credentials>> {
        match self {
            Self::Plain => None,
            Self::MutualTls(credentials) => Some(credentials),
        }
    }
}

/// The first of a name's addresses that answers. One that does not leaves the others their share of the time.
async fn reach(address: &str, limit: Duration) -> Result<TcpStream> {
    let addresses: Vec<_> = lookup_host(address).await?.collect();
    let share = limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
    let mut failure = Error::new(ErrorKind::NotFound, "the name has no address");
    for address in addresses {
        match in_time(share, TcpStream::connect(address)).await {
            Ok(socket) => return Ok(socket),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

pub(crate) async fn in_time<T>(limit: Duration, work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, work).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(
            ErrorKind::TimedOut,
            format!("not within {} ms", limit.as_millis()),
        )),
    }
}
