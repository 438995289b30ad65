//! A listener: accepts connections, and lets the last answers on them finish at the end.
//!
//! Must not know what a request means. Every task of a listener is owned: [`serve`] returns when the last one is gone.
//!
//! At the stop the listener closes first, so that later connections are refused. Idle connections are closed, a new one may
//! bring one request yet, a busy one ends with its last answer: HTTP/1.1 says `Connection: close` in it, HTTP/2 GOAWAY, in the two steps of RFC 9113 (6.8), after
//! which the client knows of each request whether it was taken up. What is under way after the drain time is cut off.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use mutual_tls::{Role, Security};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::active_streams::ActiveStreams;
use super::body::Body;
use super::connection::{LAST_CALL, WAITS, builder, serve_connection};
use super::inbound::{FirstRequest, Inbound, Listening, StopNotice};
use super::lanes::{LaneSocket, LaneTasks, Lanes, carry};
use super::owned_tasks::OwnedTasks;
use super::strangers::Strangers;
use crate::lane::Lane;
use crate::layers::Ingress;

/// After a failed accept (out of descriptors, mostly) the listener rests this long instead of spinning.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// After so many connections that were accepted, others have their turn: a rush of clients that connect anew for each request would keep this
/// task, and with it an async worker, for long.
const ACCEPTED_AT_ONCE: usize = 8;

/// Of an answer, what the system holds before it is sent.
const UNSENT_BYTES: u32 = 128 << 10;

/// What a listener is given.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// What its requests are believed.
    pub ingress: Ingress,
    /// How its connections are taken. Where they have certificates, they must be nodes'.
    pub security: Security,
    /// Who carries them.
    pub lanes: Lanes,
    /// Connections at once; further ones wait in the kernel's queue.
    pub max_connections: usize,
    /// How long requests under way may take to finish after the stop.
    pub drain: Duration,
    /// Given before the stop: clients are asked to go elsewhere, and are served meanwhile.
    pub notice: StopNotice,
}

