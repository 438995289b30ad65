use std::time::Duration;

use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;
use tokio_util::sync::CancellationToken;

use crate::harness::{Harness, execute, tenant};

#[tokio::test]
async fn two_hundred_cold_tenants_open_side_by_side() {
    let harness = Harness::new();
    let create = |number| {
        let harness = &harness;
        async move { harness.sql(&tenant(number), "create table t (x)").await }
    };
    futures_util::future::join_all((1..=200).map(create)).await;
    assert_eq!(harness.databases.open_tenants().len(), 200);
}

#[tokio::test]
async fn at_the_cap_the_least_recently_used_tenant_closes_and_one_in_use_does_not() {
    let harness = Harness::with(|config| config.max_open = 2, &HranaConfig::default());
    harness.sql(&tenant(1), "create table t (x)").await;
    harness.advance(Duration::from_secs(1));
    let baton = harness
        .pipeline(
            &tenant(2),
            Value::Null,
            json!([execute("begin"), execute("create table t (x)")]),
        )
        .await;
    harness.advance(Duration::from_secs(1));
    harness.sql(&tenant(3), "select 1").await;
    let mut open = harness.databases.open_tenants();
    open.sort();
    assert_eq!(open, [tenant(2).uid, tenant(3).uid]);
    harness
        .pipeline(
            &tenant(1),
            Value::Null,
            json!([execute("begin"), execute("select * from t")]),
        )
        .await;
    let answer = harness.try_sql(&tenant(3), "select 1").await;
    assert_eq!(answer.status, 503);
    assert!(answer.headers.contains_key("retry-after"));
    let answer = harness
        .pipeline(&tenant(2), baton.body["baton"].clone(), json!([execute("commit")]))
        .await;
    assert_eq!(answer.body["results"][0]["type"], "ok");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_of_its_own_tenant_only() {
    let harness = Harness::new();
    let contents: [&[u8]; 3] = [&[0xff; 8192], b"SQLite format 3\0 and then nothing of use", &[b'x'; 10]];
    for (number, content) in (10..).zip(contents) {
        let tenant = tenant(number);
        let folder = harness.folder.path().join("tenants").join(tenant.uid.to_string());
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("db.sqlite"), content).unwrap();
        for _ in 0..2 {
            let answer = harness.try_sql(&tenant, "select * from sqlite_schema").await;
            assert_eq!(answer.status, 500, "{}", answer.body);
            assert_eq!(answer.body["type"], "https://tenantry.dev/problems/database-damaged");
        }
    }
    let truncated = tenant(20);
    harness.sql(&truncated, "create table t as with recursive c(x) as (select 1 union all select x + 1 from c limit 20000) select x from c").await;
    harness.advance(Duration::from_secs(600));
    let path = harness
        .folder
        .path()
        .join("tenants")
        .join(truncated.uid.to_string())
        .join("db.sqlite");
    // Closing runs on a database thread.
    let wal = path.with_extension("sqlite-wal");
    for _ in 0..1_000 {
        if !wal.exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let length = std::fs::metadata(&path).unwrap().len();
    std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .unwrap()
        .set_len(length / 2)
        .unwrap();
    let answer = harness.try_sql(&truncated, "select sum(x) from t").await;
    assert_eq!(answer.status, 500, "{}", answer.body);
    assert_eq!(harness.sql(&tenant(1), "select 1").await, [[json!("1")]]);
}

#[tokio::test]
async fn stopping_rolls_back_what_is_open_and_keeps_what_was_acknowledged() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    harness.sql(&tenant, "insert into t values (1)").await;
    harness
        .pipeline(
            &tenant,
            Value::Null,
            json!([execute("begin"), execute("insert into t values (2)")]),
        )
        .await;
    let stop = CancellationToken::new();
    let maintenance = tokio::spawn(harness.service.clone().maintain(stop.clone()));
    stop.cancel();
    maintenance.await.unwrap();
    harness.databases.close_all().await;
    assert_eq!(harness.try_sql(&tenant, "select 1").await.status, 503);
    let path = harness
        .folder
        .path()
        .join("tenants")
        .join(tenant.uid.to_string())
        .join("db.sqlite");
    assert!(!path.with_extension("sqlite-wal").exists());
    let connection = rusqlite::Connection::open(path).unwrap();
    let count: i64 = connection
        .query_row("select count(*) from t", [], |row| row.get(0))
        .unwrap();
    assert_eq!(count, 1);
}
