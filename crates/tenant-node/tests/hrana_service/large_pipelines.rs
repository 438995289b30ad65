use http::Method;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use crate::harness::{Harness, Tenant, execute, tenant};

/// A result of about `kib` KiB.
fn large(kib: u32) -> Value {
    execute(&format!(
        "with recursive c(x) as (select 1 union all select x + 1 from c limit {kib}) select x, printf('%.*c', 960, 'x') from c"
    ))
}

#[tokio::test]
async fn a_large_answer_leaves_in_pieces_and_means_the_same() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let requests = json!([
        large(100),
        large(200),
        large(40),
        large(90),
        execute("begin"),
        execute("select 'last'")
    ]);
    let body = json!({"baton": null, "requests": requests}).to_string();
    let response = harness.open(&tenant, Method::POST, "/v3/pipeline", body).await;
    assert_eq!(response.status(), 200);
    assert_eq!(
        response.body().size_hint().exact(),
        None,
        "its length is not known at its start"
    );
    let mut body = response.into_body();
    let mut pieces = Vec::new();
    while let Some(frame) = body.frame().await {
        pieces.push(frame.unwrap().into_data().unwrap());
    }
    assert!(
        pieces.iter().all(|piece| piece.len() <= 64 << 10),
        "a piece has 64 KiB at most"
    );
    let answer: Value = serde_json::from_slice(&pieces.concat()).unwrap();
    let counts: Vec<usize> = (0..4)
        .map(|index| {
            answer["results"][index]["response"]["result"]["rows"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(counts, [100, 200, 40, 90]);
    let next = harness
        .pipeline(&tenant, answer["baton"].clone(), json!([{"type": "get_autocommit"}]))
        .await;
    assert_eq!(
        next.body["results"][0]["response"]["is_autocommit"], false,
        "{}",
        next.body
    );
}

#[tokio::test]
async fn one_large_result_at_the_end_is_a_single_body_of_known_length() {
    let harness = Harness::new();
    let body = json!({"baton": null, "requests": [large(600)]}).to_string();
    let response = harness.open(&tenant(1), Method::POST, "/v3/pipeline", body).await;
    assert!(response.body().size_hint().exact().is_some_and(|bytes| bytes > 600_000));
}

#[tokio::test]
async fn a_failure_after_the_first_piece_stands_in_its_result_alone() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.database_bytes = 1 << 20;
    harness.sql(&tenant, "create table t (x)").await;
    let full = execute("insert into t values (zeroblob(4000000))");
    let late = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([large(400), full.clone(), execute("select 'after'")]),
        )
        .await;
    assert_eq!((late.status.as_u16(), late.error(1).0), (200, "SQLITE_FULL"));
    assert_eq!(late.rows(2), [[json!("after")]]);
    let early = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([full, large(400), execute("select 'after'")]),
        )
        .await;
    assert_eq!((early.status.as_u16(), early.error(0).0), (507, "SQLITE_FULL"));
    assert_eq!(early.rows(2), [[json!("after")]]);
}

#[tokio::test]
async fn the_limit_of_the_result_holds_for_all_pieces_together() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    tenant.quota.result_bytes = 1 << 20;
    let answer = harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([large(500), large(400), large(400), execute("select 1")]),
        )
        .await;
    assert_eq!(answer.rows(1).len(), 400);
    assert_eq!(answer.error(2).0, "RESPONSE_TOO_LARGE");
    assert_eq!(answer.rows(3), [[json!("1")]]);
}

/// A tenant whose database is full at once, with a declared type of 50 KB, and a statement that is refused with 507.
async fn full(harness: &Harness) -> (Tenant, Value) {
    let mut tenant = tenant(1);
    harness
        .sql(&tenant, &format!("create table t (x {})", "t".repeat(50_000)))
        .await;
    tenant.quota.database_bytes = 1 << 20;
    tenant.quota.result_bytes = 200_000;
    (tenant, execute("insert into t values (zeroblob(4000000))"))
}

#[tokio::test]
async fn what_follows_a_refusal_is_bounded_whatever_it_is() {
    let harness = Harness::new();
    let (tenant, refused) = full(&harness).await;
    let missing = format!("select * from {}", "n".repeat(50_000));
    let failing_steps = json!({"steps": vec![json!({"stmt": {"sql": missing}}); 9]});
    for request in [
        json!({"type": "describe", "sql": "select x from t"}),
        json!({"type": "describe", "sql": missing}),
        json!({"type": "sequence", "sql": missing}),
        json!({"type": "batch", "batch": failing_steps}),
        execute(&missing),
    ] {
        let mut requests = vec![refused.clone()];
        requests.extend(vec![request.clone(); 9]);
        let answer = harness.pipeline(&tenant, Value::Null, json!(requests)).await;
        let kind = &request["type"];
        assert_eq!(
            (answer.status.as_u16(), answer.error(0).0),
            (507, "SQLITE_FULL"),
            "{kind}"
        );
        let last = match kind.as_str() {
            Some("batch") => &answer.body["results"][9]["response"]["result"]["step_errors"][8],
            _ => &answer.body["results"][9]["error"],
        };
        assert_eq!(last["code"], "RESPONSE_TOO_LARGE", "{kind}");
        let bytes = answer.body.to_string().len();
        assert!((150_000..250_000).contains(&bytes), "{kind}: {bytes}");
    }
}

