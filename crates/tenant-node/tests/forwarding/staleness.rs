//! Tables that differ: whoever is behind waits for its own, for a moment; nobody forwards twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use tenant_node::http::body::{Body, full};

use crate::harness::{
    Node, PROTOCOLS, Placements, Protocol, answer, client, echo_collected, nobody, problem, request, soon,
};

/// The table with `acme` at a node and an epoch, and all three nodes.
fn placed(nodes: [&Node; 3], node: &str, epoch: u64) -> Placements {
    let mut placements = Placements::at(epoch).tenant(1, "acme", node, epoch);
    for (id, node) in ["node-1", "node-2", "node-3"].into_iter().zip(nodes) {
        placements = placements.node(id, node.peer);
    }
    placements
}

#[tokio::test]
async fn two_nodes_that_take_each_other_for_the_owner_refuse_and_do_not_loop() {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = |asked: &Arc<AtomicUsize>| {
        let asked = Arc::clone(asked);
        move |_: Request<Body>| {
            asked.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Response::new(full("")))
        }
    };
    let one = Node::start("node-1", counted(&asked)).await;
    let two = Node::start("node-2", counted(&asked)).await;
    for epochs in [(1, 1), (1, 2), (2, 1)] {
        placed([&one, &two, &two], "node-2", epochs.0).put_into(&one);
        placed([&one, &two, &two], "node-1", epochs.1).put_into(&two);
        for node in [&one, &two] {
            let refused = problem(answer(&client(Protocol::Http1), request(node.data, full("x"))).await);
            assert_eq!(refused, (503, "placement-changing".to_owned()), "{epochs:?}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn an_owner_that_is_behind_asks_for_its_table_and_serves_as_soon_as_it_has_it() {
    for protocol in PROTOCOLS {
        let one = Node::start("node-1", nobody).await;
        let two = Node::start("node-2", echo_collected).await;
        placed([&one, &two, &two], "node-2", 2).put_into(&one);
        placed([&one, &two, &two], "node-1", 1).put_into(&two);
        let asking = tokio::spawn({
            let asking = request(one.data, full("body"));
            async move { answer(&client(protocol), asking).await }
        });
        soon("a table to be asked for", two.table.refresh_asked()).await;
        placed([&one, &two, &two], "node-2", 2).put_into(&two);
        let answered = asking.await.unwrap();
        assert_eq!(answered, (200, Bytes::from_static(b"acme:body")), "{protocol:?}");
    }
}

#[tokio::test]
async fn a_node_that_is_behind_forwards_once_more_when_its_table_has_come() {
    for (owner, id) in [(2, "node-3"), (0, "node-1")] {
        let one = Node::start("node-1", echo_collected).await;
        let two = Node::start("node-2", nobody).await;
        let three = Node::start("node-3", echo_collected).await;
        let nodes = [&one, &two, &three];
        placed(nodes, "node-2", 1).put_into(&one);
        for node in [&two, &three] {
            placed(nodes, id, 2).put_into(node);
        }
        let asking = tokio::spawn({
            let asking = request(one.data, full("the whole body"));
            async move { answer(&client(Protocol::Http1), asking).await }
        });
        soon("a table to be asked for", one.table.refresh_asked()).await;
        placed(nodes, id, 2).put_into(&one);
        let answered = asking.await.unwrap();
        assert_eq!(
            answered,
            (200, Bytes::from_static(b"acme:the whole body")),
            "served by {}",
            owner + 1
        );
    }
}

#[tokio::test]
async fn a_node_whose_table_does_not_come_refuses_and_can_be_asked_again() {
    let one = Node::start("node-1", nobody).await;
    let two = Node::start("node-2", nobody).await;
    let three = Node::start("node-3", echo_collected).await;
    let nodes = [&one, &two, &three];
    placed(nodes, "node-2", 1).put_into(&one);
    for node in [&two, &three] {
        placed(nodes, "node-3", 2).put_into(node);
    }
    let refused = problem(answer(&client(Protocol::Http1), request(one.data, full("x"))).await);
    assert_eq!(refused, (503, "placement-changing".to_owned()));
    placed(nodes, "node-3", 2).put_into(&one);
    let answered = answer(&client(Protocol::Http1), request(one.data, full("x"))).await;
    assert_eq!(answered, (200, Bytes::from_static(b"acme:x")));
}

#[tokio::test]
async fn a_body_that_is_too_long_to_send_again_is_refused_rather_than_sent_by_half() {
    let one = Node::start("node-1", nobody).await;
    let two = Node::start("node-2", nobody).await;
    let three = Node::start("node-3", echo_collected).await;
    let nodes = [&one, &two, &three];
    placed(nodes, "node-2", 1).put_into(&one);
    for node in [&two, &three] {
        placed(nodes, "node-3", 2).put_into(node);
    }
    let long = Bytes::from(vec![b'x'; 1 << 20]);
    let (status, body) = answer(&client(Protocol::Http1), request(one.data, full(long))).await;
    // Where the refusal came before more than the first pieces had left, the request is whole and waits for the table.
    assert_eq!(problem((status, body)), (503, "placement-changing".to_owned()));
}
