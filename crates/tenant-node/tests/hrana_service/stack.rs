//! The whole request stack around real databases: who answers first, and what an answer goes through on its way out.

use std::io::Read as _;

use http::{HeaderMap, Method};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::layers::Authentication;
use tenantry_layers::meter::AnswerClass;

use crate::node::{Node, bytes_of, json_of, pipeline};

const ORIGIN: &str = "https://app.example";
const ROWS: &str =
    "with recursive c(x) as (select 1 union all select x + 1 from c limit 2000) select x, 'some text' from c";

fn named(headers: &HeaderMap, name: &str) -> String {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| value.to_str().unwrap().to_ascii_lowercase())
        .collect();
    values.join(",")
}

#[tokio::test]
async fn a_preflight_is_answered_before_anyone_asks_for_a_token_or_a_tenant() {
    let node = Node::new(Authentication::Required, 100);
    for host in ["acme.localhost", "nobody.localhost", "127.0.0.1"] {
        for path in [
            "/v2/pipeline",
            "/v3/pipeline",
            "/v3/cursor",
            "/v3-protobuf/cursor",
            "/v1/usage",
        ] {
            let headers = [
                ("host", host),
                ("origin", ORIGIN),
                ("access-control-request-method", "POST"),
                (
                    "access-control-request-headers",
                    "authorization,content-type,x-tenant-id,x-libsql-client-version",
                ),
            ];
            let response = node.send(Method::OPTIONS, path, &headers, Value::Null).await;
            assert_eq!(response.status(), 200, "{host} {path}");
            let headers = response.headers();
            assert_eq!(named(headers, "access-control-allow-origin"), "*");
            assert_eq!(
                named(headers, "access-control-allow-headers"),
                "authorization,content-type,x-tenant-id,x-libsql-client-version"
            );
            assert!(named(headers, "access-control-allow-methods").contains("post"));
            assert_eq!(named(headers, "access-control-max-age"), "86400");
            assert!(bytes_of(response).await.is_empty());
        }
    }
    assert_eq!((node.meters.tenants(), node.meters.answers().total()), (0, 0));
    assert!(node.harness.databases.open_tenants().is_empty());
}

#[tokio::test]
async fn versions_are_probed_without_a_token_and_tell_nothing_of_tenants() {
    let node = Node::new(Authentication::Required, 100);
    for (path, encoding) in [("/v2", "json"), ("/v3", "json"), ("/v3-protobuf", "protobuf")] {
        for host in ["acme.localhost", "nobody.localhost", "db.nobody.example"] {
            for token in [None, Some("Bearer a.b.c")] {
                let mut headers = vec![("host", host)];
                headers.extend(token.map(|token| ("authorization", token)));
                let response = node.send(Method::GET, path, &headers, Value::Null).await;
                assert_eq!(response.status(), 200, "{host} {path} {token:?}");
                assert_eq!(named(response.headers(), "content-type"), "application/json");
                assert!(!response.headers().contains_key("ratelimit"));
                assert_eq!(json_of(response).await["encoding"], encoding);
                let response = node.send(Method::HEAD, path, &headers, Value::Null).await;
                assert_eq!(response.status(), 200, "{host} {path} {token:?}");
            }
            // Whatever else is sent there is a request like any other.
            for path in [path, "/v3/", "/v3/pipeline"] {
                let response = node.send(Method::POST, path, &[("host", host)], Value::Null).await;
                assert_eq!(response.status(), 401, "{host} {path}");
            }
        }
        let unnamed = node
            .send(Method::GET, path, &[("host", "127.0.0.1")], Value::Null)
            .await;
        assert_eq!(unnamed.status(), 400, "{path}");
    }
    assert_eq!((node.meters.tenants(), node.meters.answers().total()), (0, 0));
}

#[tokio::test]
async fn a_page_can_read_every_refusal_and_what_is_left_of_its_quota() {
    let node = Node::new(Authentication::Required, 100);
    let page = |host| [("host", host), ("origin", ORIGIN)];
    for (host, status) in [("acme.localhost", 401), ("nobody.localhost", 401), ("127.0.0.1", 400)] {
        let response = node
            .send(Method::POST, "/v3/pipeline", &page(host), pipeline("select 1"))
            .await;
        assert_eq!(response.status(), status, "{host}");
        assert_eq!(named(response.headers(), "access-control-allow-origin"), "*");
    }
    let open = Node::new(Authentication::Open, 1);
    let first = open
        .send(
            Method::POST,
            "/v3/pipeline",
            &page("acme.localhost"),
            pipeline("select 1"),
        )
        .await;
    assert_eq!(first.status(), 200);
    let second = open
        .send(
            Method::POST,
            "/v3/pipeline",
            &page("acme.localhost"),
            pipeline("select 1"),
        )
        .await;
    assert_eq!(second.status(), 429);
    for response in [first, second] {
        let headers = response.headers();
        let exposed = named(headers, "access-control-expose-headers");
        for name in ["ratelimit", "ratelimit-policy", "retry-after"] {
            assert!(exposed.split(',').any(|exposed| exposed.trim() == name), "{exposed}");
        }
        assert!(headers.contains_key("ratelimit"), "{headers:?}");
        assert_eq!(named(headers, "access-control-allow-origin"), "*");
    }
}

