use serde_json::json;

use crate::harness::{Harness, tenant};

/// What a hostile tenant tries, and a part of the code or the words that answer it.
const ATTEMPTS: &[(&str, &str)] = &[
    ("attach '/etc/passwd' as p", "SQLITE_AUTH"),
    ("attach ':memory:' as m", "SQLITE_AUTH"),
    ("attach '' as m", "SQLITE_AUTH"),
    ("attach 'a' || 'b' as m", "SQLITE_AUTH"),
    ("detach main", "SQLITE_AUTH"),
    ("vacuum into '/tmp/stolen.db'", "not available"),
    ("vacuum into 'stolen' || '.db'", "not available"),
    ("select load_extension('/tmp/x.so')", "SQLITE_AUTH"),
    ("select readfile('/etc/passwd')", "no such function"),
    ("select writefile('/tmp/x', 'x')", "no such function"),
    ("select edit('x')", "no such function"),
    ("select fts3_tokenizer('simple', x'00')", "SQLITE_AUTH"),
    (
        "create virtual table c using csv(filename='/etc/passwd')",
        "SQLITE_AUTH",
    ),
    ("create virtual table d using dbstat", "SQLITE_AUTH"),
    ("pragma journal_mode = delete", "SQLITE_AUTH"),
    ("pragma main.journal_mode = off", "SQLITE_AUTH"),
    ("/* x */ pragma synchronous = off", "SQLITE_AUTH"),
    ("pragma locking_mode = exclusive", "SQLITE_AUTH"),
    ("pragma max_page_count = 1000000000", "SQLITE_AUTH"),
    ("pragma page_size = 65536", "SQLITE_AUTH"),
    ("pragma auto_vacuum = 0", "SQLITE_AUTH"),
    ("pragma cache_size = 1000000", "SQLITE_AUTH"),
    ("pragma mmap_size = 1000000000", "SQLITE_AUTH"),
    ("pragma writable_schema = on", "SQLITE_AUTH"),
    ("pragma trusted_schema = on", "SQLITE_AUTH"),
    ("pragma query_only = off", "SQLITE_AUTH"),
    ("pragma hard_heap_limit = 1", "SQLITE_AUTH"),
    ("pragma temp_store = file", "SQLITE_AUTH"),
    ("pragma temp_store_directory = '/tmp'", "SQLITE_AUTH"),
    ("pragma busy_timeout = 1000000", "SQLITE_AUTH"),
    ("pragma wal_checkpoint(truncate)", "SQLITE_AUTH"),
    ("pragma threads = 8", "SQLITE_AUTH"),
    ("select * from pragma_database_list", "not available"),
    ("select * from pragma_journal_mode", "SQLITE_AUTH"),
    ("select zeroblob(1000000000)", "SQLITE_TOOBIG"),
    ("select length(randomblob(1000000000))", "SQLITE_TOOBIG"),
    ("select printf('%.*c', 1000000000, 'x')", "SQLITE_TOOBIG"),
    ("select replace(hex(zeroblob(16000000)), '0', 'xxxx')", "SQLITE_TOOBIG"),
    (
        "insert into sqlite_schema values (1, 2, 3, 4, 5)",
        "may not be modified",
    ),
    ("delete from sqlite_schema", "may not be modified"),
    ("commit", "no transaction"),
    ("select 1 from missing_table", "no such table"),
    (
        "with recursive c(x) as (select 1 union all select x + 1 from c) select x from c order by x",
        "SQLITE_INTERRUPT",
    ),
];

#[tokio::test]
async fn hostile_statements_are_refused_and_neighbours_are_served() {
    let harness = Harness::new();
    let mut hostile = tenant(1);
    hostile.quota.query_time_ms = 200;
    let neighbour = tenant(2);
    harness.sql(&neighbour, "create table t (x)").await;
    harness.sql(&hostile, "create table t (x)").await;
    for (sql, expected) in ATTEMPTS {
        let answer = harness.try_sql(&hostile, sql).await;
        assert_eq!(answer.status, 200, "{sql}: {}", answer.body);
        let (code, message) = answer.error(0);
        assert!(
            code == *expected || message.contains(expected),
            "{sql}: {}",
            answer.body
        );
        let folder = harness.folder.path().to_str().unwrap();
        assert!(
            !answer.body.to_string().contains(folder),
            "{sql} tells a path: {}",
            answer.body
        );
        harness.sql(&neighbour, "insert into t values (1)").await;
        harness.sql(&hostile, "insert into t values (1)").await;
    }
    let rows = harness.sql(&neighbour, "select count(*) from t").await;
    assert_eq!(rows, [[json!(ATTEMPTS.len().to_string())]]);
}

