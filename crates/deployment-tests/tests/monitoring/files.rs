//! Prometheus' own tool on the files, and what it does not look at.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use deployment_tests::deploy;
use process_tests::{run_bounded, skip};
use serde_yaml_ng::Value;

use crate::rules::{alerts, files, labels_shown, list, text, yaml};

const PATIENCE: Duration = Duration::from_secs(120);

#[test]
fn promtool_accepts_configurations_and_rules_and_their_tests_pass() {
    if run_bounded(Command::new("promtool").arg("--version"), PATIENCE).is_err() {
        return skip(
            "promtool_accepts_configurations_and_rules_and_their_tests_pass",
            "promtool is not installed",
        );
    }
    let folder = deploy().join("prometheus");
    let mut config = Command::new("promtool");
    config
        .args(["check", "config"])
        .arg(folder.join("prometheus.yml"))
        .arg(folder.join("container-targets.yml"));
    let told = run_bounded(&mut config, PATIENCE).unwrap();
    let count = files("rules").len();
    assert_eq!(
        told.matches(&format!("SUCCESS: {count} rule files found")).count(),
        2,
        "{told}"
    );
    run_bounded(
        Command::new("promtool").args(["check", "rules"]).args(files("rules")),
        PATIENCE,
    )
    .unwrap();
    let told = run_bounded(
        Command::new("promtool").args(["test", "rules"]).args(files("tests")),
        PATIENCE,
    )
    .unwrap();
    assert_eq!(told.matches("SUCCESS").count(), files("tests").len(), "{told}");
}

#[test]
fn both_configurations_have_the_jobs_that_rules_select_by_and_each_its_own_targets() {
    let targets = |file: &str| -> BTreeMap<String, Vec<String>> {
        let config = yaml(&deploy().join("prometheus").join(file));
        assert_eq!(
            list(&config["rule_files"]).iter().map(text).collect::<Vec<_>>(),
            ["rules/*.yml"],
            "{file}"
        );
        let jobs = list(&config["scrape_configs"]).iter();
        let of = |job: &Value| list(&job["static_configs"][0]["targets"]).iter().map(text).collect();
        jobs.map(|job| (text(&job["job_name"]), of(job))).collect()
    };
    let expected = |members: [&str; 3], nodes: [&str; 2]| {
        let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        BTreeMap::from([
            ("tenantry-control-plane".to_owned(), own(&members)),
            ("tenantry-node".to_owned(), own(&nodes)),
        ])
    };
    let local = expected(
        ["127.0.0.1:7411", "127.0.0.1:7412", "127.0.0.1:7413"],
        ["127.0.0.1:8411", "127.0.0.1:8412"],
    );
    assert_eq!(targets("prometheus.yml"), local);
    let compose = expected(
        ["control-plane-1:7411", "control-plane-2:7411", "control-plane-3:7411"],
        ["tenant-node-1:8411", "tenant-node-2:8411"],
    );
    assert_eq!(targets("container-targets.yml"), compose);
}

#[test]
fn grafana_is_given_this_prometheus_and_the_folder_of_dashboards() {
    let folder = deploy().join("grafana/provisioning");
    let source = yaml(&folder.join("datasources/prometheus.yml"))["datasources"][0].clone();
    assert_eq!(
        (text(&source["type"]), text(&source["url"])),
        ("prometheus".to_owned(), "http://prometheus:9090".to_owned())
    );
    let provider = yaml(&folder.join("dashboards/tenantry.yml"))["providers"][0].clone();
    assert_eq!(text(&provider["options"]["path"]), "/var/lib/grafana/dashboards");
}

/// Of every alert: for each of its checks, the labels of what fires.
fn checks() -> BTreeMap<String, Vec<Vec<String>>> {
    let mut found: BTreeMap<String, Vec<Vec<String>>> = BTreeMap::new();
    for path in files("tests") {
        let document = yaml(&path);
        let checks = list(&document["tests"])
            .iter()
            .flat_map(|test| list(&test["promql_expr_test"]));
        for check in checks {
            let expression = text(&check["expr"]);
            let Some((_, rest)) = expression.split_once("alertname=\"") else {
                continue;
            };
            let name = rest.split('"').next().unwrap().to_owned();
            let fired = list(&check["exp_samples"])
                .iter()
                .map(|sample| text(&sample["labels"]))
                .collect();
            found.entry(name).or_default().push(fired);
        }
    }
    found
}

#[test]
fn every_alert_is_told_whole_and_tested_for_when_it_fires_and_when_not() {
    let checks = checks();
    let alerts = alerts();
    let mut names = BTreeSet::new();
    for alert in &alerts {
        let name = &alert.name;
        assert!(names.insert(name.clone()), "{name} is there twice");
        assert!(
            ["critical", "warning"].contains(&alert.severity.as_str()),
            "{name}: {}",
            alert.severity
        );
        assert!(!alert.wait.is_empty(), "{name} has no `for`");
        assert!(
            alert.annotations["description"].contains(|digit: char| digit.is_ascii_digit() || digit == '$'),
            "{name}"
        );
        let of = checks.get(name).unwrap_or_else(|| panic!("{name} has no test"));
        let (calm, fired): (Vec<_>, Vec<_>) = of.iter().partition(|fired| fired.is_empty());
        assert!(!calm.is_empty(), "{name} is not tested for when it does not fire");
        assert!(!fired.is_empty(), "{name} is not tested for when it fires");
        // What the texts show is a label of what really fires.
        for shown in alert
            .annotations
            .values()
            .flat_map(|annotation| labels_shown(annotation))
        {
            let label = format!("{shown}=\"");
            let all = fired.iter().copied().flatten().all(|labels| labels.contains(&label));
            assert!(all, "{name} shows the label {shown}, which it does not have: {fired:?}");
        }
    }
    let tested: BTreeSet<String> = checks.into_keys().collect();
    assert_eq!(tested, names, "tested alerts and alerts");
    let wakes = alerts.iter().filter(|alert| alert.severity == "critical").count();
    assert!(wakes <= 6, "{wakes} alerts wake somebody: pages are for symptoms");
}
