//! `RateLimit-Policy`, `RateLimit` and `Retry-After` of every kind of answer, read by a parser of RFC 9651 that is not ours.
//!
//! Run with `--no-capture`, the test prints the table of what it checked.

use http::header::{HeaderMap, RETRY_AFTER};
use http::{Method, Response};
use serde_json::{Value, json};
use tenant_node::http::body::Body;
use tenant_node::layers::Authentication;
use tenantry_types::Burst;

use crate::harness::execute;
use crate::node::{Node, bytes_of, pipeline};

const HOST: (&str, &str) = ("host", "acme.localhost");
const POLICY: &str = "ratelimit-policy";
const LIMIT: &str = "ratelimit";

/// A member of a field: its name and its whole numbers.
type Member = (String, Vec<(String, u64)>);

fn members(headers: &HeaderMap, field: &str) -> Vec<Member> {
    let values: Vec<_> = headers.get_all(field).iter().collect();
    assert_eq!(values.len(), 1, "{field} stands there once");
    let list: sfv::List = sfv::Parser::new(values[0].as_bytes()).parse().unwrap();
    let member = |entry: sfv::ListEntry| {
        let sfv::ListEntry::Item(item) = entry else {
            panic!("{field} has an inner list");
        };
        let number = |(key, value): (sfv::Key, sfv::BareItem)| {
            let number = i64::from(value.as_integer()?);
            Some((key.as_str().to_owned(), u64::try_from(number).unwrap()))
        };
        let name = item.bare_item.as_string().unwrap().as_str().to_owned();
        (name, item.params.into_iter().filter_map(number).collect())
    };
    list.into_iter().map(member).collect()
}

fn number(member: &Member, key: &str) -> Option<u64> {
    member.1.iter().find(|(held, _)| held == key).map(|(_, value)| *value)
}

/// What is said in the answer, checked; a row of the table.
fn check(kind: &str, response: &Response<Body>, problem: &Value) -> String {
    let (status, headers) = (response.status().as_u16(), response.headers());
    let policies = members(headers, POLICY);
    let names: Vec<&str> = policies.iter().map(|(name, _)| name.as_str()).collect();
    let quota = |name: &str| {
        policies
            .iter()
            .find(|(held, _)| held == name)
            .and_then(|member| number(member, "q"))
    };
    let mut full = Vec::new();
    let mut wait = 0;
    if headers.contains_key(LIMIT) {
        let limits = members(headers, LIMIT);
        let said: Vec<&str> = limits.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(said, names, "{kind}: both fields name the same policies");
        for member in &limits {
            let left = number(member, "r").unwrap();
            assert!(left <= quota(&member.0).unwrap(), "{kind}: {member:?}");
            if left == 0 {
                full.push(member.0.clone());
                wait = wait.max(number(member, "t").unwrap_or_default());
            }
        }
    }
    let retry_after = headers
        .get(RETRY_AFTER)
        .map(|value| value.to_str().unwrap().parse::<u64>().unwrap());
    assert_ne!(retry_after, Some(0), "{kind}");
    assert_eq!(
        retry_after.is_some(),
        matches!(status, 429 | 503),
        "{kind}: {headers:?}"
    );
    if problem["type"] == "https://tenantry.dev/problems/quota-exceeded" {
        let mut violated: Vec<String> = serde_json::from_value(problem["violated-policies"].clone()).unwrap();
        violated.sort();
        full.sort();
        assert_eq!(violated, full, "{kind}: what is used up is what was violated");
        assert!(retry_after >= Some(wait), "{kind}: no earlier than the fields say");
        assert!(
            problem["limit"].is_u64() && problem["used"].is_u64(),
            "{kind}: {problem}"
        );
    }
    let text = |name: &str| headers.get(name).map_or("–", |value| value.to_str().unwrap());
    format!(
        "| {kind} | {status} | {} | {} | {} |",
        text(POLICY),
        text(LIMIT),
        text("retry-after")
    )
}

async fn ask(kind: &str, node: &Node, method: Method, path: &str, more: &[(&str, &str)], body: Value) -> (u16, String) {
    let headers: Vec<_> = std::iter::once(HOST).chain(more.iter().copied()).collect();
    let response = node.send(method, path, &headers, body).await;
    let (parts, body) = response.into_parts();
    let bytes = bytes_of(Response::new(body)).await;
    let problem = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    let response = Response::from_parts(parts, tenant_node::http::body::empty());
    (response.status().as_u16(), check(kind, &response, &problem))
}

