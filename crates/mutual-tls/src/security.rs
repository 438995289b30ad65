//! How a program opens and takes connections.

use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use crate::connection::Connection;
use crate::credentials::Credentials;
use crate::role::{Caller, Role, Roles};

/// How long the two ends may take to prove themselves to each other.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// Whether connections are proved and encrypted.
#[derive(Debug, Clone)]
pub enum Security {
    /// Neither: development on loopback.
    Plain,
    /// Both ends have certificates.
    MutualTls(Arc<Credentials>),
}

impl Security {
    /// Opens a connection to a program at `host:port` that plays the part `role`. Bound the wait for the connection itself.
    ///
    /// # Errors
    /// When nobody answers, or it is somebody else.
    pub async fn connect(&self, address: &str, role: Role) -> Result<Connection> {
        let socket = TcpStream::connect(address).await?;
        socket.set_nodelay(true)?;
        match self {
            Self::Plain => Ok(Connection::Plain(socket)),
            Self::MutualTls(credentials) => {
                let connector = TlsConnector::from(Arc::clone(&credentials.current().client));
                let stream = in_time(connector.connect(role.server_name(), socket)).await?;
                Ok(Connection::Tls(Box::new(TlsStream::Client(stream))))
            }
        }
    }

    /// Takes a connection, and says who is at its other end.
    ///
    /// # Errors
    /// When the other end does not prove itself in [`PATIENCE`].
    pub async fn accept(&self, socket: TcpStream) -> Result<(Connection, Caller)> {
        match self {
            Self::Plain => Ok((Connection::Plain(socket), Caller::Unasked)),
            Self::MutualTls(credentials) => {
                let acceptor = TlsAcceptor::from(Arc::clone(&credentials.current().server));
                let stream = in_time(acceptor.accept(socket)).await?;
                let proved = stream.get_ref().1.peer_certificates();
                let roles = proved.and_then(<[_]>::first).map(Roles::of);
                let roles = roles.ok_or_else(|| Error::new(ErrorKind::PermissionDenied, "no certificate"))?;
                Ok((
                    Connection::Tls(Box::new(TlsStream::Server(stream))),
                    Caller::Proved(roles),
                ))
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

async fn in_time<T>(handshake: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(PATIENCE, handshake).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::new(
            ErrorKind::TimedOut,
            "the other end did not prove itself in time",
        )),
    }
}
