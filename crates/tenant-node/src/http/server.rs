//! Connections: accepts them, speaks HTTP/1.1 and h2c on each, and lets the last answers finish at the end.
//!
//! Must not know what a request means.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::body::Body;
use crate::layers::Ingress;

/// How long a client may take to send a request's headers.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// After a failed accept (out of descriptors, mostly) the listener rests this long instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What a listener is given.
#[derive(Debug, Clone, Copy)]
pub struct ServerOptions {
    /// What its requests are believed.
    pub ingress: Ingress,
    /// Connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long open connections may take to finish after the stop.
    pub drain: Duration,
}

/// Serves until `stop`, then finishes what is under way, at most for the drain time.
pub async fn serve<S>(listener: TcpListener, stack: S, options: ServerOptions, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .keep_alive(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(250);
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let connections = GracefulShutdown::new();
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        let (accepted, slot) = tokio::select! {
            () = stop.cancelled() => break,
            Some(accepted) = accepted => accepted,
        };
        let socket = match accepted {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for the client's delayed acknowledgement.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        let service = Inbound {
            stack: stack.clone(),
            ingress: options.ingress,
        };
        let connection = builder.serve_connection(TokioIo::new(socket), service).into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            let _slot = slot;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        });
    }
    drop(listener);
    if tokio::time::timeout(options.drain, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!(
            seconds = options.drain.as_secs(),
            "connections were still open at the end of the drain time"
        );
    }
}

/// One connection's way into the stack.
#[derive(Debug, Clone)]
struct Inbound<S> {
    stack: S,
    ingress: Ingress,
}

impl<S> hyper::service::Service<Request<Incoming>> for Inbound<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = S::Future;

    fn call(&self, request: Request<Incoming>) -> S::Future {
        let mut request = request.map(|body| body.map_err(Into::into).boxed_unsync());
        request.extensions_mut().insert(self.ingress);
        // The layers of the stack are always ready; the clone is what `call` may consume.
        self.stack.clone().call(request)
    }
}
