//! One node, from its listeners to its last breath: what is built in which order, and the order in which it ends.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use control_client::{ClientOptions, ControlClient, Endpoint};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use mutual_tls::Security;
use service_runtime::data_dir::DataDir;
use service_runtime::ops;
use service_runtime::readiness::Readiness;
use service_runtime::shutdown::TaskGroup;
use service_runtime::systemd;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::baton_key;
use crate::config::Config;
use crate::database::{Databases, DatabasesConfig};
use crate::events::{self, Batch, NewEvent, Outbox};
use crate::file_limit::{self, FileBudget};
use crate::heartbeat::Heartbeat;
use crate::hrana::{HranaConfig, HranaService};
use crate::http::StopNotice;
use crate::http::lanes::Lanes;
use crate::http::router::{StackParts, stack};
use crate::http::server::{ServerOptions, serve};
use crate::identity::Identity;
use crate::latest_usage::LatestUsage;
use crate::layers::Ingress;
use crate::metrics::{Exposition, SampledTenants};
use crate::placement::{self, RoutingFile, SharedRoutingTable};
use crate::sampler::{RoundOptions, Rounds, Sampler};
use crate::usage::UsageReader;
use crate::{node_log_figures, process_figures};
use tenantry_layers::QuotaEvent;
use tenantry_layers::clock::{Clock, SystemClock};
use tenantry_layers::meter::MeterRegistry;
use tenantry_layers::quota::QuotaRegistry;

/// How long tasks may take to end at a stop, beyond the drain time.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Crossed quotas that wait for the outbox. When full, they are dropped and counted.
const CROSSINGS: usize = 1_024;
/// Pause after crossed quotas could not be written.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// Growth is measured over so many intervals: two hours at the default.
const GROWTH_POINTS: u32 = 24;

/// The sockets of a node, bound before anything else happens.
#[derive(Debug)]
pub struct Listeners {
    /// Tenants' HTTP.
    pub data: TcpListener,
    /// Requests forwarded by other nodes.
    pub peer: TcpListener,
    /// Metrics and probes.
    pub ops: TcpListener,
}

impl Listeners {
    /// Binds what the configuration names.
    ///
    /// # Errors
    /// Names the option whose address cannot be had.
    pub async fn bind(config: &Config) -> anyhow::Result<Self> {
        let bind = async |option, address| {
            TcpListener::bind(address)
                .await
                .with_context(|| format!("{option}: cannot listen on {address}"))
        };
        Ok(Self {
            data: bind("listen", config.listen).await?,
            peer: bind("peer-listen", config.peer_listen).await?,
            ops: bind("ops-listen", config.ops_listen).await?,
        })
    }
}

