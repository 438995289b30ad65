//! The pages for people who are alerted.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use deployment_tests::deploy;
use process_tests::{command, run_bounded};

use crate::rules::alerts;

const PATIENCE: Duration = Duration::from_secs(30);

fn folder() -> PathBuf {
    deploy().join("../docs/runbooks")
}

/// Alert's name and page.
fn pages() -> BTreeMap<String, String> {
    let entries = fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path());
    let pages = entries.map(|path| {
        (
            path.file_stem().unwrap().to_string_lossy().into_owned(),
            fs::read_to_string(&path).unwrap(),
        )
    });
    pages.filter(|(name, _)| name != "README").collect()
}

#[test]
fn every_alert_has_a_runbook_and_every_runbook_an_alert() {
    let (pages, alerts) = (pages(), alerts());
    let names = |names: Vec<String>| names.into_iter().collect::<BTreeSet<_>>();
    let alerting = names(alerts.iter().map(|alert| alert.name.clone()).collect());
    assert_eq!(names(pages.keys().cloned().collect()), alerting);
    let index = fs::read_to_string(folder().join("README.md")).unwrap();
    for alert in &alerts {
        let name = &alert.name;
        let url = &alert.annotations["runbook_url"];
        assert!(url.ends_with(&format!("/docs/runbooks/{name}.md")), "{name}: {url}");
        let row = format!("| [{name}]({name}.md) | {} |", alert.severity);
        assert_eq!(index.matches(&row).count(), 1, "{name} in the index");
        let page = &pages[name];
        let (title, _) = page.split_once('\n').unwrap();
        assert_eq!(title, format!("# {name}"));
        for heading in ["\n## What it means\n", "\n## See\n", "\n## Do\n", "\n## Escalate\n"] {
            assert_eq!(page.matches(heading).count(), 1, "{name}: {heading:?}");
        }
        let urgency = page.to_lowercase();
        assert!(
            urgency.contains(&format!("\n{}: ", alert.severity)),
            "{name} is not {}",
            alert.severity
        );
        assert!(
            page.contains(&format!("Fires after {} of", alert.wait)),
            "{name} does not wait {}",
            alert.wait
        );
    }
}

/// Every `tenantctl …` of the pages, as words.
fn commands() -> BTreeSet<Vec<String>> {
    let index = fs::read_to_string(folder().join("README.md")).unwrap();
    let mut found = BTreeSet::new();
    for page in pages().into_values().chain([index]) {
        let mut in_block = false;
        let mut prose = String::new();
        for line in page.lines() {
            match line.starts_with("```") {
                true => in_block = !in_block,
                false if in_block && line.starts_with("tenantctl ") => {
                    found.insert(line.split_whitespace().map(str::to_owned).collect());
                }
                false if !in_block => prose.extend([line, "\n"]),
                false => {}
            }
        }
        let quoted = prose
            .split('`')
            .skip(1)
            .step_by(2)
            .filter(|quoted| quoted.starts_with("tenantctl "));
        found.extend(quoted.map(|quoted| quoted.split_whitespace().map(str::to_owned).collect::<Vec<_>>()));
    }
    found
}

/// The command's own help lists its flags, and after a value of a flag comes no other word of it.
#[test]
fn every_command_of_the_runbooks_exists_with_its_flags() {
    let commands = commands();
    assert!(commands.len() > 30, "{commands:?}");
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    for words in commands {
        let is_name = |word: &&String| {
            word.chars().all(|next| next.is_ascii_lowercase() || next == '-') && !word.starts_with('-')
        };
        let names: Vec<String> = words.iter().skip(1).take_while(is_name).cloned().collect();
        assert!(!names.is_empty(), "{words:?}");
        let help = helps.entry(names.clone()).or_insert_with(|| {
            let asked = run_bounded(command("tenantctl").args(&names).arg("--help"), PATIENCE);
            asked.unwrap_or_else(|error| panic!("{words:?}: {error}"))
        });
        assert!(
            !help.contains("Usage: tenantctl [OPTIONS] <COMMAND>"),
            "{words:?} is not whole"
        );
        let arguments = help
            .lines()
            .find(|line| line.starts_with("Usage: "))
            .unwrap()
            .to_owned();
        assert!(!arguments.contains("<COMMAND>"), "{words:?} is not whole: {arguments}");
        let needed = arguments.matches('<').count();
        let given = words.len() - 1 - names.len();
        assert!(given >= needed, "{words:?}: {arguments}");
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let listed = help.split_whitespace().any(|word| word.trim_end_matches(',') == flag);
            assert!(listed, "{words:?}: {flag} is not in\n{help}");
        }
    }
}
