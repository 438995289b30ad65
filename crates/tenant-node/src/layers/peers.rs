//! Connections to the other nodes, kept and shared, and what a failure on one of them says of the request.
//!
//! Must not decide what a client is told, nor send anything twice.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper::rt::Executor as _;
use hyper_util::rt::TokioIo;
use mutual_tls::{Role, Security};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::DropGuard;
use tokio_util::task::AbortOnDropHandle;

use super::first_word::Listening;
use super::peer_protocol::{self, CONNECTIONS, REQUESTS_PER_CONNECTION};
use super::upload::UploadBody;
use crate::http::owned_tasks::OwnedTasks;

/// A connection that takes longer than this to a machine next door will not come, nor the first word on it.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// Nodes come and go; beyond so many addresses, those without a connection are forgotten.
const MOST_IDLE_PEERS: usize = 1_024;

/// What became of a request without an answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerError {
    /// Never sent: there is no connection.
    #[error("no connection: {0}")]
    Unreachable(Arc<std::io::Error>),
    /// Never sent: as many requests as may be are under way.
    #[error("too many requests are under way")]
    Busy,
    /// Not taken up: the connection closed before, or the other node says so.
    #[error("the node closes its connections: {0}")]
    NotTakenUp(hyper::Error),
    /// Unknown: the other node gave no sign of life.
    #[error("no sign of life: {0}")]
    Silent(hyper::Error),
    /// Unknown: the connection or the request broke off.
    #[error("{0}")]
    BrokeOff(hyper::Error),
}

impl PeerError {
    /// From the error of a request that was handed to a connection. Of HTTP/2's errors two say that the other node has not
    /// taken a request up: a refused stream, and a GOAWAY without an error whose last stream came before.
    fn of_request(error: hyper::Error) -> Self {
        if error.is_timeout() {
            return Self::Silent(error);
        }
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            if let Some(h2) = cause.downcast_ref::<h2::Error>() {
                let not_taken_up = h2.is_remote()
                    && (h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM)
                        || h2.is_go_away() && h2.reason() == Some(h2::Reason::NO_ERROR));
                return match not_taken_up {
                    true => Self::NotTakenUp(error),
                    false => Self::BrokeOff(error),
                };
            }
            source = cause.source();
        }
        Self::BrokeOff(error)
    }
}

/// All other nodes, by address. Ends its connections when it is dropped.
#[derive(Debug)]
pub(super) struct Peers {
    by_address: Mutex<HashMap<Box<str>, Arc<Peer>>>,
    dialling: Dialling,
    _end_tasks: DropGuard,
}

/// What a new connection needs.
#[derive(Debug, Clone)]
struct Dialling {
    security: Security,
    tasks: OwnedTasks,
    /// Who carries the connections. They are everybody's, so it must not depend on whose request comes first. `None`: whoever needs them.
    workers: Option<Handle>,
}

impl Peers {
    /// Connections by `security`, carried by the present runtime.
    pub(super) fn new(security: Security) -> Self {
        let tasks = OwnedTasks::default();
        Self {
            by_address: Mutex::default(),
            _end_tasks: tasks.end().drop_guard(),
            dialling: Dialling {
                security,
                tasks,
                workers: Handle::try_current().ok(),
            },
        }
    }

    /// Sends a request to the node at `address`. The permit is the request's place on its connection: to be held until the
    /// answer has ended.
    pub(super) async fn send(
        &self,
        address: &str,
        request: Request<UploadBody>,
    ) -> Result<(Response<Incoming>, OwnedSemaphorePermit), PeerError> {
        let peer = self.peer(address);
        let (line, place) = peer.free_line().ok_or(PeerError::Busy)?;
        let mut connection = line.connection(address, &self.dialling).await?;
        match connection.try_send_request(request).await {
            Ok(response) => Ok((response, place)),
            Err(mut refused) => Err(match refused.take_message() {
                // Handed back: nothing of it has left.
                Some(_unsent) => PeerError::NotTakenUp(refused.into_error()),
                None => PeerError::of_request(refused.into_error()),
            }),
        }
    }

