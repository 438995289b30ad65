//! The ops port: `/livez`, `/readyz` and `/metrics` over HTTP/1.1.
//!
//! Live means that this server answers; ready means that no latch holds. It serves until the very end of a stop, so that
//! probes see "not ready" while the daemon drains. It must never wait for the daemon's own work.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::readiness::Readiness;

/// Connections served at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 64;
/// A client has this long to send a request, and may idle this long between two.
const REQUEST_HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Answers under way at the stop get this long.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);
/// After a failed accept (out of file descriptors, mostly) the next try waits.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(100);

const TEXT: &str = "text/plain; charset=utf-8";
/// The Prometheus text format.
const METRICS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

type RenderMetrics = Arc<dyn Fn() -> String + Send + Sync>;

/// Serves until `shutdown` is cancelled, then lets answers under way finish for at most two seconds.
///
/// `render_metrics` gives the whole body of `/metrics` in the Prometheus text format. It runs on a blocking thread, so it may
/// take locks and time; at most one run a connection is under way.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    render_metrics: impl Fn() -> String + Send + Sync + 'static,
    shutdown: CancellationToken,
) {
    let render_metrics: RenderMetrics = Arc::new(render_metrics);
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, readiness.clone(), render_metrics.clone(), shutdown.clone()));
                }
                Err(error) => {
                    tracing::warn!("ops port cannot accept a connection: {error}");
                    tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                }
            },
        }
    }
    drop(listener);
    let drained = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(DRAIN_TIMEOUT, drained).await.is_err() {
        connections.shutdown().await;
    }
}

