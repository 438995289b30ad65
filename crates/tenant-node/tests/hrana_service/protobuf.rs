use http::Method;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use prost::Message as _;
use serde_json::{Value, json};

use crate::harness::{Harness, Tenant, execute, tenant};
use crate::protobuf_messages::{
    CursorReqBody, PipelineReqBody, PipelineRespBody, batch, cursor_json, request, result_json,
};

impl Harness {
    async fn protobuf_pipeline(&self, tenant: &Tenant, baton: Option<String>, requests: &[Value]) -> PipelineRespBody {
        let body = PipelineReqBody {
            baton,
            requests: requests.iter().map(request).collect(),
        };
        let response = self
            .open(tenant, Method::POST, "/v3-protobuf/pipeline", body.encode_to_vec())
            .await;
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "application/x-protobuf");
        PipelineRespBody::decode(response.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }
}

/// Takes out what protobuf has no field for.
fn comparable(mut answer: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(members) => {
                for name in ["replication_index", "rows_read", "rows_written", "query_duration_ms"] {
                    members.remove(name);
                }
                members.values_mut().for_each(strip);
            }
            Value::Array(elements) => elements.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut answer);
    answer
}

fn steps(request: &Value) -> usize {
    request["batch"]["steps"].as_array().map_or(0, Vec::len)
}

fn argument() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(json!({"type": "null"})),
        any::<i64>().prop_map(|number| json!({"type": "integer", "value": number.to_string()})),
        (-1e300..1e300f64).prop_map(|number| json!({"type": "float", "value": number})),
        ".{0,200}".prop_map(|text| json!({"type": "text", "value": text})),
        Just(json!({"type": "blob", "base64": "AAECAw=="})),
        Just(json!({"type": "blob", "base64": ""})),
    ]
}

fn stmt() -> impl Strategy<Value = Value> {
    let with_arguments = (argument(), argument(), any::<Option<bool>>()).prop_flat_map(|(a, b, want_rows)| {
        prop_oneof![
            Just(
                json!({"sql": "insert into t (a, b) values (?, ?) returning *", "args": [a, b], "want_rows": want_rows})
            ),
            Just(
                json!({"sql": "select :a as one, typeof($b), :a", "want_rows": want_rows,
                "named_args": [{"name": "a", "value": a}, {"name": "$b", "value": b}]})
            ),
            Just(json!({"sql": "insert or ignore into u values (?)", "args": [a]})),
            Just(json!({"sql": "select ?", "args": [a, b]})),
            Just(json!({"sql": "update t set b = ? where id % 3 = 0", "args": [b]})),
            Just(json!({"sql_id": 3, "args": [b]})),
        ]
    });
    let plain = prop_oneof![
        Just("select * from t order by id"),
        Just("select a, count(*) as n from t group by typeof(a) order by id"),
        Just("begin"),
        Just("commit"),
        Just("rollback"),
        Just("delete from t where id > 3"),
        Just("selec"),
        Just(""),
        Just("insert into u values (null), (null)"),
        Just("create table if not exists v (x varchar(10) primary key)"),
    ]
    .prop_map(|sql| json!({"sql": sql}));
    prop_oneof![3 => with_arguments, 2 => plain]
}

fn condition(step: usize) -> BoxedStrategy<Value> {
    if step == 0 {
        return prop_oneof![Just(Value::Null), Just(json!({"type": "is_autocommit"}))].boxed();
    }
    let leaf = prop_oneof![
        (0..step).prop_map(|step| json!({"type": "ok", "step": step})),
        (0..step).prop_map(|step| json!({"type": "error", "step": step})),
        Just(json!({"type": "is_autocommit"})),
    ];
    let any = leaf.prop_recursive(3, 10, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|cond| json!({"type": "not", "cond": cond})),
            prop::collection::vec(inner.clone(), 0..3).prop_map(|conds| json!({"type": "and", "conds": conds})),
            prop::collection::vec(inner, 0..3).prop_map(|conds| json!({"type": "or", "conds": conds})),
        ]
    });
    prop_oneof![1 => Just(Value::Null), 2 => any].boxed()
}

fn a_batch() -> impl Strategy<Value = Value> {
    (0..6_usize).prop_flat_map(|length| {
        let steps: Vec<_> = (0..length)
            .map(|step| {
                (stmt(), condition(step)).prop_map(|(stmt, condition)| json!({"stmt": stmt, "condition": condition}))
            })
            .collect();
        steps.prop_map(|steps| json!({"steps": steps}))
    })
}

fn a_request() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => stmt().prop_map(|stmt| json!({"type": "execute", "stmt": stmt})),
        3 => a_batch().prop_map(|batch| json!({"type": "batch", "batch": batch})),
        1 => Just(json!({"type": "sequence", "sql": "insert into t (a) values (1); select * from t;; update t set b = 2"})),
        1 => Just(json!({"type": "sequence", "sql": "insert into missing values (1)"})),
        1 => Just(json!({"type": "describe", "sql": "select id as i, ?, :x, b from t where 1 = ?2"})),
        1 => Just(json!({"type": "describe", "sql": "explain delete from t"})),
        1 => Just(json!({"type": "store_sql", "sql_id": 3, "sql": "select ?"})),
        1 => Just(json!({"type": "close_sql", "sql_id": 3})),
        1 => Just(json!({"type": "get_autocommit"})),
        1 => Just(json!({"type": "describe", "sql_id": -4})),
    ]
}

