//! Limits of a tenant, met by clients of both nodes.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::thread;
use std::time::Duration;

use process_tests::{Answer, Cluster, NODES, first_error, value_of};

/// Only bounds a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS: usize = 8;
const REQUESTS_EACH: usize = 6;

/// Answers to as many clients at once as there are, over both nodes.
fn rush(cluster: &Cluster, tenant: &str) -> Vec<Answer> {
    thread::scope(|scope| {
        let ask = |client: usize| {
            move || {
                let answers = (0..REQUESTS_EACH).map(|_| cluster.sql(client % NODES, tenant, &["select 1"]).unwrap());
                answers.collect::<Vec<_>>()
            }
        };
        let clients: Vec<_> = (0..CLIENTS).map(|client| scope.spawn(ask(client))).collect();
        clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
    })
}

/// How many were served; all others must be proper refusals.
fn served(answers: &[Answer]) -> usize {
    for refusal in answers.iter().filter(|answer| answer.status != 200) {
        assert_eq!(refusal.status, 429, "{refusal:?}");
        let problem = refusal.problem();
        assert!(problem["type"].as_str().unwrap().contains("quota"), "{problem}");
        assert!(
            refusal.header("retry-after").unwrap().parse::<u64>().unwrap() > 0,
            "{refusal:?}"
        );
    }
    answers.iter().filter(|answer| answer.status == 200).count()
}

#[test]
fn twenty_requests_a_day_are_exactly_twenty_for_many_clients_and_after_a_crash() {
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &["--requests-per-day", "20", "--concurrent", "100"]);
    assert_eq!(served(&rush(&cluster, "acme")), 20);
    cluster.nodes[owner].kill();
    cluster.nodes[owner].start();
    cluster.nodes[owner].wait_until_ready();
    (0..NODES).for_each(|node| cluster.wait_until_served(node, "acme"));
    assert_eq!(served(&rush(&cluster, "acme")), 0);
}

#[test]
fn a_crash_in_the_middle_of_a_quota_never_grants_more_and_burns_at_most_one_reservation() {
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &["--requests-per-day", "20", "--concurrent", "100"]);
    for _ in 0..7 {
        assert_eq!(cluster.sql(0, "acme", &["select 1"]).unwrap().status, 200);
    }
    cluster.nodes[owner].kill();
    cluster.nodes[owner].start();
    cluster.nodes[owner].wait_until_ready();
    (0..NODES).for_each(|node| cluster.wait_until_served(node, "acme"));
    let after = served(&rush(&cluster, "acme"));
    // A thousandth of 20 is less than one request: the smallest reservation.
    assert!((12..=13).contains(&after), "{after} after 7 before the crash");
}

#[test]
fn a_full_database_refuses_inserts_with_507_and_takes_them_again_after_a_vacuum() {
    const LIMIT: u64 = 1 << 20;
    let cluster = Cluster::start();
    cluster.create_tenant("acme", &["--storage", "1MiB"]);
    cluster.run(0, "acme", &["create table t (x)"]);
    let insert = "insert into t values (randomblob(20000))";
    let refusal = (0..100)
        .map(|turn| cluster.sql(turn % NODES, "acme", &[insert]).unwrap())
        .find(|answer| answer.status != 200)
        .expect("2 MB do not fit into 1 MiB");
    assert_eq!(refusal.status, 507, "{refusal:?}");
    let problem = refusal.problem();
    assert_eq!(problem["limit_bytes"], LIMIT, "{problem}");
    let used = problem["used_bytes"].as_u64().unwrap();
    assert!(used <= LIMIT && used > LIMIT / 2, "{problem}");

    let rows = cluster
        .query(1, "acme", "select count(*) from t")
        .parse::<u64>()
        .unwrap();
    assert!(rows > 30, "{rows} rows");
    cluster.run(0, "acme", &["delete from t where rowid % 2 = 0"]);
    cluster.run(1, "acme", &["vacuum"]);
    let answer = cluster.sql(0, "acme", &[insert]).unwrap();
    assert_eq!((answer.status, first_error(&answer)), (200, None), "{}", answer.body);
}

