//! One connection of a listener: speaks HTTP/1.1 or h2c on it, and closes it when nothing comes.
//!
//! Must not know what a request means.

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio_util::sync::CancellationToken;
use tower::Service;

use super::active_streams::ActiveStreams;
use super::body::Body;
use super::inbound::Inbound;
use super::lanes::{LaneSocket, LaneTasks};
use super::when_woken::WhenWoken;
use crate::layers::{Ingress, peer_protocol};

/// How long a client may take to send a request's headers, and to begin with its first request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// A client's connection over HTTP/2 that had no request for this long is closed. Over HTTP/1.1, the headers of the next one are late before.
const IDLE_TIMEOUT: Duration = Duration::from_secs(120);
/// Most bytes of a request's headers; more are answered 431. Over HTTP/2 names and values count, and 32 bytes for each pair.
const MOST_HEADER_BYTES: u32 = 64 << 10;
/// The same over HTTP/1.1, where it is the size of a connection's buffers, too.
const BUFFER_BYTES: usize = 64 << 10;
/// At a stop, how long a connection may take to bring its first request, if it has brought none yet.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);
/// Requests at once on one HTTP/2 connection of a client.
const STREAMS_PER_CLIENT: u32 = 250;
/// An HTTP/2 client that says nothing for this long is asked for a sign of life.
const PING_INTERVAL: Duration = Duration::from_secs(30);
/// How long it may take to give one.
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How long a client is waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    first_request: Duration,
    next_request: Duration,
}

/// What all connections are served with.
pub(super) const WAITS: Waits = Waits {
    first_request: HEADER_TIMEOUT,
    next_request: IDLE_TIMEOUT,
};

/// Serves until the client leaves, has been idle for too long, or `stop`; then finishes what is under way.
pub(super) async fn serve_connection<S>(
    builder: &auto::Builder<LaneTasks>,
    socket: LaneSocket,
    inbound: Inbound<S>,
    streams: ActiveStreams,
    waits: Waits,
    stop: &CancellationToken,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send + 'static,
{
    let (first, ingress) = (inbound.first.clone(), inbound.ingress);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(socket), inbound));
    // hyper times a request's headers, but not the wait for the byte that tells HTTP/1.1 from HTTP/2.
    let mut closing = pin!(WhenWoken::new(async {
        tokio::select! {
            () = stop.cancelled() => {
                // A request may be on its way that the client would not know to be lost.
                let _ = tokio::time::timeout(LAST_CALL, first.comes()).await;
            }
            () = async {
                tokio::time::sleep(waits.first_request).await;
                match ingress {
                    _ if !first.has_come() => {}
                    Ingress::Public => streams.idle_for(waits.next_request).await,
                    // Nodes keep a few connections to each other, for whenever they need them.
                    Ingress::Peer => std::future::pending().await,
                }
            } => {}
        }
    }));
    let mut closes = false;
    let ended = loop {
        tokio::select! {
            biased;
            ended = connection.as_mut() => break ended,
            () = &mut closing, if !closes => {
                closes = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

/// How connections are served that come in by `ingress`. `tasks` runs what they need.
pub(super) fn builder(ingress: Ingress, tasks: LaneTasks) -> auto::Builder<LaneTasks> {
    let mut builder = auto::Builder::new(tasks);
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(BUFFER_BYTES)
        .keep_alive(true);
    let mut http2 = builder.http2();
    http2
        .timer(TokioTimer::new())
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    match ingress {
        Ingress::Public => http2
            .max_concurrent_streams(STREAMS_PER_CLIENT)
            .max_header_list_size(MOST_HEADER_BYTES),
        // Whatever the public port lets in over HTTP/1.1 must pass here, too.
        Ingress::Peer => peer_protocol::for_owner(&mut http2, 2 * MOST_HEADER_BYTES),
    };
    builder
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use http_body_util::Empty;
    use hyper::client::conn::http2;
    use hyper_util::rt::TokioExecutor;
    use mutual_tls::Security;
    use parking_lot::Mutex;
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::Notify;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::http::body::empty;
    use crate::http::inbound::{FirstRequest, Listening, StopNotice};
    use crate::http::owned_tasks::OwnedTasks;
    use crate::http::strangers::Strangers;
    use crate::lane::Lane;

    type Sender = http2::SendRequest<Empty<Bytes>>;

    /// Both ends of a connection over HTTP/2, and what ends with the client's.
    async fn connected() -> (TcpStream, Sender, JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (socket, _) = listener.accept().await.unwrap();
        let client = TokioIo::new(client);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), client).await.unwrap();
        (socket, sender, tokio::spawn(async move { drop(connection.await) }))
    }

    /// Serves it. `/slow` is answered when `told`.
    async fn served(socket: TcpStream, ingress: Ingress, waits: Waits, told: Arc<Notify>) {
        let service = tower::service_fn(move |request: Request<Body>| {
            let told = Arc::clone(&told);
            async move {
                if request.uri().path() == "/slow" {
                    told.notified().await;
                }
                Ok::<_, Infallible>(Response::new(empty()))
            }
        });
        let (tasks, streams) = (OwnedTasks::default(), ActiveStreams::default());
        let builder = builder(ingress, LaneTasks::new(tasks.clone(), None, streams.clone()));
        let inbound = Inbound {
            passenger: None,
            stack: Mutex::new(service),
            ingress,
            listening: Arc::new(Listening {
                notice: StopNotice::default(),
                strangers: Strangers::new(ingress),
            }),
            first: FirstRequest::default(),
            tasks: Arc::new(tasks),
        };
        let socket = LaneSocket::new(Security::Plain.accept(socket).await.unwrap().0, Lane::here());
        serve_connection(&builder, socket, inbound, streams, waits, &CancellationToken::new()).await;
    }

    async fn status(sender: &mut Sender, path: &str) -> u16 {
        let request = Request::get(format!("http://any{path}")).body(Empty::new()).unwrap();
        sender.send_request(request).await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn an_http2_connection_of_a_client_is_closed_when_it_is_idle_and_not_while_it_waits_for_an_answer() {
        let waits = Waits {
            first_request: Duration::from_secs(1),
            next_request: Duration::from_millis(50),
        };
        let told = Arc::<Notify>::default();
        let (socket, mut sender, closed) = connected().await;
        let client = async {
            let mut other = sender.clone();
            let slow = tokio::spawn(async move { status(&mut other, "/slow").await });
            // Longer than both waits.
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(status(&mut sender, "/").await, 200);
            told.notify_one();
            assert_eq!(slow.await.unwrap(), 200);
            let closed = tokio::time::timeout(Duration::from_secs(20), closed).await;
            closed.expect("it is closed").unwrap();
        };
        tokio::join!(served(socket, Ingress::Public, waits, Arc::clone(&told)), client);
    }

    #[tokio::test]
    async fn a_connection_of_another_node_stays_open() {
        let waits = Waits {
            first_request: Duration::from_millis(50),
            next_request: Duration::from_millis(50),
        };
        let (socket, mut sender, _client) = connected().await;
        let client = async {
            assert_eq!(status(&mut sender, "/").await, 200);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(status(&mut sender, "/").await, 200);
        };
        tokio::select! {
            () = served(socket, Ingress::Peer, waits, Arc::default()) => panic!("it was closed"),
            () = client => {}
        }
    }
}
