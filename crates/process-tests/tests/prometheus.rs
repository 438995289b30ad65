//! A real Prometheus scrapes a node: what it answers about a tenant is what the log of the tenant's requests says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use process_tests::{Cluster, Prometheus, post, skip};

const PATIENCE: Duration = Duration::from_secs(30);
/// Requests of the tenant in any 24 hours.
const LIMIT: u64 = 60;

/// Scrapes `targets` twice a second. `None` where there is no such program.
fn scraping(folder: &Path, targets: &[SocketAddr]) -> Option<Prometheus> {
    let targets: Vec<String> = targets.iter().map(|target| format!("'{target}'")).collect();
    let config = format!(
        "global: {{scrape_interval: 500ms}}\nscrape_configs:\n- job_name: tenantry\n  static_configs:\n  - targets: [{}]\n",
        targets.join(", ")
    );
    Prometheus::start(folder, &config)
}

/// One request, as a log on the client's side has it.
struct Logged {
    minute: u64,
    status: u16,
    took: Duration,
}

fn ask(node: SocketAddr, path: &str, body: &str) -> Logged {
    let (wall, began) = (SystemTime::now().duration_since(UNIX_EPOCH).unwrap(), Instant::now());
    let headers = [("x-tenant-id", "acme"), ("content-type", "application/json")];
    let answer = post(node, path, &headers, body).unwrap();
    Logged {
        minute: wall.as_secs() / 60,
        status: answer.status,
        took: began.elapsed(),
    }
}

#[test]
fn what_prometheus_says_of_a_tenant_is_what_the_log_of_its_requests_says() {
    let cluster = Cluster::start();
    let limit = LIMIT.to_string();
    let flags = ["--tier", "small", "--requests-per-day", &limit, "--concurrent", "10"];
    let owner = cluster.create_tenant("acme", &flags);
    let ops: Vec<SocketAddr> = cluster
        .nodes
        .iter()
        .chain(&cluster.members)
        .map(|daemon| daemon.ops)
        .collect();
    let folder = tempfile::tempdir().unwrap();
    let Some(prometheus) = scraping(folder.path(), &ops) else {
        return skip(
            "what_prometheus_says_of_a_tenant_is_what_the_log_of_its_requests_says",
            "prometheus is not installed",
        );
    };

    let wait_for = |expression: &str, expected: f64| {
        prometheus.wait_for(expression, PATIENCE, |found| (found - expected).abs() < 1e-9);
    };
    let select = process_tests::pipeline(&[process_tests::execute("select 1")]);
    let nodes = [cluster.data(owner), cluster.data(1 - owner)];
    let mut log = Vec::new();
    for number in 0..70_usize {
        // By both nodes in turn: the owner alone counts.
        let (path, body) = match number {
            5..12 => ("/no/such/path", select.as_str()),
            20..24 => ("/v3/pipeline", "no pipeline"),
            _ => ("/v3/pipeline", select.as_str()),
        };
        log.push(ask(nodes[number % 2], path, body));
    }
    let count = |from: u16, to: u16| log.iter().filter(|line| (from..=to).contains(&line.status)).count() as f64;
    assert_eq!((count(200, 428), count(429, 429)), (LIMIT as f64, 70.0 - LIMIT as f64));
    assert_eq!((count(404, 404), count(400, 400)), (7.0, 4.0));

    let requests = |class: &str| format!("tenantry_tenant_requests_total{{tenant=\"acme\",class=\"{class}\"}}");
    wait_for(&requests("4xx"), 11.0);
    // Whoever waited for the tenant to be served read its figures until it was, which is counted and not charged.
    let before = prometheus.value(&requests("2xx")).unwrap() - count(200, 200);
    assert!((1.0..20.0).contains(&before), "{before}");
    wait_for(&requests("429"), count(429, 429));
    wait_for(&requests("5xx"), 0.0);
    let of = |name: &str| format!("tenantry_tenant_{name}{{tenant=\"acme\"}}");
    let all = 70.0 + before;
    wait_for(&of("client_error_ratio"), 11.0 / all);
    wait_for(&of("throttled_ratio"), count(429, 429) / all);
    wait_for(&of("error_ratio"), 0.0);
    wait_for(&of("requests_last_day"), LIMIT as f64);
    wait_for(&of("quota_requests_per_day"), LIMIT as f64);
    wait_for(&of("response_time_seconds_count"), LIMIT as f64 + before);

    // What a client measures holds all that the node measures.
    let admitted = log.iter().filter(|line| line.status != 429);
    let longest = admitted.clone().map(|line| line.took).max().unwrap().as_secs_f64();
    let average = prometheus.value(&of("average_response_time_seconds")).unwrap();
    assert!(average > 0.0 && average <= longest, "{average} of at most {longest}");
    let (first, last) = (log[0].minute, log[log.len() - 1].minute);
    let busiest = (first..=last)
        .map(|minute| log.iter().filter(|line| line.minute == minute).count())
        .max()
        .unwrap() as f64;
    let peak = prometheus.value(&of("peak_requests_per_minute")).unwrap();
    // A request that began at the turn of a minute may have arrived in the next one.
    let unsure = before + 2.0;
    assert!((peak - busiest).abs() <= unsure, "{peak}, and the log has {busiest}");

    // By what an operator would ask: both kinds of process answer.
    wait_for("count(up == 1)", ops.len() as f64);
    wait_for("sum(tenantry_control_raft_is_leader)", 1.0);
    wait_for("topk(1, sum by (tenant) (tenantry_tenant_requests_total))", all);
}