/// Asks through both nodes until the serving node says that `limits` are in force.
fn wait_for_limits(cluster: &Cluster, tenant: &str, limits: &[&str]) {
    for node in 0..NODES {
        value_of(&format!("{limits:?} at node {node}"), PATIENCE, || {
            let answer = cluster
                .sql(node, tenant, &["select 1"])
                .map_err(|error| error.to_string())?;
            let policy = answer.header("ratelimit-policy").unwrap_or_default();
            match limits.iter().all(|limit| policy.contains(limit)) {
                true => Ok(()),
                false => Err(format!("{} {policy}", answer.status)),
            }
        });
    }
}

#[test]
fn changed_limits_of_a_tenant_and_of_its_tier_reach_the_node_that_serves_it() {
    let cluster = Cluster::start();
    cluster.create_tenant("acme", &["--tier", "small"]);
    wait_for_limits(&cluster, "acme", &[r#""daily";q=10000;"#]);

    let update = ["tenant", "update", "acme", "--requests-per-day", "5000"];
    let updated = cluster.ctl(&update);
    wait_for_limits(&cluster, "acme", &[r#""daily";q=5000;"#]);
    // Sent again it changes nothing: neither the etag nor the time of the last change.
    assert_eq!(cluster.ctl(&update), updated);

    let edit = [
        "tier",
        "update",
        "small",
        "--requests-per-day",
        "6000",
        "--concurrent",
        "9",
    ];
    let edited = cluster.ctl(&edit);
    // The tenant's own limit stays; that which follows the tier changes.
    wait_for_limits(&cluster, "acme", &[r#""daily";q=5000;"#, r#""concurrent";q=9;"#]);
    assert_eq!(cluster.ctl(&edit), edited);
    assert_eq!(cluster.ctl(&["tenant", "get", "acme"]), updated_by_tier(&updated));
    let explained = cluster.ctl(&["tenant", "explain-quota", "acme"]);
    let limits = &explained["limits"];
    assert_eq!(limits["requests_per_day"]["origin"], "tenant", "{explained}");
    assert_eq!(limits["requests_per_day"]["of_tier"], 6_000, "{explained}");
    assert_eq!(limits["concurrent_requests"]["built_in"], 20, "{explained}");

    let _ = cluster.ctl(&["tenant", "update", "acme", "--unset", "requests-per-day"]);
    wait_for_limits(&cluster, "acme", &[r#""daily";q=6000;"#]);

    // Lowered below the use: nothing is left, and nothing wraps around. Raised, the difference can be used at once.
    let _ = cluster.ctl(&["tenant", "update", "acme", "--requests-per-day", "1"]);
    wait_for_limits(&cluster, "acme", &[r#""daily";q=1;"#]);
    let refused = cluster.sql(0, "acme", &["select 1"]).unwrap();
    assert_eq!(refused.status, 429, "{refused:?}");
    assert!(
        refused.header("ratelimit").unwrap().contains(r#""daily";r=0"#),
        "{refused:?}"
    );
    let _ = cluster.ctl(&["tier", "update", "small", "--requests-per-day", "7000"]);
    let _ = cluster.ctl(&["tenant", "update", "acme", "--unset", "requests-per-day"]);
    wait_for_limits(&cluster, "acme", &[r#""daily";q=7000;"#]);
    assert_eq!(cluster.query(1, "acme", "select 1"), "1");
}

/// A tier's change is seen in the limits of its tenants, and changes nothing else of them.
fn updated_by_tier(tenant: &serde_json::Value) -> serde_json::Value {
    let mut tenant = tenant.clone();
    tenant["quota"]["concurrent_requests"] = 9.into();
    tenant
}
