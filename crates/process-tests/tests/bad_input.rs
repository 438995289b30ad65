//! What no program of ours may fall over: malformed requests, and options that cannot be used.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::net::TcpListener;
use std::process::Stdio;
use std::time::Duration;

use process_tests::{Cluster, command, first_error, free_ports, post, send_raw, value_of};

const HOST: (&str, &str) = ("host", "acme.localhost");
const OK: &str = r#"{"requests":[{"type":"execute","stmt":{"sql":"select 1"}}]}"#;

#[test]
fn malformed_requests_are_refused_by_field_and_the_node_lives_on() {
    let mut cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &[]);
    let address = cluster.data(owner);
    let pid = cluster.nodes[owner].pid();
    let v3 = "/v3/pipeline";
    let long = "x".repeat(64);
    let long_host = format!("{long}.localhost");
    // Path, headers, body, status, the field that the answer names.
    type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, &'a str, u16, Option<&'a str>);
    let cases: Vec<Case<'_>> = vec![
        (v3, vec![("host", "-acme.localhost")], OK, 400, Some("Host")),
        (v3, vec![("host", "a.b.localhost")], OK, 400, Some("Host")),
        (v3, vec![("host", "..%2f.localhost")], OK, 400, Some("Host")),
        (v3, vec![("host", &long_host)], OK, 400, Some("Host")),
        (v3, vec![("host", "localhost")], OK, 400, Some("Host")),
        (v3, vec![HOST, ("x-tenant-id", "../etc")], OK, 400, Some("X-Tenant-ID")),
        (v3, vec![HOST, ("x-tenant-id", "")], OK, 400, Some("X-Tenant-ID")),
        (v3, vec![("host", "nobody.localhost")], OK, 404, None),
        (v3, vec![HOST], "", 400, Some(".")),
        (v3, vec![HOST], "{", 400, Some(".")),
        (v3, vec![HOST], "[]", 400, Some(".")),
        (v3, vec![HOST], r#"{"requests":7}"#, 400, Some("requests")),
        (
            v3,
            vec![HOST],
            r#"{"requests":[{"type":"dance"}]}"#,
            400,
            Some("requests[0].type"),
        ),
        (
            v3,
            vec![HOST],
            r#"{"baton":"made up","requests":[]}"#,
            400,
            Some("baton"),
        ),
        (v3, vec![HOST], r#"{"baton":5,"requests":[]}"#, 400, Some("baton")),
        ("/v9/pipeline", vec![HOST], OK, 404, None),
        ("/v1/usage", vec![HOST], OK, 405, None),
    ];
    for (path, headers, body, status, field) in cases {
        let what = format!("{path} {headers:?} {body}");
        let answer = post(address, path, &headers, body).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        let problem = answer.problem();
        if let Some(field) = field {
            assert_eq!(problem["field"], field, "{what}: {problem}");
        }
        assert_eq!(post(address, v3, &[HOST], OK).unwrap().status, 200, "after {what}");
    }
    let wrong_method = send_raw(
        address,
        b"GET /v3/pipeline HTTP/1.1\r\nhost: acme.localhost\r\nconnection: close\r\n\r\n",
    );
    let wrong_method = wrong_method.unwrap();
    assert_eq!(
        (wrong_method.status, wrong_method.header("allow")),
        (405, Some("POST")),
        "{wrong_method:?}"
    );
    // Not HTTP at all: refused or cut off, never answered.
    for bytes in [
        &b"\0\0\0\0\r\n\r\n"[..],
        b"GET\r\n\r\n",
        b"POST / HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\r\n\r\n",
    ] {
        let refused = send_raw(address, bytes).map_or(true, |answer| (400..600).contains(&answer.status));
        assert!(refused, "{bytes:?}");
    }
    for sql in [
        "selec 1",
        "select * from nowhere",
        "select 1 from",
        "attach 'x' as y",
        "pragma journal_mode=off",
    ] {
        let answer = cluster.sql(owner, "acme", &[sql]).unwrap();
        assert_eq!(answer.status, 200, "{sql}: {answer:?}");
        assert!(first_error(&answer).is_some(), "{sql}: {answer:?}");
    }
    assert_eq!(cluster.query(owner, "acme", "select 6 * 7"), "42");
    assert!(cluster.nodes[owner].ended().is_none());
    assert_eq!(cluster.nodes[owner].pid(), pid);
}

/// Runs a program that has to refuse its options; answers with what it wrote to stderr.
fn refusal(program: &str, arguments: &[String], environment: &[(&str, &str)]) -> String {
    let mut child = command(program)
        .args(arguments)
        .envs(environment.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let status = value_of(
        &format!("{program} {arguments:?} to refuse"),
        Duration::from_secs(10),
        || {
            let ended = child.try_wait().unwrap();
            ended.ok_or_else(|| "it runs".to_owned())
        },
    );
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!status.success(), "{program} {arguments:?} ended with success: {text}");
    assert!(!text.contains("panicked"), "{program} {arguments:?}: {text}");
    text
}