#[tokio::test]
async fn many_short_results_after_a_refusal_end_at_the_limit() {
    let harness = Harness::new();
    let (tenant, refused) = full(&harness).await;
    let mut requests = vec![refused];
    requests.extend(vec![json!({"type": "close"}); 5_000]);
    let answer = harness.pipeline(&tenant, Value::Null, json!(requests)).await;
    assert_eq!((answer.status.as_u16(), answer.error(0).0), (507, "SQLITE_FULL"));
    assert_eq!(answer.error(2).0, "STREAM_CLOSED");
    let bytes = answer.body.to_string().len();
    assert!((150_000..250_000).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_single_description_stops_at_the_limit() {
    let harness = Harness::new();
    let (tenant, _) = full(&harness).await;
    let sql = format!("select x{} from t", ", x".repeat(9));
    let requests = json!([{"type": "describe", "sql": sql}, execute(&sql), execute("select 'after'")]);
    let answer = harness.pipeline(&tenant, Value::Null, requests).await;
    for index in [0, 1] {
        let (code, message) = answer.error(index);
        assert_eq!(code, "RESPONSE_TOO_LARGE");
        assert!(message.contains("200000 bytes"), "{message}");
    }
    assert_eq!(answer.rows(2), [[json!("after")]]);
}

#[tokio::test]
async fn a_write_whose_result_has_no_room_is_not_carried_out() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let roomy = tenant.clone();
    tenant.quota.result_bytes = 1_000;
    let requests = vec![execute("insert into t values (1)"); 20];
    let answer = harness.pipeline(&tenant, Value::Null, json!(requests)).await;
    assert_eq!(answer.error(19).0, "RESPONSE_TOO_LARGE");
    let results = answer.body["results"].as_array().unwrap();
    let done = results.iter().filter(|result| result["type"] == "ok").count();
    assert!((1..10).contains(&done), "{done}");
    assert_eq!(
        harness.sql(&roomy, "select count(*) from t").await,
        [[json!(done.to_string())]]
    );
}

#[tokio::test]
async fn a_refusal_with_large_results_leaves_in_pieces_of_known_length() {
    let harness = Harness::new();
    let (mut tenant, refused) = full(&harness).await;
    tenant.quota.result_bytes = 1 << 30;
    let body = json!({"baton": null, "requests": [refused, large(400), large(300)]}).to_string();
    let response = harness.open(&tenant, Method::POST, "/v3/pipeline", body).await;
    assert_eq!(response.status(), 507);
    let length = response.body().size_hint().exact().unwrap();
    let mut body = response.into_body();
    let mut document = Vec::new();
    while let Some(frame) = body.frame().await {
        let piece = frame.unwrap().into_data().unwrap();
        assert!(piece.len() <= 64 << 10, "{}", piece.len());
        document.extend_from_slice(&piece);
    }
    assert_eq!(document.len() as u64, length);
    let problem: Value = serde_json::from_slice(&document).unwrap();
    assert_eq!(problem["type"], "https://tenantry.dev/problems/storage-quota-exceeded");
    assert_eq!(problem["results"][0]["error"]["code"], "SQLITE_FULL");
    let rows = |index: usize| {
        problem["results"][index]["response"]["result"]["rows"]
            .as_array()
            .map(Vec::len)
    };
    assert_eq!((rows(1), rows(2)), (Some(400), Some(300)));
}

#[tokio::test]
async fn a_client_that_leaves_a_large_answer_ends_its_stream_and_frees_the_turn_to_write() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let mut requests = vec![execute("begin immediate"), execute("insert into t values (1)")];
    requests.extend((0..20).map(|_| large(300)));
    let body = json!({"baton": null, "requests": requests}).to_string();
    let response = harness.open(&tenant, Method::POST, "/v3/pipeline", body).await;
    let mut body = response.into_body();
    body.frame().await.unwrap().unwrap();
    drop(body);
    harness.sql(&tenant, "insert into t values (2)").await;
    assert_eq!(harness.sql(&tenant, "select x from t").await, [[json!("2")]]);
    assert_eq!(
        (harness.service.open_streams(), harness.service.queued_answer_bytes()),
        (0, 0)
    );
}
