//! A listener's end: what is idle goes at once, what is under way gets its answer, what hangs is cut off.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt as _;
use tenant_node::http::body::{Body, empty, full};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use crate::harness::{
    Node, PROTOCOLS, Placements, Protocol, Running, answer, client, echo_collected, request, soon, two_nodes, until,
};

#[tokio::test]
async fn connections_that_are_idle_or_never_spoke_do_not_hold_a_stop_up() {
    let (wrong, owner) = two_nodes(echo_collected).await;
    let mut never_spoke = TcpStream::connect(owner.data).await.unwrap();
    let mut half_a_preface = TcpStream::connect(owner.data).await.unwrap();
    half_a_preface.write_all(b"PRI * HT").await.unwrap();
    let kept: Vec<_> = PROTOCOLS.map(client).into();
    for client in &kept {
        for node in [&wrong, &owner] {
            assert_eq!(answer(client, request(node.data, full("x"))).await.0, 200);
        }
    }
    // The drain time of these nodes is longer than the test's patience.
    owner.stopped().await;
    wrong.stopped().await;
    for socket in [&mut never_spoke, &mut half_a_preface] {
        let mut rest = Vec::new();
        let _ = soon("the connection's end", socket.read_to_end(&mut rest)).await;
    }
}

/// Two nodes whose owner answers once a permit is there; the count of requests that wait.
async fn waiting_owner() -> (Node, Node, Arc<Semaphore>, Running) {
    let (permits, running) = (Arc::new(Semaphore::new(0)), Running::default());
    let (held, counted) = (Arc::clone(&permits), running.clone());
    let (wrong, owner) = two_nodes(move |_: Request<Body>| {
        let (held, run) = (Arc::clone(&held), counted.begin());
        async move {
            held.acquire().await.unwrap().forget();
            drop(run);
            Response::new(full("done"))
        }
    })
    .await;
    (wrong, owner, permits, running)
}

#[tokio::test]
async fn what_is_under_way_at_a_stop_is_answered_on_every_way() {
    let (wrong, owner, permits, running) = waiting_owner().await;
    let mut asking = Vec::new();
    for protocol in PROTOCOLS {
        for node in [wrong.data, owner.data] {
            let client = client(protocol);
            asking.push(tokio::spawn(async move {
                let response = client.request(request(node, full("x"))).await.unwrap();
                let said = response.headers().get("connection").cloned();
                (response.collect().await.unwrap().to_bytes(), said)
            }));
        }
    }
    until("the requests to be under way", || running.count() == 4).await;
    let (data, stop) = (owner.data, owner.stop.clone());
    let stopping = tokio::spawn(owner.stopped());
    soon("the stop", stop.cancelled()).await;
    soon("new connections to be refused", async {
        while TcpStream::connect(data).await.is_ok() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    permits.add_permits(4);
    let mut closes = 0;
    for task in asking {
        let (body, said) = soon("an answer", task).await.unwrap();
        assert_eq!(body, "done");
        closes += usize::from(said.is_some_and(|said| said == "close"));
    }
    assert_eq!(
        closes, 1,
        "the direct answer over HTTP/1.1 asks the client to connect anew"
    );
    stopping.await.unwrap();
}

#[tokio::test]
async fn what_hangs_at_a_stop_is_cut_off_after_the_drain_time_and_leaves_no_task_behind() {
    let running = Running::default();
    let counted = running.clone();
    let hang = move |_: Request<Body>| {
        let run = counted.begin();
        async move {
            std::future::pending::<()>().await;
            drop(run);
            Response::new(empty())
        }
    };
    let drain = Duration::from_millis(50);
    let node = Node::start_at("node-1", "127.0.0.1:0".parse().unwrap(), drain, hang).await;
    Placements::at(1).tenant(1, "acme", "node-1", 1).put_into(&node);
    let address = node.data;
    let asking: Vec<_> = PROTOCOLS
        .map(|protocol| tokio::spawn(async move { client(protocol).request(request(address, full("x"))).await }))
        .into();
    until("the requests to hang", || running.count() == 2).await;
    node.stopped().await;
    for task in asking {
        assert!(soon("the end of the connection", task).await.unwrap().is_err());
    }
    assert_eq!(running.count(), 0, "the handlers are gone");
}

#[tokio::test]
async fn before_a_stop_requests_are_taken_and_clients_asked_to_connect_elsewhere() {
    let (_wrong, owner) = two_nodes(echo_collected).await;
    let client = client(Protocol::Http1);
    let said = async |client| {
        let response = soon(
            "an answer",
            crate::harness::TestClient::request(client, request(owner.data, full("x"))),
        );
        response.await.unwrap().headers().get("connection").cloned()
    };
    assert_eq!(said(&client).await, None);
    owner.notice.give();
    for _ in 0..3 {
        assert_eq!(said(&client).await.unwrap(), "close");
    }
}
