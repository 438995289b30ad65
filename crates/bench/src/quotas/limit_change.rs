//! From the change of a tenant's limit, sent to the control plane, to the first answer of the node that names the new one.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use tenantry_proto::v1;
use tenantry_proto::v1::admin_service_client::AdminServiceClient;
use tonic::transport::Channel;

use super::Bench;
use crate::data_plane::answer::find;
use crate::data_plane::client::Connection;
use crate::data_plane::node::{Node, NodeOptions};
use crate::data_plane::requests::{Request, Requests, Target};
use crate::latency::Latencies;
use crate::measured::in_millis;
use crate::operation::{Operation, tenant_id};
use crate::report::progress;

const PATIENCE: Duration = Duration::from_secs(30);
/// Between two questions what the limit is. The node must have time for something else.
const PAUSE: Duration = Duration::from_millis(1);
/// A limit that no tenant has by itself; each change adds one.
const FIRST_LIMIT: u64 = 7_000_000;

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let plan = bench.plan;
    progress(format_args!("registering {} tenants", plan.registered_tenants));
    let mut node = Node::start(&bench.node, &bench.folder, NodeOptions::default()).await?;
    node.register_tenants(0..plan.registered_tenants).await?;
    let mut admin = node.admin().await?;
    let mut connection = Connection::open(node.address()).await?;
    let (mut calls, mut seen) = (Vec::new(), Vec::new());
    for change in 0..plan.limit_changes {
        // Another tenant each time, from all over the table.
        let tenant = tenant_id(change * plan.registered_tenants / plan.limit_changes.max(1));
        let requests = Requests::usage(&Target::real([tenant.clone()]));
        let request = requests.at(0).context("there is one request")?;
        let limit = FIRST_LIMIT + change;
        let start = Instant::now();
        let changing = async {
            set_limit(&mut admin, tenant, limit).await?;
            Ok(start.elapsed())
        };
        let seeing = async {
            until_named(&mut connection, request, limit).await?;
            Ok::<_, anyhow::Error>(start.elapsed())
        };
        let (call, visible) = tokio::try_join!(changing, seeing)?;
        calls.push(call);
        seen.push(visible);
    }
    bench.report.heading(&format!(
        "A changed limit, {} tenants on the node",
        plan.registered_tenants
    ));
    let header = ["from sending the change to", "changes", "p50", "p99", "longest"];
    let rows = vec![
        row("the control plane's answer", calls),
        row("the first answer of the node that names the new limit", seen),
    ];
    bench.report.table(&header, rows);
    Ok(())
}

async fn set_limit(admin: &mut AdminServiceClient<Channel>, tenant: String, limit: u64) -> Result<()> {
    let quota = v1::QuotaOverrides {
        requests_per_day: Some(limit),
        ..v1::QuotaOverrides::default()
    };
    let tenant = v1::Tenant {
        name: format!("tenants/{tenant}"),
        spec: Some(v1::TenantSpec {
            quota: Some(quota),
            ..v1::TenantSpec::default()
        }),
        ..v1::Tenant::default()
    };
    let request = v1::UpdateTenantRequest {
        tenant: Some(tenant),
        request_id: Operation::new_request_id(),
        ..v1::UpdateTenantRequest::default()
    };
    admin.update_tenant(request).await.context("cannot change a limit")?;
    Ok(())
}

/// Asks until the answer's `RateLimit-Policy` names this limit.
async fn until_named(connection: &mut Connection, request: &Request, limit: u64) -> Result<()> {
    let named = format!("q={limit};w=86400");
    let deadline = Instant::now() + PATIENCE;
    loop {
        connection.send(request).await?;
        let answer = connection.answer();
        let head = find(answer, b"\r\n\r\n").and_then(|end| answer.get(..end));
        if head.is_some_and(|head| find(head, named.as_bytes()).is_some()) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            bail!("the node does not name the limit of {limit} in time");
        }
        tokio::time::sleep(PAUSE).await;
    }
}

fn row(name: &str, durations: Vec<Duration>) -> Vec<String> {
    let latencies = Latencies::of(durations);
    vec![
        name.to_owned(),
        latencies.count().to_string(),
        in_millis(latencies.p50()),
        in_millis(latencies.p99()),
        in_millis(latencies.max()),
    ]
}
