//! The dashboards as they are in the repository.

use std::fs;

use deployment_tests::deploy;
use serde_json::Value;

use crate::rules::labels_shown;

/// One file of `deploy/grafana/dashboards`.
pub(crate) struct Dashboard {
    pub(crate) file: String,
    pub(crate) json: Value,
}

impl Dashboard {
    fn list<'a>(&self, value: &'a Value) -> &'a [Value] {
        value
            .as_array()
            .unwrap_or_else(|| panic!("{}: no list: {value}", self.file))
    }

    pub(crate) fn panels(&self) -> &[Value] {
        self.list(&self.json["panels"])
    }

    pub(crate) fn variables(&self) -> &[Value] {
        self.list(&self.json["templating"]["list"])
    }

    /// Panel's title and expression, with every variable replaced by what it may stand for.
    pub(crate) fn expressions(&self) -> Vec<(String, String)> {
        let panels = self.panels().iter().filter(|panel| panel["type"] != "row");
        let targets = panels.flat_map(|panel| self.list(&panel["targets"]).iter().map(move |target| (panel, target)));
        let whole = |text: &Value| {
            let text = text.as_str().unwrap().replace("$__rate_interval", "1m");
            let text = text.replace("$instance", ".*").replace("$tenant", ".*");
            assert!(!text.contains('$'), "{}: an unknown variable in {text}", self.file);
            text
        };
        targets
            .map(|(panel, target)| (format!("{}: {}", self.file, panel["title"]), whole(&target["expr"])))
            .collect()
    }
}

/// Every file of the folder.
pub(crate) fn all() -> Vec<Dashboard> {
    let folder = deploy().join("grafana/dashboards");
    let entries = fs::read_dir(folder).unwrap();
    let mut found: Vec<Dashboard> = entries
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = fs::read_to_string(&path).unwrap();
            Dashboard {
                file: path.file_name().unwrap().to_string_lossy().into_owned(),
                json: serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
            }
        })
        .collect();
    found.sort_by(|one, other| one.file.cmp(&other.file));
    found
}

/// Left, top, right and bottom on the grid.
fn area(panel: &Value) -> [i64; 4] {
    let [x, y, w, h] = ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_i64().unwrap());
    assert!(x >= 0 && y >= 0 && w > 0 && h > 0 && x + w <= 24, "{panel}");
    [x, y, x + w, y + h]
}

/// Whether the two areas share a cell.
fn overlap(one: [i64; 4], other: [i64; 4]) -> bool {
    one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3]
}

#[test]
fn dashboards_have_an_identity_a_data_source_to_choose_and_panels_that_say_what_they_show() {
    let dashboards = all();
    let files: Vec<&str> = dashboards.iter().map(|dashboard| dashboard.file.as_str()).collect();
    assert_eq!(files, ["control-plane.json", "fleet.json", "tenant.json"]);
    for dashboard in &dashboards {
        let file = &dashboard.file;
        let expected_uid = format!("tenantry-{}", file.trim_end_matches(".json"));
        assert_eq!(dashboard.json["uid"], expected_uid, "{file}");
        assert!(
            !dashboard.json["title"].as_str().unwrap().is_empty() && dashboard.json["id"].is_null(),
            "{file}"
        );
        let named = |name: &str| dashboard.variables().iter().find(|variable| variable["name"] == name);
        let source = named("datasource").unwrap_or_else(|| panic!("{file}"));
        assert_eq!(
            (&source["type"], &source["query"]),
            (&"datasource".into(), &"prometheus".into()),
            "{file}"
        );
        assert!(named("instance").is_some(), "{file}");
        assert_eq!(named("tenant").is_some(), file == "tenant.json", "{file}");

        let panels = dashboard.panels();
        let mut ids: Vec<i64> = panels.iter().map(|panel| panel["id"].as_i64().unwrap()).collect();
        let count = ids.len();
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), count, "{file}: an id is used twice");
        for (at, panel) in panels.iter().enumerate() {
            let title = panel["title"].as_str().unwrap();
            for other in &panels[at + 1..] {
                assert!(
                    !overlap(area(panel), area(other)),
                    "{file}: {title} lies over {}",
                    other["title"]
                );
            }
            if panel["type"] == "row" {
                continue;
            }
            let description = panel["description"].as_str().unwrap_or_default();
            assert!(description.len() > 15, "{file}: {title} has no description");
            let defaults = &panel["fieldConfig"]["defaults"];
            assert!(
                defaults["unit"].as_str().is_some_and(|unit| !unit.is_empty()),
                "{file}: {title} has no unit"
            );
            assert!(defaults["thresholds"]["steps"].is_array(), "{file}: {title}");
            assert_eq!(panel["datasource"]["uid"], "${datasource}", "{file}: {title}");
            for target in dashboard.list(&panel["targets"]) {
                assert_eq!(target["datasource"]["uid"], "${datasource}", "{file}: {title}");
            }
        }
        assert!(dashboard.expressions().len() >= 20, "{file}");
    }
}

#[test]
fn overlapping_areas_are_told_from_neighbours() {
    assert!(overlap([0, 0, 8, 8], [7, 7, 12, 12]));
    assert!(!overlap([0, 0, 8, 8], [8, 0, 16, 8]) && !overlap([0, 0, 8, 8], [0, 8, 8, 16]));
    assert_eq!(labels_shown("{{ $labels.job }} of {{$labels.x_1}}"), ["job", "x_1"]);
}
