//! A tenant whose own log does not hold what was acknowledged is refused until an operator has decided, and everybody else is served.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::harness::{Harness, Tenant, tenant};
use crate::power_loss::{HEADER_BYTES, after_power_loss, first, numbers, tear, wal};

/// Bytes of a frame in a tenant's log.
const FRAME_BYTES: u64 = 24 + 4096;

fn mark(harness: &Harness, tenant: &Tenant) -> PathBuf {
    wal(harness.folder.path(), tenant).with_file_name("QUARANTINED")
}

fn change(file: &Path, offset: u64) {
    let file = File::options().read(true).write(true).open(file).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 1], offset).unwrap();
}

/// Two tenants with rows whose last commits are in the node's log. The first one has one of its own before, too large for that log.
async fn two_tenants() -> (Harness, Tenant, Tenant) {
    let harness = Harness::new();
    let (broken, sound) = (tenant(1), tenant(2));
    for tenant in [&broken, &sound] {
        harness.sql(tenant, "create table t (x integer primary key, y)").await;
    }
    harness
        .sql(&broken, "insert into t values (0, randomblob(600000))")
        .await;
    harness.sql(&broken, "insert into t values (1, null)").await;
    for number in 0..10 {
        harness
            .sql(&sound, &format!("insert into t values ({number}, null)"))
            .await;
    }
    (harness, broken, sound)
}

async fn is_refused(harness: &Harness, tenant: &Tenant) {
    let before = std::fs::read(wal(harness.folder.path(), tenant)).unwrap();
    for sql in ["select x from t order by x", "insert into t values (7, null)"] {
        let answer = harness.try_sql(tenant, sql).await;
        assert_eq!(answer.status, 500, "{}", answer.body);
        assert_eq!(
            answer.body["type"],
            "https://tenantry.dev/problems/database-quarantined"
        );
        let detail = answer.body["detail"].as_str().unwrap();
        assert!(detail.contains("lacks commits that were acknowledged"), "{detail}");
        // Paths are the operator's business.
        let folder = harness.folder.path().to_str().unwrap();
        assert!(!answer.body.to_string().contains(folder), "{}", answer.body);
    }
    // Nor do those open it who look after databases.
    harness.advance(Duration::from_secs(3_600));
    assert!(harness.databases.figures(tenant.uid).is_some());
    assert_eq!(harness.databases.quarantined_tenants(), 1);
    let after = std::fs::read(wal(harness.folder.path(), tenant)).unwrap();
    assert!(before == after, "the files stay as they are");
    assert!(mark(harness, tenant).exists());
}

#[tokio::test]
async fn one_tenant_with_a_broken_log_is_refused_and_the_others_are_served() {
    let (harness, broken, sound) = two_tenants().await;
    let restarted = after_power_loss(&harness, |folder| {
        change(&wal(folder, &broken), HEADER_BYTES + 20 * FRAME_BYTES);
        tear(&wal(folder, &sound), HEADER_BYTES, 0);
    });
    is_refused(&restarted, &broken).await;
    assert_eq!(numbers(&restarted, &sound).await, first(10));
    restarted.sql(&sound, "insert into t values (10, null)").await;

    // Also when the node's log knows nothing of it any more.
    let again = after_power_loss(&restarted, |_folder| {});
    is_refused(&again, &broken).await;
    assert_eq!(numbers(&again, &sound).await, first(11));
    assert_eq!(again.databases.log_figures().records, 0);

    // The operator goes on with what the files hold: the table's commit, in front of the broken one.
    std::fs::rename(mark(&again, &broken), again.folder.path().join("kept")).unwrap();
    assert_eq!(numbers(&again, &broken).await, first(0));
    assert_eq!(again.databases.quarantined_tenants(), 0);
    again.sql(&broken, "insert into t values (0, null)").await;
    let last = after_power_loss(&again, |folder| tear(&wal(folder, &broken), HEADER_BYTES, 0));
    assert_eq!(numbers(&last, &broken).await, first(1));
}

#[tokio::test]
async fn a_log_that_lost_its_header_is_not_taken_for_an_empty_one() {
    let (harness, sound, broken) = two_tenants().await;
    // The second byte of the salts, which say whether a commit in the node's log is of this life of the file.
    let restarted = after_power_loss(&harness, |folder| change(&wal(folder, &broken), 17));
    is_refused(&restarted, &broken).await;
    assert_eq!(numbers(&restarted, &sound).await, first(2));

    // The operator puts the byte back: nothing was written to the files.
    change(&wal(restarted.folder.path(), &broken), 17);
    std::fs::remove_file(mark(&restarted, &broken)).unwrap();
    assert_eq!(numbers(&restarted, &broken).await, first(10));
}
