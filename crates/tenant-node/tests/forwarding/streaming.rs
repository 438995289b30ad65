//! What passes: bodies piece by piece, methods, headers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::{Method, Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tenant_node::http::body::{Body, BoxError, empty, full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{
    PROTOCOLS, Protocol, Running, answer, channel_body, client, echo_collected, next_data, problem, request, soon,
    two_nodes, until,
};

#[tokio::test]
async fn both_bodies_arrive_piece_by_piece_while_the_rest_is_not_yet_there() {
    let (wrong, _owner) = two_nodes(|request: Request<Body>| async { Response::new(request.into_body()) }).await;
    for protocol in PROTOCOLS {
        let (sender, body) = channel_body();
        let client = client(protocol);
        let asking = tokio::spawn(async move { client.request(request(wrong.data, body)).await });
        sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
        let mut echoed = soon("headers", asking).await.unwrap().unwrap().into_body();
        assert_eq!(next_data(&mut echoed).await.unwrap().unwrap(), "one", "{protocol:?}");
        sender.send(Ok(Frame::data(Bytes::from_static(b"two")))).await.unwrap();
        assert_eq!(next_data(&mut echoed).await.unwrap().unwrap(), "two", "{protocol:?}");
        drop(sender);
        let rest = soon("the end", echoed.collect()).await.unwrap().to_bytes();
        assert!(rest.is_empty(), "{protocol:?}");
    }
}

const PIECE: usize = 64 << 10;
const PIECES: usize = 1_024;

/// An answer of 64 MiB, produced as it is read.
fn large(produced: &Arc<AtomicUsize>) -> Response<Body> {
    let produced = Arc::clone(produced);
    let pieces = stream::iter((0..PIECES).map(move |_| {
        produced.fetch_add(PIECE, Ordering::SeqCst);
        Ok::<_, BoxError>(Frame::data(Bytes::from_static(&[b'x'; PIECE])))
    }));
    Response::new(StreamBody::new(pieces).boxed_unsync())
}

/// A client that has read the headers and reads no further.
async fn reader_that_stopped(address: std::net::SocketAddr) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = "GET /large HTTP/1.1\r\nhost: acme.localhost\r\nconnection: close\r\n\r\n";
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut status = [0; 12];
    soon("a status", socket.read_exact(&mut status)).await.unwrap();
    assert_eq!(&status, b"HTTP/1.1 200");
    socket
}

#[tokio::test]
async fn a_client_that_stops_reading_makes_the_owner_wait_and_gets_the_rest_later() {
    let produced = Arc::new(AtomicUsize::new(0));
    let producer = Arc::clone(&produced);
    let (wrong, _owner) = two_nodes(move |_| std::future::ready(large(&producer))).await;
    let mut socket = reader_that_stopped(wrong.data).await;
    let mut before = 0;
    // All buffers are full when nothing is produced any more.
    soon("the producer to wait", async {
        loop {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = produced.load(Ordering::SeqCst);
            if now > 0 && now == before {
                break;
            }
            before = now;
        }
    })
    .await;
    // Most of it is in the kernel's buffers of the client's own connection.
    assert!(before < PIECE * PIECES / 2, "{before} bytes are on their way");
    let mut rest = Vec::new();
    soon("the rest", socket.read_to_end(&mut rest)).await.unwrap();
    assert!(rest.ends_with(b"\r\n0\r\n\r\n"), "a proper end");
    assert_eq!(rest.iter().filter(|byte| **byte == b'x').count(), PIECE * PIECES);
}

#[tokio::test]
async fn answers_that_nobody_reads_hold_up_no_other_answer() {
    let produced = Arc::new(AtomicUsize::new(0));
    let (wrong, _owner) = two_nodes(move |request: Request<Body>| {
        let answer = match request.uri().path() {
            "/large" => large(&produced),
            _ => Response::new(full("small")),
        };
        std::future::ready(answer)
    })
    .await;
    let mut unread = Vec::new();
    for _ in 0..64 {
        unread.push(reader_that_stopped(wrong.data).await);
    }
    for _ in 0..8 {
        let small = answer(&client(Protocol::Http1), request(wrong.data, empty())).await;
        assert_eq!(small, (200, Bytes::from_static(b"small")));
    }
}

