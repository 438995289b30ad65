//! What `/metrics` of a running cluster shows.

use std::collections::{BTreeMap, BTreeSet};

use process_tests::{Cluster, get};

/// A name before its first sample, as `# TYPE` has it, and with all labels that any of its samples has.
#[derive(Debug, Default)]
pub(crate) struct Exposition {
    /// Type of each family.
    pub(crate) types: BTreeMap<String, String>,
    /// Labels of each series by its whole name, `_bucket` and its like included.
    pub(crate) labels: BTreeMap<String, BTreeSet<String>>,
}

/// All that members and nodes show now.
pub(crate) fn scrape(cluster: &Cluster) -> Exposition {
    let mut found = Exposition::default();
    for daemon in cluster.members.iter().chain(&cluster.nodes) {
        let answer = get(daemon.ops, "localhost", "/metrics").unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        found.read(&answer.body);
    }
    found
}

impl Exposition {
    fn read(&mut self, text: &str) {
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(typed) = line.strip_prefix("# TYPE ") {
                let (name, kind) = typed.split_once(' ').unwrap();
                self.types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                let end = line.find(['{', ' ']).unwrap();
                let (name, rest) = line.split_at(end);
                self.labels
                    .entry(name.to_owned())
                    .or_default()
                    .extend(label_names(rest));
            }
        }
    }

    /// Labels of a family: of its samples under its own name, or of its buckets without `le`.
    pub(crate) fn labels_of_family(&self, family: &str) -> BTreeSet<String> {
        let buckets = || self.labels.get(&format!("{family}_count"));
        self.labels.get(family).or_else(buckets).cloned().unwrap_or_default()
    }
}

/// Names of the labels of `{a="x",b="y"} 1`.
fn label_names(rest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let Some(mut rest) = rest.strip_prefix('{') else {
        return names;
    };
    while let Some((name, value)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(',').to_owned());
        let mut escaped = false;
        let end = value.find(|next| {
            let ends = next == '"' && !escaped;
            escaped = next == '\\' && !escaped;
            ends
        });
        rest = &value[end.unwrap() + 1..];
        if rest.starts_with('}') {
            break;
        }
    }
    names
}

#[test]
fn families_and_labels_are_read_whatever_the_values_hold() {
    let mut found = Exposition::default();
    found.read("# HELP a_b Text.\n# TYPE a_b counter\na_b{x=\"1\",y_2=\"a\\\"}=\\\\\"} 3\na_b 4\n\n# TYPE h histogram\nh_bucket{le=\"1\",z=\"\"} 0\nh_count{z=\"\"} 0\n");
    let own = |labels: &[&str]| labels.iter().map(|label| (*label).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(found.labels["a_b"], own(&["x", "y_2"]));
    assert_eq!(found.labels["h_bucket"], own(&["le", "z"]));
    assert_eq!(found.labels_of_family("h"), own(&["z"]));
    assert_eq!(
        (found.types["a_b"].as_str(), found.types["h"].as_str()),
        ("counter", "histogram")
    );
}
