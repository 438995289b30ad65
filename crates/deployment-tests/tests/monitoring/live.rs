//! Rules, dashboards and `docs/metrics.md` beside `/metrics` of a running cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use deployment_tests::deploy;
use process_tests::value_of;

use crate::exposition::{Exposition, scrape};
use crate::promql::{Reads, reads};
use crate::traffic::BusyCluster;
use crate::{dashboards, rules};

const PATIENCE: Duration = Duration::from_secs(60);

/// Series that appear with their first count or value, of what a test does not bring about, and why not. Their descriptions have to be in
/// the source.
pub(crate) const RARE: [(&str, &str); 14] = [
    (
        "tenantry_control_answers_evicted_total",
        "takes 50,000 requests to the control plane",
    ),
    (
        "tenantry_control_certificate_expiry_timestamp_seconds",
        "takes certificates",
    ),
    (
        "tenantry_node_certificate_expiry_timestamp_seconds",
        "takes certificates",
    ),
    ("tenantry_control_log_copies_total", "takes a log of 64 MiB"),
    (
        "tenantry_control_watch_resyncs_total",
        "takes a node that is slower than the changes",
    ),
    (
        "tenantry_node_answers_stalled_total",
        "takes a client that reads nothing for 10 s",
    ),
    (
        "tenantry_node_event_batches_deferred_total",
        "takes a disk that is slower than the samples",
    ),
    (
        "tenantry_node_events_dropped_total",
        "takes 10,000 events and no control plane",
    ),
    (
        "tenantry_node_events_refused_total",
        "takes a second process of the same node",
    ),
    (
        "tenantry_node_events_superseded_total",
        "takes 10,000 events and no control plane",
    ),
    ("tenantry_node_outbox_damaged_total", "takes a damaged file"),
    ("tenantry_node_routing_diverged_total", "takes a defect"),
    (
        "tenantry_node_routing_refused_total",
        "takes a control plane that says what makes no sense",
    ),
    (
        "tenantry_node_routing_write_failures_total",
        "takes a disk that refuses writes",
    ),
];
/// What Prometheus itself adds, with the labels that we may ask of it.
const OF_PROMETHEUS: [(&str, &[&str]); 3] = [
    ("up", &[]),
    ("scrape_duration_seconds", &[]),
    ("ALERTS", &["alertname", "alertstate"]),
];
/// Labels that Prometheus adds to every series of a target.
const OF_TARGETS: [&str; 2] = ["job", "instance"];

/// Every expression of rules and dashboards, with where it is.
pub(crate) fn expressions() -> Vec<(String, String)> {
    let alerts = rules::alerts().into_iter().map(|alert| (alert.name, alert.expression));
    let recorded = rules::recorded().into_iter().map(|rule| (rule.name, rule.expression));
    let shown: Vec<_> = dashboards::all()
        .iter()
        .flat_map(dashboards::Dashboard::expressions)
        .collect();
    alerts.chain(recorded).chain(shown).chain(variables()).collect()
}

/// `label_values(SELECTOR, label)` of the dashboards' variables, as an expression that groups by the label.
pub(crate) fn variables() -> Vec<(String, String)> {
    let mut found = Vec::new();
    for dashboard in dashboards::all() {
        for variable in dashboard
            .variables()
            .iter()
            .filter(|variable| variable["type"] == "query")
        {
            let query = variable["query"]["query"].as_str().unwrap();
            let inner = query
                .strip_prefix("label_values(")
                .and_then(|rest| rest.strip_suffix(')'))
                .unwrap();
            let (selector, label) = inner.rsplit_once(", ").unwrap();
            let selector = selector.replace("$instance", ".*");
            let place = format!("{}: variable {}", dashboard.file, variable["name"]);
            found.push((place, format!("count by ({label}) ({selector})")));
        }
    }
    assert_eq!(found.len(), 4);
    found
}

/// Labels of everything that may be read; those of a recorded series are among those of what it is made from.
fn known(shown: &Exposition) -> BTreeMap<String, BTreeSet<String>> {
    let own = |labels: &[&str]| {
        labels
            .iter()
            .chain(&OF_TARGETS)
            .map(|label| (*label).to_owned())
            .collect::<BTreeSet<_>>()
    };
    let mut known: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, labels) in &shown.labels {
        let labels = labels.iter().map(String::as_str).collect::<Vec<_>>();
        known.insert(name.clone(), own(&labels));
    }
    for (name, labels) in OF_PROMETHEUS {
        known.insert(name.to_owned(), own(labels));
    }
    for (name, _) in RARE {
        known.entry(name.to_owned()).or_insert_with(|| own(&[]));
    }
    for rule in rules::recorded() {
        let series = reads(&rule.expression).series;
        let labels = series
            .keys()
            .filter_map(|name| known.get(name))
            .flatten()
            .cloned()
            .collect();
        known.insert(rule.name, labels);
    }
    known
}

