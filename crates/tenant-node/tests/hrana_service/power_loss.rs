//! What was acknowledged is still there after a loss of power: the tenants' own logs lose whatever was never synced, the node's log has it.
//!
//! A loss of power is a copy of the data folder while the node runs, from whose files all may be missing that no sync has confirmed. Of a
//! tenant's own log that is everything behind its header, unless a checkpoint has copied it back.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use serde_json::{Value, json};
use tenant_node::database::DatabasesConfig;
use tenant_node::hrana::HranaConfig;

use crate::harness::{Harness, Tenant, execute, tenant};

pub(crate) const HEADER_BYTES: u64 = 32;

pub(crate) fn wal(folder: &Path, tenant: &Tenant) -> PathBuf {
    folder
        .join("tenants")
        .join(tenant.uid.to_string())
        .join("db.sqlite-wal")
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            let copied = std::fs::copy(entry.path(), target);
            // The node's log makes files ahead of need and gives them their names when they are complete.
            assert!(copied.is_ok() || !entry.path().exists(), "{}", entry.path().display());
        }
    }
}

/// The node as it starts on what a loss of power has left of this one's folder.
pub(crate) fn after_power_loss(harness: &Harness, lose: impl FnOnce(&Path)) -> Harness {
    let lose = |config: &mut DatabasesConfig| {
        copy(harness.folder.path(), &config.data_dir);
        lose(&config.data_dir);
    };
    Harness::with(lose, &HranaConfig::default())
}

/// Cuts a file, and puts noise behind what is left: blocks that were never written hold anything.
pub(crate) fn tear(file: &Path, kept: u64, noise: usize) {
    let length = std::fs::metadata(file).unwrap().len();
    let mut content = std::fs::read(file).unwrap();
    content.truncate(usize::try_from(kept.min(length)).unwrap());
    content.extend((0..noise).map(|at| u8::try_from(at * 37 % 251).unwrap()));
    std::fs::write(file, content).unwrap();
}

pub(crate) async fn numbers(harness: &Harness, tenant: &Tenant) -> Vec<Vec<Value>> {
    harness.sql(tenant, "select x from t order by x").await
}

pub(crate) fn first(count: usize) -> Vec<Vec<Value>> {
    (0..count).map(|number| vec![json!(number.to_string())]).collect()
}

#[tokio::test]
async fn single_writes_of_many_tenants_outlive_the_loss_of_their_own_logs() {
    let harness = Harness::new();
    let tenants: Vec<Tenant> = (1..=5).map(tenant).collect();
    for tenant in &tenants {
        harness.sql(tenant, "create table t (x integer primary key)").await;
    }
    for number in 0..20 {
        let insert = format!("insert into t values ({number})");
        futures_util::future::join_all(tenants.iter().map(|tenant| harness.sql(tenant, &insert))).await;
    }
    let restarted = after_power_loss(&harness, |folder| {
        for tenant in &tenants {
            tear(&wal(folder, tenant), HEADER_BYTES, 0);
        }
    });
    for tenant in &tenants {
        assert_eq!(numbers(&restarted, tenant).await, first(20));
        assert_eq!(restarted.sql(tenant, "pragma integrity_check").await, [[json!("ok")]]);
    }
    let figures = harness.databases.log_figures();
    assert!(figures.records >= 100, "{figures:?}");
}

#[tokio::test]
async fn transactions_and_groups_outlive_it_too_and_the_next_process_goes_on() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x integer primary key)").await;
    let group = (0..50).map(|number| format!("insert into t values ({number})"));
    let group: Vec<String> = group.collect();
    futures_util::future::join_all(group.iter().map(|insert| harness.sql(&tenant, insert))).await;
    let transaction = json!([
        execute("begin"),
        execute("insert into t values (50)"),
        execute("insert into t values (51)"),
        execute("commit"),
        {"type": "close"}
    ]);
    let answer = harness.pipeline(&tenant, Value::Null, transaction).await;
    assert_eq!(answer.body["results"][3]["type"], "ok", "{}", answer.body);
    let restarted = after_power_loss(&harness, |folder| tear(&wal(folder, &tenant), HEADER_BYTES, 5_000));
    assert_eq!(numbers(&restarted, &tenant).await, first(52));
    restarted.sql(&tenant, "insert into t values (52)").await;
    let again = after_power_loss(&restarted, |_folder| {});
    assert_eq!(numbers(&again, &tenant).await, first(53));
}

