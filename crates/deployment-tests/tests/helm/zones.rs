//! A node's failure domain: one for all, or each machine's own where Kubernetes tells.

use serde_json::Value;

use crate::chart::render;
use crate::helm_program::Helm;
use crate::manifests::{Manifests, items};

fn zone(manifests: &Manifests) -> Option<Value> {
    let pods = manifests.pods();
    let mut containers = pods.iter().flat_map(|pod| pod.containers());
    let node = containers.find(|container| container["name"] == "tenant-node").unwrap();
    let variables: Vec<&Value> = items(&node["env"])
        .iter()
        .filter(|variable| variable["name"] == "TENANTRY_ZONE")
        .collect();
    assert!(variables.len() <= 1, "{variables:?}");
    variables.first().map(|variable| (*variable).clone())
}

#[test]
fn a_node_is_told_its_zone_or_reads_it_from_its_machine() {
    for helm in Helm::all("a_node_is_told_its_zone_or_reads_it_from_its_machine") {
        assert_eq!(zone(&render(&helm, "none", &[]).manifests), None);
        let given = zone(&render(&helm, "given", &["--set", "node.zone=north"]).manifests);
        assert_eq!(given.unwrap()["value"], "north");
        let options = ["--set", "node.zoneFromLabel=true", "--kube-version", "1.35.0"];
        let read = zone(&render(&helm, "read", &options).manifests).unwrap();
        assert_eq!(
            read["valueFrom"]["fieldRef"]["fieldPath"],
            "metadata.labels['topology.kubernetes.io/zone']"
        );
    }
}
