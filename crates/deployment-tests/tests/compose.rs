//! The compose deployment on a real Docker Engine that begins empty: packed images, SQL through a published port, daemons that are
//! killed, a stop and a start, a real Prometheus, a record that is restored, and nothing left behind.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "tests: what fails here fails the test"
)]

use std::time::Duration;

use deployment_tests::deploy;
use process_tests::{Prometheus, command, program, run_bounded, skip, value_of};

#[path = "compose/engine.rs"]
mod engine;
#[path = "compose/project.rs"]
mod project;
#[path = "compose/restore.rs"]
mod restore;

use engine::Engine;
use project::{DAEMONS, Project, sql, wait_for_value};
use restore::the_record_is_restored_as_told;

const TAG: &str = "under-test";
const PATIENCE: Duration = Duration::from_secs(180);
/// Until Prometheus has seen something.
const SCRAPED: Duration = Duration::from_secs(60);

#[test]
fn compose_serves_sql_from_an_empty_engine_and_survives_its_daemons() {
    const TEST: &str = "compose_serves_sql_from_an_empty_engine_and_survives_its_daemons";
    let engine = match Engine::start() {
        Ok(engine) => engine,
        Err(reason) => return skip(TEST, &reason),
    };
    pack(&engine);
    for image in ["control-plane", "tenant-node"] {
        an_image_is_small_and_without_privileges(&engine, image);
    }

    let project = Project::new(&engine, TAG);
    project.told(&["up", "--detach", "--wait", "--wait-timeout", "120"]);
    certificates_are_with_those_who_need_them(&project);
    let token = a_tenant_is_created_and_serves_sql(&project);

    killed_daemons_come_back(&project, &token);

    project.told(&["down"]);
    assert_eq!(engine.told(&["ps", "--all", "--quiet"]), "");
    project.told(&["up", "--detach", "--wait", "--wait-timeout", "120"]);
    for node in project.nodes() {
        wait_for_value(node, &token, "select count(*) from note", "3");
    }

    a_prometheus_scrapes_all_five(&project, TEST);
    the_record_is_restored_as_told(&engine, &project, &token);

    project.told(&["down", "--volumes"]);
    assert_eq!(engine.told(&["ps", "--all", "--quiet"]), "");
    assert_eq!(engine.told(&["volume", "ls", "--quiet"]), "");
    drop(project);
    engine.stop_and_leave_nothing();
}

/// The programs that cargo built, as images.
fn pack(engine: &Engine) {
    let programs = program("control-plane").parent().unwrap().display().to_string();
    let mut pack = engine.command(deploy().join("docker/pack.sh"), &[&programs, TAG]);
    eprintln!("{}", run_bounded(&mut pack, PATIENCE).unwrap());
}

fn an_image_is_small_and_without_privileges(engine: &Engine, image: &str) {
    let name = format!("tenantry/{image}:{TAG}");
    let config = engine.told(&["image", "inspect", "--format", "{{json .Config}}", &name]);
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(config["User"], "65532:65532");
    assert_eq!(config["StopSignal"], "SIGTERM");
    let daemon = format!("/usr/local/bin/{image}");
    assert_eq!(
        config["Healthcheck"]["Test"],
        serde_json::json!(["CMD", daemon, "health"])
    );
    let label = |name: &str| {
        config["Labels"][format!("org.opencontainers.image.{name}")]
            .as_str()
            .unwrap_or("")
    };
    assert_eq!(label("licenses"), "Apache-2.0");
    for name in ["title", "version", "revision", "source"] {
        assert!(!label(name).is_empty(), "{name}: {config}");
    }
    let hardened = [
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--cap-drop",
        "ALL",
        "--security-opt",
        "no-new-privileges",
    ];
    let printed = engine.told(&[&hardened[..], &[&name, "--version"]].concat());
    assert!(printed.starts_with(image), "{printed}");
    let files = engine.files_of(&name);
    let programs: Vec<&String> = files
        .iter()
        .filter(|file| file.contains("bin/") && !file.ends_with('/'))
        .collect();
    assert_eq!(
        programs,
        [&format!("usr/local/bin/{image}"), &"usr/local/bin/tenantctl".to_owned()]
    );
    let bytes: u64 = engine
        .told(&["image", "inspect", "--format", "{{.Size}}", &name])
        .parse()
        .unwrap();
    assert!(bytes < 150_000_000, "{name} has {bytes} bytes");
}

/// The authority's key is in no daemon's reach, and each daemon has its own role's certificate alone.
fn certificates_are_with_those_who_need_them(project: &Project<'_>) {
    let mounts = |service: &str| project.mounts(service);
    assert_eq!(
        mounts("control-plane-1"),
        [
            "tenantry_control-plane-1",
            "tenantry_control-plane-certificate read-only"
        ]
    );
    assert_eq!(
        mounts("tenant-node-2"),
        ["tenantry_tenant-node-2", "tenantry_tenant-node-certificate read-only"]
    );
}

