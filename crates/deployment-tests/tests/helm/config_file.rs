//! The configuration file that the chart writes, and what a change of it restarts.

use std::fs;

use serde_json::Value;

use crate::chart::{RELEASE, render};
use crate::helm_program::Helm;
use crate::manifests::text;

/// The pod templates of members and of nodes.
fn templates(helm: &Helm, options: &[&str]) -> [Value; 2] {
    let rendered = render(helm, "templates", options);
    ["control-plane", "node"].map(|component| {
        let name = format!("{RELEASE}-tenantry-{component}");
        rendered.manifests.find("StatefulSet", &name).unwrap()["spec"]["template"].clone()
    })
}

/// A change of options restarts pods; scaling and a join token restart nobody who runs.
#[test]
fn only_a_change_of_options_changes_pods() {
    for helm in Helm::all("only_a_change_of_options_changes_pods") {
        let [members, nodes] = templates(&helm, &[]);
        let five = [
            "--set",
            "controlPlane.replicas=5,node.replicas=9",
            "--set-string",
            "controlPlane.joinToken=0123456789abcdef",
        ];
        assert_eq!(templates(&helm, &five), [members.clone(), nodes.clone()]);
        let [changed, same] = templates(&helm, &["--set", "controlPlane.config.snapshot_every=1234567"]);
        assert_eq!(same, nodes);
        assert_ne!(changed, members);
        let [same, changed] = templates(&helm, &["--set", "node.config.max_tenants=1234567"]);
        assert_eq!(same, members);
        assert_ne!(changed, nodes);
    }
}

/// Numbers stay whole, however large and however they were given; texts are quoted; lists are lists.
#[test]
fn options_become_toml() {
    let given = tempfile::NamedTempFile::new().unwrap();
    let values = concat!(
        "node:\n  config:\n    whole: 10000000000\n    zero: 0\n    switch: true\n",
        "    path: 'C:\\ \"é\"'\n    list: [a, b]\n    numbers: [5000, 30000]\n"
    );
    fs::write(given.path(), values).unwrap();
    let file = given.path().display().to_string();
    for helm in Helm::all("options_become_toml") {
        let rendered = render(
            &helm,
            "toml",
            &["--values", &file, "--set", "node.config.from_flag=1234567"],
        );
        let name = format!("{}-tenantry-node", RELEASE);
        let map = rendered.manifests.find("ConfigMap", &name).unwrap();
        let read: toml::Table = toml::from_str(text(&map["data"]["config.toml"])).unwrap();
        let wanted: toml::Table = toml::from_str(concat!(
            "whole = 10000000000\nzero = 0\nswitch = true\npath = 'C:\\ \"é\"'\n",
            "list = ['a', 'b']\nnumbers = [5000, 30000]\nfrom_flag = 1234567\n"
        ))
        .unwrap();
        assert_eq!(read, wanted, "Helm {}", helm.version);
    }
}