/// Serves until `stop`, then finishes what is under way, at most for the drain time.
pub async fn serve<S>(listener: TcpListener, stack: S, options: ServerOptions, stop: CancellationToken)
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let tasks = OwnedTasks::default();
    let rests = Arc::new(tasks.clone());
    let ending = tasks.clone();
    let slots = Arc::new(Semaphore::new(options.max_connections));
    let mut connections = JoinSet::new();
    let ServerOptions {
        ingress,
        security,
        lanes,
        drain,
        notice,
        ..
    } = options;
    let listening = Arc::new(Listening {
        notice,
        strangers: Strangers::new(ingress),
    });
    let stopping = stop.clone();
    let begin = move |connections: &mut JoinSet<()>, socket: TcpStream, slot: OwnedSemaphorePermit| {
        // Small answers must not wait for the client's delayed acknowledgement.
        if let Err(error) = socket.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY could not be set");
        }
        bound_unsent(&socket);
        let accepted = Lane::here();
        let passenger = lanes.passenger();
        let inbound = Inbound {
            passenger: passenger.clone(),
            stack: Mutex::new(stack.clone()),
            ingress,
            listening: Arc::clone(&listening),
            first: FirstRequest::default(),
            tasks: Arc::clone(&rests),
        };
        let streams = ActiveStreams::default();
        let builder = builder(
            ingress,
            LaneTasks::new(tasks.clone(), passenger.clone(), streams.clone()),
        );
        let (security, stop) = (security.clone(), stopping.clone());
        let ride = async move {
            // Who has not proved itself when the node stops has sent no request.
            let proved = tokio::select! {
                proved = security.accept(socket) => proved,
                () = async {
                    stop.cancelled().await;
                    tokio::time::sleep(LAST_CALL).await;
                } => Err(std::io::ErrorKind::TimedOut.into()),
            };
            match proved {
                Ok((socket, caller)) if caller.is_one_of(&[Role::TenantNode]) => {
                    let socket = LaneSocket::new(socket, accepted);
                    serve_connection(&builder, socket, inbound, streams, WAITS, &stop).await;
                }
                Ok((_, caller)) => tracing::warn!(?caller, "a connection was refused: its certificate is not a node's"),
                Err(error) => tracing::debug!(%error, "a connection was not proved"),
            }
            drop(slot);
        };
        match passenger {
            // What comes from another node is of many tenants: their answers have lanes, the connection has not.
            Some(passenger) if ingress == Ingress::Public => {
                let workers = passenger.workers(passenger.lane(Instant::now())).clone();
                connections.spawn_on(carry(ride, passenger, tasks.clone()), &workers);
            }
            _ => {
                connections.spawn(ride);
            }
        }
    };
    let mut begun = 0_usize;
    loop {
        let accepted = async {
            // The semaphore is never closed.
            let slot = Arc::clone(&slots).acquire_owned().await.ok()?;
            Some((listener.accept().await, slot))
        };
        tokio::select! {
            () = stop.cancelled() => break,
            Some((accepted, slot)) = accepted => match accepted {
                Ok((socket, _)) => {
                    begin(&mut connections, socket, slot);
                    begun = begun.wrapping_add(1);
                    if begun.is_multiple_of(ACCEPTED_AT_ONCE) {
                        tokio::task::yield_now().await;
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    for socket in last_of_queue(listener) {
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            break;
        };
        begin(&mut connections, socket, slot);
    }
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(drain, drained).await.is_err() {
        tracing::warn!(
            connections = connections.len(),
            seconds = drain.as_secs(),
            "connections were still open at the end of the drain time and are cut off"
        );
        connections.shutdown().await;
    }
    ending.end_and_wait().await;
}

/// Closes a listener, but for the connections in the kernel's queue: those clients believe to be connected, and may have sent a
/// request. Asks the kernel itself, since tokio hears of a new connection later.
fn last_of_queue(listener: TcpListener) -> Vec<TcpStream> {
    let mut last = Vec::new();
    match listener.into_std() {
        Ok(listener) => {
            while let Ok((socket, _)) = listener.accept() {
                let socket = socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(socket));
                last.extend(socket);
            }
        }
        Err(error) => tracing::warn!(%error, "connections in the queue are refused"),
    }
    last
}

/// Has the system ask for more of an answer whenever little of it waits to be sent. Otherwise it would ask when a third of megabytes has gone, and a
/// client that reads slowly would look like one that does not read at all.
fn bound_unsent(socket: &TcpStream) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Err(error) = socket2::SockRef::from(socket).set_tcp_notsent_lowat(UNSENT_BYTES) {
        tracing::debug!(%error, "TCP_NOTSENT_LOWAT could not be set");
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = (socket, UNSENT_BYTES);
}

#[cfg(test)]
mod tests {
    use std::future::{Ready, ready};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
    use std::task::{Context, Poll};

    use futures_util::poll;

    use super::*;
    use crate::http::body::empty;

    /// Counts the connections that were given it.
    struct Counted(Arc<AtomicUsize>);

    impl Clone for Counted {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    impl Service<Request<Body>> for Counted {
        type Response = Response<Body>;
        type Error = Infallible;
        type Future = Ready<Result<Response<Body>, Infallible>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<Body>) -> Self::Future {
            ready(Ok(Response::new(empty())))
        }
    }

    #[tokio::test]
    async fn a_rush_of_connections_is_accepted_by_and_by() {
        const RUSH: usize = 100;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..RUSH)
            .map(|_| std::net::TcpStream::connect(address).unwrap())
            .collect();
        let options = ServerOptions {
            ingress: Ingress::Public,
            security: Security::Plain,
            lanes: Lanes::single(),
            max_connections: 2 * RUSH,
            drain: Duration::from_secs(5),
            notice: StopNotice::default(),
        };
        let stop = CancellationToken::new();
        let accepted = Arc::<AtomicUsize>::default();
        let mut serving = Box::pin(serve(listener, Counted(Arc::clone(&accepted)), options, stop.clone()));
        let mut most = 0;
        while accepted.load(Relaxed) < RUSH {
            let before = accepted.load(Relaxed);
            assert!(poll!(&mut serving).is_pending());
            most = most.max(accepted.load(Relaxed) - before);
            tokio::task::yield_now().await;
        }
        assert!(most <= ACCEPTED_AT_ONCE, "{most} at once");
        drop(clients);
        stop.cancel();
        serving.await;
    }
}
