//! A node starts though one tenant's own log does not hold what was acknowledged, and says so wherever somebody may look.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use process_tests::{Cluster, NODES, get, value_of};

const PATIENCE: Duration = Duration::from_secs(30);

fn tenants_folder(cluster: &Cluster, tenant: &str) -> PathBuf {
    let tenant = cluster.ctl(&["tenant", "get", tenant]);
    let (node, uid) = (tenant["node"].as_str().unwrap(), tenant["uid"].as_str().unwrap());
    cluster.folder().join(node).join("tenants").join(uid)
}

fn change(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

fn wait_for_count(cluster: &Cluster, node: usize, count: &str) {
    let wanted = format!("\ntenantry_node_quarantined_tenants {count}\n");
    value_of("the number of tenants in quarantine", PATIENCE, || {
        let metrics = get(cluster.nodes[node].ops, "localhost", "/metrics").map_err(|error| error.to_string())?;
        metrics.body.contains(&wanted).then_some(()).ok_or(metrics.body)
    });
}

#[test]
fn a_node_whose_tenant_has_a_broken_log_starts_for_the_others_and_tells_of_that_one() {
    let mut cluster = Cluster::start();
    let _ = cluster.ctl(&["node", "cordon", "node-2"]);
    for tenant in ["broken", "sound"] {
        assert_eq!(cluster.create_tenant(tenant, &[]), 0);
        cluster.run(0, tenant, &["create table t (x integer primary key, y)"]);
    }
    // Too large for the node's log, and synced in the tenant's own; the next one is in the node's log, behind it.
    cluster.run(0, "broken", &["insert into t values (1, randomblob(600000))"]);
    for tenant in ["broken", "sound"] {
        cluster.run(0, tenant, &["insert into t values (2, null)"]);
    }
    let folder = tenants_folder(&cluster, "broken");
    let mark = folder.join("QUARANTINED");
    cluster.nodes[0].kill();
    change(&folder.join("db.sqlite-wal"), 32 + 50 * (24 + 4096));
    for start in 1..=2 {
        cluster.nodes[0].start();
        cluster.nodes[0].wait_until_ready();
        for node in 0..NODES {
            cluster.wait_until_served(node, "sound");
            assert_eq!(cluster.query(node, "sound", "select count(*) from t"), "1");
            let refused = cluster.sql(node, "broken", &["select count(*) from t"]).unwrap();
            assert_eq!(refused.status, 500);
            let kind = refused.problem()["type"].as_str().unwrap().to_owned();
            assert!(kind.ends_with("/database-quarantined"), "{refused:?}");
        }
        wait_for_count(&cluster, 0, "1");
        let log = cluster.nodes[0].log();
        let told: Vec<&str> = log.lines().filter(|line| line.contains("is in quarantine")).collect();
        assert_eq!(told.len(), start, "once at each start: {log}");
        assert!(
            told.iter()
                .all(|line| line.contains("db.sqlite-wal") && line.contains(mark.to_str().unwrap())),
            "{told:?}"
        );
        cluster.nodes[0].kill();
    }
    std::fs::rename(&mark, cluster.folder().join("kept")).unwrap();
    cluster.nodes[0].start();
    cluster.nodes[0].wait_until_ready();
    (0..NODES).for_each(|node| cluster.wait_until_served(node, "broken"));
    assert_eq!(cluster.query(1, "broken", "select count(*) from t"), "0");
    wait_for_count(&cluster, 0, "0");
}
