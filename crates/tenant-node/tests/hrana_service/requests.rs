use std::time::Duration;

use http::Method;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};

use crate::harness::{Harness, Tenant, execute, tenant};

#[tokio::test]
async fn other_paths_and_methods_are_refused() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let cases = [
        (Method::POST, "/v3", 405, Some("GET, HEAD")),
        (Method::GET, "/v3/pipeline", 405, Some("POST")),
        (Method::DELETE, "/v2/pipeline", 405, Some("POST")),
        (Method::GET, "/v1/execute", 405, Some("POST")),
        (Method::GET, "/v1/batch", 405, Some("POST")),
        (Method::GET, "/v2-protobuf", 404, None),
        (Method::GET, "/v2/cursor", 404, None),
        (Method::GET, "/", 404, None),
    ];
    for (method, path, status, allow) in cases {
        let answer = harness.send(&tenant, method.clone(), path, "").await;
        assert_eq!(answer.status, status, "{method} {path}");
        assert_eq!(
            answer.headers.get("allow").map(|value| value.to_str().unwrap()),
            allow,
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_request_without_a_tenant_is_our_fault() {
    use tower::ServiceExt as _;
    let harness = Harness::new();
    let request = http::Request::post("/v3/pipeline")
        .body(tenant_node::http::body::full("{}"))
        .unwrap();
    assert_eq!(harness.service.clone().oneshot(request).await.unwrap().status(), 500);
}

#[tokio::test]
async fn values_of_every_type_go_in_and_come_out_on_both_versions() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let values = json!([
        {"type": "null"}, {"type": "integer", "value": "-9223372036854775808"}, {"type": "float", "value": 0.1},
        {"type": "text", "value": "naïve \"quotes\" \u{1F600}"}, {"type": "blob", "base64": "AP8="}
    ]);
    for path in ["/v2/pipeline", "/v3/pipeline"] {
        let body = json!({"baton": null, "requests": [
            {"type": "execute", "stmt": {"sql": "select ? as a, ?, ?, ?, ?", "args": values}}, {"type": "close"}]});
        let answer = harness.send(&tenant, Method::POST, path, body.to_string()).await;
        let result = &answer.body["results"][0]["response"]["result"];
        assert_eq!(result["rows"][0], values, "{}", answer.body);
        assert_eq!(result["cols"][0], json!({"name": "a", "decltype": null}));
        assert_eq!(answer.body["baton"], Value::Null);
        assert_eq!(answer.body["results"][1]["response"]["type"], "close");
    }
}

#[tokio::test]
async fn an_infinity_is_null_in_json_which_has_no_word_for_it() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let rows = harness.sql(&tenant, "select 9e999, -9e999, 1.5").await;
    assert_eq!(rows, [[Value::Null, Value::Null, json!(1.5)]]);
}

#[tokio::test]
async fn a_write_tells_what_it_did() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let requests = json!([
        execute("create table t (id integer primary key, word text not null)"),
        {"type": "execute", "stmt": {"sql": "insert into t (word) values (:one), ($two)",
            "named_args": [{"name": "one", "value": {"type": "text", "value": "a"}},
                           {"name": "$two", "value": {"type": "text", "value": "b"}}]}},
        {"type": "execute", "stmt": {"sql": "select * from t", "want_rows": false}},
        execute("select id, word from t order by id"),
        execute("insert into t (word) values (null)"),
        execute("selec"),
        execute("select 1; select 2"),
        execute(" -- nothing\n"),
        execute("select ?"),
        {"type": "close"}
    ]);
    let answer = harness.pipeline(&tenant, Value::Null, requests).await;
    let inserted = &answer.body["results"][1]["response"]["result"];
    assert_eq!(inserted["affected_row_count"], 2);
    assert_eq!(inserted["last_insert_rowid"], "2");
    assert_eq!(inserted["rows_written"], 2);
    assert_eq!(inserted["replication_index"], Value::Null);
    let unwanted = &answer.body["results"][2]["response"]["result"];
    assert_eq!(unwanted["rows"], json!([]));
    assert_eq!(unwanted["cols"][1], json!({"name": "word", "decltype": "TEXT"}));
    assert_eq!(answer.rows(3), [[json!("1"), json!("a")], [json!("2"), json!("b")]]);
    let codes: Vec<&str> = (4..9).map(|index| answer.error(index).0).collect();
    assert_eq!(
        codes,
        [
            "SQLITE_CONSTRAINT_NOTNULL",
            "SQL_INPUT_ERROR",
            "SQL_MANY_STATEMENTS",
            "SQL_NO_STATEMENT",
            "ARGS_INVALID"
        ]
    );
    let figures = harness.databases.figures(tenant.uid).unwrap();
    assert_eq!((figures.rows_written, figures.database_bytes % 4096), (2, 0));
    assert!(figures.database_bytes > 0 && figures.memory_bytes > 0, "{figures:?}");
    cpu_of(&harness, &tenant, 1).await;
}

