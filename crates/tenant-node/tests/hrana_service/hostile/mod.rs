//! What a hostile tenant tries, one file a subject; each test is named by the attempt. Every attempt ends in a clear answer to it, and the
//! neighbour on the same node is served as if nothing were.

mod bodies;
mod crowd;
mod files;
mod functions;
mod refused;
mod schema;
mod size;
mod work;

use serde_json::{Value, json};

use crate::harness::{Answer, Harness, Tenant, tenant};

/// The one who tries.
fn hostile() -> Tenant {
    let mut hostile = tenant(66);
    hostile.quota.query_time_ms = 200;
    hostile.quota.memory_bytes = 32 << 20;
    hostile.quota.database_bytes = 16 << 20;
    hostile
}

/// The neighbour reads and writes, and the node lives.
async fn assert_neighbour_is_served(harness: &Harness) {
    let neighbour = tenant(1);
    harness.sql(&neighbour, "create table if not exists t (x)").await;
    harness.sql(&neighbour, "insert into t values (1)").await;
    assert_eq!(
        harness.sql(&neighbour, "select count(*) > 0 from t").await,
        [[json!("1")]]
    );
}

/// Whether the first result is an error of this code, or one whose words hold it.
fn assert_refused(answer: &Answer, expected: &str, attempt: &str) {
    let (code, message) = answer.error(0);
    let attempt: String = attempt.chars().take(100).collect();
    assert!(
        code == expected || message.contains(expected),
        "{attempt}: {}",
        answer.body
    );
}

/// These statements in one pipeline, on a stream that ends with it.
async fn script(harness: &Harness, tenant: &Tenant, sqls: &[&str]) -> Answer {
    let mut requests: Vec<Value> = sqls.iter().map(|sql| crate::harness::execute(sql)).collect();
    requests.push(json!({"type": "close"}));
    harness.pipeline(tenant, Value::Null, json!(requests)).await
}
