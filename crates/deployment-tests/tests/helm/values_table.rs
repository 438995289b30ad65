//! The table of values in the chart's README, made from the comments in `values.yaml`.

use std::fmt::Write as _;
use std::fs;

use serde_json::Value;

use crate::carried_files::{HOW_TO_RENEW, renews};
use crate::chart::{folder, values};

const BEGIN: &str = "<!-- values: made from values.yaml -->\n";
const END: &str = "<!-- end of values -->";
/// Longer defaults are left to values.yaml.
const LONGEST: usize = 60;

/// A key of `values.yaml`, in the order of the file.
struct Entry {
    path: Vec<String>,
    /// What the comment above it says.
    meaning: Option<String>,
}

fn entries(text: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    // Keys that the line is inside of, with their indentation.
    let mut above: Vec<(usize, String)> = Vec::new();
    let mut meaning = None;
    for line in text.lines() {
        let content = line.trim_start();
        let indentation = line.len() - content.len();
        if let Some(comment) = content.strip_prefix("# -- ") {
            meaning = Some(comment.to_owned());
            continue;
        }
        let key = content.split_once(':').map(|(key, _)| key);
        let Some(key) =
            key.filter(|key| !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_'))
        else {
            continue;
        };
        above.retain(|(outer, _)| *outer < indentation);
        above.push((indentation, key.to_owned()));
        entries.push(Entry {
            path: above.iter().map(|(_, key)| key.clone()).collect(),
            meaning: meaning.take(),
        });
    }
    entries
}

/// Rows for all keys with a comment; a key without one must be inside of one with, or hold some.
fn table(text: &str) -> Result<String, String> {
    let values: Value = serde_yaml_ng::from_str(text).map_err(|error| error.to_string())?;
    let entries = entries(text);
    let mut table = String::from("| value | default | meaning |\n|---|---|---|\n");
    for entry in &entries {
        let path = entry.path.join(".");
        let inside = |other: &Entry| other.path.len() < entry.path.len() && entry.path.starts_with(&other.path);
        let holds = |other: &Entry| other.path.len() > entry.path.len() && other.path.starts_with(&entry.path);
        let Some(meaning) = &entry.meaning else {
            let told = entries
                .iter()
                .any(|other| other.meaning.is_some() && (inside(other) || holds(other)));
            if told {
                continue;
            }
            return Err(format!("{path} has no comment `# -- …` above it"));
        };
        let mut default = &values;
        for key in &entry.path {
            default = default.get(key).ok_or_else(|| format!("{path} is not in the values"))?;
        }
        let default = default.to_string();
        let default = if default.len() > LONGEST {
            "see values.yaml".to_owned()
        } else {
            format!("`{default}`")
        };
        let _ = writeln!(table, "| `{path}` | {default} | {} |", meaning.replace('|', "\\|"));
    }
    Ok(table)
}

#[test]
fn the_table_of_values_is_that_of_the_comments() {
    let wanted = table(&values()).unwrap_or_else(|reason| panic!("values.yaml: {reason}"));
    let path = folder().join("README.md");
    let readme = fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).expect("the README has a place for the table");
    let (found, after) = rest.split_once(END).expect("the table ends");
    if renews() {
        return fs::write(&path, format!("{before}{BEGIN}\n{wanted}\n{END}{after}")).unwrap();
    }
    assert!(
        found.trim() == wanted.trim(),
        "the table of values in {} is stale: {HOW_TO_RENEW}",
        path.display()
    );
}

#[test]
fn a_value_without_a_comment_is_found() {
    assert!(
        table("# -- One\na: 1\nb: 2\n")
            .unwrap_err()
            .starts_with("b has no comment")
    );
    let nested = table("# -- All of it\na:\n  b: 1\nc:\n  # -- The inner\n  d: x\n").unwrap();
    assert!(
        nested.contains("| `a` | `{\"b\":1}` | All of it |\n| `c.d` | `\"x\"` | The inner |"),
        "{nested}"
    );
}
