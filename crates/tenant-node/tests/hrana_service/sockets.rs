//! Streamed answers over real connections, whose clients behave badly.

use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use serde_json::json;
use tenant_node::hrana::HranaConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tower::{Service as _, ServiceExt as _};

use crate::harness::{Harness, Tenant, execute, tenant};

const ENDLESS: &str =
    "with recursive c(x) as (select 1 union all select x + 1 from c) select x, printf('%.*c', 500, 'x') from c";

/// More than the kernel keeps for a connection, in bytes.
const MOST_BUFFERED: u64 = 256 << 20;

/// A tenant for whom neither time nor size is short.
fn roomy() -> Tenant {
    let mut tenant = tenant(1);
    tenant.quota.result_bytes = 1 << 40;
    tenant.quota.query_time_ms = 600_000;
    tenant
}

/// A connection to the service, on which an endless cursor was begun.
async fn begun(harness: &Harness, tenant: &Tenant) -> TcpStream {
    let body = json!({"batch": {"steps": [{"stmt": {"sql": ENDLESS}}]}});
    asked(harness, tenant, "/v3/cursor", &body.to_string()).await
}

/// A connection to the service, on which this was asked.
async fn asked(harness: &Harness, tenant: &Tenant, path: &str, body: &str) -> TcpStream {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (service, tenant) = (harness.service.clone(), tenant.clone());
    tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let serving = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| {
            let (parts, body) = request.into_parts();
            let mut request = tenant.request(parts.method, parts.uri.path(), "");
            *request.body_mut() = body.map_err(Into::into).boxed_unsync();
            let mut service = service.clone();
            async move { service.ready().await?.call(request).await }
        });
        let builder = auto::Builder::new(TokioExecutor::new());
        // How it ends is the client's doing.
        let _ended = builder.serve_connection(TokioIo::new(socket), serving).await;
    });
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: acme\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
    socket
}

#[tokio::test]
async fn a_client_that_hangs_up_in_the_middle_frees_its_thread() {
    let harness = Harness::with(|config| config.running_jobs = 1, &HranaConfig::default());
    let tenant = roomy();
    harness.sql(&tenant, "create table t (x)").await;
    let mut socket = begun(&harness, &tenant).await;
    let mut read = vec![0; 1 << 20];
    socket.read_exact(&mut read).await.unwrap();
    assert!(read.starts_with(b"HTTP/1.1 200 OK\r\n"));
    drop(socket);
    harness.sql(&tenant, "insert into t values (1)").await;
    assert_eq!(harness.service.queued_answer_bytes(), 0);
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_answer_and_can_tell() {
    let hrana = HranaConfig {
        answer_stall: Duration::from_millis(50),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|config| config.running_jobs = 1, &hrana);
    let tenant = roomy();
    harness.sql(&tenant, "create table t (x)").await;
    let mut socket = begun(&harness, &tenant).await;
    socket.readable().await.unwrap();
    // While the cursor waits for its client, others run in its place.
    harness.sql(&tenant, "insert into t values (1)").await;
    // It counts as run when it has been given up: the third, after a table and a row.
    for _ in 0..6_000 {
        if harness.databases.figures(tenant.uid).unwrap().statements >= 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut read = Vec::new();
    // Where the connection was reset, there is even less to mistake for an end.
    let _reset = (&mut socket).take(MOST_BUFFERED).read_to_end(&mut read).await;
    assert!((read.len() as u64) < MOST_BUFFERED, "the answer has no end");
    assert!(!read.ends_with(b"\r\n0\r\n\r\n"), "the answer must not look complete");
    assert_eq!(harness.service.open_streams(), 0);
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_a_collected_answer_too() {
    let hrana = HranaConfig {
        answer_stall: Duration::from_millis(50),
        ..HranaConfig::default()
    };
    let harness = Harness::with(|_| {}, &hrana);
    let tenant = roomy();
    let rows = "with recursive c(x) as (select 1 union all select x + 1 from c limit 64) select printf('%.*c', 1000000, 'x') from c";
    let body = json!({"baton": null, "requests": [execute(rows)]}).to_string();
    let mut socket = asked(&harness, &tenant, "/v3/pipeline", &body).await;
    socket.readable().await.unwrap();
    for _ in 0..6_000 {
        if harness.service.queued_answer_bytes() == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut read = Vec::new();
    let _reset = socket.read_to_end(&mut read).await;
    assert!(read.len() < 60_000_000, "{} bytes were kept for it", read.len());
    assert_eq!(harness.service.queued_answer_bytes(), 0);
}