#[tokio::test]
async fn attach_and_vacuum_reach_no_file_of_a_neighbour() {
    let harness = Harness::new();
    let (hostile, neighbour) = (tenant(1), tenant(2));
    for tenant in [&hostile, &neighbour] {
        harness.sql(tenant, "create table t (x)").await;
        harness.sql(tenant, "insert into t values (1)").await;
    }
    let folder = harness.folder.path().join("tenants").join(neighbour.uid.to_string());
    let files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path().into_os_string().into_string().unwrap())
        .collect();
    assert!(!files.is_empty());
    let relative = format!("../{}/db.sqlite", neighbour.uid);
    for file in files.iter().chain([&relative]) {
        for (sql, expected) in [
            (format!("attach '{file}' as n"), "SQLITE_AUTH"),
            (format!("attach 'file:{file}?mode=ro&immutable=1' as n"), "SQLITE_AUTH"),
            (format!("vacuum into '{file}'"), "not available"),
            (format!("vacuum main into 'file:{file}'"), "not available"),
        ] {
            let answer = harness.try_sql(&hostile, &sql).await;
            let (code, message) = answer.error(0);
            assert!(code == expected || message.contains(expected), "{sql}: {}", answer.body);
        }
    }
    for tenant in [&hostile, &neighbour] {
        assert_eq!(harness.sql(tenant, "select x from t").await, [[json!("1")]]);
    }
}

#[tokio::test]
async fn texts_that_grow_without_measure_are_refused() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let cases = [
        (format!("select {}1{}", "(".repeat(5_000), ")".repeat(5_000)), "SQL"),
        (format!("select 1{}", "+1".repeat(100_000)), "SQL"),
        (format!("select 1{}", " union all select 1".repeat(10_000)), "SQL"),
        (format!("create table t ({})", vec!["c"; 5_000].join(",")), "SQL"),
        (format!("select ?{}", 1_000_000), "SQL"),
        (format!("select '{}'", "x".repeat(5 << 20)), "SQLITE_TOOBIG"),
        (format!("select 'a' like '{}'", "%a".repeat(2_000)), "SQL"),
    ];
    for (sql, expected) in cases {
        let answer = harness.try_sql(&tenant, &sql).await;
        assert!(
            answer.error(0).0.starts_with(expected),
            "{} ...: {}",
            &sql[..40],
            answer.body
        );
    }
    assert_eq!(harness.sql(&tenant, "select 1").await, [[json!("1")]]);
}

#[tokio::test]
async fn what_ordinary_applications_need_is_there() {
    let harness = Harness::new();
    let tenant = tenant(1);
    for sql in [
        "create table t (id integer primary key, parent references t (id), body text)",
        "create index i on t (body)",
        "create virtual table f using fts5(body)",
        "insert into f values ('hello world')",
        "select * from f where f match 'hello'",
        "create virtual table r using rtree(id, a, b)",
        "insert into r values (1, 0, 1)",
        "pragma table_info(t)",
        "pragma table_xinfo('t')",
        "pragma index_list(t)",
        "pragma index_info(i)",
        "pragma foreign_key_list(t)",
        "pragma foreign_key_check",
        "pragma table_list",
        "pragma integrity_check",
        "pragma quick_check",
        "pragma user_version = 3",
        "pragma application_id",
        "pragma encoding",
        "pragma page_count",
        "pragma freelist_count",
        "pragma schema_version",
        "pragma optimize",
        "pragma compile_options",
        "pragma function_list",
        "pragma collation_list",
        "pragma defer_foreign_keys = on",
        "select * from pragma_table_info('t')",
        "select json_extract('{\"a\": 1}', '$.a')",
        "select row_number() over (order by id) from t",
        "analyze",
        "reindex",
        "vacuum",
    ] {
        harness.sql(&tenant, sql).await;
    }
    assert_eq!(harness.sql(&tenant, "pragma user_version").await, [[json!("3")]]);
    assert_eq!(
        harness.sql(&tenant, "pragma database_list").await,
        [[json!("0"), json!("main"), json!("")]]
    );
}

#[tokio::test]
async fn the_same_connection_pragma_works_more_than_once() {
    let harness = Harness::new();
    let tenant = tenant(1);
    let mut requests = Vec::new();
    for value in ["off", "on", "off", "on", "off"] {
        requests.push(crate::harness::execute(&format!("pragma foreign_keys = {value}")));
        requests.push(crate::harness::execute("pragma foreign_keys"));
    }
    let answer = harness
        .pipeline(&tenant, serde_json::Value::Null, json!(requests))
        .await;
    let values: Vec<_> = (0..5).map(|index| answer.rows(2 * index + 1)[0][0].clone()).collect();
    assert_eq!(values, ["0", "1", "0", "1", "0"]);
}
