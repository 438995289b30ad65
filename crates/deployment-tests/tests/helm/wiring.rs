//! What points at something finds it: probes at ports, Services, budgets, policies and monitors at pods.

use serde_json::Value;

use crate::chart::{Rendered, renderings};
use crate::manifests::{items, named, text};

#[test]
fn probes_ask_the_ops_port_and_tell_live_from_ready() {
    for rendered in renderings("probes_ask_the_ops_port_and_tell_live_from_ready") {
        let mut seen = 0;
        for pod in rendered.manifests.pods() {
            for container in items(&pod.spec["containers"]) {
                let ops = match text(&container["name"]) {
                    "control-plane" => 7411,
                    "tenant-node" => 8411,
                    _ => continue,
                };
                seen += 1;
                for (probe, path) in [
                    ("startupProbe", "/livez"),
                    ("livenessProbe", "/livez"),
                    ("readinessProbe", "/readyz"),
                ] {
                    let asked = &container[probe]["httpGet"];
                    assert_eq!(asked["path"], path, "{}: {}: {probe}", rendered.name, pod.name);
                    assert_eq!(
                        pod.port(&asked["port"]),
                        Some(ops),
                        "{}: {}: {probe}",
                        rendered.name,
                        pod.name
                    );
                }
                let startup = &container["startupProbe"];
                let patience =
                    startup["periodSeconds"].as_u64().unwrap() * startup["failureThreshold"].as_u64().unwrap();
                assert!(
                    patience >= 300,
                    "{}: a member may read its log for minutes",
                    rendered.name
                );
            }
        }
        assert_eq!(seen, 2, "{}", rendered.name);
    }
}

#[test]
fn services_find_pods_and_their_ports() {
    for rendered in renderings("services_find_pods_and_their_ports") {
        let manifests = &rendered.manifests;
        assert_eq!(manifests.of_kind("Service").count(), 4, "{}", rendered.name);
        for service in manifests.of_kind("Service") {
            let name = format!("{}: {}", rendered.name, named(service));
            let pods = manifests.selected(&service["spec"]["selector"]);
            let names: Vec<&String> = pods.iter().map(|pod| &pod.name).collect();
            assert_eq!(pods.len(), 1, "{name} finds {names:?}");
            for port in items(&service["spec"]["ports"]) {
                assert!(pods[0].port(&port["targetPort"]).is_some(), "{name}: {port}");
            }
            let headless = service["spec"]["clusterIP"] == "None";
            assert_eq!(
                headless,
                text(&service["metadata"]["name"]).ends_with("-headless"),
                "{name}"
            );
            assert_eq!(service["spec"]["publishNotReadyAddresses"] == true, headless, "{name}");
        }
        for set in manifests.of_kind("StatefulSet") {
            let service = manifests.find("Service", text(&set["spec"]["serviceName"]));
            assert_eq!(service.unwrap()["spec"]["clusterIP"], "None", "{}", rendered.name);
            assert_eq!(set["spec"]["podManagementPolicy"], "Parallel", "{}", rendered.name);
            assert_eq!(
                set["spec"]["persistentVolumeClaimRetentionPolicy"]["whenScaled"], "Retain",
                "{}",
                rendered.name
            );
            let selector = &set["spec"]["selector"]["matchLabels"];
            assert_eq!(manifests.selected(selector).len(), 1, "{}", rendered.name);
        }
    }
}

#[test]
fn budgets_allow_one_at_a_time_of_pods_that_exist() {
    for rendered in renderings("budgets_allow_one_at_a_time_of_pods_that_exist") {
        let wanted = if rendered.name.starts_with("minimal") { 0 } else { 2 };
        assert_eq!(
            rendered.manifests.of_kind("PodDisruptionBudget").count(),
            wanted,
            "{}",
            rendered.name
        );
        for budget in rendered.manifests.of_kind("PodDisruptionBudget") {
            assert_eq!(budget["spec"]["maxUnavailable"], 1, "{}", rendered.name);
            let pods = rendered.manifests.selected(&budget["spec"]["selector"]["matchLabels"]);
            assert_eq!(pods.len(), 1, "{}: {}", rendered.name, named(budget));
        }
    }
}

