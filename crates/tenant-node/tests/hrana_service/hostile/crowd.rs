//! Hundreds of requests, streams and slow readers of one tenant at once.

use std::time::Duration;

use futures_util::future::join_all;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tenant_node::hrana::HranaConfig;

use super::{assert_neighbour_is_served, hostile};
use crate::harness::{Harness, Tenant, execute, tenant};

const ENDLESS: &str = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c";
const ENDLESS_ROWS: &str =
    "with recursive c(x) as (select 1 union all select x + 1 from c) select x, printf('%.*c', 500, 'x') from c";

fn patient() -> Tenant {
    let mut tenant = hostile();
    tenant.quota.query_time_ms = 600_000;
    tenant.quota.result_bytes = 1 << 40;
    tenant
}

#[tokio::test]
async fn three_hundred_endless_queries_of_one_tenant_run_and_its_neighbour_is_served() {
    let few = |config: &mut tenant_node::database::DatabasesConfig| {
        (config.running_jobs, config.long_running_jobs, config.jobs_per_tenant) = (4, 1, 2);
    };
    let harness = Harness::with(few, &HranaConfig::default());
    let hostile = patient();
    harness.sql(&tenant(1), "create table if not exists t (x)").await;
    let mut endless: Vec<_> = (0..300).map(|_| Box::pin(harness.try_sql(&hostile, ENDLESS))).collect();
    for _ in 0..20 {
        for query in &mut endless {
            assert!(futures_util::poll!(query).is_pending(), "it has no end");
        }
        assert_neighbour_is_served(&harness).await;
    }
    // They are cancelled with their clients.
    drop(endless);
    harness.sql(&hostile, "select 1").await;
}

#[tokio::test]
async fn a_thousand_transactions_of_one_tenant_end_at_its_limit_and_its_neighbour_begins_one() {
    let harness = Harness::new();
    let hostile = patient();
    harness.sql(&hostile, "create table t (x)").await;
    let begin = || json!([execute("begin"), execute("select count(*) from t")]);
    let mut answers = Vec::new();
    for _ in 0..20 {
        let some = (0..50).map(|_| harness.pipeline(&hostile, Value::Null, begin()));
        answers.extend(join_all(some).await);
    }
    let (begun, refused): (Vec<_>, Vec<_>) = answers.iter().partition(|answer| answer.status == 200);
    // Those that were being served when the limit was reached are let end what they began.
    assert!((128..128 + 50).contains(&begun.len()), "{}", begun.len());
    assert_eq!(begun.len() + refused.len(), 1_000);
    for answer in refused {
        assert_eq!(answer.status, 429);
        assert_eq!(answer.body["type"], "https://tenantry.dev/problems/too-many-streams");
        assert_eq!(answer.body["limit"], 128);
        assert!(answer.headers.contains_key("retry-after"));
    }
    let neighbour = tenant(1);
    harness.sql(&neighbour, "create table t (x)").await;
    let answer = harness
        .pipeline(
            &neighbour,
            Value::Null,
            json!([execute("begin immediate"), execute("insert into t values (1)"), execute("commit"), {"type": "close"}]),
        )
        .await;
    assert_eq!(answer.body["results"][2]["type"], "ok", "{}", answer.body);
    harness.advance(Duration::from_secs(11));
    assert_eq!(harness.service.open_streams(), 0, "they end by themselves");
    harness.sql(&hostile, "insert into t values (1)").await;
}

#[tokio::test]
async fn slow_readers_of_large_answers_hold_no_place_of_their_neighbour() {
    let few = |config: &mut tenant_node::database::DatabasesConfig| {
        (config.running_jobs, config.long_running_jobs, config.jobs_per_tenant) = (2, 1, 1);
    };
    let harness = Harness::with(few, &HranaConfig::default());
    let hostile = patient();
    let steps = || json!([{"stmt": {"sql": ENDLESS_ROWS}}]);
    let mut bodies = Vec::new();
    for _ in 0..40 {
        let mut body = harness.cursor(&hostile, Value::Null, steps()).await.into_body();
        body.frame().await.unwrap().unwrap();
        bodies.push(body);
        assert_neighbour_is_served(&harness).await;
    }
    let queued = harness.service.queued_answer_bytes();
    assert!(queued < 40 << 20, "{queued} bytes wait for slow readers");
    drop(bodies);
    harness.sql(&hostile, "select 1").await;
}