/// Runs a node until `shutdown`.
///
/// # Errors
/// When it cannot start.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Held for as long as the node runs: two processes on one folder would both write the same databases.
    let data_dir = DataDir::open(&config.data_dir).context("data-dir")?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let identity = {
        let (path, node, now) = (config.data_dir.clone(), config.node.clone(), clock.now().wall);
        tokio::task::spawn_blocking(move || Identity::begin(&path, &node, now)).await??
    };
    let baton_key = {
        let path = config.data_dir.clone();
        tokio::task::spawn_blocking(move || baton_key::read_or_make(&path)).await??
    };
    let node_metrics = install_recorder();
    let exposition = Arc::new(
        Exposition::new(config.metrics_tenant_limit, config.sample_interval * 3).context("cannot set up metrics")?,
    );
    let readiness = Readiness::new();
    let routing_known = readiness.latch("routing table");
    let accepting = readiness.latch("accepting requests");
    tokio::spawn(systemd::tell(readiness.clone(), shutdown.clone()));

    let routing_file = RoutingFile::in_data_dir(data_dir.path());
    let table = known_routes(&routing_file).await;
    if !table.current().is_empty() {
        routing_known.release();
    }
    let files = FileBudget::divide(file_limit::raise(), config.max_connections);
    if files.connections < config.max_connections {
        tracing::warn!(
            wished = config.max_connections,
            possible = files.connections,
            "the limit of open files allows fewer connections: raise it, or lower max-connections"
        );
    }
    let databases = Databases::open(DatabasesConfig {
        max_open: config.max_open_tenants,
        idle_close: config.idle_close,
        descriptors: files.databases,
        running_jobs: config.running_queries,
        long_running_jobs: config.long_running_queries,
        jobs_per_tenant: config.queries_per_tenant,
        sqlite_heap_bytes: config.sqlite_memory.0,
        log_bytes: config.node_log_size.0,
        ..DatabasesConfig::new(data_dir.path())
    })?;
    let hrana = HranaConfig {
        baton_key,
        ..HranaConfig::default()
    };
    let hrana = HranaService::new(databases.clone(), &hrana);
    let meters = MeterRegistry::new(Arc::clone(&clock));
    let quotas = QuotaRegistry::new(data_dir.path(), Arc::clone(&clock));
    let (outbox, record) = {
        let (path, incarnation, events) = (data_dir.join("outbox.db"), identity.incarnation, config.outbox_events);
        tokio::task::spawn_blocking(move || Outbox::open(&path, incarnation, events)).await??
    };
    let outbox = Arc::new(outbox);
    let latest = LatestUsage::default();
    let reader = UsageReader {
        meters: Arc::clone(&meters),
        sampled: Arc::new(SampledTenants::new(config.growth_interval, GROWTH_POINTS)),
        quotas: Arc::clone(&quotas),
        databases: databases.clone(),
        table: table.clone(),
        clock: Arc::clone(&clock),
    };
    let endpoints = config.control_plane.join(",");
    let endpoints = Endpoint::parse_list(&endpoints).context("control-plane")?;
    let client = ControlClient::new(endpoints, config.security.clone(), ClientOptions::default());
    let client = client.context("control-plane")?;

    let (crossings, crossed) = mpsc::channel(CROSSINGS);
    let stack = stack(StackParts {
        node: config.node.clone(),
        host_suffix: config.host_suffix.clone(),
        authentication: config.authentication,
        security: config.security.clone(),
        reader: reader.clone(),
        rate_limit_fields: config.rate_limit_fields,
        crossings,
        hrana: hrana.clone(),
    });

    // The listeners end first and drain; the loops behind them only after the last request.
    let requests = TaskGroup::new(CancellationToken::new());
    let notice = StopNotice::default();
    // Dropped after the last connection has ended.
    let (lanes, _busy_workers) = Lanes::start().context("cannot start the workers of the busy lane")?;
    let options = |ingress, security| ServerOptions {
        ingress,
        security,
        lanes: lanes.clone(),
        max_connections: files.connections,
        drain: config.drain,
        notice: notice.clone(),
    };
    requests.spawn(
        "data listener",
        serve(
            listeners.data,
            stack.clone(),
            options(Ingress::Public, Security::Plain),
            requests.token(),
        ),
    );
    requests.spawn(
        "peer listener",
        serve(
            listeners.peer,
            stack,
            options(Ingress::Peer, config.security.clone()),
            requests.token(),
        ),
    );

    let loops = TaskGroup::new(CancellationToken::new());
    let following = placement::follow(
        client.clone(),
        config.node.clone(),
        table.clone(),
        routing_file,
        routing_known,
        loops.token(),
    );
    loops.spawn("placement watch", following);
    loops.spawn(
        "event reports",
        events::report(client.clone(), config.node.clone(), Arc::clone(&outbox), loops.token()),
    );
    loops.spawn(
        "crossed quotas",
        keep_crossings(crossed, Arc::clone(&outbox), loops.token()),
    );
    loops.spawn(
        "disk figures",
        process_figures::follow_disk(config.data_dir.clone(), loops.token()),
    );
    loops.spawn(
        "node log figures",
        node_log_figures::follow(databases.clone(), loops.token()),
    );
    if let Some(credentials) = config.security.credentials() {
        let following = Arc::clone(credentials).follow_files(process_figures::certificate_expires, loops.token());
        loops.spawn("certificates", following);
    }
    loops.spawn("database maintenance", hrana.clone().maintain(loops.token()));
    let rounds = RoundOptions {
        node: config.node.clone(),
        node_millicores: config.node_millicores,
        interval: config.sample_interval,
    };
    let rounds = Rounds::new(rounds, reader.clone(), record);
    let sampler = Sampler {
        reader,
        exposition: Arc::clone(&exposition),
        outbox: Arc::clone(&outbox),
        latest: latest.clone(),
        interval: config.sample_interval,
    };
    loops.spawn("sampler", sampler.run(rounds, loops.token()));
    let heartbeat = Heartbeat {
        client,
        identity,
        spec: config.spec.clone(),
        latest,
        meters,
        databases: databases.clone(),
        outbox: Arc::clone(&outbox),
        table,
        data_dir: config.data_dir.clone(),
    };
    loops.spawn("heartbeat", heartbeat.run(loops.token()));

    let ops_stop = CancellationToken::new();
    let render = move || format!("{}{}", exposition.render(), node_metrics.render());
    let ops_port = tokio::spawn(ops::serve(listeners.ops, readiness.clone(), render, ops_stop.clone()));

    accepting.release();
    tracing::info!(node = %config.node, listen = %config.listen, "this node serves");
    shutdown.cancelled().await;

    // Not ready, and everybody is told so while requests are still taken; then no new connections, drain, stop the loops, close
    // what is on disk.
    accepting.hold();
    notice.give();
    tokio::time::sleep(config.stop_notice).await;
    // Before the drain: a transaction that waits for its client must not hold up the writes that are under way.
    requests.token().cancel();
    hrana.close_streams();
    if let Err(hung) = requests.stop(config.drain + STOP_DEADLINE).await {
        tracing::error!(%hung, "listeners did not end in time");
    }
    if let Err(hung) = loops.stop(STOP_DEADLINE).await {
        tracing::error!(%hung, "tasks did not end in time");
    }
    let unwritten = quotas.close_all().await;
    if unwritten > 0 {
        tracing::error!(
            tenants = unwritten,
            "quota ledgers could not be written; their reservations count as used"
        );
    }
    if tokio::time::timeout(STOP_DEADLINE, databases.close_all())
        .await
        .is_err()
    {
        tracing::error!("databases were still in use at the end");
    }
    let closing = Arc::clone(&outbox);
    if tokio::task::spawn_blocking(move || closing.close()).await.is_err() {
        tracing::error!("closing the outbox panicked");
    }
    // The last to go, so that probes see "not ready" until the end.
    ops_stop.cancel();
    if let Err(error) = ops_port.await {
        tracing::error!(%error, "the ops port panicked");
    }
    drop(data_dir);
    Ok(())
}