#[tokio::test]
async fn refusals_of_every_layer_are_plain_json_for_sdks_and_problems_for_who_asks() {
    let (closed, open) = (
        Node::new(Authentication::Required, 100),
        Node::new(Authentication::Open, 1),
    );
    open.send(
        Method::POST,
        "/v3/pipeline",
        &[("host", "acme.localhost")],
        pipeline("select 1"),
    )
    .await;
    let (plain, problem) = ("application/json", "application/problem+json");
    let cases = [
        (&closed, "127.0.0.1", "/v3/pipeline", 400, plain),
        (&closed, "acme.localhost", "/v1/execute", 401, plain),
        (&open, "nobody.localhost", "/v3-protobuf/pipeline", 404, plain),
        (&open, "acme.localhost", "/v2/pipeline", 429, plain),
        (&closed, "acme.localhost", "/v1/usage", 401, problem),
        (&closed, "acme.localhost", "/elsewhere", 401, problem),
    ];
    for (node, host, path, status, unasked) in cases {
        for (accept, expected) in [("*/*", unasked), (problem, problem)] {
            let headers = [("host", host), ("accept", accept)];
            let response = node.send(Method::POST, path, &headers, pipeline("select 1")).await;
            assert_eq!(response.status(), status, "{host} {path}");
            assert_eq!(response.headers()["content-type"], expected, "{host} {path} {accept}");
            let words = json_of(response).await;
            assert!(words["message"].is_string() && words["code"].is_string(), "{words}");
        }
    }
}

#[tokio::test]
async fn a_client_that_asks_for_nothing_gets_nothing_added() {
    let node = Node::new(Authentication::Open, 100);
    let response = node
        .send(
            Method::POST,
            "/v3/pipeline",
            &[("host", "acme.localhost")],
            pipeline(ROWS),
        )
        .await;
    let headers = response.headers();
    for name in [
        "access-control-allow-origin",
        "access-control-expose-headers",
        "vary",
        "content-encoding",
    ] {
        assert!(!headers.contains_key(name), "{name}: {headers:?}");
    }
    assert!(response.body().size_hint().exact().is_some());
    // Without an origin it is no preflight, and asks for what it is allowed like any other request.
    let options = node
        .send(
            Method::OPTIONS,
            "/v3/pipeline",
            &[("host", "acme.localhost")],
            Value::Null,
        )
        .await;
    assert_eq!(options.status(), 405);
    assert_eq!(node.requests_used().await, 1);
}

#[tokio::test]
async fn a_large_answer_is_compressed_for_who_asks_and_a_small_one_is_not() {
    let node = Node::new(Authentication::Open, 100);
    let plain = node
        .send(
            Method::POST,
            "/v3/pipeline",
            &[("host", "acme.localhost")],
            pipeline(ROWS),
        )
        .await;
    let plain = json_of(plain).await;
    for accepted in ["gzip", "br;q=1.0, gzip;q=0.8, *;q=0.1"] {
        let headers = [("host", "acme.localhost"), ("accept-encoding", accepted)];
        let large = node.send(Method::POST, "/v3/pipeline", &headers, pipeline(ROWS)).await;
        assert_eq!(named(large.headers(), "content-encoding"), "gzip");
        assert!(named(large.headers(), "vary").contains("accept-encoding"));
        assert!(!large.headers().contains_key("content-length"));
        let compressed = bytes_of(large).await;
        let mut text = String::new();
        flate2::read::GzDecoder::new(&*compressed)
            .read_to_string(&mut text)
            .unwrap();
        let rows = |answer: &Value| answer["results"][0]["response"]["result"]["rows"].clone();
        assert_eq!(rows(&serde_json::from_str(&text).unwrap()), rows(&plain));
        assert!(
            compressed.len() * 5 < text.len(),
            "{} of {}",
            compressed.len(),
            text.len()
        );
        let small = node
            .send(Method::POST, "/v3/pipeline", &headers, pipeline("select 1"))
            .await;
        assert!(!small.headers().contains_key("content-encoding"));
        assert_eq!(json_of(small).await["results"][0]["type"], "ok");
    }
    for refused in ["gzip;q=0", "br", "identity"] {
        let headers = [("host", "acme.localhost"), ("accept-encoding", refused)];
        let response = node.send(Method::POST, "/v3/pipeline", &headers, pipeline(ROWS)).await;
        assert!(!response.headers().contains_key("content-encoding"), "{refused}");
    }
}

#[tokio::test]
async fn a_compressed_stream_leaves_while_its_statement_runs_and_is_measured_to_its_end() {
    let node = Node::new(Authentication::Open, 100);
    let endless = "with recursive c(x) as (select 1 union all select x + 1 from c) select x, random() from c";
    let headers = [
        ("host", "acme.localhost"),
        ("accept-encoding", "gzip"),
        ("origin", ORIGIN),
    ];
    let cursor = json!({"batch": {"steps": [{"stmt": {"sql": endless}}]}});
    let response = node.send(Method::POST, "/v3/cursor", &headers, cursor).await;
    assert_eq!(named(response.headers(), "content-encoding"), "gzip");
    assert_eq!(named(response.headers(), "access-control-allow-origin"), "*");
    assert!(response.headers().contains_key("ratelimit"));
    let mut body = response.into_body();
    let mut received = 0;
    while received < 200_000 {
        received += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        assert!(node.harness.service.queued_answer_bytes() <= 5 * (32 << 10));
    }
    assert_eq!((node.meters.concurrent(), node.meters.answers().total()), (1, 0));
    drop(body);
    assert_eq!((node.meters.concurrent(), node.meters.answers().total()), (0, 1));
    assert_eq!(node.meters.answers().get(AnswerClass::ServerError), 0);
}
