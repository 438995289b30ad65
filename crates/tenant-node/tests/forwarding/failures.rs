//! What breaks: before the headers a problem that says what is known, after them a body that is cut off.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use tenant_node::http::body::{Body, BoxError, empty, full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::harness::{
    LONG, Node, PROTOCOLS, Placements, Protocol, answer, channel_body, client, next_data, nobody, problem, request,
    soon, two_nodes,
};

/// A node that believes `acme` to be served at `owner`.
async fn node_before(owner: SocketAddr) -> Node {
    let node = Node::start("node-1", nobody).await;
    let placements = Placements::at(1).tenant(1, "acme", "node-2", 1);
    placements.node("node-2", owner).put_into(&node);
    node
}

/// HTTP/2's first word, without settings.
const FIRST_WORD: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];

#[tokio::test]
async fn an_owner_that_breaks_off_before_its_answer_gives_502_and_says_that_nobody_knows() {
    let owner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = node_before(owner.local_addr().unwrap()).await;
    let breaking = tokio::spawn(async move {
        loop {
            let (mut socket, _) = owner.accept().await.unwrap();
            socket.write_all(&FIRST_WORD).await.unwrap();
            let mut seen = Vec::new();
            // The request has come when its body has.
            while !seen.windows(9).any(|window| window == b"carry out") {
                if socket.read_buf(&mut seen).await.unwrap_or(0) == 0 {
                    break;
                }
            }
        }
    });
    for protocol in PROTOCOLS {
        let refused = problem(answer(&client(protocol), request(node.data, full("carry out"))).await);
        assert_eq!(refused, (502, "owner-broke-off".to_owned()), "{protocol:?}");
    }
    breaking.abort();
}

#[tokio::test]
async fn an_owner_that_gives_no_sign_of_life_gives_504() {
    // Takes what it is sent, as a frozen process's kernel does, and never answers.
    let owner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = node_before(owner.local_addr().unwrap()).await;
    let silent = tokio::spawn(async move {
        let mut sockets = Vec::new();
        loop {
            let (mut socket, _) = owner.accept().await.unwrap();
            socket.write_all(&FIRST_WORD).await.unwrap();
            sockets.push(socket);
        }
    });
    let refused = problem(answer(&client(Protocol::Http1), request(node.data, full("hello?"))).await);
    assert_eq!(refused, (504, "owner-silent".to_owned()));
    silent.abort();
}

#[tokio::test]
async fn a_connection_that_ends_before_the_owners_first_word_has_carried_nothing_and_gives_503() {
    let owner = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = node_before(owner.local_addr().unwrap()).await;
    let closing = tokio::spawn(async move {
        loop {
            let (mut socket, _) = owner.accept().await.unwrap();
            // The node itself has spoken by then.
            let _ = socket.read_u8().await;
        }
    });
    for protocol in PROTOCOLS {
        let refused = problem(answer(&client(protocol), request(node.data, full("x"))).await);
        assert_eq!(refused, (503, "owner-unreachable".to_owned()), "{protocol:?}");
    }
    closing.abort();
}

#[tokio::test]
async fn an_answer_that_fails_half_way_is_cut_off_and_never_ends_properly() {
    let (wrong, owner) = two_nodes(|_| async {
        let pieces: Vec<Result<_, BoxError>> = vec![Ok(Frame::data(Bytes::from_static(b"half"))), Err("disk".into())];
        // The first piece leaves before the failure is met.
        let pieces = stream::iter(pieces).then(|piece| async {
            tokio::task::yield_now().await;
            piece
        });
        Response::new(StreamBody::new(Box::pin(pieces)).boxed_unsync())
    })
    .await;
    for protocol in PROTOCOLS {
        for node in [&wrong, &owner] {
            // The failure may come before the headers have left; then there is no answer at all.
            let asked = soon(
                "an answer or none",
                client(protocol).request(request(node.data, empty())),
            )
            .await;
            if let Ok(response) = asked {
                let read = soon("the end", response.collect()).await;
                assert!(read.is_err(), "{protocol:?}");
            }
        }
    }
}

