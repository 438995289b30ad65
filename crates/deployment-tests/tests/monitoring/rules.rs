//! The files of rules as they are in the repository, and their tests.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use deployment_tests::deploy;
use serde_yaml_ng::Value;

/// A rule that alerts.
pub(crate) struct Alert {
    pub(crate) name: String,
    pub(crate) expression: String,
    pub(crate) severity: String,
    pub(crate) wait: String,
    pub(crate) annotations: BTreeMap<String, String>,
}

/// A rule that records.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) expression: String,
}

/// Every file `*.yml` of a folder of `deploy/prometheus`, in order.
pub(crate) fn files(folder: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(deploy().join("prometheus").join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "yml"));
    paths.sort();
    assert!(!paths.is_empty(), "{folder} holds nothing");
    paths
}

pub(crate) fn yaml(path: &PathBuf) -> Value {
    let text = fs::read_to_string(path).unwrap();
    serde_yaml_ng::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

pub(crate) fn list(value: &Value) -> &[Value] {
    value.as_sequence().map_or(&[], Vec::as_slice)
}

fn all() -> Vec<Value> {
    let documents: Vec<Value> = files("rules").iter().map(yaml).collect();
    let groups = documents.iter().flat_map(|document| list(&document["groups"]));
    groups.flat_map(|group| list(&group["rules"]).to_vec()).collect()
}

/// Every alert of every file.
pub(crate) fn alerts() -> Vec<Alert> {
    let rules = all();
    let rules = rules.iter().filter(|rule| !rule["alert"].is_null());
    rules
        .map(|rule| {
            let annotations = rule["annotations"].as_mapping().unwrap().iter();
            Alert {
                name: text(&rule["alert"]),
                expression: text(&rule["expr"]),
                severity: text(&rule["labels"]["severity"]),
                wait: text(&rule["for"]),
                annotations: annotations.map(|(key, value)| (text(key), text(value))).collect(),
            }
        })
        .collect()
}

/// Every recording rule of every file.
pub(crate) fn recorded() -> Vec<Recorded> {
    let rules = all();
    let rules = rules.iter().filter(|rule| !rule["record"].is_null());
    rules
        .map(|rule| Recorded {
            name: text(&rule["record"]),
            expression: text(&rule["expr"]),
        })
        .collect()
}

/// Labels that an annotation shows by `$labels.NAME`.
pub(crate) fn labels_shown(annotation: &str) -> Vec<String> {
    let shown = annotation.split("$labels.").skip(1);
    shown
        .map(|rest| {
            rest.chars()
                .take_while(|next| next.is_alphanumeric() || *next == '_')
                .collect()
        })
        .collect()
}
