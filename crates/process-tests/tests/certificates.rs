//! Real programs with certificates: who may call what, who is not let in, and certificates that are exchanged while all runs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use process_tests::{
    Cluster, Daemon, certificate_flags, command, create_certificates, execute, get, pipeline, post, until, value_of,
};
use serde_json::json;

const PATIENCE: Duration = Duration::from_secs(60);

/// What `tenantctl` writes to stderr when it calls with the certificate in `folder`; nothing when it is answered.
fn refusal(cluster: &Cluster, folder: Option<&Path>, arguments: &[&str]) -> String {
    let mut tenantctl = command("tenantctl");
    tenantctl.args(["--endpoint", &cluster.endpoints(), "--timeout", "3s"]);
    if let Some(folder) = folder {
        tenantctl.args(certificate_flags(folder));
    }
    let output = tenantctl.args(arguments).output().unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn each_role_may_make_its_calls_and_nobody_else_gets_in() {
    let cluster = Cluster::start_with_certificates();
    let role = |name: &str| cluster.folder().join("certificates").join(name);
    let list = ["tenant", "list"];
    assert_eq!(refusal(&cluster, Some(&role("operator")), &list), "");
    assert_eq!(refusal(&cluster, Some(&role("control-plane")), &list), "");
    // tenantctl itself refuses to pose as a node.
    let posing = refusal(&cluster, Some(&role("tenant-node")), &list);
    assert!(posing.contains("without the DNS name operator.tenantry"), "{posing}");
    let plain = refusal(&cluster, None, &list);
    assert!(plain.contains("unavailable") || plain.contains("no member"), "{plain}");
    let others = tempfile::tempdir().unwrap();
    create_certificates(others.path());
    let stranger = refusal(&cluster, Some(&others.path().join("operator")), &list);
    assert!(stranger.contains("certificate"), "{stranger}");
    // Figures and probes are for everybody who reaches the port.
    for daemon in cluster.members.iter().chain(&cluster.nodes) {
        assert_eq!(get(ops(daemon), "localhost", "/readyz").unwrap().status, 200);
    }
}

fn ops(daemon: &Daemon) -> SocketAddr {
    daemon.argument("ops-listen").parse().unwrap()
}

/// When a program says that its certificate ends.
fn expiry(ops: SocketAddr, series: &str) -> Result<f64, String> {
    let answer = get(ops, "localhost", "/metrics").map_err(|error| error.to_string())?;
    let line = answer
        .body
        .lines()
        .find(|line| line.starts_with(series))
        .map(str::to_owned);
    let line = line.ok_or_else(|| format!("no {series}"))?;
    let value = line.rsplit(' ').next().unwrap_or_default();
    value.parse().map_err(|_| line)
}

#[test]
fn an_authority_is_replaced_while_all_runs() {
    let mut cluster = Cluster::start_with_certificates();
    let _ = cluster.ctl(&["tenant", "create", "acme", "--tier", "small"]);
    let token = cluster.operator().token("acme", "full");
    let write = |cluster: &Cluster| -> Result<(), String> {
        let sql = "create table if not exists note (text); insert into note values ('kept')";
        let body = pipeline(&[
            json!({"type": "sequence", "sql": sql}),
            execute("select count(*) from note"),
        ]);
        // By both nodes: one of them has to forward.
        for node in 0..2 {
            let bearer = format!("Bearer {token}");
            let headers = [
                ("host", "acme.localhost"),
                ("content-type", "application/json"),
                ("authorization", &bearer),
            ];
            let answer =
                post(cluster.data(node), "/v3/pipeline", &headers, &body).map_err(|error| error.to_string())?;
            if answer.status != 200 {
                return Err(answer.body);
            }
        }
        Ok(())
    };
    value_of("the tenant to be served", PATIENCE, || write(&cluster));

    // Believe both authorities, then be of the new one, then forget the old one. Each step is one that everybody can take at
    // another moment.
    let folder = cluster.folder().join("certificates");
    let new = tempfile::tempdir().unwrap();
    create_certificates(new.path());
    let roles = ["control-plane", "tenant-node", "operator"];
    let (old_root, new_root) = (
        fs::read(folder.join("ca.crt")).unwrap(),
        fs::read(new.path().join("ca.crt")).unwrap(),
    );
    let exchange = |role: &str, file: &str, bytes: &[u8]| {
        let path = folder.join(role).join(file);
        let beside = path.with_extension("new");
        fs::write(&beside, bytes).unwrap();
        fs::rename(beside, path).unwrap();
    };
    let before = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
    for role in roles {
        exchange(role, "ca.crt", &[old_root.clone(), new_root.clone()].concat());
    }
    for daemon in cluster.members.iter().chain(&cluster.nodes) {
        until("the second authority to be believed", PATIENCE, || {
            daemon.log().contains("other certificates are in use")
        });
    }
    value_of("everything to work with both", PATIENCE, || write(&cluster));
    let renewed = command("tenantctl")
        .args(["certificates", "renew", "--days", "700", "--out"])
        .arg(new.path())
        .status();
    assert!(renewed.unwrap().success());
    for role in roles {
        for file in ["tls.key", "tls.crt"] {
            exchange(role, file, &fs::read(new.path().join(role).join(file)).unwrap());
        }
    }
    let far = before + 600.0 * 86_400.0;
    for daemon in &cluster.members {
        until("the member's certificate to be the new one", PATIENCE, || {
            expiry(ops(daemon), "tenantry_control_certificate_expiry_timestamp_seconds").is_ok_and(|end| end > far)
        });
    }
    for daemon in &cluster.nodes {
        until("the node's certificate to be the new one", PATIENCE, || {
            expiry(ops(daemon), "tenantry_node_certificate_expiry_timestamp_seconds").is_ok_and(|end| end > far)
        });
    }
    for role in roles {
        exchange(role, "ca.crt", &new_root);
    }
    value_of("everything to work with the new one", PATIENCE, || write(&cluster));

    // All connections anew: nothing of the old authority is left.
    for member in 0..cluster.members.len() {
        cluster.members[member].kill();
        cluster.members[member].start();
        cluster.members[member].wait_until_ready();
    }
    for node in 0..cluster.nodes.len() {
        cluster.nodes[node].kill();
        cluster.nodes[node].start();
        cluster.nodes[node].wait_until_ready();
    }
    value_of("the tenant to be served again", PATIENCE, || write(&cluster));
    assert!(cluster.try_ctl(&["tenant", "list"]).is_ok());
}