    fn peer(&self, address: &str) -> Arc<Peer> {
        let mut by_address = self.by_address.lock();
        if let Some(peer) = by_address.get(address) {
            return Arc::clone(peer);
        }
        if by_address.len() >= MOST_IDLE_PEERS {
            by_address.retain(|_, peer| peer.lines.iter().any(|line| line.open().is_some()));
        }
        let peer = Arc::<Peer>::default();
        by_address.insert(address.into(), Arc::clone(&peer));
        peer
    }
}

#[derive(Debug, Default)]
struct Peer {
    lines: [Line; CONNECTIONS],
    turn: AtomicUsize,
}

impl Peer {
    /// The connections in turn; those that are full are passed over.
    fn free_line(&self) -> Option<(&Line, OwnedSemaphorePermit)> {
        let first = self.turn.fetch_add(1, Ordering::Relaxed) % CONNECTIONS;
        let (before, from) = self.lines.split_at(first);
        from.iter().chain(before).find_map(|line| {
            let place = Arc::clone(&line.places).try_acquire_owned().ok()?;
            Some((line, place))
        })
    }
}

type Connection = SendRequest<UploadBody>;

/// One connection, and its successors.
#[derive(Debug)]
struct Line {
    places: Arc<Semaphore>,
    connection: Mutex<Option<Connection>>,
    connecting: tokio::sync::Mutex<Option<Arc<std::io::Error>>>,
    failures: AtomicU64,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(REQUESTS_PER_CONNECTION as usize)),
            connection: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
            failures: AtomicU64::new(0),
        }
    }
}

impl Line {
    fn open(&self) -> Option<Connection> {
        let connection = self.connection.lock();
        connection.as_ref().filter(|open| !open.is_closed()).cloned()
    }

    /// The open connection, or a new one. Requests that come meanwhile wait for the same attempt and share its failure.
    async fn connection(&self, address: &str, dialling: &Dialling) -> Result<Connection, PeerError> {
        if let Some(open) = self.open() {
            return Ok(open);
        }
        let failures = self.failures.load(Ordering::Acquire);
        let mut last_failure = self.connecting.lock().await;
        if let Some(open) = self.open() {
            return Ok(open);
        }
        if let Some(failure) = &*last_failure
            && self.failures.load(Ordering::Acquire) != failures
        {
            return Err(PeerError::Unreachable(Arc::clone(failure)));
        }
        let outcome = match tokio::time::timeout(CONNECT_TIMEOUT, dialling.connect(address)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(std::io::ErrorKind::TimedOut.into()),
        };
        match outcome {
            Ok(open) => {
                *self.connection.lock() = Some(open.clone());
                if last_failure.take().is_some() {
                    tracing::info!(address, "a node is reached again");
                }
                Ok(open)
            }
            Err(failure) => {
                let failure = Arc::new(failure);
                // Once, not for each request that meets it.
                if last_failure.replace(Arc::clone(&failure)).is_none() {
                    tracing::warn!(address, error = %failure, "a node cannot be reached");
                }
                self.failures.fetch_add(1, Ordering::AcqRel);
                Err(PeerError::Unreachable(failure))
            }
        }
    }
}

impl Dialling {
    async fn connect(&self, address: &str) -> std::io::Result<Connection> {
        let (dialling, address) = (self.clone(), address.to_owned());
        let connecting = async move { connect(&address, &dialling.security, &dialling.tasks).await };
        match &self.workers {
            None => connecting.await,
            Some(workers) => AbortOnDropHandle::new(self.tasks.spawn_on(connecting, workers))
                .await
                .map_err(std::io::Error::other)?
                .unwrap_or_else(|| Err(std::io::ErrorKind::Interrupted.into())),
        }
    }
}

/// A connection on which the other node has said its first word, HTTP/2's SETTINGS. Before, the connection may be one in the
/// kernel's queue of a process that is frozen, or of a listener that closes, and a request on it would be of unknown outcome.
async fn connect(address: &str, security: &Security, tasks: &OwnedTasks) -> std::io::Result<Connection> {
    let socket = security.connect(address, Role::TenantNode, CONNECT_TIMEOUT).await?;
    let (socket, first_word) = Listening::to(socket);
    let handshake = peer_protocol::for_forwarder(tasks.clone()).handshake(TokioIo::new(socket));
    let (sender, connection) = handshake.await.map_err(std::io::Error::other)?;
    tasks.execute(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection to a node ended");
        }
    });
    first_word.comes().await?;
    Ok(sender)
}
