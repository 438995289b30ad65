//! SQL texts that streams keep for their clients, and how much of them a tenant may have.

use serde_json::{Value, json};

use crate::harness::{Answer, Harness, Tenant, tenant};

const MIB: usize = 1 << 20;

async fn store(harness: &Harness, tenant: &Tenant, baton: &Value, id: usize, bytes: usize) -> Answer {
    let text = "x".repeat(bytes);
    let requests = json!([{"type": "store_sql", "sql_id": id, "sql": text}]);
    let answer = harness.pipeline(tenant, baton.clone(), requests).await;
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer
}

#[tokio::test]
async fn the_texts_of_a_tenants_streams_have_a_bound_in_bytes_together() {
    let harness = Harness::new();
    let (tenant, neighbour) = (tenant(1), tenant(2));
    let mut first = Value::Null;
    for id in 0..3 {
        let answer = store(&harness, &tenant, &first, id, 4 * MIB).await;
        assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
        first = answer.body["baton"].clone();
    }
    let answer = store(&harness, &tenant, &Value::Null, 0, 4 * MIB).await;
    assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
    let second = answer.body["baton"].clone();
    let refused = store(&harness, &tenant, &second, 1, 1).await;
    let (code, message) = refused.error(0);
    assert_eq!(code, "SQL_STORE_FULL", "{}", refused.body);
    assert!(message.contains("16777216 bytes"), "{message}");
    let other = store(&harness, &neighbour, &Value::Null, 0, 4 * MIB).await;
    assert_eq!(other.body["results"][0]["type"], "ok", "{}", other.body);
    // What is closed is free again, by its id or with its stream.
    let closing =
        json!([{"type": "close_sql", "sql_id": 0}, {"type": "store_sql", "sql_id": 1, "sql": "x".repeat(4 * MIB)}]);
    let answer = harness.pipeline(&tenant, refused.body["baton"].clone(), closing).await;
    assert_eq!(answer.body["results"][1]["type"], "ok", "{}", answer.body);
    harness.pipeline(&tenant, first, json!([{"type": "close"}])).await;
    let mut baton = answer.body["baton"].clone();
    for id in 2..5 {
        let answer = store(&harness, &tenant, &baton, id, 4 * MIB).await;
        assert_eq!(answer.body["results"][0]["type"], "ok", "{}", answer.body);
        baton = answer.body["baton"].clone();
    }
}
