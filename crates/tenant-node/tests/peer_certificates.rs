//! Who may connect to a node's peer port, whose requests are believed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::convert::Infallible;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{Request, Response};
use mutual_tls::authority::Authority;
use mutual_tls::{Credentials, Role, Security, TlsFiles};
use tenant_node::http::StopNotice;
use tenant_node::http::body::{Body, empty};
use tenant_node::http::lanes::Lanes;
use tenant_node::http::server::{ServerOptions, serve};
use tenant_node::layers::Ingress;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const BOUND: Duration = Duration::from_secs(30);

fn security(folder: &Path, authority: &Authority, root: &str, role: Role) -> Security {
    let pair = authority.sign(role, SystemTime::now(), 1).unwrap();
    let file = |end: &str| folder.join(format!("{role}.{end}"));
    let files = TlsFiles {
        ca: file("ca"),
        cert: file("crt"),
        key: file("key"),
    };
    fs::write(&files.ca, root).unwrap();
    fs::write(&files.cert, pair.certificate).unwrap();
    fs::write(&files.key, pair.key).unwrap();
    Security::MutualTls(Arc::new(Credentials::load(files, &Role::ALL).unwrap()))
}

#[tokio::test]
async fn nodes_are_served_at_the_peer_port_and_other_roles_are_not() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, pair) = Authority::create(SystemTime::now(), 1).unwrap();
    let of = |role| security(folder.path(), &authority, &pair.certificate, role);
    let node = of(Role::TenantNode);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = CancellationToken::new();
    let answer = tower::service_fn(async |_: Request<Body>| Ok::<_, Infallible>(Response::new(empty())));
    let options = ServerOptions {
        ingress: Ingress::Peer,
        security: node.clone(),
        lanes: Lanes::single(),
        max_connections: 10,
        drain: BOUND,
        notice: StopNotice::default(),
    };
    let serving = tokio::spawn(serve(listener, answer, options, stop.clone()));

    // What comes back for a request: nothing where the connection was closed.
    let ask = async |security: &Security| {
        let asking = async {
            let mut connection = security.connect(&address, Role::TenantNode, BOUND).await?;
            connection
                .write_all(b"GET / HTTP/1.1\r\nHost: any\r\nConnection: close\r\n\r\n")
                .await?;
            let mut answer = Vec::new();
            connection.read_to_end(&mut answer).await?;
            std::io::Result::Ok(answer)
        };
        tokio::time::timeout(BOUND, asking).await.unwrap().unwrap_or_default()
    };
    assert!(ask(&node).await.starts_with(b"HTTP/1.1 200"));
    for other in [of(Role::Operator), of(Role::ControlPlane), Security::Plain] {
        let answer = ask(&other).await;
        assert!(!answer.starts_with(b"HTTP"), "{other:?}");
    }
    stop.cancel();
    tokio::time::timeout(BOUND, serving).await.unwrap().unwrap();
}
