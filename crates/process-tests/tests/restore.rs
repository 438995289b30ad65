//! The control plane's record is saved, lost, and restored into a new cluster under the nodes that went on serving.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use process_tests::{Cluster, Daemon, MEMBERS, NODES, command, get, value_of};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(30);

/// Runs `control-plane restore` for a member, into `data_dir`.
fn restore(file: &Path, member: &Daemon, data_dir: &Path) -> Output {
    let mut command = command("control-plane");
    command.arg("restore").arg(file);
    command.args(["--member-id", member.argument("member-id")]);
    // By environment, as a container would.
    command.env("TENANTRY_DATA_DIR", data_dir);
    command.args(["--initial-members", member.argument("initial-members")]);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// What one member says, without the others.
fn status_at(endpoint: &str) -> Result<Value, String> {
    let output = command("tenantctl")
        .args([
            "--endpoint",
            endpoint,
            "--timeout",
            "5s",
            "-o",
            "json",
            "cluster",
            "status",
        ])
        .output()
        .map_err(|error| error.to_string())?;
    serde_json::from_slice(&output.stdout).map_err(|_| text(&output.stderr))
}

#[test]
fn a_saved_record_is_restored_into_a_new_cluster_and_nobody_of_the_old_one_takes_part() {
    let mut cluster = Cluster::start();
    let tenants = ["first", "second"];
    for tenant in tenants {
        cluster.create_tenant(tenant, &[]);
        cluster.run(0, tenant, &["create table t (x)", "insert into t values (1)"]);
    }
    let before = cluster.ctl(&["cluster", "status"]);
    assert_eq!(before["cluster_epoch"], 1);

    let file: PathBuf = cluster.folder().join("backup.snap");
    let name = file.to_str().unwrap();
    let saved = cluster.ctl(&["cluster", "snapshot", "save", name]);
    assert_eq!(saved["tenants"], 2, "{saved}");
    let inspected = cluster.ctl(&["cluster", "snapshot", "inspect", name]);
    for (field, value) in [
        ("cluster_uid", before["cluster_uid"].clone()),
        ("cluster_epoch", 1.into()),
        ("index", saved["index"].clone()),
        ("tenants", 2.into()),
        ("nodes", NODES.into()),
        ("signing_keys", 1.into()),
        ("voters", vec![1, 2, 3].into()),
    ] {
        assert_eq!(inspected[field], value, "{field}: {inspected}");
    }
    let again = cluster.try_ctl(&["cluster", "snapshot", "save", name]).unwrap_err();
    assert!(again.contains("exists already"), "{again}");
    // Everything from here on is not in the file.
    cluster.create_tenant("later", &[]);
    let revision_before = cluster.ctl(&["cluster", "status"])["members"][0]["applied_index"].as_u64();

    cluster.members.iter_mut().for_each(Daemon::kill);
    let data_dirs: Vec<PathBuf> = (1..=MEMBERS)
        .map(|id| cluster.folder().join(format!("restored-{id}")))
        .collect();
    for (member, data_dir) in cluster.members.iter().zip(&data_dirs) {
        let done = restore(&file, member, data_dir);
        assert!(done.status.success(), "{}", text(&done.stderr));
        let line = text(&done.stdout);
        assert!(
            line.contains("into epoch 2") && line.contains("2 tenants on 2 nodes"),
            "{line}"
        );
    }
    let refused = restore(&file, &cluster.members[0], &data_dirs[0]);
    assert!(!refused.status.success() && text(&refused.stderr).contains("is not empty"));
    let damaged = cluster.folder().join("damaged.snap");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let refused = restore(&damaged, &cluster.members[0], &cluster.folder().join("never"));
    assert!(
        !refused.status.success() && text(&refused.stderr).contains("damaged"),
        "{}",
        text(&refused.stderr)
    );
    let refused = cluster.try_ctl(&["cluster", "snapshot", "inspect", damaged.to_str().unwrap()]);
    assert!(refused.unwrap_err().contains("damaged"));

    // Two restored members make a majority. The third comes up with what it had before, and is not one of them.
    let old = MEMBERS - 1;
    for (index, data_dir) in data_dirs.iter().enumerate().take(old) {
        cluster.members[index].set_argument("data-dir", data_dir.to_str().unwrap());
        cluster.members[index].start();
    }
    cluster.members[old].start();
    for index in 0..old {
        cluster.members[index].wait_until_ready();
    }
    let endpoints = cluster.endpoints();
    let old_endpoint = endpoints.split(',').nth(old).unwrap();
    let apart = value_of("the old member to answer", PATIENCE, || status_at(old_endpoint));
    assert_eq!(
        (&apart["cluster_epoch"], &apart["leader_id"]),
        (&1.into(), &Value::Null),
        "{apart}"
    );
    // Nothing can be committed but by the two.
    cluster.create_tenant("new", &[]);
    let apart = status_at(old_endpoint).unwrap();
    assert_eq!(
        (&apart["cluster_epoch"], &apart["leader_id"]),
        (&1.into(), &Value::Null),
        "{apart}"
    );
    assert!(!get(cluster.members[old].ops, "localhost", "/readyz").is_ok_and(|answer| answer.status == 200));

    cluster.members[old].kill();
    cluster.members[old].set_argument("data-dir", data_dirs[old].to_str().unwrap());
    cluster.members[old].start();
    cluster.members[old].wait_until_ready();
    cluster.wait_until_members_agree();
    let after = cluster.ctl(&["cluster", "status"]);
    assert_eq!(
        (&after["cluster_uid"], &after["cluster_epoch"]),
        (&before["cluster_uid"], &2.into())
    );
    assert!(
        after["members"][0]["applied_index"].as_u64() > revision_before,
        "{after}"
    );
    let listed = cluster.ctl(&["tenant", "list"]);
    let mut names: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|tenant| tenant["name"].as_str().unwrap())
        .collect();
    names.sort_unstable();
    assert_eq!(names, ["first", "new", "second"], "{listed}");

    // The nodes follow, though they had seen more than the file holds; their data is where it was.
    for node in 0..NODES {
        for tenant in tenants {
            cluster.wait_until_served(node, tenant);
            value_of("writes to go on", PATIENCE, || {
                let answer = cluster
                    .sql(node, tenant, &["insert into t values (2)"])
                    .map_err(|error| error.to_string())?;
                if answer.status == 200 { Ok(()) } else { Err(answer.body) }
            });
        }
        value_of("what the file lacks to be gone", PATIENCE, || {
            match get(cluster.data(node), "later.localhost", "/v1/usage") {
                Ok(answer) if answer.status == 404 => Ok(()),
                Ok(answer) => Err(answer.body),
                Err(error) => Err(error.to_string()),
            }
        });
        assert!(cluster.nodes[node].log().contains("was restored from a snapshot"));
    }
    for tenant in tenants {
        let rows: u32 = cluster.query(0, tenant, "select count(*) from t").parse().unwrap();
        assert!(rows >= 3, "{rows}");
    }
}
