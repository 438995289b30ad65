//! Calls of `tenantctl` as the chart makes or recommends them: right in their usage, though nobody answers here.

use std::process::Command;
use std::time::Duration;

use process_tests::{command, run_bounded};

use crate::chart::{NAMESPACE, RELEASE, cases, folder, values_of};
use crate::helm_program::Helm;

const PATIENCE: Duration = Duration::from_secs(30);
/// What `tenantctl` ends with when nobody answers. Wrong usage is 2.
const UNAVAILABLE: i32 = 3;
/// The port of the discard protocol: nobody listens there.
const NOBODY: &str = "127.0.0.1:9";

/// Runs `tenantctl` with these arguments and this environment, but against an address where nobody is.
pub(crate) fn reaches_nobody(arguments: &[String], environment: &[(String, String)]) -> Result<(), String> {
    let mut tenantctl = command("tenantctl");
    tenantctl
        .args(arguments)
        .envs(environment.iter().map(|(name, value)| (name, value)));
    tenantctl.env("TENANTRY_ENDPOINT", NOBODY);
    let script = format!("\"$0\" \"$@\" 2>&1; test $? -eq {UNAVAILABLE}");
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &script])
        .arg(tenantctl.get_program())
        .args(tenantctl.get_args());
    for (name, value) in tenantctl.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    run_bounded(&mut shell, PATIENCE)?;
    Ok(())
}

/// The calls of `tenantctl` in what Helm tells after an installation.
fn told(notes: &str) -> Vec<Vec<String>> {
    let calls = notes
        .lines()
        .filter_map(|line| line.split_once("/usr/local/bin/tenantctl "))
        .map(|(_, call)| call);
    let words = calls.map(|call| call.trim_end_matches(')').split_whitespace());
    words
        .map(|words| words.map(|word| word.replace("ID", "4")).collect())
        .collect()
}

#[test]
fn the_notes_tell_calls_that_tenantctl_knows() {
    let test = "the_notes_tell_calls_that_tenantctl_knows";
    // Helm 3 asks a cluster before it tells them.
    for helm in Helm::all(test).into_iter().filter(|helm| helm.version.starts_with('4')) {
        for case in cases() {
            let chart = folder().display().to_string();
            let mut arguments = vec!["install", RELEASE, &chart, "--namespace", NAMESPACE, "--dry-run=client"];
            let values = values_of(&case);
            arguments.extend(values.iter().map(String::as_str));
            let said = helm.run(&arguments).unwrap_or_else(|reason| panic!("{case}: {reason}"));
            let (_, notes) = said.split_once("\nNOTES:\n").expect("Helm tells the notes");
            let calls = told(notes);
            assert!(calls.len() >= 4, "{case}: {notes}");
            for mut call in calls {
                call.splice(0..0, ["--timeout".to_owned(), "1s".to_owned()]);
                reaches_nobody(&call, &[]).unwrap_or_else(|reason| panic!("{case}: {call:?}: {reason}"));
            }
        }
    }
}
