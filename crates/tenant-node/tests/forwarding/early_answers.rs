//! Refusals that are made before a request's body has arrived: they reach the client, directly and through another node.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body::Frame;
use tenant_node::http::body::{Body, full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Node, PROTOCOLS, answer, channel_body, client, request, soon, two_nodes};

const MIB: usize = 1 << 20;

/// Answers before it has read anything.
async fn refuse(_unread: Request<Body>) -> Response<Body> {
    Response::builder().status(413).body(full("too large")).unwrap()
}

async fn refusing() -> (Node, Node) {
    two_nodes(refuse).await
}

async fn connect(address: SocketAddr, header: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /v3/pipeline HTTP/1.1\r\nhost: acme.localhost\r\n{header}\r\n\r\n");
    socket.write_all(head.as_bytes()).await.unwrap();
    socket
}

/// Reads one answer that has a length.
async fn read_answer(socket: &mut TcpStream) -> String {
    let mut read = Vec::new();
    while !read.ends_with(b"too large") {
        let mut byte = [0];
        soon("a byte", socket.read_exact(&mut byte)).await.unwrap();
        read.push(byte[0]);
    }
    String::from_utf8(read).unwrap()
}

#[tokio::test]
async fn clients_that_send_all_before_they_read_anything_get_the_refusal() {
    let (wrong, owner) = refusing().await;
    let body = vec![b'x'; MIB];
    for address in [owner.data, wrong.data] {
        for mebibytes in [1, 10, 20] {
            let length = format!("content-length: {}", mebibytes * MIB);
            let mut socket = connect(address, &length).await;
            for _ in 0..mebibytes {
                soon("room", socket.write_all(&body)).await.unwrap();
            }
            let answer = read_answer(&mut socket).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{mebibytes} MiB: {answer}");
        }
    }
}

#[tokio::test]
async fn a_refusal_is_passed_on_by_the_node_in_between_whatever_the_size() {
    let (wrong, owner) = refusing().await;
    for protocol in PROTOCOLS {
        for address in [owner.data, wrong.data] {
            for mebibytes in [1, 20] {
                let body = full(vec![b'x'; mebibytes * MIB]);
                let (status, body) = answer(&client(protocol), request(address, body)).await;
                assert_eq!(
                    (status, body),
                    (413, Bytes::from_static(b"too large")),
                    "{protocol:?} {mebibytes} MiB"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_body_without_end_is_not_read_for_ever_and_the_refusal_arrives() {
    let (wrong, owner) = refusing().await;
    for protocol in PROTOCOLS {
        for address in [owner.data, wrong.data] {
            let (sender, body) = channel_body();
            let answering = tokio::spawn(async move { answer(&client(protocol), request(address, body)).await });
            let mut sent = 0;
            let piece = Bytes::from_static(&[b'x'; 64 << 10]);
            while soon("room or the end", sender.send(Ok(Frame::data(piece.clone()))))
                .await
                .is_ok()
            {
                sent += piece.len();
                assert!(sent < 200 * MIB, "{protocol:?}: still read");
            }
            assert_eq!(answering.await.unwrap().0, 413, "{protocol:?}");
        }
    }
}

#[tokio::test]
async fn the_refusal_does_not_wait_for_the_body_and_the_connection_goes_on_after_it() {
    let (wrong, owner) = refusing().await;
    for address in [owner.data, wrong.data] {
        let mut socket = connect(address, "content-length: 100000").await;
        for _ in 0..2 {
            socket.write_all(b"x").await.unwrap();
            let answer = read_answer(&mut socket).await;
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
            // The rest, and the next request on the same connection.
            socket.write_all(&[b'x'; 99_999]).await.unwrap();
            let head = "POST /v3/pipeline HTTP/1.1\r\nhost: acme.localhost\r\ncontent-length: 100000\r\n\r\n";
            socket.write_all(head.as_bytes()).await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_before_it_sends_is_told_not_to() {
    let (wrong, owner) = refusing().await;
    for address in [owner.data, wrong.data] {
        let mut socket = connect(address, "content-length: 100000\r\nexpect: 100-continue").await;
        let answer = read_answer(&mut socket).await;
        // Through another node the body is on its way before the owner can say no.
        if address == owner.data {
            assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
        }
        assert!(answer.contains("HTTP/1.1 413 "), "{answer}");
    }
}