/// What an expression reads that nobody shows.
fn missing(place: &str, read: &Reads, known: &BTreeMap<String, BTreeSet<String>>) -> Vec<String> {
    let mut missing = Vec::new();
    let mut all = BTreeSet::new();
    for (name, labels) in &read.series {
        match known.get(name) {
            None => missing.push(format!("{place}: no series {name}")),
            Some(shown) => {
                all.extend(shown);
                missing.extend(
                    labels
                        .difference(shown)
                        .map(|label| format!("{place}: {name} has no label {label}")),
                );
            }
        }
    }
    let strange = read.grouped.iter().filter(|label| !all.contains(label));
    missing.extend(strange.map(|label| format!("{place}: nothing in it has the label {label}")));
    missing
}

/// One row of the tables of `docs/metrics.md`.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Described {
    name: String,
    kind: String,
    labels: BTreeSet<String>,
}

fn described() -> Vec<Described> {
    let page = fs::read_to_string(deploy().join("../docs/metrics.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| `tenantry_"));
    let found: Vec<Described> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let whole = cells[1].trim_matches('`');
            let (name, labels) = whole.split_once('{').unwrap_or((whole, "}"));
            let labels = labels
                .trim_end_matches('}')
                .split(',')
                .filter(|label| !label.is_empty());
            let mut labels: BTreeSet<String> = labels.map(str::to_owned).collect();
            if name.starts_with("tenantry_tenant_") {
                labels.insert("tenant".to_owned());
            }
            // The control plane's table has no column for the type and says how to tell it.
            let kind = match (name.starts_with("tenantry_control_"), name.ends_with("_total")) {
                (false, _) => cells[2],
                (true, true) => "counter",
                (true, false) if cells[2].contains("histogram") => "histogram",
                (true, false) => "gauge",
            };
            Described {
                name: name.to_owned(),
                kind: kind.to_owned(),
                labels,
            }
        })
        .collect();
    assert!(found.len() > 60, "{} rows", found.len());
    found
}

/// What differs between the page and a scrape.
fn differences(page: &[Described], shown: &Exposition) -> Vec<String> {
    let mut differences = Vec::new();
    for row in page {
        let name = &row.name;
        match shown.types.get(name) {
            None if RARE.iter().any(|(rare, _)| rare == name) => {}
            None => differences.push(format!("{name} is in the page and not shown")),
            Some(kind) if *kind != row.kind => {
                differences.push(format!("{name} is a {kind}, and the page says {}", row.kind))
            }
            Some(_) if shown.labels_of_family(name) != row.labels => {
                differences.push(format!("{name} has the labels {:?}", shown.labels_of_family(name)));
            }
            Some(_) => {}
        }
    }
    let names: BTreeSet<&String> = page.iter().map(|row| &row.name).collect();
    assert_eq!(names.len(), page.len(), "a name is in the page twice");
    let strange = shown.types.keys().filter(|name| !names.contains(name));
    differences.extend(strange.map(|name| format!("{name} is shown and not in the page")));
    differences
}

#[test]
fn a_running_cluster_shows_what_rules_and_dashboards_read_and_what_the_page_of_metrics_lists() {
    let busy = BusyCluster::start();
    let page = described();
    value_of("every series that is not rare", PATIENCE, || {
        let shown = scrape(&busy.cluster);
        let known = known(&shown);
        let unread: Vec<String> = expressions()
            .iter()
            .flat_map(|(place, expression)| missing(place, &reads(expression), &known))
            .chain(differences(&page, &shown))
            .collect();
        if unread.is_empty() {
            Ok(())
        } else {
            Err(unread.join("\n"))
        }
    });
}

/// Every file of the daemons' sources, as one text with single spaces.
fn sources() -> String {
    fn read(folder: &Path, into: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => read(&path, into),
                false => into.push(path),
            }
        }
    }
    let mut paths = Vec::new();
    for daemon in ["control-plane", "tenant-node"] {
        read(&deploy().join("../crates").join(daemon).join("src"), &mut paths);
    }
    let texts = paths.iter().map(|path| fs::read_to_string(path).unwrap());
    texts
        .collect::<String>()
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
}

#[test]
fn what_a_test_does_not_bring_about_is_described_in_the_source_and_in_the_page() {
    let (sources, page) = (sources(), described());
    for (name, _) in RARE {
        assert!(page.iter().any(|row| row.name == name), "{name} is not in the page");
        let literal = format!("\"{name}\"");
        let constant = sources
            .split(&format!(": &str = {literal}"))
            .next()
            .filter(|before| before.len() < sources.len());
        let constant = constant.map(|before| before.rsplit(' ').next().unwrap());
        let described = |word: &str| {
            [
                "describe_counter!(",
                "describe_counter!( ",
                "describe_gauge!(",
                "describe_gauge!( ",
            ]
            .iter()
            .any(|call| sources.contains(&format!("{call}{word},")))
        };
        assert!(
            described(&literal) || constant.is_some_and(described),
            "{name} is described nowhere"
        );
    }
}

#[test]
fn a_series_or_label_that_nobody_shows_is_noticed() {
    let own = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
    let known = BTreeMap::from([("a".to_owned(), own(&["job", "x"]))]);
    let of = |expression: &str| missing("here", &reads(expression), &known);
    assert_eq!(of("sum by (x) (rate(a{job=\"j\"}[5m]))"), Vec::<String>::new());
    assert_eq!(of("sum by (y) (a{z=\"1\"}) / b").len(), 3);
}
