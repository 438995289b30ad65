//! Every option of every rendered container is one that the real program knows and can use: it is run with exactly that
//! environment and those flags, and `--check-config`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use process_tests::{command, run_bounded};
use serde_json::Value;
use tempfile::TempDir;

use crate::certificates::decoded;
use crate::chart::{Rendered, renderings};
use crate::manifests::{PodOwner, items, text};
use crate::operator_calls::reaches_nobody;

const PATIENCE: Duration = Duration::from_secs(30);

/// A container's view of the world: its files, below a folder of the test's, and its pod's fields.
struct Place<'a> {
    rendered: &'a Rendered,
    root: TempDir,
    pod_name: String,
    ordinal: u64,
    mounts: Vec<String>,
}

#[test]
fn the_programs_accept_what_the_chart_gives_them() {
    let certificates = tempfile::tempdir().unwrap();
    make_certificates(certificates.path());
    let (mut members, mut nodes, mut operators) = (0, 0, 0);
    for rendered in renderings("the_programs_accept_what_the_chart_gives_them") {
        for pod in rendered.manifests.pods() {
            for container in pod.containers() {
                let called = text(&container["command"][0]);
                let Some(program) = called.strip_prefix("/usr/local/bin/") else {
                    continue;
                };
                for ordinal in ordinals(&rendered, &pod) {
                    let place = Place::make(&rendered, &pod, container, ordinal, certificates.path());
                    match program {
                        "control-plane" => members += 1,
                        "tenant-node" => nodes += 1,
                        "tenantctl" => operators += 1,
                        other => panic!("{}: the images hold no {other}", rendered.name),
                    }
                    if program == "tenantctl" {
                        place.calls_nobody(container);
                    } else {
                        place.accepts(program, container);
                    }
                }
            }
        }
    }
    eprintln!("accepted by {members} members, {nodes} nodes and {operators} operators");
}

/// The first and the last pod: an initial member and perhaps an added one.
fn ordinals(rendered: &Rendered, pod: &PodOwner<'_>) -> Vec<u64> {
    let set = rendered
        .manifests
        .of_kind("StatefulSet")
        .find(|set| pod.name.ends_with(text(&set["metadata"]["name"])));
    let Some(set) = set else {
        return vec![0];
    };
    let start = set["spec"]["ordinals"]["start"].as_u64().unwrap_or(0);
    let last = start + set["spec"]["replicas"].as_u64().unwrap() - 1;
    if last > start { vec![start, last] } else { vec![start] }
}

fn make_certificates(folder: &Path) {
    for program in ["control-plane", "tenant-node"] {
        let help = run_bounded(command(program).arg("--help"), PATIENCE).unwrap();
        assert!(
            help.contains("--check-config") && help.contains("--tls-ca"),
            "this build of {program} has no --check-config or no --tls-ca, which the chart and this test need: build it anew"
        );
    }
    let mut make = command("tenantctl");
    make.args(["certificates", "create", "--out"]).arg(folder);
    run_bounded(&mut make, PATIENCE).expect("tenantctl makes certificates");
}

impl<'a> Place<'a> {
    fn make(rendered: &'a Rendered, pod: &PodOwner<'_>, container: &Value, ordinal: u64, certificates: &Path) -> Self {
        let root = tempfile::tempdir().unwrap();
        let owner = pod.name.rsplit(' ').next().unwrap();
        let mounts = items(&container["volumeMounts"]);
        let place = Self {
            rendered,
            root,
            pod_name: format!("{owner}-{ordinal}"),
            ordinal,
            mounts: mounts
                .iter()
                .map(|mount| text(&mount["mountPath"]).to_owned())
                .collect(),
        };
        for mount in mounts {
            let folder = place.below(text(&mount["mountPath"]));
            fs::create_dir_all(&folder).unwrap();
            let volumes = items(&pod.spec["volumes"]);
            if let Some(volume) = volumes.iter().find(|volume| volume["name"] == mount["name"]) {
                place.fill(&folder, volume, container, certificates);
            }
        }
        place
    }

    fn below(&self, path: &str) -> PathBuf {
        self.root.path().join(path.trim_start_matches('/'))
    }