/// Waits until so much processor time is put down to the tenant, in microseconds: its thread does that after the answer. Returns what is.
async fn cpu_of(harness: &Harness, tenant: &Tenant, micros: u64) -> u64 {
    let waiting = async {
        loop {
            let used = harness.databases.cpu_micros(tenant.uid);
            if used >= micros {
                return used;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.unwrap()
}

/// As reading a large body is, or a checkpoint.
#[tokio::test]
async fn what_is_done_for_a_tenant_beside_its_queries_is_put_down_to_it_and_to_nobody_else() {
    const MICROS: u64 = 50_000;
    let harness = Harness::new();
    let (large, small) = (tenant(1), tenant(2));
    let own_time = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let work = move || {
        let before = own_time();
        while own_time() < before + Duration::from_micros(MICROS) {}
    };
    harness
        .databases
        .run_blocking(large.uid, large.weight, work)
        .await
        .unwrap();
    // Likely by the same thread.
    harness.sql(&small, "select 1").await;
    cpu_of(&harness, &large, MICROS).await;
    let used = cpu_of(&harness, &small, 1).await;
    assert!(used < MICROS, "{used} us");
}

#[tokio::test]
async fn a_batch_runs_the_steps_whose_conditions_hold() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let step = |sql: &str, condition: Value| json!({"stmt": {"sql": sql}, "condition": condition});
    let ok = |step: u32| json!({"type": "ok", "step": step});
    let batch = json!({"type": "batch", "batch": {"steps": [
        step("begin immediate", Value::Null),
        step("create table t (x unique)", ok(0)),
        step("insert into t values (1), (1)", ok(1)),
        step("commit", ok(2)),
        step("rollback", json!({"type": "not", "cond": ok(3)})),
        step("select 1", json!({"type": "and", "conds": [{"type": "error", "step": 2}, {"type": "is_autocommit"}]})),
        step("select 2", json!({"type": "or", "conds": [ok(2), ok(3)]})),
    ]}});
    let answer = harness
        .pipeline(&tenant, Value::Null, json!([batch, {"type": "close"}]))
        .await;
    let result = &answer.body["results"][0]["response"]["result"];
    let present = |list: &str| -> Vec<bool> {
        result[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| !entry.is_null())
            .collect()
    };
    assert_eq!(
        present("step_results"),
        [true, true, false, false, true, true, false],
        "{result}"
    );
    assert_eq!(present("step_errors"), [false, false, true, false, false, false, false]);
    assert!(harness.sql(&tenant, "select * from sqlite_schema").await.is_empty());
}

#[tokio::test]
async fn sequences_descriptions_and_stored_texts() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let script = "create table t (x int); -- first; table\n create trigger g after insert on t begin \
                  update t set x = x + 1; select ';'; end; insert into t values (1);;";
    let requests = json!([
        {"type": "sequence", "sql": script},
        {"type": "store_sql", "sql_id": 7, "sql": "select x from t where x = :x and 1 = ?2"},
        {"type": "store_sql", "sql_id": 7, "sql": "again"},
        {"type": "describe", "sql_id": 7},
        {"type": "execute", "stmt": {"sql_id": 7, "args": [{"type": "integer", "value": "2"}, {"type": "integer", "value": "1"}]}},
        {"type": "close_sql", "sql_id": 7},
        {"type": "close_sql", "sql_id": 8},
        {"type": "execute", "stmt": {"sql_id": 7}},
        {"type": "get_autocommit"},
        {"type": "sequence", "sql": "insert into t values (5); broken; insert into t values (6)"},
        {"type": "describe", "sql": "explain delete from t"},
        execute("select count(*) from t"),
    ]);
    let answer = harness.pipeline(&tenant, Value::Null, requests).await;
    assert_eq!(
        answer.body["results"][0],
        json!({"type": "ok", "response": {"type": "sequence"}})
    );
    assert_eq!(answer.error(2).0, "SQL_ID_IN_USE");
    let expected = json!({"params": [{"name": ":x"}, {"name": "?2"}], "cols": [{"name": "x", "decltype": "INT"}],
        "is_explain": false, "is_readonly": true});
    assert_eq!(answer.body["results"][3]["response"]["result"], expected);
    assert_eq!(answer.rows(4), [[json!("2")]]);
    assert_eq!(answer.error(7).0, "SQL_NOT_STORED");
    assert_eq!(answer.body["results"][8]["response"]["is_autocommit"], true);
    assert_eq!(answer.error(9).0, "SQL_INPUT_ERROR");
    assert_eq!(answer.body["results"][10]["response"]["result"]["is_explain"], true);
    assert_eq!(answer.rows(11), [[json!("2")]]);
}

#[tokio::test]
async fn a_malformed_body_is_refused_by_field_and_a_large_one_by_size() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    let answer = harness
        .pipeline(&tenant, Value::Null, json!([{"type": "execute", "stmt": {"sql": 1}}]))
        .await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["field"]),
        (400, &json!("requests[0].stmt.sql"))
    );
    tenant.quota.request_bytes = 100;
    let answer = harness.try_sql(&tenant, &"x".repeat(200)).await;
    assert_eq!(
        (answer.status.as_u16(), &answer.body["limit_bytes"]),
        (413, &json!(100))
    );
}

