//! Many tenants of a real node that swing from hot to cool and back: how many events that makes, against the swings.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tenantry_proto::v1;
use tenantry_proto::v1::notification_service_client::NotificationServiceClient;
use tokio::task::JoinSet;

use super::Bench;
use crate::data_plane::client::Connection;
use crate::data_plane::node::{Node, NodeOptions};
use crate::data_plane::requests::Requests;
use crate::load::connect_one;
use crate::operation::Operation;
use crate::report::progress;

/// How often the node samples, so that a run takes a minute and not ten.
const SAMPLE: Duration = Duration::from_secs(1);
/// Samples of a swing with load, and without.
const HOT_SAMPLES: u32 = 4;
const COOL_SAMPLES: u32 = 4;
const CLIENTS: usize = 32;
/// Requests of each tenant before the first swing: most of its day, so that a little more makes it hot.
const SPENT: usize = 100;
const REQUESTS_PER_DAY: u64 = 125;
const BUSY: &str =
    "with recursive n(i) as (select 1 union all select i + 1 from n where i < 8000) select sum(i) from n";
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn run(bench: &mut Bench) -> Result<()> {
    let (tenants, swings) = (bench.plan.flapping_tenants, bench.plan.swings);
    let options = NodeOptions {
        sample_interval: Some(SAMPLE),
        ..NodeOptions::default()
    };
    let mut node = Node::start(&bench.node, &bench.folder, options).await?;
    progress(format_args!("{tenants} tenants near their limits"));
    let names: Vec<String> = (0..tenants).map(|number| format!("flapping-{number}")).collect();
    create(&mut node, &names).await?;
    let server = node.address();
    let every = |sql: &str| -> Arc<Vec<Requests>> {
        let one = |name: &String| Requests::statement(&format!("{name}.localhost"), sql, "");
        Arc::new(names.iter().map(one).collect())
    };
    wait_until_served(server, &every("create table t (x)")).await?;
    ask_all(server, &every("insert into t values (randomblob(46000))")).await?;
    let small = every("select 1");
    for _ in 0..SPENT {
        ask_all(server, &small).await?;
    }
    let busy = every(BUSY);
    let start = Instant::now();
    for swing in 0..swings {
        progress(format_args!("swing {swing}"));
        for _ in 0..HOT_SAMPLES {
            let round = Instant::now();
            ask_all(server, &busy).await?;
            tokio::time::sleep(SAMPLE.saturating_sub(round.elapsed())).await;
        }
        tokio::time::sleep(SAMPLE * COOL_SAMPLES).await;
    }
    let took = start.elapsed();
    let leader = node.leader().await?;
    let raised = count(leader, "hotspot-raised").await?;
    let cleared = count(leader, "hotspot-cleared").await?;
    let swung = tenants as u64 * u64::from(swings);
    let samples = took.as_secs() / SAMPLE.as_secs();
    let most = tenants as u64 * samples / 2;
    ensure!(
        raised + cleared <= most,
        "{raised} raised and {cleared} cleared, where at most {most} should be"
    );
    bench.report.heading(&format!(
        "{tenants} tenants that swing from hot to cool, {swings} times each"
    ));
    bench.report.say(format_args!(
        "{raised} raised and {cleared} cleared, of {swung} swings in {:.0} s: at most one event in two samples of a tenant would be {}",
        took.as_secs_f64(),
        most
    ));
    Ok(())
}

async fn create(node: &mut Node, names: &[String]) -> Result<()> {
    let admin = node.admin().await?;
    let quota = v1::QuotaOverrides {
        database_bytes: Some(64 << 10),
        requests_per_day: Some(REQUESTS_PER_DAY),
        cpu_millicores: Some(1),
        ..v1::QuotaOverrides::default()
    };
    for name in names {
        let request = v1::CreateTenantRequest {
            tenant_id: name.clone(),
            spec: Some(v1::TenantSpec {
                quota: Some(quota),
                ..v1::TenantSpec::default()
            }),
            request_id: Operation::new_request_id(),
            ..v1::CreateTenantRequest::default()
        };
        let mut admin = admin.clone();
        admin.create_tenant(request).await.context("cannot create a tenant")?;
    }
    Ok(())
}

/// The node follows within moments.
async fn wait_until_served(server: SocketAddr, requests: &Arc<Vec<Requests>>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    let last = requests
        .last()
        .and_then(|requests| requests.at(0))
        .context("there are no tenants")?;
    while Connection::open(server).await?.send(last).await.is_err() {
        ensure!(Instant::now() < deadline, "the node does not know the last tenant");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let others: Vec<_> = requests.iter().take(requests.len() - 1).cloned().collect();
    ask_all(server, &Arc::new(others)).await
}

/// Asks every tenant once. A refusal is an answer here: a day that is used up ends a tenant's swings.
async fn ask_all(server: SocketAddr, requests: &Arc<Vec<Requests>>) -> Result<()> {
    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        let requests = Arc::clone(requests);
        clients.spawn(async move {
            let mut connection = Connection::open(server).await?;
            for request in requests
                .iter()
                .skip(client)
                .step_by(CLIENTS)
                .filter_map(|requests| requests.at(0))
            {
                // After anything but an answer the connection may be out of step.
                if connection.send(request).await.is_err() {
                    connection = Connection::open(server).await?;
                }
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(())
}

/// How many events of a kind the log has.
async fn count(leader: SocketAddr, kind: &str) -> Result<u64> {
    let mut client = NotificationServiceClient::new(connect_one(leader).await?);
    let mut request = v1::ListEventsRequest {
        filter: Some(v1::EventFilter {
            kinds: vec![kind.to_owned()],
            ..v1::EventFilter::default()
        }),
        page_size: 1_000,
        ..v1::ListEventsRequest::default()
    };
    let mut events = 0;
    loop {
        let page = client.list_events(request.clone()).await?.into_inner();
        events += page.events.len() as u64;
        if page.next_page_token.is_empty() {
            return Ok(events);
        }
        request.page_token = page.next_page_token;
    }
}