#[test]
fn pods_keep_apart_unless_told_otherwise() {
    for rendered in renderings("pods_keep_apart_unless_told_otherwise") {
        for set in rendered.manifests.of_kind("StatefulSet") {
            let name = format!("{}: {}", rendered.name, named(set));
            let spec = &set["spec"]["template"]["spec"];
            let apart = &spec["affinity"]["podAntiAffinity"];
            let soft = &apart["preferredDuringSchedulingIgnoredDuringExecution"][0]["podAffinityTerm"];
            let hard = &apart["requiredDuringSchedulingIgnoredDuringExecution"][0];
            let (wanted, other) = if rendered.name.starts_with("ha") {
                (hard, soft)
            } else {
                (soft, hard)
            };
            assert!(other.is_null(), "{name}");
            if rendered.name.starts_with("minimal") || rendered.name.starts_with("extra") {
                assert!(wanted.is_null(), "{name}");
                continue;
            }
            assert_eq!(wanted["topologyKey"], "kubernetes.io/hostname", "{name}");
            assert_eq!(
                rendered
                    .manifests
                    .selected(&wanted["labelSelector"]["matchLabels"])
                    .len(),
                1,
                "{name}"
            );
            let spread = &spec["topologySpreadConstraints"][0];
            assert_eq!(spread["topologyKey"], "topology.kubernetes.io/zone", "{name}");
            assert_eq!(
                rendered
                    .manifests
                    .selected(&spread["labelSelector"]["matchLabels"])
                    .len(),
                1,
                "{name}"
            );
        }
    }
}

/// Every port that a pod has is let in by its policy, by number, and no other.
#[test]
fn network_policies_let_in_the_ports_that_pods_have() {
    for rendered in renderings("network_policies_let_in_the_ports_that_pods_have") {
        if rendered.name.starts_with("minimal") {
            assert_eq!(rendered.manifests.of_kind("NetworkPolicy").count(), 0);
            continue;
        }
        for pod in rendered.manifests.pods() {
            let policies = rendered.manifests.of_kind("NetworkPolicy").filter(|policy| {
                let found = rendered
                    .manifests
                    .selected(&policy["spec"]["podSelector"]["matchLabels"]);
                found.iter().any(|other| other.name == pod.name)
            });
            let policies: Vec<&Value> = policies.collect();
            let name = format!("{}: {}", rendered.name, pod.name);
            assert_eq!(policies.len(), 1, "{name}");
            let rules = items(&policies[0]["spec"]["ingress"]).iter();
            let mut admitted: Vec<u64> = rules
                .flat_map(|rule| items(&rule["ports"]))
                .map(|port| {
                    port["port"]
                        .as_u64()
                        .expect("a number, as policies of names are not understood everywhere")
                })
                .collect();
            let mut open: Vec<u64> = pod.ports().into_iter().map(|(_, number)| number).collect();
            admitted.sort_unstable();
            open.sort_unstable();
            assert_eq!(admitted, open, "{name}");
        }
        peers_exist(&rendered);
    }
}

/// Who is named by a policy of this chart is in this chart, apart from those that values name.
fn peers_exist(rendered: &Rendered) {
    for policy in rendered.manifests.of_kind("NetworkPolicy") {
        let (ingress, egress) = (items(&policy["spec"]["ingress"]), items(&policy["spec"]["egress"]));
        let peers = ingress.iter().flat_map(|rule| items(&rule["from"]));
        for peer in peers.chain(egress.iter().flat_map(|rule| items(&rule["to"]))) {
            let labels = &peer["podSelector"]["matchLabels"];
            if labels["app.kubernetes.io/component"].is_null() || labels["app.kubernetes.io/component"] == "operator" {
                continue;
            }
            assert_eq!(
                rendered.manifests.selected(labels).len(),
                1,
                "{}: {labels}",
                rendered.name
            );
        }
    }
}

#[test]
fn only_nodes_reach_the_peer_port_and_only_the_control_planes_friends_reach_grpc() {
    for rendered in renderings("only_nodes_reach_the_peer_port_and_only_the_control_planes_friends_reach_grpc") {
        for policy in rendered.manifests.of_kind("NetworkPolicy") {
            for rule in items(&policy["spec"]["ingress"]) {
                let port = rule["ports"][0]["port"].as_u64().unwrap();
                let components: Vec<&str> = items(&rule["from"])
                    .iter()
                    .filter_map(|peer| peer["podSelector"]["matchLabels"]["app.kubernetes.io/component"].as_str())
                    .collect();
                match port {
                    8421 => assert_eq!(components, ["node"], "{}", rendered.name),
                    7401 => assert_eq!(components, ["control-plane", "node", "operator"], "{}", rendered.name),
                    8401 | 7411 | 8411 => {}
                    other => panic!("{}: {other}", rendered.name),
                }
            }
        }
    }
}
