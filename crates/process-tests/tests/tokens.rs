//! Tenants' tokens against real nodes: who is let in, what a revocation and a rotation of keys do, and that neither needs a
//! control plane once the nodes know.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests: what fails here fails the test, and what is measured is told"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use process_tests::{Answer, Cluster, NODES, execute, pipeline, post, until};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(20);

/// Where a tenant is asked, and by which name: enough to ask from another thread.
#[derive(Debug, Clone)]
struct Door {
    nodes: [std::net::SocketAddr; NODES],
    host: String,
}

impl Door {
    /// A new tenant, once every node knows it.
    fn of_new_tenant(cluster: &Cluster, tenant: &str) -> Self {
        // Large, so that a fast machine does not use up its requests.
        let _owner = cluster.create_tenant(tenant, &["--tier", "large"]);
        Self {
            nodes: [cluster.data(0), cluster.data(1)],
            host: format!("{tenant}.localhost"),
        }
    }

    fn sql(&self, node: usize, token: Option<&str>, sql: &str) -> Answer {
        let authorization = token.map(|token| format!("Bearer {token}"));
        let mut headers = vec![("host", self.host.as_str()), ("content-type", "application/json")];
        headers.extend(authorization.as_deref().map(|value| ("authorization", value)));
        post(self.nodes[node], "/v3/pipeline", &headers, &pipeline(&[execute(sql)])).unwrap()
    }

    /// The end of the type of the refusal; empty when it was served.
    fn refusal(&self, node: usize, token: &str) -> String {
        let answer = self.sql(node, Some(token), "select 1");
        match answer.status {
            200 => String::new(),
            _ => {
                let problem = answer.problem();
                assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{problem}");
                problem["type"].as_str().unwrap().rsplit('/').next().unwrap().to_owned()
            }
        }
    }

    fn wait_until_refused(&self, node: usize, token: &str, reason: &str) {
        until(&format!("the token to be refused: {reason}"), PATIENCE, || {
            self.refusal(node, token) == reason
        });
    }
}

/// The part of a token that names its key.
fn header(token: &str) -> &str {
    token.split('.').next().unwrap()
}

fn code(answer: &Answer) -> Value {
    answer.json()["results"][0]["error"]["code"].clone()
}

#[test]
fn a_tenants_own_tokens_open_its_database_within_their_scope_and_no_others_do() {
    let cluster = Cluster::start_with_certificates();
    let acme = Door::of_new_tenant(&cluster, "acme");
    let other = Door::of_new_tenant(&cluster, "other");
    let operator = cluster.operator();
    let (full, ro) = (operator.token("acme", "full"), operator.token("acme", "ro"));
    let created = acme.sql(0, Some(&full), "create table t (x)");
    assert_eq!((created.status, code(&created)), (200, Value::Null), "{created:?}");
    // One of the nodes owns the tenant, the other one forwards: both must see to it.
    for node in 0..NODES {
        assert_eq!(acme.sql(node, None, "select 1").status, 401);
        assert_eq!(acme.refusal(node, "garbage"), "not-authenticated");
        let written = acme.sql(node, Some(&full), "insert into t values (1)");
        assert_eq!((written.status, code(&written)), (200, Value::Null), "{written:?}");
        let read = acme.sql(node, Some(&ro), "select count(*) from t");
        assert_eq!((read.status, code(&read)), (200, Value::Null), "{read:?}");
        let refused = acme.sql(node, Some(&ro), "insert into t values (2)");
        assert_eq!((refused.status, code(&refused)), (200, "SQLITE_READONLY".into()));
        let others = other.sql(node, Some(&full), "select 1");
        assert_eq!(others.status, 403, "{others:?}");
    }
}

#[test]
fn all_tokens_of_a_tenant_are_revoked_on_every_node_and_new_ones_work_at_once() {
    let mut cluster = Cluster::start_with_certificates();
    let acme = Door::of_new_tenant(&cluster, "acme");
    let other = Door::of_new_tenant(&cluster, "other");
    let operator = cluster.operator();
    let (old, kept) = (operator.token("acme", "full"), operator.token("other", "full"));
    for node in 0..NODES {
        assert_eq!(acme.refusal(node, &old), "");
    }
    let watchers: Vec<_> = (0..NODES)
        .map(|node| {
            let (door, token) = (acme.clone(), old.clone());
            thread::spawn(move || {
                let deadline = Instant::now() + PATIENCE;
                while Instant::now() < deadline {
                    match door.refusal(node, &token).as_str() {
                        "" => {}
                        "token-revoked" => return Instant::now(),
                        other => panic!("node {node}: {other}"),
                    }
                }
                panic!("node {node} did not refuse the token in time")
            })
        })
        .collect();
    let revoked = cluster.ctl(&["token", "revoke-all", "acme"]);
    let returned = Instant::now();
    assert_eq!(revoked["token_generation"], 1, "{revoked}");
    // Signed after the revocation: good whether or not a node has heard of it.
    let new = operator.token("acme", "full");
    for node in 0..NODES {
        assert_eq!(acme.refusal(node, &new), "");
    }
    for (node, watcher) in watchers.into_iter().enumerate() {
        let refused = watcher.join().unwrap();
        eprintln!(
            "node {}: first refusal {:?} after the command returned",
            node + 1,
            refused.saturating_duration_since(returned)
        );
    }
    let events = cluster.ctl(&["events", "watch", "--all", "--kind", "tokens-revoked", "--limit", "1"]);
    assert_eq!(
        (&events["tenant"], &events["detail"]["generation"]),
        (&"acme".into(), &1.into())
    );

    // What a node has heard it also knows after a crash, with nobody to ask.
    cluster.members.iter_mut().for_each(|member| member.kill());
    cluster.nodes[0].kill();
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_ready();
    for node in 0..NODES {
        assert_eq!(acme.refusal(node, &old), "token-revoked");
        assert_eq!(acme.refusal(node, &new), "");
        assert_eq!(other.refusal(node, &kept), "");
    }
}

