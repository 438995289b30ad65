//! gRPC to a program whose part is known.

use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::connection::Connection;
use crate::role::Role;
use crate::security::{Security, in_time};

impl Security {
    /// A channel that connects when it is first used, and again by itself; each time it may take `limit`. `endpoint` is of the scheme
    /// `http`, with TLS as well, and has no time of its own for connections: tonic would tell that it ran out as if a call had been
    /// sent.
    #[must_use]
    pub fn channel(&self, endpoint: &Endpoint, role: Role, limit: Duration) -> Channel {
        endpoint.connect_with_connector_lazy(self.connector(role, limit))
    }

    /// A channel that is connected.
    ///
    /// # Errors
    /// When nobody answers within `limit`, or refuses.
    pub async fn connected_channel(
        &self,
        endpoint: &Endpoint,
        role: Role,
        limit: Duration,
    ) -> std::result::Result<Channel, tonic::transport::Error> {
        endpoint.connect_with_connector(self.connector(role, limit)).await
    }

    fn connector(&self, role: Role, limit: Duration) -> Connector {
        Connector {
            security: self.clone(),
            role,
            limit,
        }
    }
}

#[derive(Debug, Clone)]
struct Connector {
    security: Security,
    role: Role,
    limit: Duration,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { security, role, limit } = self.clone();
        Box::pin(async move {
            let authority = uri.authority().filter(|authority| authority.port().is_some());
            let address = authority.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no host:port"))?;
            let connecting = async {
                let mut connection = security.connect(address.as_str(), role, limit).await?;
                // A gRPC server speaks first: its settings.
                connection.is_taken().await?;
                Ok(TokioIo::new(connection))
            };
            in_time(limit, connecting).await
        })
    }
}
