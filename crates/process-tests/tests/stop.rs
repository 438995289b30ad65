//! SIGTERM, as a service manager sends it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::time::Duration;

use process_tests::{Cluster, get};

const STOP_PATIENCE: Duration = Duration::from_secs(15);

#[test]
fn the_leader_and_a_node_stop_on_request_with_code_zero_and_are_missed_by_nobody() {
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &[]);
    cluster.run(0, "acme", &["create table t (x)"]);

    let leader = cluster.leader(None);
    cluster.members[leader].ask_to_stop();
    // A write right now: leadership is handed over, so it finds a leader within its own patience.
    cluster.create_tenant("written-meanwhile", &[]);
    assert_eq!(cluster.members[leader].wait_until_ended(STOP_PATIENCE).code(), Some(0));
    let _ = cluster.leader(Some(leader));
    cluster.run(1, "acme", &["insert into t values (1)"]);

    let ops = cluster.nodes[owner].ops;
    cluster.nodes[owner].ask_to_stop();
    process_tests::until("the node to be not ready, or gone", STOP_PATIENCE, || {
        !get(ops, "localhost", "/readyz").is_ok_and(|answer| answer.status == 200)
    });
    assert_eq!(cluster.nodes[owner].wait_until_ended(STOP_PATIENCE).code(), Some(0));
    cluster.nodes[owner].start();
    cluster.nodes[owner].wait_until_ready();
    assert_eq!(cluster.query(owner, "acme", "select count(*) from t"), "1");
}
