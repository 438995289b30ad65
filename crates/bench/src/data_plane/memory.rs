//! Memory and descriptors of the node: per tenant that is only registered, and per tenant whose database is open.

use std::time::Duration;

use anyhow::Result;

use super::Bench;
use super::client::Connection;
use super::node::{Node, NodeOptions, fill_each};
use super::requests::{Requests, Target};
use crate::machine::{open_descriptors, resident_bytes};
use crate::operation::tenant_id;
use crate::report::progress;

/// What is under way after the last tenant was registered ends meanwhile.
const SETTLE: Duration = Duration::from_secs(2);

/// What the node holds at one moment.
#[derive(Debug, Clone, Copy)]
struct Holding {
    resident: u64,
    descriptors: u64,
}

/// One node, more and more tenants.
pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan;
    let few = plan.registered_tenants / 10;
    let options = NodeOptions {
        max_open_tenants: Some(plan.open_tenants),
        ..NodeOptions::default()
    };
    progress(format_args!("registering {} tenants", plan.registered_tenants));
    let mut node = Node::start(&bench.programs, &bench.folder, options).await?;
    let empty = holding(&node).await?;
    node.register_tenants(0..few).await?;
    let with_few = holding(&node).await?;
    node.register_tenants(few..plan.registered_tenants).await?;
    let with_many = holding(&node).await?;
    progress(format_args!("opening {} tenants", plan.open_tenants));
    let target = Target::real((0..).map(tenant_id).take(plan.open_tenants));
    fill_each(node.address(), &target).await?;
    // What making the tables left behind in the process must not count.
    node.restart(options).await?;
    let restarted = holding(&node).await?;
    let requests = Requests::one_select_each(&target);
    let mut connection = Connection::open(node.address()).await?;
    for request in requests.iter() {
        connection.send(request).await?;
    }
    drop(connection);
    let opened = holding(&node).await?;
    let rows = vec![
        row("no tenants", empty, None),
        row(&format!("{few} registered"), with_few, Some((empty, few))),
        row(
            &format!("{} registered", plan.registered_tenants),
            with_many,
            Some((empty, plan.registered_tenants)),
        ),
        row(
            "the same, after a restart",
            restarted,
            Some((empty, plan.registered_tenants)),
        ),
        row(
            &format!("… and {} of them open", plan.open_tenants),
            opened,
            Some((restarted, u64::try_from(plan.open_tenants)?)),
        ),
    ];
    bench.report.heading("Memory and descriptors of a node");
    let header = ["tenants", "RSS", "more per tenant", "descriptors", "more per tenant"];
    bench.report.table(&header, rows);
    Ok(())
}

async fn holding(node: &Node) -> Result<Holding> {
    tokio::time::sleep(SETTLE).await;
    Ok(Holding {
        resident: resident_bytes(node.pid()?)?,
        descriptors: open_descriptors(node.pid()?)?,
    })
}

/// `since`: what to compare with, and for how many tenants.
fn row(name: &str, now: Holding, since: Option<(Holding, u64)>) -> Vec<String> {
    let per_tenant = |now: u64, before: u64, tenants: u64| float(now.saturating_sub(before)) / float(tenants.max(1));
    let (memory, descriptors) = match since {
        Some((before, tenants)) => (
            format!("{:.1} KiB", per_tenant(now.resident, before.resident, tenants) / 1024.0),
            format!("{:.1}", per_tenant(now.descriptors, before.descriptors, tenants)),
        ),
        None => (String::new(), String::new()),
    };
    vec![
        name.to_owned(),
        format!("{:.1} MiB", float(now.resident) / f64::from(1 << 20)),
        memory,
        now.descriptors.to_string(),
        descriptors,
    ]
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
const fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_divides_the_difference_by_the_tenants() {
        let before = Holding {
            resident: 10 << 20,
            descriptors: 20,
        };
        let now = Holding {
            resident: 12 << 20,
            descriptors: 2_020,
        };
        let expected = ["open", "12.0 MiB", "2.0 KiB", "2020", "2.0"];
        assert_eq!(row("open", now, Some((before, 1_000))), expected.map(str::to_owned));
        assert_eq!(row("open", now, None)[2], "");
    }
}
