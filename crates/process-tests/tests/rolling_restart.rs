//! Nodes that are stopped in order and started again, one after the other, while clients write and read through both.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use process_tests::{Cluster, Http2Connection, KeptAnswer, KeptConnection, KeptError, NODES, execute, pipeline, until};
use serde_json::{Value, json};

/// For each tenant and node.
const CLIENTS: usize = 2;
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(20);

/// Sends a pipeline to a tenant.
type Post = Box<dyn FnMut(&str) -> Result<KeptAnswer, KeptError> + Send>;

/// What one client saw.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: Vec<String>,
    /// Refused by an answer that promises that nothing was carried out.
    refused: Vec<String>,
    /// What a client could not safely send again.
    lost: Vec<String>,
}

/// Inserts rows and reads each back, every attempt with a key of its own, until `stop`.
fn client(mut post: Post, name: &str, progress: &AtomicUsize, stop: &AtomicBool) -> Seen {
    let mut seen = Seen::default();
    let close = json!({"type": "close"});
    for number in 0.. {
        if stop.load(Ordering::Acquire) {
            break;
        }
        let key = format!("{name}-{number}");
        let insert = execute(&format!("insert into t values ('{key}')"));
        match post(&pipeline(&[insert, close.clone()])) {
            Ok(answer) if answer.status == 200 && answer.body.contains("\"type\":\"ok\"") => {
                seen.acknowledged.push(key.clone());
                progress.fetch_add(1, Ordering::AcqRel);
            }
            Ok(answer) if answer.status == 503 && answer.retry_after => {
                seen.refused.push(key);
                thread::sleep(RETRY_PAUSE);
                continue;
            }
            Ok(answer) => {
                seen.lost.push(format!("{key}: {} {}", answer.status, answer.body));
                continue;
            }
            Err(KeptError::NotConnected(_)) => {
                seen.refused.push(key);
                thread::sleep(RETRY_PAUSE);
                continue;
            }
            Err(error) => {
                seen.lost.push(format!("{key}: {error:?}"));
                continue;
            }
        }
        let select = execute(&format!("select count(*) from t where x = '{key}'"));
        match post(&pipeline(&[select, close.clone()])) {
            Ok(answer) if answer.status == 200 => {
                let result: Value = serde_json::from_str(&answer.body).unwrap();
                let count = &result["results"][0]["response"]["result"]["rows"][0][0]["value"];
                if count != "1" {
                    seen.lost.push(format!("{key} is there {count} times: {}", answer.body));
                }
            }
            Ok(answer) if answer.status == 503 && answer.retry_after => {}
            // A connection that the kernel took between the listener's last look at its queue and its end is reset. A read can be sent
            // again then; for writes the same is counted as lost above, and must be rarer than one run of this test sees.
            Err(KeptError::NotConnected(_) | KeptError::Unanswered(_)) => {}
            other => seen.lost.push(format!("a read of {key}: {other:?}")),
        }
    }
    seen
}

/// Keys that are there, with their number, as the tenant's database has them in the end.
fn rows(cluster: &Cluster, tenant: &str) -> Vec<(String, u64)> {
    let answer = cluster
        .sql(0, tenant, &["select x, count(*) from t group by x"])
        .unwrap();
    let answer = answer.json();
    let rows = answer["results"][0]["response"]["result"]["rows"]
        .as_array()
        .unwrap()
        .clone();
    let row = |row: &Value| {
        let key = row[0]["value"].as_str().unwrap().to_owned();
        (key, row[1]["value"].as_str().unwrap().parse().unwrap())
    };
    rows.iter().map(row).collect()
}

#[test]
fn a_rolling_restart_under_load_loses_nothing_that_a_client_could_not_safely_send_again() {
    restart_under_load(|address, host| {
        let connections = std::iter::repeat_with(|| KeptConnection::new(address, host));
        let clients = connections
            .take(CLIENTS)
            .map(|mut connection| -> Post { Box::new(move |body| connection.post(body)) });
        clients.collect()
    });
}

#[test]
fn nor_does_it_over_http2_where_clients_share_a_connection() {
    restart_under_load(|address, host| {
        let shared = Http2Connection::new(address, host);
        let connections = std::iter::repeat_n(shared, CLIENTS);
        let clients = connections.map(|connection| -> Post { Box::new(move |body| connection.post(body)) });
        clients.collect()
    });
}

/// `clients` are those of a tenant that ask by an address.
fn restart_under_load(clients_of: impl Fn(SocketAddr, &str) -> Vec<Post>) {
    let mut cluster = Cluster::start();
    let limits = ["--requests-per-day", "10000000", "--concurrent", "200"];
    let tenants = cluster.create_tenant_of_each_node(&limits);
    for tenant in &tenants {
        cluster.run(0, tenant, &["create table t (x text)", "create index i on t (x)"]);
    }
    let addresses: Vec<SocketAddr> = (0..NODES).map(|node| cluster.data(node)).collect();
    let (progress, stop) = (AtomicUsize::new(0), AtomicBool::new(false));

    let seen = thread::scope(|scope| {
        let mut clients = Vec::new();
        for (tenant, name) in tenants.iter().enumerate() {
            for (node, address) in addresses.iter().enumerate() {
                for (number, post) in clients_of(*address, &format!("{name}.localhost"))
                    .into_iter()
                    .enumerate()
                {
                    let label = format!("{tenant}-{node}-{number}");
                    let (progress, stop) = (&progress, &stop);
                    let task = move || client(post, &label, progress, stop);
                    clients.push((tenant, scope.spawn(task)));
                }
            }
        }
        let more = |count: usize| {
            let wanted = progress.load(Ordering::Acquire) + count;
            until("further writes", PATIENCE, || {
                progress.load(Ordering::Acquire) >= wanted
            });
        };
        more(200);
        for node in &mut cluster.nodes {
            node.ask_to_stop();
            assert_eq!(node.wait_until_ended(STOP_PATIENCE).code(), Some(0));
            // The other node's tenants are written meanwhile.
            more(100);
            node.start();
            node.wait_until_ready();
            more(200);
        }
        stop.store(true, Ordering::Release);
        clients
            .into_iter()
            .map(|(tenant, client)| (tenant, client.join().unwrap()))
            .collect::<Vec<_>>()
    });

    let lost: Vec<&String> = seen.iter().flat_map(|(_, seen)| &seen.lost).collect();
    assert!(
        lost.is_empty(),
        "{} requests were lost: {:?}",
        lost.len(),
        lost.iter().take(10).collect::<Vec<_>>()
    );
    for (tenant, name) in tenants.iter().enumerate() {
        let rows = rows(&cluster, name);
        let of_tenant = || seen.iter().filter(|(of, _)| *of == tenant).map(|(_, seen)| seen);
        let there: std::collections::BTreeMap<_, _> = rows.into_iter().collect();
        for key in of_tenant().flat_map(|seen| &seen.acknowledged) {
            assert_eq!(there.get(key), Some(&1), "{key} was acknowledged");
        }
        for key in of_tenant().flat_map(|seen| &seen.refused) {
            assert_eq!(there.get(key), None, "{key} was refused");
        }
        let refused = of_tenant().map(|seen| seen.refused.len()).sum::<usize>();
        assert!(refused > 0, "{name}'s node was away, and nobody met it");
    }
}