#[test]
fn a_member_refuses_options_that_it_cannot_use_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(4);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let holder = TcpListener::bind(taken).unwrap();
    let (listen, ops) = (ports[0].to_string(), ports[1].to_string());
    let (taken, data) = (taken.to_string(), folder.path().join("data").display().to_string());
    let list = format!("1={listen},2={},3={}", ports[2], ports[3]);
    let good = [
        ("member-id", "1"),
        ("initial-members", &list),
        ("listen", &listen),
        ("ops-listen", &ops),
        ("data-dir", &data),
    ];
    let twice = format!("1={listen},1={}", ports[2]);
    let same_address = format!("1={listen},2={listen}");
    let cases: [(&str, &str, &str); 9] = [
        ("initial-members", "2=127.0.0.1:1,3=127.0.0.1:2", "initial-members"),
        ("initial-members", &twice, "initial-members"),
        ("initial-members", &same_address, "initial-members"),
        ("initial-members", "1=0.0.0.0:7401", "initial-members"),
        ("initial-members", "nonsense", "initial-members"),
        ("listen", "0.0.0.0:0", "listen"),
        ("listen", &taken, "listen"),
        ("member-id", "none", "--member-id"),
        ("leader-id", "1", "--leader-id"),
    ];
    for (option, value, named) in cases {
        let text = refusal("control-plane", &with(&good, option, value), &[]);
        assert!(text.contains(named), "--{option} {value}: {text}");
    }
    let text = refusal(
        "control-plane",
        &with(&good, "tick-ms", "50"),
        &[("TENANTRY_LISTN", "x")],
    );
    assert!(text.contains("TENANTRY_LISTN"), "{text}");
    drop(holder);
}

#[test]
fn a_node_refuses_options_that_it_cannot_use_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let ports = free_ports(4);
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let [listen, peer, ops, nobody] = [0, 1, 2, 3].map(|index: usize| ports[index].to_string());
    let data = folder.path().join("data").display().to_string();
    let good = [
        ("node-id", "node-1"),
        ("control-plane", &nobody),
        ("listen", &listen),
        ("peer-listen", &peer),
        ("ops-listen", &ops),
        ("data-dir", &data),
    ];
    let cases = [
        ("node-id", "No/de", "node-id"),
        ("control-plane", "here", "control-plane"),
        ("listen", "0.0.0.0:0", "listen"),
        ("listen", &taken, "listen"),
        ("peer-listen", &taken, "peer-listen"),
        ("disk", "much", "disk"),
        ("sample-interval-ms", "0", "sample-interval-ms"),
        ("quota", "1", "--quota"),
    ];
    for (option, value, named) in cases {
        let text = refusal("tenant-node", &with(&good, option, value), &[]);
        assert!(text.contains(named), "--{option} {value}: {text}");
    }
    let text = refusal("tenant-node", &with(&good, "disk", "1GiB"), &[("TENANTRY_LISTN", "x")]);
    assert!(text.contains("TENANTRY_LISTN"), "{text}");
}

#[test]
fn a_data_folder_of_another_member_or_node_is_refused() {
    let mut cluster = Cluster::start();
    cluster.create_tenant("acme", &[]);
    cluster
        .members
        .iter_mut()
        .chain(&mut cluster.nodes)
        .for_each(|daemon| daemon.kill());
    let ports = free_ports(5);
    let [a, b, c, d, e] = [0, 1, 2, 3, 4].map(|index: usize| ports[index].to_string());
    let folder = |name: &str| cluster.folder().join(name).display().to_string();

    let list = format!("1={a},2={b},3={c}");
    let (member_2, node_2) = (folder("control-plane-2"), folder("node-2"));
    let member = [
        ("member-id", "1"),
        ("initial-members", &list),
        ("listen", &a),
        ("ops-listen", &d),
        ("data-dir", &member_2),
    ];
    let text = refusal("control-plane", &with(&member, "tick-ms", "50"), &[]);
    assert!(text.contains("member") && text.contains('2'), "{text}");

    let node = [
        ("node-id", "node-1"),
        ("control-plane", a.as_str()),
        ("listen", &b),
        ("peer-listen", &c),
        ("ops-listen", &e),
        ("data-dir", &node_2),
    ];
    let text = refusal("tenant-node", &with(&node, "disk", "1GiB"), &[]);
    assert!(text.contains("node-2"), "{text}");
}

/// Flags of `options`, with one of them replaced or added.
fn with(options: &[(&str, &str)], option: &str, value: &str) -> Vec<String> {
    let kept = options.iter().copied().filter(|(name, _)| *name != option);
    let all = kept
        .chain([(option, value)])
        .flat_map(|(name, value)| [format!("--{name}"), value.to_owned()]);
    ["--insecure-dev".to_owned()].into_iter().chain(all).collect()
}