/// Runs `step` in a thread until told to stop, and counts.
struct Busy {
    stop: Arc<AtomicBool>,
    steps: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Busy {
    fn start(mut step: impl FnMut() + Send + 'static) -> Self {
        let (stop, steps) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stop_, steps_) = (Arc::clone(&stop), Arc::clone(&steps));
        let thread = thread::spawn(move || {
            while !stop_.load(Ordering::Acquire) {
                step();
                steps_.fetch_add(1, Ordering::AcqRel);
            }
        });
        Self { stop, steps, thread }
    }

    /// It ends early only when a request failed.
    fn goes_on(&self) -> bool {
        !self.thread.is_finished()
    }

    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("no request failed");
        self.steps.load(Ordering::Acquire)
    }
}

#[test]
fn keys_rotate_under_load_without_a_refusal_and_tokens_outlive_the_control_plane() {
    let mut cluster = Cluster::start_with_certificates();
    let acme = Door::of_new_tenant(&cluster, "acme");
    let operator = cluster.operator();
    let old = operator.token("acme", "full");
    let keys = cluster.ctl(&["token", "key", "list"]);
    let old_key = keys[0]["key_id"].as_str().unwrap().to_owned();
    assert_eq!(keys[0]["phase"], "signing", "{keys}");
    let refused = operator.try_ctl(&["token", "key", "retire", &old_key]).unwrap_err();
    assert!(refused.contains("signs new tokens"), "{refused}");

    let with_old = {
        let (door, token) = (acme.clone(), old.clone());
        Busy::start(move || (0..NODES).for_each(|node| assert_eq!(door.refusal(node, &token), "")))
    };
    let by_new_key = Arc::new(AtomicUsize::new(0));
    let with_fresh = {
        let (door, operator, old, by_new_key) =
            (acme.clone(), cluster.operator(), old.clone(), Arc::clone(&by_new_key));
        Busy::start(move || {
            let fresh = operator.token("acme", "ro");
            (0..NODES).for_each(|node| assert_eq!(door.refusal(node, &fresh), ""));
            if header(&fresh) != header(&old) {
                by_new_key.fetch_add(1, Ordering::AcqRel);
            }
        })
    };
    let added = cluster.ctl(&["token", "key", "rotate", "--after", "2s"]);
    assert_ne!(added[0]["key_id"], old_key.as_str());
    until("fresh tokens to be signed by the new key", PATIENCE, || {
        assert!(with_old.goes_on() && with_fresh.goes_on(), "a request failed");
        by_new_key.load(Ordering::Acquire) >= 5
    });
    let (old_requests, fresh_tokens) = (with_old.finish(), with_fresh.finish());
    eprintln!(
        "no refusal in {} requests with the old token and {} with {fresh_tokens} fresh ones, {} of them by the new key",
        old_requests * NODES,
        fresh_tokens * NODES,
        by_new_key.load(Ordering::Acquire)
    );
    let phases: Vec<Value> = cluster.ctl(&["token", "key", "list"]).as_array().unwrap().clone();
    let phases: Vec<_> = phases.iter().map(|key| key["phase"].clone()).collect();
    assert_eq!(phases, ["superseded", "signing"]);

    let new = operator.token("acme", "full");
    let _ = cluster.ctl(&["token", "key", "retire", &old_key]);
    for node in 0..NODES {
        acme.wait_until_refused(node, &old, "token-key-unknown");
        assert_eq!(acme.refusal(node, &new), "");
    }

    cluster.members.iter_mut().for_each(|member| member.kill());
    for node in 0..NODES {
        assert_eq!(acme.refusal(node, &new), "");
    }
    cluster.nodes[1].kill();
    cluster.nodes[1].start();
    cluster.nodes[1].wait_until_ready();
    for node in 0..NODES {
        assert_eq!(acme.refusal(node, &new), "");
        assert_eq!(acme.refusal(node, &old), "token-key-unknown");
    }
}
