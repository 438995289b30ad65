//! Objects that Kubernetes has no schema of: monitors, rules, certificates, routes; and the Ingress beside them.

use serde_json::{Value, json};

use crate::chart::{Rendered, renderings};
use crate::manifests::{items, named, text};

fn of_case(case: &str) -> Vec<Rendered> {
    let all = renderings(case).into_iter();
    all.filter(|rendered| rendered.name.starts_with(&format!("{case} ")))
        .collect()
}

#[test]
fn monitors_find_the_ops_ports_and_keep_the_names_of_jobs() {
    for rendered in of_case("everything") {
        let mut jobs = Vec::new();
        for monitor in rendered.manifests.of_kind("PodMonitor") {
            assert_eq!(monitor["apiVersion"], "monitoring.coreos.com/v1");
            assert_eq!(monitor["metadata"]["labels"]["release"], "prometheus");
            let pods = rendered.manifests.selected(&monitor["spec"]["selector"]["matchLabels"]);
            assert_eq!(pods.len(), 1, "{}", named(monitor));
            let endpoint = &monitor["spec"]["podMetricsEndpoints"][0];
            assert_eq!(endpoint["path"], "/metrics");
            let port = pods[0].port(&endpoint["port"]);
            assert!(matches!(port, Some(7411 | 8411)), "{}: {port:?}", named(monitor));
            assert_eq!(endpoint["relabelings"][0]["targetLabel"], "job");
            jobs.push(text(&endpoint["relabelings"][0]["replacement"]));
            // A pod is the same instance when it comes back at another address.
            let by_name = json!({"sourceLabels": ["__meta_kubernetes_pod_name"], "targetLabel": "instance"});
            assert_eq!(endpoint["relabelings"][1], by_name, "{}", named(monitor));
        }
        jobs.sort_unstable();
        // As in deploy/prometheus/prometheus.yml.
        assert_eq!(jobs, ["tenantry-control-plane", "tenantry-node"], "{}", rendered.name);
    }
}

#[test]
fn rules_and_dashboards_are_rendered_from_the_files() {
    let files = crate::chart::folder().join("files");
    let count = |folder: &str, extension: &str| {
        let entries = std::fs::read_dir(files.join(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(extension)).count()
    };
    for rendered in of_case("everything") {
        let rules: Vec<&Value> = rendered.manifests.of_kind("PrometheusRule").collect();
        assert_eq!(rules.len(), count("rules", ".yml"), "{}", rendered.name);
        for rule in rules {
            assert!(!items(&rule["spec"]["groups"]).is_empty(), "{}", named(rule));
        }
        let maps = rendered.manifests.of_kind("ConfigMap");
        let dashboards: Vec<&Value> = maps
            .filter(|map| map["metadata"]["labels"]["grafana_dashboard"] == "1")
            .collect();
        assert_eq!(dashboards.len(), count("dashboards", ".json"), "{}", rendered.name);
        for dashboard in dashboards {
            for (name, content) in dashboard["data"].as_object().unwrap() {
                let carried = std::fs::read_to_string(files.join("dashboards").join(name)).unwrap();
                assert_eq!(text(content).trim_end(), carried.trim_end(), "{name}");
                let parsed: Value = serde_json::from_str(text(content)).unwrap();
                assert!(parsed["panels"].is_array(), "{name}");
            }
        }
    }
}

#[test]
fn cert_manager_is_asked_for_one_certificate_of_each_role() {
    for (case, issuer) in [
        (
            "cert-manager",
            json!({"group": "cert-manager.io", "kind": "Issuer", "name": "databases-ca"}),
        ),
        (
            "cert-manager-issuer",
            json!({"group": "cert-manager.io", "kind": "ClusterIssuer", "name": "internal-ca"}),
        ),
    ] {
        for rendered in of_case(case) {
            let own = case == "cert-manager";
            assert_eq!(rendered.manifests.of_kind("Issuer").count(), if own { 2 } else { 0 });
            assert_eq!(
                rendered.manifests.of_kind("Secret").count(),
                0,
                "cert-manager makes them"
            );
            let (authorities, mut roles): (Vec<&Value>, Vec<&Value>) = rendered
                .manifests
                .of_kind("Certificate")
                .partition(|certificate| certificate["spec"]["isCA"] == true);
            assert_eq!(authorities.len(), usize::from(own));
            roles.sort_by_key(|certificate| text(&certificate["spec"]["dnsNames"][0]));
            let names: Vec<&Value> = roles
                .iter()
                .map(|certificate| &certificate["spec"]["dnsNames"])
                .collect();
            let wanted = [
                json!(["control-plane.tenantry"]),
                json!(["operator.tenantry"]),
                json!(["tenant-node.tenantry"]),
            ];
            assert_eq!(names, wanted.iter().collect::<Vec<_>>());
            for certificate in roles {
                assert_eq!(certificate["spec"]["issuerRef"], issuer);
                assert_eq!(
                    certificate["spec"]["usages"],
                    json!(["digital signature", "server auth", "client auth"])
                );
            }
            for authority in authorities {
                let chain = text(&authority["spec"]["secretName"]);
                let signing = rendered.manifests.find("Issuer", "databases-ca").unwrap();
                assert_eq!(signing["spec"]["ca"]["secretName"], chain);
            }
        }
    }
}

#[test]
fn tenants_hosts_lead_to_the_nodes_data_port() {
    for rendered in of_case("everything") {
        let ingress = rendered.manifests.of_kind("Ingress").next().unwrap();
        let hosts = ["*.db.example.com", "data.customer.example"];
        assert_eq!(ingress["spec"]["tls"][0]["hosts"], json!(hosts));
        assert_eq!(ingress["spec"]["ingressClassName"], "nginx");
        let rules = items(&ingress["spec"]["rules"]);
        assert_eq!(rules.iter().map(|rule| text(&rule["host"])).collect::<Vec<_>>(), hosts);
        let route = rendered.manifests.of_kind("HTTPRoute").next().unwrap();
        assert_eq!(route["spec"]["hostnames"], json!(hosts));
        let backends = rules.iter().map(|rule| &rule["http"]["paths"][0]["backend"]["service"]);
        for (name, port) in backends
            .map(|backend| (&backend["name"], &backend["port"]["name"]))
            .chain([(
                &route["spec"]["rules"][0]["backendRefs"][0]["name"],
                &route["spec"]["rules"][0]["backendRefs"][0]["port"],
            )])
        {
            let service = rendered.manifests.find("Service", text(name)).unwrap();
            let ports = items(&service["spec"]["ports"]);
            let found = ports
                .iter()
                .find(|entry| &entry["name"] == port || &entry["port"] == port);
            assert_eq!(found.unwrap()["targetPort"], "data", "{name} {port}");
        }
    }
}

#[test]
fn extra_manifests_are_templates() {
    for rendered in of_case("extra") {
        let note = rendered.manifests.find("ConfigMap", "shop-store-note").unwrap();
        assert_eq!(note["data"]["namespace"], "databases");
        for pod in rendered.manifests.pods() {
            assert_eq!(pod.labels["cost-centre"], "42", "{}", pod.name);
            if pod.labels["app.kubernetes.io/component"] != "operator" {
                assert_eq!(pod.labels["tier"], "data", "{}", pod.name);
                assert_eq!(pod.annotations["example.com/owner"], "data", "{}", pod.name);
            }
        }
    }
}
