//! Requests that arrive at the node that does not serve the tenant.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use process_tests::{Cluster, NODES, execute, get, pipeline, value_of};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn an_owner_killed_in_the_middle_of_a_large_answer_cuts_it_off_for_the_client_of_the_other_node() {
    const ROWS: usize = 40;
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &[]);
    let other = 1 - owner;
    let requests: Vec<_> = (0..ROWS)
        .map(|_| execute("select hex(zeroblob(400000))"))
        .chain([json!({"type": "close"})])
        .collect();
    let body = pipeline(&requests);
    let mut socket = TcpStream::connect(cluster.data(other)).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v3/pipeline HTTP/1.1\r\nhost: acme.localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket.write_all(body.as_bytes()).unwrap();
    let mut begin = [0; 1_024];
    socket.read_exact(&mut begin).unwrap();
    assert!(
        begin.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&begin)
    );

    cluster.nodes[owner].kill();
    let mut rest = Vec::new();
    // An end or a reset; a wait would fail by its time limit.
    if let Err(error) = socket.read_to_end(&mut rest) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "the client was left waiting"
        );
    }
    assert!(
        rest.len() < ROWS * 800_000,
        "the answer came whole: {} bytes",
        rest.len()
    );
    assert!(
        !rest.ends_with(b"0\r\n\r\n"),
        "an answer that was cut off must not look complete"
    );

    let refused = cluster.sql(other, "acme", &["select 1"]).unwrap();
    assert_eq!(
        (refused.status, refused.header("retry-after")),
        (503, Some("1")),
        "{refused:?}"
    );
    assert!(
        refused.problem()["type"]
            .as_str()
            .unwrap()
            .ends_with("/owner-unreachable")
    );
    cluster.nodes[owner].start();
    cluster.nodes[owner].wait_until_ready();
    cluster.wait_until_served(other, "acme");
}

#[test]
fn a_transaction_that_a_stop_ends_is_rolled_back_and_its_client_is_told() {
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &[]);
    cluster.run(0, "acme", &["create table t (x)"]);
    let begun = cluster
        .sql(1 - owner, "acme", &["begin", "insert into t values (1)"])
        .unwrap();
    let baton = begun.json()["baton"].as_str().unwrap().to_owned();
    cluster.nodes[owner].ask_to_stop();
    assert_eq!(cluster.nodes[owner].wait_until_ended(PATIENCE).code(), Some(0));
    cluster.nodes[owner].start();
    cluster.nodes[owner].wait_until_ready();
    (0..NODES).for_each(|node| cluster.wait_until_served(node, "acme"));
    let body = json!({"baton": baton, "requests": [execute("commit")]}).to_string();
    let refused = cluster.pipeline(1 - owner, "acme", &body).unwrap();
    assert_eq!(refused.status, 400, "{refused:?}");
    assert!(
        refused.problem()["type"].as_str().unwrap().ends_with("/spent-baton"),
        "{refused:?}"
    );
    assert_eq!(cluster.query(owner, "acme", "select count(*) from t"), "0");
}

#[test]
fn an_idle_stream_goes_on_after_its_node_was_killed_and_started_again() {
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &[]);
    cluster.run(0, "acme", &["create table t (x)"]);
    let idle = cluster
        .sql(1 - owner, "acme", &["insert into t values (1), (2)"])
        .unwrap();
    let baton = idle.json()["baton"].as_str().unwrap().to_owned();
    cluster.nodes[owner].kill();
    cluster.nodes[owner].start();
    cluster.nodes[owner].wait_until_ready();
    (0..NODES).for_each(|node| cluster.wait_until_served(node, "acme"));
    let body = json!({"baton": baton, "requests": [execute("select last_insert_rowid()")]}).to_string();
    for node in 0..NODES {
        let answer = cluster.pipeline(node, "acme", &body).unwrap();
        assert_eq!(process_tests::scalar(&answer).as_deref(), Some("2"), "{answer:?}");
    }
}

/// Waits until a host leads to the tenant with that mark through both nodes.
fn wait_until_leads(cluster: &Cluster, host: &str, mark: &str) {
    for node in 0..NODES {
        value_of(&format!("{host} to lead to {mark}"), PATIENCE, || {
            let headers = [("host", host), ("content-type", "application/json")];
            let body = pipeline(&[execute("select mark from t")]);
            let answer = process_tests::post(cluster.data(node), "/v3/pipeline", &headers, &body);
            let answer = answer.map_err(|error| error.to_string())?;
            match process_tests::scalar(&answer) {
                Some(found) if found == mark => Ok(()),
                _ => Err(answer.body),
            }
        });
    }
}

#[test]
fn a_custom_domain_leads_to_its_tenant_through_every_node_and_moves_with_it() {
    let cluster = Cluster::start();
    cluster.create_tenant("acme", &["--domain", "db.acme.example", "--domain", "other.localhost"]);
    cluster.create_tenant("other", &[]);
    for name in ["acme", "other"] {
        let insert = format!("insert into t values ('{name}')");
        cluster.run(0, name, &["create table t (mark)", &insert]);
    }
    for host in [
        "db.acme.example",
        "DB.ACME.example",
        "db.acme.example.",
        "db.acme.example:8401",
    ] {
        wait_until_leads(&cluster, host, "acme");
    }
    // A domain that looks like another tenant's host takes nothing from it.
    wait_until_leads(&cluster, "other.localhost", "other");

    let taken = cluster.try_ctl(&["tenant", "update", "other", "--domain", "db.acme.example"]);
    assert!(taken.is_err(), "the domain is taken: {taken:?}");
    let _ = cluster.ctl(&["tenant", "update", "acme", "--unset", "domains"]);
    let _ = cluster.ctl(&["tenant", "update", "other", "--domain", "db.acme.example"]);
    wait_until_leads(&cluster, "db.acme.example", "other");
    let _ = cluster.ctl(&["tenant", "update", "other", "--unset", "domains"]);
    for node in 0..NODES {
        value_of("the domain to be forgotten", PATIENCE, || {
            match get(cluster.data(node), "db.acme.example", "/v1/usage") {
                Ok(answer) if answer.status == 404 => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
    }
}
