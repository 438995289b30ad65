//! gRPC to a program whose part is known.

use std::future::Future;
use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tonic::transport::{Channel, Endpoint};
use tower::Service;

use crate::connection::Connection;
use crate::role::Role;
use crate::security::Security;

impl Security {
    /// A channel that connects when it is first used, and again by itself. `endpoint` is of the scheme `http`, with TLS as well.
    #[must_use]
    pub fn channel(&self, endpoint: &Endpoint, role: Role) -> Channel {
        endpoint.connect_with_connector_lazy(self.connector(role))
    }

    /// A channel that is connected.
    ///
    /// # Errors
    /// As [`Security::connect`], or after the endpoint's time for it.
    pub async fn connected_channel(
        &self,
        endpoint: &Endpoint,
        role: Role,
    ) -> std::result::Result<Channel, tonic::transport::Error> {
        endpoint.connect_with_connector(self.connector(role)).await
    }

    fn connector(&self, role: Role) -> Connector {
        Connector {
            security: self.clone(),
            role,
        }
    }
}

#[derive(Debug, Clone)]
struct Connector {
    security: Security,
    role: Role,
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Self { security, role } = self.clone();
        Box::pin(async move {
            let authority = uri.authority().filter(|authority| authority.port().is_some());
            let address = authority.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "no host:port"))?;
            security.connect(address.as_str(), role).await.map(TokioIo::new)
        })
    }
}