#[tokio::test]
async fn commits_too_large_for_the_log_are_in_the_tenants_own() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x integer primary key, y)").await;
    harness
        .sql(&tenant, "insert into t values (0, randomblob(3000000))")
        .await;
    harness.sql(&tenant, "insert into t values (1, null)").await;
    // All but the last commit were synced where they are.
    let restarted = after_power_loss(&harness, |folder| {
        let wal = wal(folder, &tenant);
        let length = std::fs::metadata(&wal).unwrap().len();
        tear(&wal, length - 4_120, 0);
    });
    assert_eq!(numbers(&restarted, &tenant).await, first(2));
}

#[tokio::test]
async fn a_log_that_began_anew_has_no_use_for_older_records() {
    let harness = Harness::new();
    let tenant = tenant(1);
    harness.sql(&tenant, "create table t (x integer primary key, y)").await;
    // Some thousand pages: the tenant's log is copied back more than once, and begins anew.
    for number in 0..60 {
        let insert = format!("insert into t values ({number}, randomblob(400000))");
        harness.sql(&tenant, &insert).await;
    }
    let generation = |folder: &Path| std::fs::read(wal(folder, &tenant)).unwrap()[16..24].to_vec();
    let before = generation(harness.folder.path());
    let mut count = 60;
    // A copy in the background reaches the end of the log only if no write comes in between.
    while generation(harness.folder.path()) == before {
        assert!(count < 600, "the log must have begun anew");
        let insert = format!("insert into t values ({count}, randomblob(100000))");
        harness.sql(&tenant, &insert).await;
        count += 1;
    }
    let restarted = after_power_loss(&harness, |_folder| {});
    assert_eq!(numbers(&restarted, &tenant).await, first(count));
    assert_eq!(restarted.sql(&tenant, "pragma integrity_check").await, [[json!("ok")]]);
}

#[tokio::test]
async fn what_failed_inside_a_commit_does_not_keep_the_next_from_being_logged() {
    let harness = Harness::new();
    let mut tenant = tenant(1);
    harness.sql(&tenant, "create table t (x integer primary key, y)").await;
    // Spills into the log, and is rolled back.
    tenant.quota.database_bytes = 16 << 20;
    let answer = harness
        .try_sql(
            &tenant,
            "insert into t select value, randomblob(100000) from (with recursive n(value) as \
            (select 1000 union all select value + 1 from n limit 300) select value from n)",
        )
        .await;
    assert!(
        !answer.body.to_string().contains("\"affected_row_count\""),
        "{}",
        answer.body
    );
    for number in 0..10 {
        harness
            .sql(&tenant, &format!("insert into t values ({number}, null)"))
            .await;
    }
    let restarted = after_power_loss(&harness, |folder| tear(&wal(folder, &tenant), HEADER_BYTES, 100));
    assert_eq!(numbers(&restarted, &tenant).await, first(10));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn any_part_of_the_tenants_logs_may_be_missing(
        writes in prop::collection::vec((1_u128..=3, 1_usize..=6, 0_usize..20_000), 1..40),
        kept in prop::collection::vec((0_u64..200_000, 0_usize..9_000), 3),
    ) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let harness = Harness::new();
            let mut counts = [0_usize; 3];
            for number in 1..=3 {
                harness.sql(&tenant(number), "create table t (x integer primary key, y)").await;
            }
            for (number, at_once, bytes) in writes {
                let count = &mut counts[usize::try_from(number).unwrap() - 1];
                let tenant = tenant(number);
                let inserts: Vec<String> = (0..at_once)
                    .map(|more| format!("insert into t values ({}, randomblob({bytes}))", *count + more))
                    .collect();
                futures_util::future::join_all(inserts.iter().map(|insert| harness.sql(&tenant, insert))).await;
                *count += at_once;
            }
            let restarted = after_power_loss(&harness, |folder| {
                for (number, (kept, noise)) in (1..=3).zip(&kept) {
                    tear(&wal(folder, &tenant(number)), HEADER_BYTES + kept, *noise);
                }
            });
            for (number, count) in (1..=3).zip(counts) {
                assert_eq!(numbers(&restarted, &tenant(number)).await, first(count));
            }
        });
    }
}
