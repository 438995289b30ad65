//! What nodes report arrives in the log once, whatever becomes of the leader between the report and its acknowledgement.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::collections::BTreeMap;
use std::time::Duration;

use process_tests::{Cluster, value_of};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);
/// Leaders that are killed; `TENANTRY_LEADER_KILLS` sets another number.
const KILLS: u64 = 8;

/// Every event about each tenant: kind, limit and share, and how often it is in the log.
fn crossings(cluster: &Cluster) -> Result<BTreeMap<String, BTreeMap<String, u64>>, String> {
    let operator = cluster.operator();
    let events = operator.try_ctl_lines(&["events", "list", "--kind", "quota-crossed"])?;
    let mut counted: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
    for event in events {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let share = format!("{} {}", text(&event["detail"]["quota"]), event["detail"]["percent"]);
        *counted
            .entry(text(&event["tenant"]))
            .or_default()
            .entry(share)
            .or_default() += 1;
    }
    Ok(counted)
}

/// Uses up a day of `tenant`, which has five requests.
fn use_up(cluster: &Cluster, tenant: &str) {
    let spent = (0..200).any(|_| {
        cluster
            .sql(0, tenant, &["select 1"])
            .is_ok_and(|answer| answer.status == 429)
    });
    assert!(spent, "{tenant} has more than five requests a day");
}

#[test]
fn a_leader_killed_between_report_and_acknowledgement_loses_nothing_and_doubles_nothing() {
    let kills = std::env::var("TENANTRY_LEADER_KILLS").map_or(KILLS, |kills| kills.parse().unwrap());
    let mut cluster = Cluster::start();
    let limit = ["--requests-per-day", "5"];
    cluster.create_tenant("calm", &limit);
    use_up(&cluster, "calm");
    let expected = value_of("what a day that is used up is told by", PATIENCE, || {
        let told = crossings(&cluster)?.remove("calm").unwrap_or_default();
        let complete = told.contains_key("requests-per-day 100");
        if complete { Ok(told) } else { Err(format!("{told:?}")) }
    });
    assert!(expected.values().all(|count| *count == 1), "{expected:?}");
    for kill in 0..kills {
        let tenant = format!("t{kill}");
        cluster.create_tenant(&tenant, &limit);
        let leader = cluster.leader(None);
        use_up(&cluster, &tenant);
        // The report is on its way at once; the kill comes ahead of it, in the midst of it or behind it.
        std::thread::sleep(Duration::from_millis(kill * 7 % 23));
        cluster.members[leader].kill();
        let _ = cluster.leader(Some(leader));
        cluster.members[leader].start();
        cluster.members[leader].wait_until_ready();
    }
    let all: Vec<String> = (0..kills).map(|kill| format!("t{kill}")).collect();
    let told = value_of("every tenant's crossings", PATIENCE, || {
        let told = crossings(&cluster)?;
        let complete = |tenant: &&String| told.get(*tenant).is_some_and(|told| told.len() == expected.len());
        let missing: Vec<_> = all.iter().filter(|tenant| !complete(tenant)).collect();
        if missing.is_empty() {
            Ok(told)
        } else {
            Err(format!("not all of {missing:?}: {told:?}"))
        }
    });
    for tenant in &all {
        assert_eq!(told[tenant], expected, "{tenant}");
    }
    cluster.wait_until_members_agree();
}