/// By what the README tells; answers with a token of the tenant.
fn a_tenant_is_created_and_serves_sql(project: &Project<'_>) -> String {
    let created = project.ctl(&["tenant", "create", "acme", "--tier", "small"]).unwrap();
    assert_eq!(created["name"], "acme");
    let token = project.told(&[
        "run",
        "--rm",
        "-T",
        "tenantctl",
        "token",
        "create",
        "acme",
        "--scope",
        "full",
    ]);
    // A member's own certificate is enough, too.
    let listed = project.told(&["exec", "-T", "control-plane-2", "tenantctl", "tenant", "list"]);
    assert!(listed.contains("acme"), "{listed}");
    // And so is tenantctl of this machine, with an operator's certificate.
    let folder = tempfile::tempdir().unwrap();
    let operator = folder.path().join("operator");
    project.told(&[
        "cp",
        "certificates:/etc/tenantry/certificates/operator",
        &operator.display().to_string(),
    ]);
    let mut list = command("tenantctl");
    list.args(["--endpoint", &project.member().to_string()]);
    for (flag, file) in [
        ("--tls-ca", "ca.crt"),
        ("--tls-cert", "tls.crt"),
        ("--tls-key", "tls.key"),
    ] {
        list.arg(flag).arg(operator.join(file));
    }
    let listed = run_bounded(list.args(["tenant", "list"]), PATIENCE).unwrap();
    assert!(listed.contains("acme"), "{listed}");

    let [first, second] = project.nodes();
    value_of("acme to be served", PATIENCE, || {
        match sql(first, Some(&token), "select 1")? {
            answer if answer.status == 200 => Ok(()),
            answer => Err(answer.body),
        }
    });
    let created = sql(first, Some(&token), "create table note (id integer primary key, text)").unwrap();
    assert_eq!(created.status, 200, "{created:?}");
    let inserted = sql(second, Some(&token), "insert into note (text) values ('hello')").unwrap();
    assert_eq!(inserted.status, 200, "{inserted:?}");
    for node in [first, second] {
        wait_for_value(node, &token, "select text from note", "hello");
        assert_eq!(sql(node, None, "select 1").unwrap().status, 401);
    }
    token
}

/// kill -9 of the leader, then of the node that serves the tenant.
fn killed_daemons_come_back(project: &Project<'_>, token: &str) {
    let [first, second] = project.nodes();
    let status = project.ctl(&["cluster", "status"]).unwrap();
    let leader = format!("control-plane-{}", status["leader_id"]);
    assert!(DAEMONS.contains(&leader.as_str()), "{status}");
    project.kill(&leader);
    // Tenants do not notice.
    let inserted = sql(
        first,
        Some(token),
        "insert into note (text) values ('without the leader')",
    )
    .unwrap();
    assert_eq!(inserted.status, 200, "{inserted:?}");
    value_of("a tenant to be created after the leader's end", PATIENCE, || {
        project.ctl(&["tenant", "create", "late", "--tier", "small"])
    });
    project.wait_until_healthy_again(&leader, 1);

    let tenant = project.ctl(&["tenant", "get", "acme"]).unwrap();
    let owner = format!("tenant-{}", tenant["node"].as_str().unwrap());
    assert!(DAEMONS.contains(&owner.as_str()), "{tenant}");
    project.kill(&owner);
    project.wait_until_healthy_again(&owner, 1);
    for node in [first, second] {
        wait_for_value(node, token, "select count(*) from note", "2");
    }
    let inserted = sql(second, Some(token), "insert into note (text) values ('after the kill')").unwrap();
    assert_eq!(inserted.status, 200, "{inserted:?}");
}

/// By the file that the profile `observability` gives its Prometheus, whose names this machine does not know.
fn a_prometheus_scrapes_all_five(project: &Project<'_>, test: &str) {
    let file = deploy().join("prometheus/container-targets.yml");
    let mut configuration =
        std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    for service in DAEMONS {
        let port = if service.starts_with("control-plane") {
            7411
        } else {
            8411
        };
        let name = format!("{service}:{port}");
        assert!(
            configuration.contains(&name),
            "{} does not scrape {name}",
            file.display()
        );
        configuration = configuration.replace(&name, &format!("{}:{port}", project.address(service)));
    }
    let rules = deploy().join("prometheus/rules").canonicalize().unwrap();
    configuration = configuration.replace("- rules/", &format!("- {}/", rules.display()));
    assert!(configuration.contains("/rules/*.yml"), "{}", file.display());
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = Prometheus::start(folder.path(), &configuration) else {
        return skip(test, "the part with Prometheus: it is not installed");
    };
    prometheus.wait_for("count(up == 1)", SCRAPED, |count| count == 5.0);
    prometheus.wait_for("sum(tenantry_control_raft_is_leader)", SCRAPED, |leaders| {
        leaders == 1.0
    });
    let token = project.told(&[
        "run",
        "--rm",
        "-T",
        "tenantctl",
        "token",
        "create",
        "acme",
        "--scope",
        "ro",
    ]);
    wait_for_value(project.nodes()[0], &token, "select count(*) from note", "3");
    prometheus.wait_for(
        "sum(tenantry_tenant_requests_total{tenant=\"acme\",class=\"2xx\"})",
        SCRAPED,
        |requests| requests >= 1.0,
    );
}