async fn converse(stream: TcpStream, readiness: Readiness, render_metrics: RenderMetrics, shutdown: CancellationToken) {
    let service = service_fn(|request| {
        let (readiness, render_metrics) = (readiness.clone(), render_metrics.clone());
        async move { Ok::<_, Infallible>(answer(&request, &readiness, render_metrics).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!("ops connection ended: {error}");
    }
}

async fn answer<B>(
    request: &Request<B>,
    readiness: &Readiness,
    render_metrics: RenderMetrics,
) -> Response<Full<Bytes>> {
    let path = request.uri().path();
    if !matches!(path, "/livez" | "/readyz" | "/metrics") {
        return text(
            StatusCode::NOT_FOUND,
            TEXT,
            "here are /livez, /readyz and /metrics\n".to_owned(),
        );
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut refusal = text(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET or HEAD\n".to_owned());
        refusal
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refusal;
    }
    match path {
        "/metrics" => match tokio::task::spawn_blocking(move || render_metrics()).await {
            Ok(metrics) => text(StatusCode::OK, METRICS_TEXT, metrics),
            Err(error) => {
                tracing::error!("metrics could not be rendered: {error}");
                text(
                    StatusCode::INTERNAL_SERVER_ERROR,
                    TEXT,
                    "metrics could not be rendered\n".to_owned(),
                )
            }
        },
        "/readyz" => match readiness.holding() {
            holding if holding.is_empty() => text(StatusCode::OK, TEXT, "ready\n".to_owned()),
            holding => {
                let lines = holding
                    .into_iter()
                    .map(|name| format!("waiting for: {name}\n"))
                    .collect();
                text(StatusCode::SERVICE_UNAVAILABLE, TEXT, lines)
            }
        },
        _ => text(StatusCode::OK, TEXT, "live\n".to_owned()),
    }
}

fn text(status: StatusCode, content_type: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio_util::task::AbortOnDropHandle;

    use super::*;

    const BOUND: Duration = Duration::from_secs(30);

    struct Server {
        address: SocketAddr,
        readiness: Readiness,
        shutdown: CancellationToken,
        task: AbortOnDropHandle<()>,
    }

    async fn start(render_metrics: impl Fn() -> String + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (readiness, shutdown) = (Readiness::new(), CancellationToken::new());
        let task = tokio::spawn(serve(listener, readiness.clone(), render_metrics, shutdown.clone()));
        Server {
            address,
            readiness,
            shutdown,
            task: AbortOnDropHandle::new(task),
        }
    }

    /// Sends one request and returns head and body of the answer.
    async fn send(server: &Server, method: &str, path: &str) -> (String, String) {
        let request = format!("{method} {path} HTTP/1.1\r\nhost: ops\r\nconnection: close\r\n\r\n");
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(BOUND, stream.read_to_string(&mut answer))
            .await
            .expect("no answer")
            .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    #[tokio::test]
    async fn each_path_and_method_gets_its_status() {
        let server = start(|| "tenantry_up 1\n".to_owned()).await;
        for (method, path, status, body) in [
            ("GET", "/livez", "200", "live\n"),
            ("GET", "/livez?verbose", "200", "live\n"),
            ("HEAD", "/livez", "200", ""),
            ("GET", "/readyz", "200", "ready\n"),
            ("GET", "/metrics", "200", "tenantry_up 1\n"),
            ("POST", "/metrics", "405", "GET or HEAD\n"),
            ("GET", "/", "404", "here are /livez, /readyz and /metrics\n"),
            ("GET", "/metrics/x", "404", "here are /livez, /readyz and /metrics\n"),
        ] {
            let (head, got) = send(&server, method, path).await;
            assert!(
                head.starts_with(&format!("HTTP/1.1 {status}")),
                "{method} {path}: {head}"
            );
            assert_eq!(got, body, "{method} {path}");
        }
        let (head, _) = send(&server, "GET", "/metrics").await;
        assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
        let (head, _) = send(&server, "DELETE", "/livez").await;
        assert!(head.contains("allow: GET, HEAD"), "{head}");
    }

    #[tokio::test]
    async fn readyz_names_what_holds() {
        let server = start(String::new).await;
        let (storage, _leader) = (
            server.readiness.latch("storage open"),
            server.readiness.latch("leader known"),
        );
        storage.release();
        let (head, body) = send(&server, "GET", "/readyz").await;
        assert!(head.starts_with("HTTP/1.1 503"), "{head}");
        assert_eq!(body, "waiting for: leader known\n");
        let (head, _) = send(&server, "GET", "/livez").await;
        assert!(
            head.starts_with("HTTP/1.1 200"),
            "live and ready are told apart: {head}"
        );
    }

    #[tokio::test]
    async fn metrics_that_cannot_be_rendered_are_a_500_and_the_server_lives() {
        let server = start(|| panic!("a poisoned lock")).await;
        assert!(send(&server, "GET", "/metrics").await.0.starts_with("HTTP/1.1 500"));
        assert!(send(&server, "GET", "/livez").await.0.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn nonsense_on_the_wire_ends_that_connection_alone() {
        let server = start(String::new).await;
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(b"\x16\x03\x01\x00nonsense\r\n\r\n").await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(BOUND, stream.read_to_end(&mut answer))
            .await
            .expect("not closed");
        assert!(send(&server, "GET", "/livez").await.0.starts_with("HTTP/1.1 200"));
    }

    #[tokio::test]
    async fn a_stop_ends_idle_connections_and_finishes_answers_under_way() {
        let (entered, mut under_way) = tokio::sync::mpsc::unbounded_channel();
        let (proceed, gate) = std::sync::mpsc::channel::<()>();
        let gate = std::sync::Mutex::new(gate);
        let server = start(move || {
            entered.send(()).unwrap();
            gate.lock().unwrap().recv().unwrap();
            "late 1\n".to_owned()
        })
        .await;
        let mut idle = TcpStream::connect(server.address).await.unwrap();
        let scrape = async {
            under_way.recv().await.unwrap();
            server.shutdown.cancel();
            proceed.send(()).unwrap();
        };
        let ((_, body), ()) = tokio::join!(send(&server, "GET", "/metrics"), scrape);
        assert_eq!(body, "late 1\n");
        assert_eq!(
            tokio::time::timeout(BOUND, idle.read(&mut [0; 1]))
                .await
                .expect("left open")
                .unwrap(),
            0
        );
        tokio::time::timeout(BOUND, server.task)
            .await
            .expect("the server did not end")
            .unwrap();
        assert!(TcpStream::connect(server.address).await.is_err(), "the port is free");
    }
}
