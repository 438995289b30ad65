//! A chart can only include files inside itself, so it carries copies of the rules and dashboards. They must be exact.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use deployment_tests::deploy;

use crate::chart::folder;

/// Where the originals are, their ending, and where the chart has its copies.
const CARRIED: [(&str, &str, &str); 2] = [
    ("prometheus/rules", ".yml", "files/rules"),
    ("grafana/dashboards", ".json", "files/dashboards"),
];
const RENEW: &str = "TENANTRY_TEST_RENEW";

/// Whether the test is to bring up to date what it compares.
pub(crate) fn renews() -> bool {
    std::env::var_os(RENEW).is_some_and(|value| value == "1")
}

/// How to bring it up to date, for messages.
pub(crate) const HOW_TO_RENEW: &str = "renew it: TENANTRY_TEST_RENEW=1 cargo test -p deployment-tests --test helm";

fn files(folder: &Path, ending: &str) -> BTreeMap<String, Vec<u8>> {
    let Ok(entries) = fs::read_dir(folder) else {
        return BTreeMap::new();
    };
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names = names.filter(|name| name.ends_with(ending));
    names
        .map(|name| (name.clone(), fs::read(folder.join(name)).unwrap()))
        .collect()
}

#[test]
fn the_chart_carries_exact_copies_of_rules_and_dashboards() {
    for (original, ending, copy) in CARRIED {
        let originals = files(&deploy().join(original), ending);
        let copies = folder().join(copy);
        if renews() {
            for name in files(&copies, ending)
                .keys()
                .filter(|name| !originals.contains_key(*name))
            {
                fs::remove_file(copies.join(name)).unwrap();
            }
            for (name, content) in &originals {
                fs::write(copies.join(name), content).unwrap();
            }
        }
        let carried = files(&copies, ending);
        let (wanted, found): (Vec<_>, Vec<_>) = (originals.keys().collect(), carried.keys().collect());
        assert_eq!(
            wanted,
            found,
            "{} has other files than {original}: {HOW_TO_RENEW}",
            copies.display()
        );
        for (name, content) in &originals {
            assert!(
                carried[name] == *content,
                "{}/{name} is stale: {HOW_TO_RENEW}",
                copies.display()
            );
        }
    }
}

/// Helm puts the chart's version into nothing, but its appVersion is the image's tag.
#[test]
fn the_charts_app_version_is_the_programs() {
    let chart: serde_json::Value =
        serde_yaml_ng::from_str(&fs::read_to_string(folder().join("Chart.yaml")).unwrap()).unwrap();
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
}