#[tokio::test]
async fn a_violated_constraint_is_told_by_its_kind() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let schema = "create table t (id integer primary key, u text unique, n not null default 0, c check (c > 0), \
                  p references t (id)); create table s (x int) strict; create table w (k primary key) without rowid; \
                  create trigger g before delete on t begin select raise(abort, 'kept'); end; \
                  insert into t (id, u) values (1, 'a'); insert into w values (1)";
    let schema = json!([{"type": "sequence", "sql": schema}, {"type": "close"}]);
    let answer = harness.pipeline(&tenant, Value::Null, schema).await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
    for (sql, code) in [
        ("insert into t (id) values (1)", "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("insert into w values (1)", "SQLITE_CONSTRAINT_PRIMARYKEY"),
        ("insert into t (u) values ('a')", "SQLITE_CONSTRAINT_UNIQUE"),
        ("insert into t (n) values (null)", "SQLITE_CONSTRAINT_NOTNULL"),
        ("insert into t (c) values (0)", "SQLITE_CONSTRAINT_CHECK"),
        ("insert into t (p) values (7)", "SQLITE_CONSTRAINT_FOREIGNKEY"),
        ("delete from t", "SQLITE_CONSTRAINT_TRIGGER"),
        ("insert into s values ('x')", "SQLITE_CONSTRAINT_DATATYPE"),
        ("select * from missing", "SQLITE_ERROR"),
        ("select from t", "SQL_INPUT_ERROR"),
        ("select abs(-9223372036854775808)", "SQLITE_ERROR"),
    ] {
        let answer = harness.try_sql(&tenant, sql).await;
        assert_eq!(answer.error(0).0, code, "{sql}: {}", answer.body);
    }
}

#[tokio::test]
async fn a_compressed_request_is_refused_and_told_how_to_send_it() {
    use tower::ServiceExt as _;
    let harness = Harness::new();
    let tenant = tenant(1);
    for (encoding, status) in [("gzip", 415), ("br, gzip", 415), ("identity", 200)] {
        let mut request = tenant.request(Method::POST, "/v3/pipeline", r#"{"requests":[]}"#);
        request
            .headers_mut()
            .insert("content-encoding", encoding.parse().unwrap());
        let response = harness.service.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), status, "{encoding}");
        assert_eq!(response.headers().contains_key("accept-encoding"), status == 415);
    }
}