#[tokio::test]
async fn an_owner_that_dies_half_way_through_its_answer_cuts_it_off_for_the_client() {
    for protocol in PROTOCOLS {
        let (wrong, owner) = two_nodes(|_| async {
            let first = stream::iter([Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"half")))]);
            Response::new(StreamBody::new(first.chain(stream::pending())).boxed_unsync())
        })
        .await;
        let response = soon("headers", client(protocol).request(request(wrong.data, empty()))).await;
        let mut body = response.unwrap().into_body();
        assert_eq!(next_data(&mut body).await.unwrap().unwrap(), "half");
        owner.kill().await;
        assert!(next_data(&mut body).await.unwrap().is_err(), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_client_that_breaks_its_upload_off_is_not_blamed_on_the_owner() {
    let (wrong, _owner) = two_nodes(|request: Request<Body>| async {
        let status = match request.into_body().collect().await {
            Ok(_) => 200,
            Err(_) => 400,
        };
        Response::builder().status(status).body(empty()).unwrap()
    })
    .await;
    let (sender, body) = channel_body();
    let asking = tokio::spawn(async move { client(Protocol::H2c).request(request(wrong.data, body)).await });
    sender.send(Ok(Frame::data(Bytes::from_static(b"one")))).await.unwrap();
    sender.send(Err("gone".into())).await.unwrap();
    // The client has given its request up, so that it hears nothing; the node goes on.
    assert!(soon("the client's own failure", asking).await.unwrap().is_err());
    let (status, _) = answer(&client(Protocol::H2c), request(wrong.data, full("whole"))).await;
    assert_eq!(status, 200);
}

#[tokio::test]
async fn an_owner_that_stops_in_order_is_never_a_502_and_answers_what_it_carries_out() {
    let carried_out = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&carried_out);
    let (wrong, owner) = two_nodes(move |request: Request<Body>| {
        let counter = Arc::clone(&counter);
        async move {
            let _ = request.into_body().collect().await;
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            Response::new(full("done"))
        }
    })
    .await;
    let asking = (0..16).map(|number| {
        tokio::spawn(async move {
            let client = client(PROTOCOLS[number % 2]);
            let mut answered = 0;
            loop {
                let (status, body) = answer(&client, request(wrong.data, full("work"))).await;
                if status == 200 {
                    answered += 1;
                    continue;
                }
                let refused = problem((status, body));
                assert!(
                    [(503, "stopping".to_owned()), (503, "owner-unreachable".to_owned())].contains(&refused),
                    "{refused:?}"
                );
                return answered;
            }
        })
    });
    let asking: Vec<_> = asking.collect();
    crate::harness::until("load", || carried_out.load(Ordering::SeqCst) > 500).await;
    owner.stopped().await;
    let mut answered = 0;
    for task in asking {
        answered += soon("a refusal", task).await.unwrap();
    }
    assert_eq!(answered, carried_out.load(Ordering::SeqCst));
}

#[tokio::test]
async fn an_owner_that_was_started_again_at_its_address_is_reached_at_once() {
    let (wrong, owner) = two_nodes(|_| async { Response::new(full("before")) }).await;
    let client = client(Protocol::Http1);
    let address = owner.peer;
    assert_eq!(answer(&client, request(wrong.data, empty())).await.1, "before");
    owner.stopped().await;
    let owner = Node::start_at("node-2", address, LONG, |_| async { Response::new(full("after")) }).await;
    Placements::at(1).tenant(1, "acme", "node-2", 1).put_into(&owner);
    for _ in 0..8 {
        let (status, body) = answer(&client, request(wrong.data, full("x"))).await;
        assert_eq!((status, body), (200, Bytes::from_static(b"after")));
    }
}