#[tokio::test]
async fn a_client_that_leaves_ends_its_request_at_the_owner() {
    let running = Running::default();
    let counted = running.clone();
    let (wrong, _owner) = two_nodes(move |_| {
        let run = counted.begin();
        async move {
            std::future::pending::<()>().await;
            drop(run);
            Response::new(empty())
        }
    })
    .await;
    for protocol in PROTOCOLS {
        let client = client(protocol);
        let asking = tokio::spawn(async move { client.request(request(wrong.data, full("work"))).await });
        until("the request to run", || running.count() == 1).await;
        asking.abort();
        until("the request to end", || running.count() == 0).await;
    }
}

#[tokio::test]
async fn an_owner_that_answers_before_the_upload_has_ended_is_heard() {
    let (wrong, _owner) =
        two_nodes(|_| async { Response::builder().status(429).body(full("too many")).unwrap() }).await;
    for protocol in PROTOCOLS {
        let (sender, body) = channel_body();
        sender
            .send(Ok(Frame::data(Bytes::from_static(b"first"))))
            .await
            .unwrap();
        let refused = answer(&client(protocol), request(wrong.data, body)).await;
        assert_eq!(refused, (429, Bytes::from_static(b"too many")), "{protocol:?}");
    }
}

#[tokio::test]
async fn an_answer_to_head_has_a_length_and_no_body_on_every_way() {
    let (wrong, owner) = two_nodes(|_| async { Response::new(full("four")) }).await;
    for protocol in PROTOCOLS {
        for node in [&wrong, &owner] {
            let mut head = request(node.data, empty());
            *head.method_mut() = Method::HEAD;
            let response = soon("an answer", client(protocol).request(head)).await.unwrap();
            assert_eq!(
                (response.status().as_u16(), &response.headers()["content-length"]),
                (200, &"4".parse().unwrap()),
                "{protocol:?}"
            );
            assert!(response.collect().await.unwrap().to_bytes().is_empty());
        }
    }
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_and_then_its_answer() {
    let (wrong, owner) = two_nodes(echo_collected).await;
    for node in [&wrong, &owner] {
        let mut socket = TcpStream::connect(node.data).await.unwrap();
        let head = "POST /v3/pipeline HTTP/1.1\r\nhost: acme.localhost\r\nexpect: 100-continue\r\ncontent-length: \
                    2\r\nconnection: close\r\n\r\n";
        socket.write_all(head.as_bytes()).await.unwrap();
        let mut interim = [0; 25];
        soon("100", socket.read_exact(&mut interim)).await.unwrap();
        assert_eq!(&interim, b"HTTP/1.1 100 Continue\r\n\r\n");
        socket.write_all(b"hi").await.unwrap();
        let mut rest = String::new();
        soon("an answer", socket.read_to_string(&mut rest)).await.unwrap();
        assert!(rest.starts_with("HTTP/1.1 200") && rest.ends_with("acme:hi"), "{rest}");
    }
}

/// Names of the headers that the owner sees.
async fn seen_headers(request: Request<Body>) -> Response<Body> {
    let mut names: Vec<_> = request.headers().keys().map(ToString::to_string).collect();
    names.sort();
    Response::builder()
        .header("connection", "x-internal")
        .header("x-internal", "1")
        .header("x-tenantry-epoch", "1")
        .header("x-kept", "1")
        .body(full(names.join(" ")))
        .unwrap()
}

#[tokio::test]
async fn headers_of_one_connection_and_of_nodes_alone_do_not_pass() {
    let (wrong, _owner) = two_nodes(seen_headers).await;
    let mut asking = request(wrong.data, empty());
    for (name, value) in [
        ("connection", "x-mine"),
        ("x-mine", "1"),
        ("te", "trailers"),
        ("proxy-connection", "keep-alive"),
        ("x-tenantry-tenant-uid", "00000000000000000000000000000009"),
        ("x-tenantry-epoch", "9"),
        ("x-tenantry-later", "1"),
        ("authorization", "Bearer x"),
    ] {
        asking.headers_mut().insert(name, value.parse().unwrap());
    }
    let response = soon("an answer", client(Protocol::Http1).request(asking))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-kept"));
    for gone in ["x-internal", "x-tenantry-epoch", "connection"] {
        assert!(!response.headers().contains_key(gone), "{gone}");
    }
    let seen = response.collect().await.unwrap().to_bytes();
    // The two that are left of ours are the forwarding node's.
    assert_eq!(
        seen,
        "authorization content-length x-tenant-id x-tenantry-epoch x-tenantry-tenant-uid"
    );
}

#[tokio::test]
async fn headers_up_to_the_limit_pass_and_larger_ones_are_refused_by_431() {
    let (wrong, owner) = two_nodes(|_| async { Response::new(empty()) }).await;
    for protocol in PROTOCOLS {
        for node in [&wrong, &owner] {
            for (bytes, status) in [(40 << 10, 200), (100 << 10, 431)] {
                let mut asking = request(node.data, empty());
                let long = "x".repeat(bytes).parse().unwrap();
                asking.headers_mut().insert("x-long", long);
                let response = soon("an answer", client(protocol).request(asking)).await.unwrap();
                assert_eq!(response.status().as_u16(), status, "{protocol:?} {bytes}");
            }
        }
    }
}

#[tokio::test]
async fn unusual_methods_and_targets_pass_or_are_refused_and_never_break_a_connection() {
    let (wrong, owner) = two_nodes(|request: Request<Body>| async move {
        Response::new(full(format!("{} {}", request.method(), request.uri().path())))
    })
    .await;
    for node in [&wrong, &owner] {
        for (line, status, shown) in [
            ("OPTIONS * HTTP/1.1", "200", "OPTIONS *"),
            ("CONNECT acme.localhost:80 HTTP/1.1", "405", "method-not-allowed"),
            ("PURGE /x HTTP/1.1", "200", "PURGE /x"),
            ("GET http://acme.localhost/absolute HTTP/1.1", "200", "GET /absolute"),
        ] {
            let mut socket = TcpStream::connect(node.data).await.unwrap();
            let head = format!("{line}\r\nhost: acme.localhost\r\nconnection: close\r\n\r\n");
            socket.write_all(head.as_bytes()).await.unwrap();
            let mut answer = String::new();
            soon("an answer", socket.read_to_string(&mut answer)).await.unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{line}: {answer}");
            assert!(answer.contains(shown), "{line}: {answer}");
        }
    }
}

#[tokio::test]
async fn more_requests_than_the_connections_have_room_for_are_refused_and_not_queued() {
    let (release, _) = tokio::sync::watch::channel(());
    let release = Arc::new(release);
    let waiting = Arc::clone(&release);
    let (wrong, _owner) = two_nodes(move |_| {
        let mut released = waiting.subscribe();
        async move {
            let _ = released.changed().await;
            Response::new(empty())
        }
    })
    .await;
    // One HTTP/2 connection holds 250 requests.
    let clients: Vec<_> = (0..8).map(|_| client(Protocol::H2c)).collect();
    let asking = (0..1_100).map(|number| {
        let client = clients[number % clients.len()].clone();
        tokio::spawn(async move { answer(&client, request(wrong.data, empty())).await })
    });
    let mut asking: Vec<_> = asking.collect();
    until("all requests but the refused ones to wait", || {
        release.receiver_count() == 1_024
    })
    .await;
    let mut refused = 0;
    asking.retain_mut(|task| {
        use futures_util::FutureExt as _;
        match (&mut *task).now_or_never() {
            Some(done) => {
                assert_eq!(problem(done.unwrap()), (503, "overloaded".to_owned()));
                refused += 1;
                false
            }
            None => true,
        }
    });
    release.send_replace(());
    for task in asking {
        let answered = soon("an answer", task).await.unwrap();
        match answered.0 {
            200 => {}
            _ => {
                assert_eq!(problem(answered), (503, "overloaded".to_owned()));
                refused += 1;
            }
        }
    }
    assert_eq!(refused, 1_100 - 1_024);
}
