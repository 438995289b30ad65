//! Hosts, domains and headers as clients send them, good and bad, through the right node and the wrong one.

use std::net::SocketAddr;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Node, Placements, Protocol, answer, client, echo_collected, request, soon};
use tenant_node::http::body::full;

/// `acme` and `other` are served by the second node; `domain` is the one domain of `holder`.
fn put_into(nodes: [&Node; 2], holder: &str, domain: &str) {
    for node in nodes {
        let mut placements = Placements::at(1).node("node-2", nodes[1].peer);
        for (uid, name) in [(1, "acme"), (2, "other")] {
            let domains: &[&str] = if name == holder { &[domain] } else { &[] };
            placements = placements.tenant_with(uid, name, "node-2", 1, domains);
        }
        placements.put_into(node);
    }
}

async fn nodes() -> [Node; 2] {
    [
        Node::start("node-1", echo_collected).await,
        Node::start("node-2", echo_collected).await,
    ]
}

/// Status line and body of the answer to a head, which has a GET's request line unless it brings its own.
async fn raw(address: SocketAddr, head: &[u8]) -> (String, String) {
    let mut socket = TcpStream::connect(address).await.unwrap();
    let line: &[u8] = if head.starts_with(b"GET ") {
        b""
    } else {
        b"GET / HTTP/1.1\r\n"
    };
    let request = [line, head, b"\r\nconnection: close\r\n\r\n"].concat();
    socket.write_all(&request).await.unwrap();
    let mut answer = Vec::new();
    let _ = soon("an answer", socket.read_to_end(&mut answer)).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    let body = answer.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
    (status, body)
}

#[tokio::test]
async fn a_domain_leads_to_its_tenant_through_every_node_however_it_is_written() {
    let [one, two] = nodes().await;
    put_into([&one, &two], "acme", "db.acme.example");
    for node in [&one, &two] {
        for host in [
            "db.acme.example",
            "db.acme.example:8401",
            "DB.Acme.EXAMPLE",
            "db.acme.example.",
        ] {
            let answered = raw(node.data, format!("host: {host}").as_bytes()).await;
            assert_eq!(answered, ("200".into(), "acme:".into()), "{host}");
        }
        let answered = raw(node.data, b"host: www.acme.example").await;
        assert_eq!(answered.0, "404");
    }
}

#[tokio::test]
async fn a_domain_that_moves_to_another_tenant_leads_there_from_then_on() {
    let [one, two] = nodes().await;
    for (holder, echoed) in [("acme", "acme:"), ("other", "other:"), ("acme", "acme:")] {
        put_into([&one, &two], holder, "db.example.org");
        for node in [&one, &two] {
            assert_eq!(raw(node.data, b"host: db.example.org").await.1, echoed);
        }
    }
}

#[tokio::test]
async fn a_domain_that_looks_like_another_tenants_host_takes_nothing_from_it() {
    let [one, two] = nodes().await;
    put_into([&one, &two], "other", "acme.localhost");
    for node in [&one, &two] {
        assert_eq!(raw(node.data, b"host: acme.localhost").await.1, "acme:");
        assert_eq!(raw(node.data, b"host: other.localhost").await.1, "other:");
    }
}

#[tokio::test]
async fn hostile_hosts_and_headers_lead_to_no_tenant_and_harm_nobody() {
    let [one, two] = nodes().await;
    put_into([&one, &two], "acme", "db.acme.example");
    let long = [b"host: ", "a".repeat(20_000).as_bytes(), b".localhost"].concat();
    let forged =
        b"host: acme.localhost\r\nx-tenantry-tenant-uid: 00000000000000000000000000000002\r\nx-tenantry-epoch: 1";
    let cases: [(&[u8], &str, &str); 15] = [
        (b"host: ../../etc/passwd", "400", "tenant-not-named"),
        (b"host: ..%2f..%2fetc%2fpasswd.localhost", "400", "tenant-not-named"),
        (b"host: ac%6de.localhost", "400", "tenant-not-named"),
        (b"host: acme\0.localhost", "400", ""),
        (&long, "400", "tenant-not-named"),
        (
            b"host: acme.localhost\r\nhost: other.localhost",
            "400",
            "tenant-not-named",
        ),
        (
            b"host: acme.localhost\r\nx-tenant-id: acme\r\nx-tenant-id: other",
            "400",
            "tenant-not-named",
        ),
        (b"host: m\xc3\xbcnchen.localhost", "400", "tenant-not-named"),
        (b"host: xn--mnchen-3ya.localhost", "404", "tenant-unknown"),
        (b"host:", "400", "tenant-not-named"),
        (b"x-other: 1", "400", "tenant-not-named"),
        (b"host: acme.localhost:80:80", "400", "tenant-not-named"),
        (
            b"GET http://acme.localhost/ HTTP/1.1\r\nhost: other.localhost",
            "200",
            "acme:",
        ),
        (
            b"GET //other.localhost/ HTTP/1.1\r\nhost: acme.localhost",
            "200",
            "acme:",
        ),
        (forged, "200", "acme:"),
    ];
    for node in [&one, &two] {
        for (head, status, shown) in cases {
            let answered = raw(node.data, head).await;
            let head = String::from_utf8_lossy(&head[..head.len().min(80)]).into_owned();
            assert_eq!(answered.0, status, "{head}: {answered:?}");
            assert!(answered.1.contains(shown), "{head}: {answered:?}");
        }
        let answered = answer(&client(Protocol::H2c), request(node.data, full("still here"))).await;
        assert_eq!(answered, (200, Bytes::from_static(b"acme:still here")));
    }
}

#[tokio::test]
async fn the_peer_port_believes_nodes_headers_and_takes_nothing_else() {
    let [one, two] = nodes().await;
    put_into([&one, &two], "acme", "db.acme.example");
    assert_eq!(raw(two.peer, b"host: acme.localhost").await.0, "400");
    let of = |uid: u8, epoch: u8| format!("host: x\r\nx-tenantry-tenant-uid: {uid:032x}\r\nx-tenantry-epoch: {epoch}");
    assert_eq!(
        raw(two.peer, of(2, 1).as_bytes()).await,
        ("200".into(), "other:".into())
    );
    assert_eq!(raw(two.peer, of(3, 1).as_bytes()).await.0, "421");
}

#[tokio::test]
async fn a_flood_that_names_no_tenant_is_refused_at_a_fixed_rate_and_tenants_are_served() {
    let [one, two] = nodes().await;
    put_into([&one, &two], "acme", "db.acme.example");
    let began = std::time::Instant::now();
    let flood = (0..300).map(|number| {
        let head = match number % 3 {
            0 => "host: nobody.localhost",
            1 => "host: ..",
            _ => "x-tenant-id: no name",
        };
        raw(two.data, head.as_bytes())
    });
    for (status, body) in futures_util::future::join_all(flood).await {
        assert!(status == "400" || status == "404", "{status} {body}");
    }
    // A hundred at once, the others a thousandth of a second apart.
    assert!(
        began.elapsed() >= std::time::Duration::from_millis(190),
        "{:?}",
        began.elapsed()
    );
    let (status, _) = raw(two.data, b"host: db.acme.example").await;
    assert_eq!(status, "200");
}