const SCHEMA: &str =
    "create table t (id integer primary key, a, b text); create table u (a primary key not null) without rowid";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn both_encodings_mean_the_same(requests in prop::collection::vec(a_request(), 1..12), batches in a_batch()) {
        let mut requests = requests;
        requests.insert(0, json!({"type": "sequence", "sql": SCHEMA}));
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(async {
            let harness = Harness::new();
            let (plain, binary) = (tenant(1), tenant(2));
            let expected = harness.pipeline(&plain, Value::Null, json!(requests)).await;
            let answer = harness.protobuf_pipeline(&binary, None, &requests).await;
            prop_assert_eq!(answer.results.len(), requests.len());
            for (index, result) in answer.results.iter().enumerate() {
                let expected = comparable(expected.body["results"][index].clone());
                prop_assert_eq!(result_json(result, steps(&requests[index])), expected, "{}", requests[index]);
            }
            let response = harness.cursor(&plain, expected.body["baton"].clone(), batches["steps"].clone()).await;
            let lines = response.into_body().collect().await.unwrap().to_bytes();
            let mut expected: Vec<Value> =
                lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(|line| serde_json::from_slice(line).unwrap()).collect();
            expected[0] = json!({"baton": expected[0]["baton"].is_string(), "base_url": null});
            let body = CursorReqBody { baton: answer.baton, batch: Some(batch(&batches)) };
            let response = harness.open(&binary, Method::POST, "/v3-protobuf/cursor", body.encode_to_vec()).await;
            prop_assert_eq!(response.headers()["content-type"].to_str().unwrap(), "application/x-protobuf");
            let bytes = response.into_body().collect().await.unwrap().to_bytes();
            prop_assert_eq!(cursor_json(&bytes), expected);
            Ok(())
        })?;
    }
}

#[tokio::test]
async fn streams_go_on_from_one_encoding_to_the_other() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let begun = harness
        .protobuf_pipeline(&tenant, None, &[execute("begin"), json!({"type": "get_autocommit"})])
        .await;
    let requests = json!([{"type": "get_autocommit"}, execute("commit"), {"type": "close"}]);
    let answer = harness.pipeline(&tenant, json!(begun.baton), requests).await;
    assert_eq!(answer.body["results"][0]["response"]["is_autocommit"], false);
    assert_eq!(answer.body["baton"], Value::Null);
}

#[tokio::test]
async fn refusals_are_json_problems_whatever_the_encoding() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    for path in ["/v3-protobuf/pipeline", "/v3-protobuf/cursor"] {
        let answer = harness.send(&tenant, Method::POST, path, vec![0xff]).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.headers["content-type"], "application/problem+json");
        assert_eq!(answer.body["type"], "https://tenantry.dev/problems/malformed-request");
        assert_eq!(harness.send(&tenant, Method::GET, path, "").await.status, 405);
    }

    tenant.quota.database_bytes = 1 << 20;
    let requests = [
        execute("create table t (x)"),
        execute("insert into t values (zeroblob(4000000))"),
    ];
    let body = PipelineReqBody {
        baton: None,
        requests: requests.iter().map(request).collect(),
    };
    let answer = harness
        .send(&tenant, Method::POST, "/v3-protobuf/pipeline", body.encode_to_vec())
        .await;
    assert_eq!(answer.status, 507);
    let carried = answer.body["results_protobuf"].as_str().unwrap();
    let carried = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, carried).unwrap();
    let carried = PipelineRespBody::decode(&*carried).unwrap();
    assert_eq!(result_json(&carried.results[1], 0)["error"]["code"], "SQLITE_FULL");
}

#[tokio::test]
async fn large_answers_are_streamed_in_protobuf_too() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let rows =
        "with recursive c(x) as (select 1 union all select x + 1 from c limit 3000) select x, zeroblob(300) from c";
    let batches = json!({"steps": [{"stmt": {"sql": rows}}]});
    let body = CursorReqBody {
        baton: None,
        batch: Some(batch(&batches)),
    };
    let response = harness
        .open(&tenant, Method::POST, "/v3-protobuf/cursor", body.encode_to_vec())
        .await;
    assert_eq!(response.body().size_hint().exact(), None);
    let lines = cursor_json(&response.into_body().collect().await.unwrap().to_bytes());
    assert_eq!(lines.len(), 3_003);
    assert_eq!(lines[3_001]["row"][0]["value"], "3000");

    let requests = [execute(rows), execute(rows), execute("select 'last'")];
    let answer = harness.protobuf_pipeline(&tenant, None, &requests).await;
    assert_eq!(
        result_json(&answer.results[1], 0)["response"]["result"]["rows"]
            .as_array()
            .unwrap()
            .len(),
        3_000
    );
    assert_eq!(
        result_json(&answer.results[2], 0)["response"]["result"]["rows"][0][0]["value"],
        "last"
    );
    assert!(answer.baton.is_some());
}

#[tokio::test]
async fn descriptions_and_errors_are_bounded_in_protobuf_too() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    harness
        .sql(&tenant, &format!("create table t (x {})", "t".repeat(50_000)))
        .await;
    tenant.quota.result_bytes = 200_000;
    let missing = format!("select * from {}", "n".repeat(50_000));
    for sql in ["select x from t", "select x, x, x, x, x from t", &missing] {
        let requests = vec![json!({"type": "describe", "sql": sql}); 9];
        let answer = harness.protobuf_pipeline(&tenant, None, &requests).await;
        assert_eq!(answer.results.len(), 9);
        let last = result_json(&answer.results[8], 0);
        assert_eq!(last["error"]["code"], "RESPONSE_TOO_LARGE");
        let bytes = answer.encoded_len();
        assert!(bytes < 220_000, "{bytes}");
    }
}
