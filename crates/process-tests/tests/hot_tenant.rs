//! A tenant from its first load to the end of it, as an operator is told by the log of events and by a webhook.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

#[path = "webhooks/receiver.rs"]
#[expect(dead_code, reason = "this receiver never misbehaves")]
mod receiver;

use std::time::Duration;

use process_tests::{Cluster, execute, pipeline, value_of};
use receiver::{Answer, Receiver};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(40);
/// Takes the processor for a while.
const BUSY: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 400000) select sum(i) from n";

fn kinds_about(cluster: &Cluster, tenant: &str) -> Result<Vec<String>, String> {
    let arguments = ["events", "list", "--tenant", tenant];
    let events = cluster.operator().try_ctl_lines(&arguments)?;
    Ok(events
        .iter()
        .map(|event| event["kind"].as_str().unwrap().to_owned())
        .collect())
}

/// Asks until all of `kinds` were told of the tenant.
fn until_told(cluster: &Cluster, what: &str, kinds: &[&str], mut meanwhile: impl FnMut()) -> Vec<String> {
    value_of(what, PATIENCE, || {
        meanwhile();
        let told = kinds_about(cluster, "acme")?;
        let complete = kinds.iter().all(|kind| told.iter().any(|told| told == kind));
        if complete { Ok(told) } else { Err(format!("{told:?}")) }
    })
}

#[test]
fn a_tenant_grows_hot_is_given_more_and_cools_down_and_all_of_it_is_told() {
    let mut cluster = Cluster::start();
    for member in &mut cluster.members {
        member.kill();
        member.add_argument("webhook-networks", "127.0.0.1");
        member.start();
    }
    for member in &mut cluster.members {
        member.wait_until_ready();
    }
    let _ = cluster.leader(None);
    let receiver = Receiver::start(Answer::Take);
    let url = receiver.url();
    let created = value_of("a webhook", PATIENCE, || {
        cluster.try_ctl(&["webhook", "create", "pager", "--url", &url, "--tenant", "acme"])
    });
    let secret = created["secret"].as_str().unwrap();
    let flags = [
        "--tier",
        "micro",
        "--auto",
        "--max-tier",
        "medium",
        "--requests-per-day",
        "1300",
        "--storage",
        "1MiB",
    ];
    cluster.create_tenant("acme", &flags);
    let concurrent = || {
        let explained = cluster.ctl(&["tenant", "explain-quota", "acme"]);
        explained.to_string()
    };
    let before = concurrent();

    // To the limit of its database, past the requests of its class, and on its processor share.
    cluster.run(0, "acme", &["create table t (x)"]);
    let insert = "insert into t values (randomblob(20000))";
    let full = (0..100).any(|_| cluster.sql(0, "acme", &[insert]).unwrap().status == 507);
    assert!(full, "2 MB fit into 1 MiB");
    (0..950).for_each(|turn| cluster.run(turn % 2, "acme", &["select 1"]));
    let busy = pipeline(&[execute(BUSY)]);
    until_told(
        &cluster,
        "the load",
        &["hotspot-raised", "class-changed", "tier-changed"],
        || {
            let _ = cluster.pipeline(0, "acme", &busy).unwrap();
        },
    );
    let tenant = cluster.ctl(&["tenant", "get", "acme"]);
    assert!(tenant.to_string().contains("\"small\""), "{tenant}");
    assert_ne!(concurrent(), before, "the larger tier gives more");

    let told = until_told(&cluster, "the end of the load", &["hotspot-cleared"], || {
        std::thread::sleep(Duration::from_millis(200));
    });
    let place = |kind: &str| told.iter().position(|told| told == kind).unwrap();
    assert!(place("hotspot-raised") < place("hotspot-cleared"), "{told:?}");
    let raised = cluster.ctl(&["events", "conditions"]);
    assert_eq!(raised["conditions"], Value::Array(Vec::new()));

    let sent = value_of("all of it at the webhook", PATIENCE, || {
        let messages = receiver.messages();
        let kinds: Vec<_> = messages.iter().map(receiver::Message::kind).collect();
        if kinds.ends_with(&told[told.len() - 1..]) && kinds.len() >= told.len() {
            Ok(messages)
        } else {
            Err(format!("{kinds:?}"))
        }
    });
    let kinds: Vec<_> = sent.iter().map(receiver::Message::kind).collect();
    assert_eq!(kinds, told, "the webhook is told what the log tells, in its order");
    assert!(sent.iter().all(|message| message.is_signed_with(secret)));
}
