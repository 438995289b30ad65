//! The time that Kubernetes gives a pod to end is no shorter than what the program takes.

use crate::chart::{render, renderings, template};
use crate::helm_program::Helm;
use crate::manifests::{Manifests, items, text};

/// Beyond notice and drain: 5 s for its tasks, 10 s to close databases and for the runtime.
const CLOSING_MS: u64 = 15_000;
/// Within which a member has handed leadership over and ended.
const MEMBER_MS: u64 = 20_000;

/// Grace period, stop notice and drain of the nodes, in milliseconds.
fn of_nodes(manifests: &Manifests) -> (u64, u64, u64) {
    let pods = manifests.pods();
    let container = |name| {
        let found = pods.iter().find_map(|pod| {
            let container = pod.containers().find(|container| container["name"] == name)?;
            Some((pod, container))
        });
        found.unwrap()
    };
    let (pod, node) = container("tenant-node");
    let given = |name| {
        let variable = items(&node["env"])
            .iter()
            .find(|variable| variable["name"] == name)
            .unwrap();
        text(&variable["value"]).parse::<u64>().unwrap()
    };
    let grace = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap() * 1_000;
    (grace, given("TENANTRY_STOP_NOTICE_MS"), given("TENANTRY_DRAIN_MS"))
}

#[test]
fn pods_have_the_time_that_they_need_to_end() {
    for rendered in renderings("pods_have_the_time_that_they_need_to_end") {
        let (grace, notice, drain) = of_nodes(&rendered.manifests);
        assert!(
            grace >= notice + drain + CLOSING_MS,
            "{}: {grace} {notice} {drain}",
            rendered.name
        );
        assert!(
            notice >= 5_000,
            "{}: load balancers take seconds to learn that a pod ends",
            rendered.name
        );
        for pod in rendered.manifests.pods() {
            if pod.labels["app.kubernetes.io/component"] == "control-plane" {
                let grace = pod.spec["terminationGracePeriodSeconds"].as_u64().unwrap() * 1_000;
                assert!(grace > MEMBER_MS, "{}: {grace}", rendered.name);
            }
        }
    }
}

#[test]
fn the_grace_period_follows_notice_and_drain() {
    for helm in Helm::all("the_grace_period_follows_notice_and_drain") {
        for (set, wanted) in [
            ("node.drainMs=10000", 30_000),
            ("node.drainMs=60000", 80_000),
            // Parts of a second count as one.
            ("node.drainMs=10001", 31_000),
            ("node.drainMs=60000,node.stopNoticeMs=20000", 95_000),
            ("node.lifecycle.preStop.sleep.seconds=7", 37_000),
            ("node.terminationGracePeriodSeconds=30", 30_000),
        ] {
            let rendered = render(&helm, set, &["--set", set]);
            assert_eq!(of_nodes(&rendered.manifests).0, wanted, "{}", rendered.name);
        }
        for set in [
            "node.terminationGracePeriodSeconds=29",
            "node.terminationGracePeriodSeconds=60,node.drainMs=50000",
            "node.terminationGracePeriodSeconds=30,node.lifecycle.preStop.sleep.seconds=1",
            "controlPlane.terminationGracePeriodSeconds=24",
        ] {
            let refused = template(&helm, &["--set", set]).expect_err(set);
            assert!(refused.contains("too short"), "{set}: {refused}");
        }
    }
}
