//! Applications that go on while one node after the other is stopped in order and started again.
//!
//! Their SDK connects to both nodes in turn, and to the next where one refuses, as it would to the addresses of one DNS name.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use libsql::{Builder, Connection, Value};
use process_tests::{Cluster, NODES, until};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tower::service_fn;

use crate::clients::rows;

/// For each tenant and each kind of [`Work`].
const CLIENTS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(60);
const STOP_PATIENCE: Duration = Duration::from_secs(30);
const RETRY_PAUSE: Duration = Duration::from_millis(20);
/// Of [`Work::SlowTransaction`].
const PAUSE: Duration = Duration::from_millis(500);

/// What an application does again and again.
#[derive(Debug, Clone, Copy)]
enum Work {
    /// A row, committed by itself.
    Statement,
    /// Two rows in one transaction: four requests, of which each but the first shows the baton of the one before.
    Transaction,
    /// The same, with a pause after its begin: one is open whenever a node is stopped.
    SlowTransaction,
}

/// What became of one piece of work.
#[derive(Debug)]
enum Outcome {
    Acknowledged,
    /// An error that says that nothing of it is kept, with the words that say so: to be done again.
    NothingDone(&'static str),
    /// An error after which a client cannot know.
    Unknown(String),
}

/// What one application saw.
#[derive(Debug, Default)]
struct Seen {
    acknowledged: BTreeSet<String>,
    nothing_done: BTreeMap<String, &'static str>,
    unknown: Vec<String>,
}

/// What all applications share.
#[derive(Debug, Default)]
struct Course {
    stop: AtomicBool,
    acknowledged: AtomicUsize,
}

#[test]
fn a_rolling_restart_loses_nothing_that_the_sdk_does_not_know_of() {
    let mut cluster = Cluster::start_with_certificates();
    let limits = ["--requests-per-day", "10000000", "--concurrent", "200"];
    let tenants = cluster.create_tenant_of_each_node(&limits);
    let nodes: Vec<SocketAddr> = (0..NODES).map(|node| cluster.data(node)).collect();
    let tokens = tenants.clone().map(|tenant| cluster.operator().token(&tenant, "full"));
    let runtime = Runtime::new().unwrap();
    let connect = |tenant: usize, first: usize| {
        let (name, token) = (tenants[tenant].clone(), tokens[tenant].clone());
        runtime.block_on(connection(&name, token, &nodes, first))
    };
    for tenant in 0..NODES {
        let create = "create table t (x text); create index i on t (x)";
        runtime
            .block_on(connect(tenant, 0).execute_batch(create))
            .map(drop)
            .unwrap();
    }

    let course = Arc::new(Course::default());
    let mut applications: Vec<(usize, JoinHandle<Seen>)> = Vec::new();
    for tenant in 0..NODES {
        for number in 0..CLIENTS {
            for work in [Work::Statement, Work::Transaction, Work::SlowTransaction] {
                let application = application(
                    connect(tenant, number),
                    work,
                    format!("{work:?}-{number}"),
                    Arc::clone(&course),
                );
                applications.push((tenant, runtime.spawn(application)));
            }
        }
    }
    let more = |count: usize| {
        let wanted = course.acknowledged.load(Ordering::Acquire) + count;
        until("further writes", PATIENCE, || {
            course.acknowledged.load(Ordering::Acquire) >= wanted
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
    course.stop.store(true, Ordering::Release);

    let mut told_to_try_again = [0; NODES];
    let mut errors: BTreeMap<(String, &str), usize> = BTreeMap::new();
    for (tenant, application) in applications {
        let seen = runtime.block_on(application).unwrap();
        assert!(seen.unknown.is_empty(), "{:?}", seen.unknown);
        let there = runtime.block_on(rows_by_key(&connect(tenant, 0)));
        for key in &seen.acknowledged {
            let expected = if key.starts_with("Statement") { 1 } else { 2 };
            assert_eq!(there.get(key), Some(&expected), "{key} was acknowledged");
        }
        for key in seen.nothing_done.keys() {
            assert_eq!(there.get(key), None, "{key} was not carried out, as the SDK was told");
        }
        told_to_try_again[tenant] += seen.nothing_done.len();
        for (key, words) in &seen.nothing_done {
            let work = key.split("-").next().unwrap_or_default().to_owned();
            *errors.entry((work, words)).or_default() += 1;
        }
    }
    let acknowledged = course.acknowledged.load(Ordering::Acquire);
    eprintln!("acknowledged: {acknowledged}; to be done again, by work and reason: {errors:?}");
    assert!(
        told_to_try_again.iter().all(|count| *count > 0),
        "a node was away, and nobody met it: {told_to_try_again:?}"
    );
}

/// As an application of its own has it. It connects to the nodes in turn, `first` before the others.
async fn connection(tenant: &str, token: String, nodes: &[SocketAddr], first: usize) -> Connection {
    let nodes = nodes.to_vec();
    let connected = Arc::new(AtomicUsize::new(first));
    let connector = service_fn(move |_| {
        let mut addresses = nodes.clone();
        let turn = connected.fetch_add(1, Ordering::AcqRel) % addresses.len();
        addresses.rotate_left(turn);
        async move { TcpStream::connect(addresses.as_slice()).await }
    });
    let builder = Builder::new_remote(format!("http://{tenant}.localhost"), token);
    let database = builder.connector(connector).build().await.unwrap();
    database.connect().unwrap()
}

/// Works until it is told to stop, every attempt with a key of its own.
async fn application(connection: Connection, work: Work, name: String, course: Arc<Course>) -> Seen {
    let mut seen = Seen::default();
    for number in 0.. {
        if course.stop.load(Ordering::Acquire) {
            break;
        }
        let key = format!("{name}-{number}");
        let ended = match work {
            Work::Statement => statement(&connection, &key).await,
            Work::Transaction => transaction(&connection, &key, Duration::ZERO).await,
            Work::SlowTransaction => transaction(&connection, &key, PAUSE).await,
        };
        match outcome(ended) {
            Outcome::Acknowledged => {
                seen.acknowledged.insert(key);
                course.acknowledged.fetch_add(1, Ordering::AcqRel);
            }
            Outcome::NothingDone(words) => {
                seen.nothing_done.insert(key, words);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            Outcome::Unknown(error) => seen.unknown.push(format!("{key}: {error}")),
        }
    }
    seen
}

const INSERT: &str = "insert into t values (?)";

async fn statement(connection: &Connection, key: &str) -> libsql::Result<()> {
    connection.execute(INSERT, [key]).await.map(drop)
}

async fn transaction(connection: &Connection, key: &str, pause: Duration) -> libsql::Result<()> {
    let transaction = connection.transaction().await?;
    tokio::time::sleep(pause).await;
    transaction.execute(INSERT, [key]).await?;
    transaction.execute(INSERT, [key]).await?;
    transaction.commit().await
}

/// The SDK gives its applications no more than words.
fn outcome(ended: libsql::Result<()>) -> Outcome {
    let Err(error) = ended else {
        return Outcome::Acknowledged;
    };
    let text = error.to_string();
    let nothing_done = [
        // No node took the connection.
        "error trying to connect",
        // Of docs/problems.md, those with which no node began with the request.
        "OWNER_UNREACHABLE",
        "OWNER_UNKNOWN",
        "PLACEMENT_CHANGING",
        "ROUTING_TABLE_MISSING",
        "STOPPING",
        // The node that had the transaction is gone, and it was rolled back.
        "rolled back",
    ];
    nothing_done
        .into_iter()
        .find(|words| text.contains(words))
        .map_or(Outcome::Unknown(text), Outcome::NothingDone)
}

/// How many rows each key has.
async fn rows_by_key(connection: &Connection) -> BTreeMap<String, i64> {
    let rows = rows(connection, "select x, count(*) from t group by x", ())
        .await
        .unwrap();
    let row = |row: Vec<Value>| match row.as_slice() {
        [Value::Text(key), Value::Integer(count)] => (key.clone(), *count),
        other => panic!("{other:?}"),
    };
    rows.into_iter().map(row).collect()
}
