//! Values that cannot work are refused before anything is installed: by the schema, or by a template in words.

use std::fs;

use serde_json::Value;

use crate::chart::{folder, template};
use crate::helm_program::Helm;

/// Values, and what the refusal must name.
const BY_SCHEMA: [(&str, &str); 24] = [
    ("controlPlane.replicas=abc", "replicas"),
    ("controlPlane.replicas=0", "replicas"),
    ("controlPlane.initialReplicas=2", "initialReplicas"),
    ("controlPlane.joinToken=short", "joinToken"),
    ("controlPlane.replica=5", "replica"),
    ("node.image.repository=Tenantry", "repository"),
    ("node.image.digest=sha256:12", "digest"),
    ("image.tag=latest", "tag"),
    ("image.pullPolicy=Sometimes", "pullPolicy"),
    ("tls.mode=none", "mode"),
    ("tls.certManager.issuerRef.kind=ClusterIssuer", "issuerRef"),
    ("tls.certManager.duration=90d", "duration"),
    ("hostSuffix=Example.com", "hostSuffix"),
    ("hostSuffix=*.example.com", "hostSuffix"),
    ("node.persistence.size=lots", "size"),
    ("node.persistence.accessModes={ReadWriteMany}", "accessModes"),
    ("node.resources.limits=null", "resources"),
    ("node.service.port=70000", "port"),
    ("node.config.max-tenants=5", "config"),
    ("node.config.inner.outer=1", "inner"),
    ("node.podAntiAffinity=sometimes", "podAntiAffinity"),
    ("node.livenessProbe.httpGet=x", "livenessProbe"),
    (
        "fullnameOverride=a-name-that-is-far-too-long-for-a-pod",
        "fullnameOverride",
    ),
    ("unknown=1", "unknown"),
];

const BY_TEMPLATES: [(&str, &str); 18] = [
    ("controlPlane.replicas=5", "controlPlane.joinToken"),
    ("controlPlane.replicas=1", "controlPlane.replicas"),
    ("controlPlane.config.data_dir=/data", "controlPlane.config.data_dir"),
    ("controlPlane.config.join=x", "set controlPlane.joinToken instead"),
    (
        "controlPlane.extraArgs={--listen=0.0.0.0:1}",
        "controlPlane.extraArgs --listen",
    ),
    (
        "controlPlane.extraArgs={--insecure-dev}",
        "controlPlane.extraArgs --insecure-dev",
    ),
    ("controlPlane.extraEnv[0].name=TENANTRY_MEMBER_ID", "TENANTRY_MEMBER_ID"),
    ("node.config.drain_ms=60000", "set node.drainMs instead"),
    ("node.extraArgs={--drain-ms=60000}", "set node.drainMs instead"),
    (
        "node.extraEnv[0].name=TENANTRY_STOP_NOTICE_MS",
        "set node.stopNoticeMs instead",
    ),
    ("node.extraEnv[0].name=TENANTRY_TLS_KEY", "the chart sets this option"),
    ("node.zoneFromLabel=true", "Kubernetes 1.35"),
    ("node.zoneFromLabel=true,node.zone=a", "node.zone is given, too"),
    ("tls.mode=existingSecret", "tls.existingSecret."),
    ("ingress.enabled=true", "hostSuffix"),
    ("httpRoute.enabled=true", "hostSuffix"),
    (
        "httpRoute.enabled=true,hostSuffix=db.example.com",
        "httpRoute.parentRefs",
    ),
    ("controlPlane.backup.enabled=true", "controlPlane.backup.existingClaim"),
];

#[test]
fn values_that_cannot_work_are_refused_with_their_name() {
    for helm in Helm::all("values_that_cannot_work_are_refused_with_their_name") {
        for (set, named) in BY_SCHEMA {
            let refused = template(&helm, &["--set", set]).expect_err(set);
            let by_schema = refused.contains("values don't meet the specifications of the schema");
            assert!(
                by_schema && refused.contains(named),
                "{set} (Helm {}): {refused}",
                helm.version
            );
        }
        for (set, named) in BY_TEMPLATES {
            let refused = template(&helm, &["--set", set]).expect_err(set);
            assert!(refused.contains(named), "{set} (Helm {}): {refused}", helm.version);
            assert!(!refused.contains("schema"), "{set} (Helm {}): {refused}", helm.version);
        }
    }
}

#[test]
fn a_kubernetes_that_is_too_old_is_refused() {
    let chart = folder().display().to_string();
    for helm in Helm::all("a_kubernetes_that_is_too_old_is_refused") {
        let refused = helm.run(&["template", "shop", &chart, "--kube-version", "1.27.9"]);
        assert!(refused.unwrap_err().contains("kubeVersion"), "Helm {}", helm.version);
        helm.run(&["template", "shop", &chart, "--kube-version", "1.37.1-eks-1"])
            .unwrap();
    }
}

/// The schema closes every object whose keys are the chart's own, so that a misspelt value is never passed over.
#[test]
fn the_schema_knows_each_value_and_no_other() {
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(folder().join("values.schema.json")).unwrap()).unwrap();
    let values: Value = serde_yaml_ng::from_str(&crate::chart::values()).unwrap();
    compare("values", &schema, &schema, &values);
}

fn compare(path: &str, schema: &Value, whole: &Value, values: &Value) {
    let schema = match schema["$ref"].as_str() {
        Some(reference) => whole.pointer(reference.trim_start_matches('#')).expect(reference),
        None => schema,
    };
    let (Some(properties), Some(values)) = (schema["properties"].as_object(), values.as_object()) else {
        return;
    };
    assert_eq!(schema["additionalProperties"], false, "{path} takes unknown keys");
    for (key, value) in values {
        let inner = properties
            .get(key)
            .unwrap_or_else(|| panic!("{path}.{key} is not in the schema"));
        compare(&format!("{path}.{key}"), inner, whole, value);
    }
    if path == "values" {
        for key in properties.keys().filter(|key| *key != "global") {
            assert!(values.contains_key(key), "{path}.{key} is in the schema alone");
        }
    }
}
