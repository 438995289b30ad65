//! What one tenant can take of the node's memory, disk, descriptors and open databases.

use std::time::Duration;

use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;

use crate::harness::{Harness, Tenant, execute, tenant};

fn wal_bytes(harness: &Harness, tenant: &Tenant) -> u64 {
    let folder = harness.folder.path().join("tenants").join(tenant.uid.to_string());
    std::fs::metadata(folder.join("db.sqlite-wal")).map_or(0, |file| file.len())
}

#[tokio::test]
async fn a_statement_that_needs_more_memory_than_its_tenant_may_use_fails_alone() {
    let harness = Harness::new();
    let (mut greedy, neighbour) = (tenant(1), tenant(2));
    greedy.quota.memory_bytes = 8 << 20;
    let attempts = [
        "with recursive c (x) as (select 1 union all select x + 1 from c limit 100000) select x from c order by hex(x) || zeroblob(1000)",
        "with recursive c (x) as (select 1 union all select x + 1 from c limit 100000) select group_concat(hex(zeroblob(1000))) from c",
        "with recursive c (x) as (select 1 union all select x + 1 from c limit 1000000) select count(distinct hex(x) || zeroblob(100)) from c",
        "select length(zeroblob(20000000) || 'x')",
        "create temp table t as with recursive c (x) as (select 1 union all select x + 1 from c limit 10000) select zeroblob(4000) from c",
    ];
    for sql in attempts {
        let answer = harness.try_sql(&greedy, sql).await;
        let (code, message) = answer.error(0);
        assert_eq!(code, "SQLITE_NOMEM", "{sql}: {}", answer.body);
        assert!(message.contains("memory_bytes"), "{message}");
        assert_eq!(harness.sql(&greedy, "select 1").await, [[json!("1")]]);
        assert_eq!(harness.sql(&neighbour, "select 2").await, [[json!("2")]]);
    }
    let held = harness.databases.figures(greedy.uid).unwrap().memory_bytes;
    assert!(held < 4 << 20, "{held} bytes are held by an idle tenant");
}

#[tokio::test]
async fn all_tenants_together_take_no_more_memory_than_the_node_allows() {
    let little = |config: &mut tenant_node::database::DatabasesConfig| config.sqlite_heap_bytes = 16 << 20;
    let harness = Harness::with(little, &HranaConfig::default());
    let (mut greedy, neighbour) = (tenant(1), tenant(2));
    greedy.quota.memory_bytes = 1 << 30;
    let hold = |millions: u32| format!("select length(hex(zeroblob({millions}000000)))");
    assert_eq!(harness.sql(&greedy, &hold(1)).await, [[json!("2000000")]]);
    let answer = harness.try_sql(&greedy, &hold(10)).await;
    assert_eq!(answer.error(0).0, "SQLITE_NOMEM", "{}", answer.body);
    assert_eq!(harness.sql(&neighbour, "select 2").await, [[json!("2")]]);
    // What was held for a moment is free again.
    assert_eq!(harness.sql(&neighbour, &hold(1)).await, [[json!("2000000")]]);
}

#[tokio::test]
async fn a_log_is_copied_back_while_readers_read() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let mut longest = 0;
    for _ in 0..60 {
        harness.sql(&tenant, "insert into t values (randomblob(1000000))").await;
        assert_eq!(harness.sql(&tenant, "select count(*) > 0 from t").await, [[json!("1")]]);
        longest = longest.max(wal_bytes(&harness, &tenant));
    }
    assert!(longest < 32 << 20, "60 MB were written, the log had {longest} bytes");
}

#[tokio::test]
async fn a_reader_that_never_ends_stops_its_own_tenants_writes_before_the_disk_is_full() {
    let harness = Harness::new();
    let (mut tenant, neighbour) = (tenant(1), tenant(2));
    tenant.quota.database_bytes = 4 << 20;
    harness.sql(&tenant, "create table t (x)").await;
    harness.sql(&tenant, "insert into t values (randomblob(2000000))").await;
    let reading = json!([execute("begin"), execute("select length(x) from t")]);
    let answer = harness.pipeline(&tenant, Value::Null, reading).await;
    let baton = answer.body["baton"].clone();
    let refused = 'refused: {
        for _ in 0..100 {
            let answer = harness.try_sql(&tenant, "update t set x = randomblob(2000000)").await;
            if answer.body["results"][0]["type"] == "error" {
                break 'refused answer;
            }
        }
        panic!("the log has {} bytes", wal_bytes(&harness, &tenant));
    };
    let (code, message) = refused.error(0);
    assert_eq!(code, "SQLITE_BUSY", "{message}");
    assert!(
        message.contains("transactions that have been open for long"),
        "{message}"
    );
    assert!(wal_bytes(&harness, &tenant) < 80 << 20);
    harness.sql(&neighbour, "create table t (x)").await;
    harness
        .pipeline(&tenant, baton, json!([execute("commit"), {"type": "close"}]))
        .await;
    // The next checkpoint comes to the end of the log; it runs beside us.
    for _ in 0..1_000 {
        let answer = harness.try_sql(&tenant, "update t set x = randomblob(1000)").await;
        if answer.body["results"][0]["type"] == "ok" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("writes are still refused");
}

#[tokio::test]
async fn at_the_cap_a_light_tenant_closes_before_a_heavy_one() {
    let harness = Harness::with(|config| config.max_open = 2, &HranaConfig::default());
    let (mut heavy, light, third) = (tenant(1), tenant(2), tenant(3));
    heavy.weight = 20;
    harness.sql(&heavy, "select 1").await;
    harness.advance(Duration::from_secs(10));
    harness.sql(&light, "select 1").await;
    harness.advance(Duration::from_secs(2));
    harness.sql(&third, "select 1").await;
    let mut open = harness.databases.open_tenants();
    open.sort();
    assert_eq!(open, [heavy.uid, third.uid]);
}

#[tokio::test]
async fn with_few_descriptors_fewer_tenants_are_open_and_all_are_served() {
    let harness = Harness::with(|config| config.descriptors = 16, &HranaConfig::default());
    for number in 1..=40 {
        harness.sql(&tenant(number), "create table t (x)").await;
    }
    assert_eq!(harness.databases.open_tenants().len(), 6);
    for number in 1..=40 {
        assert_eq!(
            harness.sql(&tenant(number), "select count(*) from t").await,
            [[json!("0")]]
        );
    }
}

#[tokio::test]
async fn a_quiet_tenant_keeps_one_connection() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x)").await;
    let batons = futures_util::future::join_all((0..5).map(|_| {
        harness.pipeline(
            &tenant,
            Value::Null,
            json!([execute("begin"), execute("select * from t")]),
        )
    }))
    .await;
    let connections = || harness.databases.figures(tenant.uid).unwrap().connections;
    assert!(connections() >= 5);
    for answer in batons {
        harness
            .pipeline(&tenant, answer.body["baton"].clone(), json!([{"type": "close"}]))
            .await;
    }
    harness.advance(Duration::from_secs(6));
    for _ in 0..1_000 {
        if connections() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} connections", connections());
}
