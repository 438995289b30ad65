//! Every pod passes the Pod Security Standard `restricted`, has bounds, and learns no secret by its environment.

use serde_json::{Value, json};

use crate::chart::renderings;
use crate::manifests::{PodOwner, items, text};

/// The volumes that `restricted` allows.
const VOLUMES: [&str; 8] = [
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

#[test]
fn every_pod_passes_the_restricted_standard() {
    let mut pods = 0;
    for rendered in renderings("every_pod_passes_the_restricted_standard") {
        for pod in rendered.manifests.pods() {
            pods += 1;
            let name = format!("{}: {}", rendered.name, pod.name);
            let security = &pod.spec["securityContext"];
            assert_eq!(security["runAsNonRoot"], true, "{name}");
            assert_eq!(security["runAsUser"], 65532, "{name}");
            assert_eq!(security["fsGroup"], 65532, "{name}");
            assert_eq!(security["seccompProfile"]["type"], "RuntimeDefault", "{name}");
            assert_eq!(pod.spec["automountServiceAccountToken"], false, "{name}");
            assert_eq!(pod.spec["enableServiceLinks"], false, "{name}");
            for host in ["hostNetwork", "hostPID", "hostIPC", "hostUsers"] {
                assert_eq!(pod.spec[host], Value::Null, "{name}: {host}");
            }
            for volume in items(&pod.spec["volumes"]) {
                let kind = volume.as_object().unwrap().keys().find(|key| *key != "name").unwrap();
                assert!(VOLUMES.contains(&kind.as_str()), "{name}: {kind}");
            }
            containers_are_restricted(&name, &pod);
        }
    }
    eprintln!("{pods} pods");
}

fn containers_are_restricted(name: &str, pod: &PodOwner<'_>) {
    assert!(pod.containers().count() > 0, "{name}");
    for container in pod.containers() {
        let name = format!("{name}: {}", text(&container["name"]));
        let security = &container["securityContext"];
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["runAsNonRoot"], true, "{name}");
        assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}), "{name}");
        assert_ne!(security["privileged"], true, "{name}");
        for port in items(&container["ports"]) {
            assert_eq!(port["hostPort"], Value::Null, "{name}");
        }
        for bound in ["requests", "limits"] {
            for resource in ["cpu", "memory"] {
                assert!(
                    container["resources"][bound][resource].is_string(),
                    "{name}: {bound} {resource}"
                );
            }
        }
        let image = text(&container["image"]);
        let last = image.rsplit('/').next().unwrap();
        assert!(
            last.contains([':', '@']) && !last.ends_with(":latest"),
            "{name}: {image}"
        );
    }
}

/// Certificates and keys are files; the environment only names them.
#[test]
fn no_secret_is_in_an_environment() {
    for rendered in renderings("no_secret_is_in_an_environment") {
        assert!(!rendered.manifests.pods().is_empty());
        for pod in rendered.manifests.pods() {
            for container in pod.containers() {
                let name = format!("{}: {}: {}", rendered.name, pod.name, text(&container["name"]));
                for from in items(&container["envFrom"]) {
                    assert_eq!(from["secretRef"], Value::Null, "{name}");
                }
                for variable in items(&container["env"]) {
                    assert_eq!(variable["valueFrom"]["secretKeyRef"], Value::Null, "{name}: {variable}");
                    assert!(!text(&variable["value"]).contains("-----BEGIN"), "{name}: {variable}");
                }
            }
            for volume in items(&pod.spec["volumes"]) {
                if volume["secret"].is_object() {
                    assert_eq!(volume["secret"]["defaultMode"], 0o440, "{}: {volume}", pod.name);
                }
            }
        }
    }
}
