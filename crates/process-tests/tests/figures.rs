//! What load leaves behind: series, `tenant usage`, and events.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::io::Write as _;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use process_tests::{Cluster, execute, get, pipeline, skip, value_of};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(25);

#[test]
fn every_figure_of_a_tenant_is_at_metrics_and_in_its_usage() {
    const SERIES: [&str; 16] = [
        "peak_requests_per_minute",
        "average_response_time_seconds",
        "error_ratio",
        "growth_bytes_per_hour",
        "quota_requests_per_day",
        "quota_database_bytes",
        "quota_concurrent_requests",
        "quota_cpu_cores",
        "quota_memory_bytes",
        "requests_last_day",
        "concurrent_requests",
        "database_bytes",
        "wal_bytes",
        "free_bytes",
        "cpu_cores",
        "memory_bytes",
    ];
    let cluster = Cluster::start();
    let owner = cluster.create_tenant("acme", &["--tier", "small"]);
    cluster.run(owner, "acme", &["create table t (x)"]);
    let metrics = value_of("all series of the tenant", PATIENCE, || {
        cluster.run(0, "acme", &["insert into t values (randomblob(5000))"]);
        cluster.run(1, "acme", &["select count(*) from t"]);
        let metrics = get(cluster.nodes[owner].ops, "localhost", "/metrics").unwrap().body;
        let missing = SERIES
            .iter()
            .find(|name| !metrics.contains(&format!("tenantry_tenant_{name}{{tenant=\"acme\"}} ")));
        missing.map_or(Ok(metrics.clone()), |name| Err(format!("no {name}")))
    });
    let value = |name: &str| {
        let series = format!("tenantry_tenant_{name}{{tenant=\"acme\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("no {name}")).parse::<f64>().unwrap()
    };
    assert!(value("peak_requests_per_minute") >= 2.0 && value("average_response_time_seconds") > 0.0);
    assert!(value("growth_bytes_per_hour") > 0.0 && value("database_bytes") > 5_000.0);
    assert_eq!((value("quota_requests_per_day"), value("error_ratio")), (10_000.0, 0.0));

    let figures = value_of("the figures in the usage", PATIENCE, || {
        let usage = cluster.try_ctl(&["tenant", "usage", "acme"])?;
        let figures = &usage["figures"];
        let measured = ["growth_bytes_per_hour", "average_response_seconds", "error_ratio"];
        let all = measured.iter().all(|name| figures[name].is_number());
        if all {
            Ok(figures.clone())
        } else {
            Err(usage.to_string())
        }
    });
    assert!(figures["peak_requests_per_minute"].as_u64().unwrap() >= 2, "{figures}");
    assert!(figures["requests_last_day"].as_u64().unwrap() >= 3, "{figures}");
    assert_eq!(figures["quota"]["requests_per_day"], 10_000, "{figures}");

    for (what, ops) in [("node", cluster.nodes[owner].ops), ("member", cluster.members[0].ops)] {
        let metrics = get(ops, "localhost", "/metrics").unwrap().body;
        assert!(metrics.contains("# TYPE "), "{what}: {metrics}");
        promtool_accepts(what, &metrics);
    }
}

#[test]
fn the_busiest_tenants_of_both_nodes_are_ranked_by_what_they_did_in_the_last_minute() {
    let cluster = Cluster::start();
    let names = ["calm", "busy", "idle"];
    for name in names {
        cluster.create_tenant(name, &[]);
    }
    for (name, requests) in [("calm", 10), ("busy", 30)] {
        (0..requests).for_each(|turn| cluster.run(turn % 2, name, &["select 1"]));
    }
    // Questions about a tenant's use are requests, too: each tenant has some of those that waited for it.
    let top = value_of("what both tenants did", PATIENCE, || {
        let top = cluster.try_ctl(&["top", "--once", "--by", "requests", "--limit", "2"])?;
        let rows = top["tenants"].as_array().unwrap();
        let done = |row: &Value, name: &str, requests: u64| {
            row["tenant"] == name && row["requests_last_minute"].as_u64() >= Some(requests)
        };
        match rows.as_slice() {
            [first, second] if done(first, "busy", 30) && done(second, "calm", 10) => Ok(top),
            _ => Err(top.to_string()),
        }
    });
    for row in top["tenants"].as_array().unwrap() {
        assert_eq!(row["errors_last_minute"], 0, "{top}");
        assert!(row["node"].as_str().unwrap().starts_with("node-"), "{top}");
        assert!(row["average_response_seconds"].as_f64().unwrap() > 0.0, "{top}");
    }
    let failing = cluster.try_ctl(&["top", "--once", "--by", "errors"]).unwrap();
    assert_eq!(failing["tenants"], Value::Array(Vec::new()), "nobody fails");
}

fn promtool_accepts(what: &str, metrics: &str) {
    let mut promtool = Command::new("promtool");
    promtool
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let Ok(mut child) = promtool.spawn() else {
        skip(
            &format!("promtool check metrics, of a {what}"),
            "promtool is not installed",
        );
        return;
    };
    child.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{what}: {}", String::from_utf8_lossy(&text));
}

#[test]
fn load_raises_a_hotspot_changes_the_class_and_crosses_a_quota_and_all_can_be_watched() {
    let cluster = Cluster::start();
    let flags = [
        "--tier",
        "micro",
        "--requests-per-day",
        "1200",
        "--storage",
        "1MiB",
        "--concurrent",
        "50",
    ];
    cluster.create_tenant("acme", &flags);
    cluster.run(0, "acme", &["create table t (x)"]);
    // The database to its limit.
    let insert = "insert into t values (randomblob(20000))";
    let full = (0..100).any(|_| cluster.sql(0, "acme", &[insert]).unwrap().status == 507);
    assert!(full, "2 MB fit into 1 MiB");
    // The requests past 1,000, the lower end of the next class, and past 80 % of the limit.
    std::thread::scope(|scope| {
        for client in 0..4 {
            let cluster = &cluster;
            scope.spawn(move || (0..250).for_each(|_| cluster.run(client % 2, "acme", &["select 1"])));
        }
    });
    // The CPU, with what is left of the requests, until the events are there.
    let busy = pipeline(&[execute(
        "with recursive n(i) as (select 1 union all select i + 1 from n where i < 400000) select sum(i) from n",
    )]);
    let wanted = ["hotspot-raised", "class-changed", "quota-crossed"];
    let deadline = Instant::now() + PATIENCE;
    let events = loop {
        let _ = cluster.pipeline(0, "acme", &busy).unwrap();
        let events = kept_events(&cluster);
        let seen = |kind: &&str| events.iter().any(|event| event["kind"] == **kind);
        let by_requests = |event: &Value| event["detail"]["limit"] == 1_200 && event["detail"]["percent"] == 80;
        if wanted.iter().all(seen) && events.iter().any(by_requests) {
            break events;
        }
        assert!(Instant::now() < deadline, "only {events:#?}");
    };
    let of = |kind: &str| events.iter().find(|event| event["kind"] == kind).unwrap();
    let hotspot = of("hotspot-raised");
    assert!(hotspot["detail"]["score"].as_f64().unwrap() > 0.7, "{hotspot}");
    let class = of("class-changed");
    assert_eq!(
        (&class["detail"]["from"], &class["detail"]["to"]),
        (&"micro".into(), &"small".into()),
        "{class}"
    );
    let crossings = || events.iter().filter(|event| event["kind"] == "quota-crossed");
    for crossing in crossings() {
        let [percent, used, limit] =
            ["percent", "used", "limit"].map(|name| crossing["detail"][name].as_u64().unwrap());
        assert!(
            [80, 95, 100].contains(&percent) && used * 100 >= limit * percent,
            "{crossing}"
        );
    }
    let by_nodes = events.iter().filter(|event| event["origin"]["type"] == "node");
    let mut others = by_nodes.filter(|event| event["kind"] != "node-registered" && event["tenant"] != "acme");
    assert_eq!(others.next(), None);
}

/// All events that are kept.
fn kept_events(cluster: &Cluster) -> Vec<Value> {
    cluster.operator().try_ctl_lines(&["events", "list"]).unwrap()
}