    /// The path of a mounted file where the test has it, in whatever text it stands.
    fn moved(&self, text: &str) -> String {
        // In two steps: the test's own folder may lie below a path that is mounted, such as /tmp.
        let mut moved = text.to_owned();
        for (index, mount) in self.mounts.iter().enumerate() {
            moved = moved.replace(mount.as_str(), &format!("\0{index}\0"));
        }
        for (index, mount) in self.mounts.iter().enumerate() {
            moved = moved.replace(&format!("\0{index}\0"), &self.below(mount).display().to_string());
        }
        moved
    }

    fn fill(&self, folder: &Path, volume: &Value, container: &Value, certificates: &Path) {
        if let Some(name) = volume["configMap"]["name"].as_str() {
            let map = self.rendered.manifests.find("ConfigMap", name).expect(name);
            for (file, content) in map["data"].as_object().into_iter().flatten() {
                fs::write(folder.join(file), self.moved(text(content))).unwrap();
            }
        }
        let Some(name) = volume["secret"]["secretName"].as_str() else {
            return;
        };
        let kept = self.rendered.manifests.find("Secret", name);
        let role = match text(&container["name"]) {
            "tenantctl" => "operator",
            other => other,
        };
        for item in items(&volume["secret"]["items"]) {
            let file = text(&item["path"]);
            let content = match kept {
                Some(secret) => decoded(secret, text(&item["key"])),
                // Somebody else's, or cert-manager's.
                None => fs::read_to_string(certificates.join(role).join(file)).unwrap(),
            };
            fs::write(folder.join(file), content).unwrap();
        }
    }

    /// The container's environment as Kubernetes would make it, in order, so that later ones may use earlier ones.
    fn environment(&self, container: &Value) -> Vec<(String, String)> {
        let mut made: Vec<(String, String)> = Vec::new();
        for variable in items(&container["env"]) {
            let from = &variable["valueFrom"];
            let value = if let Some(field) = from["fieldRef"]["fieldPath"].as_str() {
                match field {
                    "metadata.name" => self.pod_name.clone(),
                    "metadata.labels['apps.kubernetes.io/pod-index']" => self.ordinal.to_string(),
                    other => panic!("{}: {other}", self.rendered.name),
                }
            } else if let Some(map) = from["configMapKeyRef"]["name"].as_str() {
                let map = self.rendered.manifests.find("ConfigMap", map).expect(map);
                match map["data"][text(&from["configMapKeyRef"]["key"])].as_str() {
                    Some(value) => value.to_owned(),
                    None if from["configMapKeyRef"]["optional"] == true => continue,
                    None => panic!("{}: {variable}", self.rendered.name),
                }
            } else {
                expanded(text(&variable["value"]), &made)
            };
            made.push((text(&variable["name"]).to_owned(), self.moved(&value)));
        }
        made
    }

    fn accepts(&self, program: &str, container: &Value) {
        let mut command = command(program);
        let environment = self.environment(container);
        command.envs(environment.iter().map(|(name, value)| (name, value)));
        command.args(
            items(&container["args"])
                .iter()
                .map(|argument| self.moved(text(argument))),
        );
        command.arg("--check-config");
        let accepted = run_bounded(&mut command, PATIENCE);
        accepted
            .unwrap_or_else(|reason| panic!("{}: {}: {reason}\n{environment:#?}", self.rendered.name, self.pod_name));
    }

    /// `tenantctl` has no check; it is sent to an address where nobody is, and must not complain of anything else.
    fn calls_nobody(&self, container: &Value) {
        let environment = self.environment(container);
        let mut arguments: Vec<String> = items(&container["args"])
            .iter()
            .map(|argument| self.moved(&expanded(text(argument), &environment)))
            .collect();
        let timeout = arguments
            .iter()
            .position(|argument| argument == "--timeout")
            .expect("the chart bounds its calls");
        arguments[timeout + 1] = "1s".to_owned();
        let refused = reaches_nobody(&arguments, &environment);
        refused.unwrap_or_else(|reason| panic!("{}: tenantctl {arguments:?}: {reason}", self.rendered.name));
    }
}

/// `$(NAME)` as Kubernetes replaces it.
fn expanded(text: &str, environment: &[(String, String)]) -> String {
    let mut expanded = text.to_owned();
    for (name, value) in environment {
        expanded = expanded.replace(&format!("$({name})"), value);
    }
    assert!(
        !expanded.contains("$("),
        "{text} uses a variable that is not set before it"
    );
    expanded
}