/// The routing table of the last run, or none: a damaged copy is reported and waits to be replaced.
async fn known_routes(file: &RoutingFile) -> SharedRoutingTable {
    let reading = file.clone();
    match tokio::task::spawn_blocking(move || reading.read()).await {
        Ok(Ok(Some(table))) => SharedRoutingTable::new(table),
        Ok(Ok(None)) => SharedRoutingTable::default(),
        Ok(Err(error)) => {
            tracing::error!(%error, "the routing table on disk cannot be used; waiting for the control plane");
            SharedRoutingTable::default()
        }
        Err(error) => {
            tracing::error!(%error, "reading the routing table panicked");
            SharedRoutingTable::default()
        }
    }
}

/// Puts crossed quotas into the outbox, and waits for it: what does not fit behind it is dropped and counted where it came
/// from.
async fn keep_crossings(mut crossed: mpsc::Receiver<QuotaEvent>, outbox: Arc<Outbox>, stop: CancellationToken) {
    let mut events = Vec::new();
    while let Some(1..) = stop
        .run_until_cancelled(crossed.recv_many(&mut events, CROSSINGS))
        .await
    {
        let batch = Batch {
            events: events.drain(..).map(|event| new_event(&event)).collect(),
            ..Batch::default()
        };
        while let Err(error) = outbox.append(batch.clone()).await {
            tracing::error!(%error, "crossed quotas cannot be written yet");
            if stop.run_until_cancelled(tokio::time::sleep(DISK_PAUSE)).await.is_none() {
                return;
            }
        }
    }
}

fn new_event(event: &QuotaEvent) -> NewEvent {
    NewEvent {
        occurred_at: event.occurred_at,
        tenant: Some(event.tenant),
        // Use of a limit is the tenant's own, wherever it is served.
        epoch: None,
        detail: event.crossing.into(),
    }
}

/// The process's own recorder, for what the node counts beside its tenants. A second call in one process (in tests) gives a
/// handle that shows nothing.
fn install_recorder() -> PrometheusHandle {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    if metrics::set_global_recorder(recorder).is_err() {
        tracing::debug!("this process has a metrics recorder already");
    }
    process_figures::describe();
    node_log_figures::describe();
    metrics::describe_gauge!(
        "tenantry_node_routing_revision",
        "Revision of the routing table in force."
    );
    metrics::describe_counter!(
        "tenantry_node_routing_diverged_total",
        "Times that the routing table had another digest than the control plane's and was fetched anew."
    );
    metrics::describe_counter!(
        "tenantry_node_routing_refused_total",
        "Records of the routing table that made no sense and were refused."
    );
    metrics::describe_gauge!(
        "tenantry_node_routing_refused_records",
        "Records of the control plane that are not in force, since they make no sense."
    );
    metrics::describe_counter!(
        "tenantry_node_routing_write_failures_total",
        "Times that the routing table's copy on disk could not be written."
    );
    metrics::describe_counter!(
        "tenantry_node_answers_stalled_total",
        "Answers that broke off because their client did not read them."
    );
    metrics::describe_counter!(
        "tenantry_node_forwarded_requests_total",
        "Requests handed to the nodes that serve their tenants, by what came of them."
    );
    metrics::describe_counter!(
        "tenantry_node_events_dropped_total",
        "Events that a full outbox dropped."
    );
    metrics::describe_counter!(
        "tenantry_node_events_refused_total",
        "Events that the control plane refused as malformed, or as of a start that is over."
    );
    metrics::describe_counter!(
        "tenantry_node_events_superseded_total",
        "Events that gave way in a full outbox to newer ones about the same."
    );
    metrics::describe_counter!(
        "tenantry_node_event_batches_deferred_total",
        "Rounds of samples whose changes found the outbox behind and were found again in the next round."
    );
    metrics::describe_counter!(
        "tenantry_node_outbox_damaged_total",
        "Times that the outbox could not be read and was begun anew."
    );
    handle
}