#[tokio::test]
async fn every_kind_of_answer_says_how_the_limits_stand_as_rfc_9651_and_the_draft_have_it() {
    let open = || {
        Node::with(Authentication::Open, |quota| {
            quota.requests_per_day = 10_000;
            quota.burst = Some(Burst {
                requests_per_second: 100,
                size: 1_000,
            });
            quota.request_bytes = 100_000;
            quota.database_bytes = 1 << 20;
        })
    };
    let node = open();
    let cursor = json!({"batch": {"steps": [{"stmt": {"sql": "select 1"}}]}});
    let growth = json!({"requests": [
        execute("create table if not exists t (b)"),
        execute("insert into t values (zeroblob(3000000))")
    ]});
    let large = pipeline(&format!("select '{}'", "x".repeat(200_000)));
    let baton = json!({"baton": "no such baton", "requests": [execute("select 1")]});
    let mut rows = Vec::new();
    for (kind, method, path, more, body, status) in [
        (
            "a query",
            Method::POST,
            "/v3/pipeline",
            &[][..],
            pipeline("select 1"),
            200,
        ),
        (
            "a query of version 2",
            Method::POST,
            "/v2/pipeline",
            &[],
            pipeline("select 1"),
            200,
        ),
        (
            "a failed statement",
            Method::POST,
            "/v3/pipeline",
            &[],
            pipeline("select nothing"),
            200,
        ),
        ("a cursor", Method::POST, "/v3/cursor", &[], cursor, 200),
        ("its own figures", Method::GET, "/v1/usage", &[], Value::Null, 200),
        (
            "compressed",
            Method::GET,
            "/v1/usage",
            &[("accept-encoding", "gzip")],
            Value::Null,
            200,
        ),
        (
            "to a browser",
            Method::GET,
            "/v1/usage",
            &[("origin", "https://app.example")],
            Value::Null,
            200,
        ),
        (
            "no pipeline",
            Method::POST,
            "/v3/pipeline",
            &[],
            json!({"no": "pipeline"}),
            400,
        ),
        (
            "no protobuf",
            Method::POST,
            "/v3-protobuf/pipeline",
            &[],
            json!("x"),
            400,
        ),
        ("a made-up baton", Method::POST, "/v3/pipeline", &[], baton, 400),
        ("nothing there", Method::POST, "/nothing", &[], Value::Null, 404),
        ("a wrong method", Method::GET, "/v3/pipeline", &[], Value::Null, 405),
        (
            "options without an origin",
            Method::OPTIONS,
            "/v3/pipeline",
            &[],
            Value::Null,
            405,
        ),
        ("too large a request", Method::POST, "/v3/pipeline", &[], large, 413),
        (
            "a compressed request",
            Method::POST,
            "/v3/pipeline",
            &[("content-encoding", "gzip")],
            Value::Null,
            415,
        ),
        ("a full database", Method::POST, "/v3/pipeline", &[], growth, 507),
    ] {
        let (answered, row) = ask(kind, &node, method, path, more, body).await;
        assert_eq!(answered, status, "{row}");
        rows.push(row);
    }

    let daily = Node::new(Authentication::Open, 1);
    let burst = Node::with(Authentication::Open, |quota| {
        quota.burst = Some(Burst {
            requests_per_second: 1,
            size: 1,
        });
    });
    let all = Node::with(Authentication::Open, |quota| {
        quota.requests_per_day = 1;
        quota.concurrent_requests = 1;
        quota.burst = Some(Burst {
            requests_per_second: 1,
            size: 1,
        });
    });
    let concurrent = Node::with(Authentication::Open, |quota| quota.concurrent_requests = 1);
    // An answer that is not read to its end holds its place.
    let mut held = Vec::new();
    for (kind, node) in [
        ("daily limit", &daily),
        ("burst limit", &burst),
        ("concurrent limit", &concurrent),
        ("all three", &all),
    ] {
        held.push(
            node.send(Method::POST, "/v3/pipeline", &[HOST], pipeline("select 1"))
                .await,
        );
        let (answered, row) = ask(kind, node, Method::POST, "/v3/pipeline", &[], pipeline("select 1")).await;
        assert_eq!(answered, 429, "{row}");
        rows.push(row);
    }

    // A file where the tenant's folder ought to be: its ledger cannot be read.
    let broken = open();
    std::fs::remove_dir_all(broken.harness.folder.path().join("tenants")).unwrap();
    std::fs::write(broken.harness.folder.path().join("tenants"), b"").unwrap();
    let (answered, row) = ask(
        "our disk",
        &broken,
        Method::POST,
        "/v3/pipeline",
        &[],
        pipeline("select 1"),
    )
    .await;
    assert_eq!(answered, 503, "{row}");
    rows.push(row);
    println!(
        "| answer | status | RateLimit-Policy | RateLimit | Retry-After |\n|---|---|---|---|---|\n{}",
        rows.join("\n")
    );
}

#[tokio::test]
async fn what_is_refused_before_a_tenant_is_known_says_nothing_of_limits() {
    let node = Node::new(Authentication::Required, 100);
    let preflight = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
    ];
    for (kind, method, host, more, status) in [
        ("no tenant", Method::POST, "127.0.0.1", &[][..], 400),
        ("no token", Method::POST, "acme.localhost", &[], 401),
        ("a preflight", Method::OPTIONS, "acme.localhost", &preflight[..], 200),
    ] {
        let headers: Vec<_> = std::iter::once(("host", host)).chain(more.iter().copied()).collect();
        let response = node.send(method, "/v3/pipeline", &headers, pipeline("select 1")).await;
        assert_eq!(response.status(), status, "{kind}");
        for field in [POLICY, LIMIT, "retry-after"] {
            assert!(!response.headers().contains_key(field), "{kind}: {field}");
        }
    }
}
