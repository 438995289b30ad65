//! What the daemons say of their options and of their health, without running.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::time::Duration;

use process_tests::{Cluster, Daemon, command, free_ports, value_of};

const PATIENCE: Duration = Duration::from_secs(30);

/// What a program wrote to stdout and stderr, and whether it ended with 0.
#[derive(Debug)]
struct Said {
    well: bool,
    out: String,
    err: String,
}

fn run(program: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Said {
    let output: Output = command(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = Said {
        well: output.status.success(),
        out: text(&output.stdout),
        err: text(&output.stderr),
    };
    assert!(!said.err.contains("panicked"), "{program} {arguments:?}: {said:?}");
    said
}

/// A program and flags that it can be started with, its data in `folder`.
fn good(folder: &Path) -> [(&'static str, Vec<String>); 2] {
    let data = |name: &str| format!("--data-dir={}", folder.join(name).join("data").display());
    let flags = |flags: &[&str], data: String| -> Vec<String> {
        let flags = flags.iter().map(|flag| (*flag).to_owned());
        flags.chain([data, "--insecure-dev".to_owned()]).collect()
    };
    [
        (
            "control-plane",
            flags(&["--member-id=1", "--initial-members=1=127.0.0.1:7401"], data("member")),
        ),
        (
            "tenant-node",
            flags(&["--node-id=node-1", "--control-plane=127.0.0.1:7401"], data("node")),
        ),
    ]
}

fn with<'a>(flags: &'a [String], more: &[&'a str]) -> Vec<&'a str> {
    flags.iter().map(String::as_str).chain(more.iter().copied()).collect()
}

#[test]
fn a_check_opens_no_socket_and_makes_no_folder() {
    let folder = tempfile::tempdir().unwrap();
    // A port that is taken does not matter, since it is not asked for.
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("--listen={}", taken.local_addr().unwrap());
    for (program, flags) in good(folder.path()) {
        for question in ["--check-config", "--print-config"] {
            let said = run(program, &with(&flags, &[&listen, question]), &[]);
            assert!(said.well && said.err.is_empty(), "{program} {question}: {said:?}");
            if question == "--check-config" {
                assert_eq!(said.out, "configuration is valid\n", "{program}");
            }
        }
        let left: Vec<_> = std::fs::read_dir(folder.path()).unwrap().collect();
        assert!(left.is_empty(), "{program}: {left:?}");
    }
}

#[test]
fn a_check_names_what_cannot_be_used_wherever_it_was_given() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = folder.path().join("unknown.toml");
    std::fs::write(&unknown, "listn = '127.0.0.1:1'\n").unwrap();
    let unknown = unknown.to_str().unwrap();
    for (program, flags) in good(folder.path()) {
        let cases: [(&[&str], &[(&str, &str)], &str); 6] = [
            (&["--listen=0.0.0.0:1"], &[], "listen: "),
            (&[], &[("TENANTRY_LISTEN", "0.0.0.0:1")], "listen: "),
            (&[], &[("TENANTRY_LISTN", "127.0.0.1:1")], "TENANTRY_LISTN"),
            (&[], &[("TENANTRY_LOG", "control_plane=loud")], "TENANTRY_LOG"),
            (&["--config", unknown], &[], unknown),
            (&["--listn=127.0.0.1:1"], &[], "--listn"),
        ];
        for (more, environment, named) in cases {
            let mut arguments = with(&flags, more);
            arguments.push("--check-config");
            let said = run(program, &arguments, environment);
            assert!(!said.well && said.out.is_empty(), "{program} {more:?}: {said:?}");
            assert!(said.err.contains(named), "{program} {more:?}: {said:?}");
        }
    }
    let [(member, flags), _] = good(folder.path());
    let said = run(
        member,
        &with(&flags, &["--webhook-ca-file=/no/such/file", "--check-config"]),
        &[],
    );
    assert!(
        !said.well && said.err.contains("webhook-ca-file: /no/such/file"),
        "{said:?}"
    );
    let [_, (node, flags)] = good(folder.path());
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let inside = format!("--data-dir={}", file.join("data").display());
    let flags: Vec<String> = flags
        .into_iter()
        .filter(|flag| !flag.starts_with("--data-dir"))
        .collect();
    let said = run(node, &with(&flags, &[&inside, "--check-config"]), &[]);
    assert!(!said.well && said.err.contains("data-dir"), "{said:?}");
}

#[test]
fn what_is_printed_is_a_file_that_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    for (program, flags) in good(folder.path()) {
        let partial = folder.path().join("partial.toml");
        std::fs::write(&partial, "listen = '127.0.0.1:9101'\nops_listen = '127.0.0.1:9102'\n").unwrap();
        let environment = [
            ("TENANTRY_CONFIG", partial.to_str().unwrap()),
            ("TENANTRY_LISTEN", "127.0.0.1:9201"),
        ];
        let first = run(program, &with(&flags, &["--print-config"]), &environment);
        assert!(first.well, "{program}: {first:?}");
        for line in [
            "listen = \"127.0.0.1:9201\"",
            "ops_listen = \"127.0.0.1:9102\"",
            "insecure_dev = true",
        ] {
            assert!(
                first.out.lines().any(|printed| printed == line),
                "{program}: {line}: {}",
                first.out
            );
        }
        let whole = folder.path().join("whole.toml");
        std::fs::write(&whole, &first.out).unwrap();
        let whole = whole.to_str().unwrap();
        let second = run(program, &["--config", whole, "--print-config"], &[]);
        assert!(second.well, "{program}: {second:?}");
        assert_eq!(first.out, second.out, "{program}");
        assert!(run(program, &["--config", whole, "--check-config"], &[]).well);
        let both = run(program, &["--config", whole, "--check-config", "--print-config"], &[]);
        assert!(!both.well, "{program}: one question at a time: {both:?}");
    }
    let nothing = run("tenant-node", &["--print-config"], &[]);
    assert!(
        !nothing.well && nothing.err.contains("node-id: must be given"),
        "{nothing:?}"
    );
    assert!(nothing.out.contains("drain_ms = 10000"), "{nothing:?}");
}

/// Asks until the answer is `well`.
fn wait_for_health(program: &str, flag: &str, well: bool) -> Said {
    value_of(&format!("{program} to be healthy: {well}"), PATIENCE, || {
        let said = run(program, &["health", flag], &[]);
        if said.well == well {
            Ok(said)
        } else {
            Err(format!("{said:?}"))
        }
    })
}

#[test]
fn health_asks_the_ops_port_that_file_environment_or_flags_name() {
    let mut cluster = Cluster::start();
    let folder = tempfile::tempdir().unwrap();
    let daemons: [(&str, &Daemon); 2] = [
        ("control-plane", &cluster.members[0]),
        ("tenant-node", &cluster.nodes[0]),
    ];
    for (program, daemon) in daemons {
        let ops = daemon.ops.to_string();
        let wildcard = format!("0.0.0.0:{}", daemon.ops.port());
        let file = folder.path().join(format!("{program}.toml"));
        std::fs::write(&file, format!("ops_listen = '{wildcard}'\n")).unwrap();
        let file = file.to_str().unwrap();
        let flag = ["health", "--ops-listen", &ops];
        let layers: [(&[&str], &[(&str, &str)]); 4] = [
            (&flag, &[]),
            (&["health"], &[("TENANTRY_OPS_LISTEN", &wildcard)]),
            // What else the daemon's environment holds does not disturb.
            (
                &["health"],
                &[("TENANTRY_CONFIG", file), ("TENANTRY_DATA_DIR", "/nowhere")],
            ),
            (&["health", "--config", file], &[]),
        ];
        for (arguments, environment) in layers {
            let said = run(program, arguments, environment);
            assert!(said.well && said.out == "ready\n", "{program} {arguments:?}: {said:?}");
        }
        let said = run(program, &["health", "--live", "--ops-listen", &ops], &[]);
        assert!(said.well && said.out == "live\n", "{program}: {said:?}");
        let said = run(program, &flag, &[("TENANTRY_OPS_LISTN", "x")]);
        assert!(
            !said.well && said.err.contains("TENANTRY_OPS_LISTN"),
            "{program}: {said:?}"
        );
    }

    // One member of three is left: it lives and has no leader.
    cluster.members[1].kill();
    cluster.members[2].kill();
    let ops = format!("--ops-listen={}", cluster.members[0].ops);
    let waiting = wait_for_health("control-plane", &ops, false);
    assert!(
        waiting.err.contains("/readyz answers 503: waiting for: leader") && waiting.err.lines().count() == 1,
        "{waiting:?}"
    );
    assert!(run("control-plane", &["health", "--live", &ops], &[]).well);

    cluster.nodes[0].kill();
    let gone = format!("--ops-listen={}", cluster.nodes[0].ops);
    let said = run("tenant-node", &["health", "--live", &gone], &[]);
    assert!(!said.well && said.err.contains("does not answer"), "{said:?}");
}

#[test]
fn health_asks_the_default_port_when_none_is_given() {
    for (program, port) in [("control-plane", 7411), ("tenant-node", 8411)] {
        // Whether somebody runs a daemon there, is nobody's business here.
        let said = run(program, &["health"], &[]);
        let told = if said.well {
            "ready".to_owned()
        } else {
            format!("127.0.0.1:{port}/readyz")
        };
        assert!(format!("{said:?}").contains(&told), "{program}: {said:?}");
    }
    let closed = free_ports(1)[0];
    let before = ["--ops-listen", &closed.to_string(), "health"].map(str::to_owned);
    let before: Vec<&str> = before.iter().map(String::as_str).collect();
    for program in ["control-plane", "tenant-node"] {
        let said = run(program, &before, &[]);
        assert!(
            !said.well && said.err.contains("cannot be used with"),
            "flags stand behind `health`: {said:?}"
        );
    }
}
