//! What others' validators say: Helm's linter, the schemas of the oldest and the newest Kubernetes, and checkov.

use std::fs;
use std::process::Command;
use std::time::Duration;

use deployment_tests::{deploy, python_tools};
use process_tests::{run_bounded, skip};

use crate::chart::{cases, folder, renderings, values_of};
use crate::helm_program::Helm;

const PATIENCE: Duration = Duration::from_secs(120);
const KUBERNETES: [&str; 2] = ["1.28", "1.37"];
/// Kinds that the chart makes and Kubernetes itself has no schema of; `custom_resources` looks at them.
const CUSTOM: [&str; 5] = ["Certificate", "Issuer", "HTTPRoute", "PodMonitor", "PrometheusRule"];

#[test]
fn helm_lint_has_nothing_to_say() {
    let chart = folder().display().to_string();
    for helm in Helm::all("helm_lint_has_nothing_to_say") {
        for case in cases() {
            let mut arguments = vec!["lint".to_owned(), "--strict".to_owned(), chart.clone()];
            arguments.extend(values_of(&case));
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let said = helm.run(&arguments).unwrap_or_else(|reason| panic!("{case}: {reason}"));
            assert!(!said.contains("[WARNING]"), "{case} (Helm {}): {said}", helm.version);
        }
        let folder = tempfile::tempdir().unwrap();
        let destination = folder.path().display().to_string();
        helm.run(&["package", &chart, "--destination", &destination]).unwrap();
        let packaged = fs::read_dir(folder.path()).unwrap().next().unwrap().unwrap().path();
        let listed = run_bounded(Command::new("tar").arg("-tzf").arg(packaged), PATIENCE).unwrap();
        for values in ["values.yaml", "values-ha.yaml", "values-minimal.yaml"] {
            let path = format!("tenantry/{values}");
            assert!(
                listed.lines().any(|line| line == path),
                "{values} is not packaged: {listed}"
            );
        }
        assert!(!listed.contains("tenantry/ci/"), "{listed}");
    }
}

#[test]
fn manifests_meet_the_schemas_of_the_oldest_and_the_newest_kubernetes() {
    let test = "manifests_meet_the_schemas_of_the_oldest_and_the_newest_kubernetes";
    let tools = match python_tools("kubernetes-validate", &["kubernetes-validate==1.37.0"]) {
        Ok(tools) => tools,
        Err(reason) => return skip(test, &reason),
    };
    for rendered in renderings(test) {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("manifests.yaml");
        fs::write(&file, &rendered.text).unwrap();
        for kubernetes in KUBERNETES {
            let mut validate = Command::new("sh");
            validate
                .args(["-c", "exec \"$0\" \"$@\" 2>&1"])
                .arg(tools.join("kubernetes-validate"));
            validate
                .args(["--strict", "--kubernetes-version", kubernetes])
                .arg(&file);
            let said = run_bounded(&mut validate, PATIENCE)
                .unwrap_or_else(|reason| panic!("{} for {kubernetes}: {reason}", rendered.name));
            assert!(
                said.contains("passed for resource statefulset/"),
                "{}: {said}",
                rendered.name
            );
            for warning in said.lines().filter(|line| line.starts_with("WARN")) {
                let custom = CUSTOM
                    .iter()
                    .any(|kind| warning.contains(&format!("schema for kind {kind} ")));
                assert!(custom, "{} for {kubernetes}: {warning}", rendered.name);
            }
        }
    }
}

/// The checks that are skipped, from a file that gives the reason of each.
fn skipped_checks() -> Vec<String> {
    let file = deploy().join("helm/checkov-skips.txt");
    let text = fs::read_to_string(file).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let checks = lines.map(|line| {
        let (check, reason) = line.split_once(' ').expect("a check and a reason");
        assert!(reason.len() > 20, "{check} needs a reason");
        check.to_owned()
    });
    checks.collect()
}

#[test]
fn checkov_finds_nothing_but_what_is_skipped_for_a_reason() {
    let test = "checkov_finds_nothing_but_what_is_skipped_for_a_reason";
    let tools = match python_tools("checkov", &["checkov==3.3.30"]) {
        Ok(tools) => tools,
        Err(reason) => return skip(test, &reason),
    };
    // One Helm, as both render the same (see `both_helms_render_the_same`), in one run, as most of the time is checkov's start.
    let folder = tempfile::tempdir().unwrap();
    let mut files = 0;
    for rendered in renderings(test) {
        if rendered.name.ends_with("(Helm 4.3.1)") {
            let name = rendered.name.split(' ').next().unwrap();
            fs::write(folder.path().join(format!("{name}.yaml")), &rendered.text).unwrap();
            files += 1;
        }
    }
    if files == 0 {
        return;
    }
    let mut check = Command::new(tools.join("python"));
    check.args([
        "-m",
        "checkov.main",
        "--framework",
        "kubernetes",
        "--compact",
        "--quiet",
        "--skip-download",
        "--directory",
    ]);
    check
        .arg(folder.path())
        .args(["--skip-check", &skipped_checks().join(",")])
        .current_dir(folder.path());
    run_bounded(&mut check, PATIENCE).unwrap_or_else(|reason| panic!("{reason}"));
}

#[test]
fn both_helms_render_the_same() {
    let mut of_three = Vec::new();
    let mut of_four = Vec::new();
    for rendered in renderings("both_helms_render_the_same") {
        // Generated certificates differ in each rendering, and the order of kinds is each Helm's own.
        let mut objects: Vec<String> = rendered
            .manifests
            .all()
            .iter()
            .filter(|object| object["kind"] != "Secret" && object["metadata"]["name"] != "authorities-of-webhooks")
            .map(ToString::to_string)
            .collect();
        objects.sort();
        if rendered.name.ends_with("(Helm 4.3.1)") {
            of_four.push(objects);
        } else {
            of_three.push(objects);
        }
    }
    if !of_three.is_empty() && !of_four.is_empty() {
        assert_eq!(of_three, of_four);
    }
}
