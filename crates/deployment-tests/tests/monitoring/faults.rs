//! A cluster is broken, and the alerts that wake somebody fire; it is mended, and they end.
//!
//! They fire after a second here, and not after minutes: how long they wait is tested with `promtool`.

use std::net::SocketAddr;
use std::time::Duration;

use process_tests::Prometheus;
use process_tests::{skip, value_of};

use crate::prometheus::{self, Waits};
use crate::traffic::BusyCluster;

const PATIENCE: Duration = Duration::from_secs(90);

/// Waits until as many alerts of a name fire.
fn wait_for(prometheus: &Prometheus, alert: &str, labels: &str, count: usize) {
    let firing = format!("ALERTS{{alertname=\"{alert}\", alertstate=\"firing\"{labels}}}");
    value_of(&format!("{count} of {firing}"), PATIENCE, || {
        let found = prometheus.count(&firing)?;
        if found == count { Ok(()) } else { Err(found.to_string()) }
    });
}

#[test]
fn a_dead_node_and_a_dead_majority_wake_somebody_until_they_are_back() {
    let mut busy = BusyCluster::start();
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = prometheus::start(folder.path(), &busy.cluster, Waits::Short) else {
        return skip(
            "a_dead_node_and_a_dead_majority_wake_somebody_until_they_are_back",
            "prometheus is not installed",
        );
    };
    let owner = busy.owner;
    let at = |ops: SocketAddr| format!(", instance=\"{ops}\"");
    let (dead, other) = (at(busy.cluster.nodes[owner].ops), at(busy.cluster.nodes[1 - owner].ops));
    value_of("a scraped cluster that is well", PATIENCE, || {
        let forwarding =
            format!("instance:tenantry_node_forward_failures:ratio_rate5m{{job=\"tenantry-node\"{other}}} == 0");
        let forwarding = prometheus.count(&forwarding)?;
        let woken = prometheus.count("ALERTS{alertstate=\"firing\", severity=\"critical\"}")?;
        if (forwarding, woken) == (1, 0) {
            Ok(())
        } else {
            Err(format!("{forwarding} of 1 forwards, {woken} alerts"))
        }
    });

    busy.cluster.nodes[owner].kill();
    wait_for(&prometheus, "TenantryNodeDown", &dead, 1);
    wait_for(&prometheus, "TenantryForwardingFails", &other, 1);
    wait_for(&prometheus, "TenantryNodeDown", &other, 0);
    busy.cluster.nodes[owner].start();
    busy.cluster.nodes[owner].wait_until_ready();
    wait_for(&prometheus, "TenantryNodeDown", "", 0);

    let leader = busy.cluster.leader(None);
    let lost = [leader, (leader + 1) % 3];
    for member in lost {
        busy.cluster.members[member].kill();
    }
    wait_for(&prometheus, "TenantryMemberDown", "", 2);
    wait_for(&prometheus, "TenantryNoLeader", "", 1);
    for member in lost {
        busy.cluster.members[member].start();
    }
    for member in lost {
        busy.cluster.members[member].wait_until_ready();
    }
    wait_for(&prometheus, "TenantryMemberDown", "", 0);
    wait_for(&prometheus, "TenantryNoLeader", "", 0);
    wait_for(&prometheus, "TenantryNodesNotFollowing", "", 0);
}
