//! What a pod mounts or reads is rendered with it, or is somebody else's by design.

use serde_json::Value;

use crate::chart::{Rendered, renderings};
use crate::manifests::{PodOwner, items, text};

/// Objects that a case's values name and others keep.
fn external(case: &str) -> &'static [&'static str] {
    match case {
        "existing-secrets" => &["members-identity", "nodes-identity", "operators-identity"],
        "everything" => &["records"],
        _ => &[],
    }
}

#[test]
fn what_pods_read_is_there() {
    for rendered in renderings("what_pods_read_is_there") {
        for pod in rendered.manifests.pods() {
            volumes_have_sources(&rendered, &pod);
            mounts_have_volumes(&rendered, &pod);
            for container in pod.containers() {
                for variable in items(&container["env"]) {
                    let from = &variable["valueFrom"]["configMapKeyRef"];
                    if from.is_object() {
                        assert!(
                            is_there(&rendered, "ConfigMap", text(&from["name"])),
                            "{}: {variable}",
                            rendered.name
                        );
                    }
                }
            }
            service_account_is_there(&rendered, &pod);
        }
    }
}

fn volumes_have_sources(rendered: &Rendered, pod: &PodOwner<'_>) {
    for volume in items(&pod.spec["volumes"]) {
        for (kind, name) in [
            ("ConfigMap", &volume["configMap"]["name"]),
            ("Secret", &volume["secret"]["secretName"]),
            ("PersistentVolumeClaim", &volume["persistentVolumeClaim"]["claimName"]),
        ] {
            if let Some(name) = name.as_str() {
                assert!(
                    is_there(rendered, kind, name),
                    "{}: {}: {kind} {name}",
                    rendered.name,
                    pod.name
                );
            }
        }
    }
}

fn is_there(rendered: &Rendered, kind: &str, name: &str) -> bool {
    let case = rendered.name.split(' ').next().unwrap();
    let made_by_cert_manager = kind == "Secret"
        && rendered
            .manifests
            .of_kind("Certificate")
            .any(|certificate| certificate["spec"]["secretName"] == name);
    rendered.manifests.find(kind, name).is_some() || made_by_cert_manager || external(case).contains(&name)
}

fn mounts_have_volumes(rendered: &Rendered, pod: &PodOwner<'_>) {
    let set = rendered
        .manifests
        .of_kind("StatefulSet")
        .find(|set| pod.name.ends_with(text(&set["metadata"]["name"])));
    let claims = set.map_or(&[][..], |set| items(&set["spec"]["volumeClaimTemplates"]));
    let claims = claims.iter().map(|claim| text(&claim["metadata"]["name"]));
    let volumes: Vec<&str> = items(&pod.spec["volumes"])
        .iter()
        .map(|volume| text(&volume["name"]))
        .chain(claims)
        .collect();
    let mut mounted = Vec::new();
    for container in pod.containers() {
        for mount in items(&container["volumeMounts"]) {
            assert!(
                volumes.contains(&text(&mount["name"])),
                "{}: {}: {mount}",
                rendered.name,
                pod.name
            );
            mounted.push(text(&mount["name"]));
        }
    }
    for volume in volumes {
        assert!(
            mounted.contains(&volume),
            "{}: {}: nothing mounts {volume}",
            rendered.name,
            pod.name
        );
    }
}

fn service_account_is_there(rendered: &Rendered, pod: &PodOwner<'_>) {
    let name = match &pod.spec["serviceAccountName"] {
        Value::Null => return,
        name => text(name),
    };
    let given = rendered.name.starts_with("existing-secrets") && name == "members";
    let none = rendered.name.starts_with("minimal") && name == "default";
    let account = rendered.manifests.find("ServiceAccount", name);
    assert!(account.is_some() || given || none, "{}: {name}", rendered.name);
    assert!(
        account.is_none_or(|account| account["automountServiceAccountToken"] == false),
        "{}: {name}",
        rendered.name
    );
}
