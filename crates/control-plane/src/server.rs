//! One member, from its listeners to its last breath: log, services, ops port, and the order in which they end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use mutual_tls::GrpcIncoming;
use service_runtime::data_dir::DataDir;
use service_runtime::ops;
use service_runtime::readiness::{Latch, Readiness};
use service_runtime::shutdown::TaskGroup;
use service_runtime::systemd;
use tenantry_proto::FILE_DESCRIPTOR_SET;
use tenantry_proto::v1::admin_service_server::AdminServiceServer;
use tenantry_proto::v1::cluster_service_server::ClusterServiceServer;
use tenantry_proto::v1::notification_service_server::NotificationServiceServer;
use tenantry_proto::v1::placement_service_server::PlacementServiceServer;
use tenantry_proto::v1::webhook_service_server::WebhookServiceServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic_health::ServingStatus;

use crate::access::AccessLayer;
use crate::config::Config;
use crate::machine::ReplicatedState;
use crate::raft::{Health, RaftConfig, RaftHandle, RaftNode, RaftStatus, StartError, found};
use crate::services::{
    Admin, Cluster, ControlPlane, LeaderForwardingLayer, Notification, Placement, RoutingWatch, RoutingWatchService,
    SnapshotSaves, Webhooks,
};
use crate::watch::WatchTiming;
use crate::webhooks::Deliverer;
use crate::{leader_tasks, metrics};

/// How long tasks may take to end at a stop.
const STOP_DEADLINE: Duration = Duration::from_secs(10);

/// The sockets of a member, bound before anything else happens.
#[derive(Debug)]
pub struct Listeners {
    /// Services and Raft.
    pub grpc: TcpListener,
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
            grpc: bind("listen", config.listen).await?,
            ops: bind("ops-listen", config.ops_listen).await?,
        })
    }
}

/// Runs a member until `shutdown`, or until its log has failed for good.
///
/// # Errors
/// When it cannot start, or its log has failed for good.
pub async fn run(config: Config, listeners: Listeners, shutdown: CancellationToken) -> anyhow::Result<()> {
    // Held for as long as the member runs: two processes on one folder would destroy it.
    let data_dir = DataDir::open(&config.data_dir).context("data-dir")?;
    let metrics_handle = metrics::install().context("cannot set up metrics")?;
    let readiness = Readiness::new();
    let leader_known = readiness.latch("leader");
    let storage_works = readiness.latch("storage");
    let tasks = TaskGroup::new(shutdown.clone());
    // Before the others are waited for: a certificate may be what they wait for.
    if let Some(credentials) = config.security.credentials() {
        let following = Arc::clone(credentials).follow_files(metrics::certificate_expires, tasks.token());
        tasks.spawn("certificates", following);
    }
    tokio::spawn(systemd::tell(readiness.clone(), shutdown.clone()));

    let render = move || metrics_handle.render();
    let ops_stop = CancellationToken::new();
    let ops_port = tokio::spawn(ops::serve(listeners.ops, readiness.clone(), render, ops_stop.clone()));

    let (machine, published) = ReplicatedState::new();
    let raft_config = RaftConfig::new(config.member, data_dir.join("raft"), config.origin.clone());
    let mut raft_config = raft_config.secured(config.security.clone());
    raft_config.tick = config.tick;
    raft_config.replica.snapshot_every = config.snapshot_every;
    raft_config.replica.log_keep = config.log_keep;
    let snapshots_path = raft_config.snapshots_path();
    let fingerprint = raft_config.fingerprint().context("data-dir")?;
    match found(&mut raft_config, &listeners.grpc, &shutdown).await {
        Err(StartError::Stopped) => return Ok(()),
        founded => founded.context("cannot start the replicated log")?,
    }
    let (log, raft_transport) = RaftNode::start(raft_config, machine)
        .await
        .context("cannot start the replicated log")?;

    let control_plane = Arc::new(ControlPlane::new(
        config.member,
        log.clone(),
        published.clone(),
        config.patience,
        config.purge_after,
    ));
    let (health_reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);
    let reflection_v1alpha = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET);

    let timing = WatchTiming::default();
    let routing_watch = RoutingWatch::new(published.clone(), timing, shutdown.clone());
    let deliverer = Arc::new(Deliverer::new(Arc::clone(&control_plane), config.webhooks.clone()));
    let mut routes = Routes::builder();
    routes
        .add_service(AdminServiceServer::new(Admin::new(Arc::clone(&control_plane))))
        .add_service(RoutingWatchService::new(
            routing_watch.clone(),
            PlacementServiceServer::new(Placement::new(Arc::clone(&control_plane), routing_watch)),
        ))
        .add_service(NotificationServiceServer::new(Notification::new(
            Arc::clone(&control_plane),
            timing,
            shutdown.clone(),
        )))
        .add_service(WebhookServiceServer::new(Webhooks::new(
            Arc::clone(&control_plane),
            Arc::clone(&deliverer),
        )))
        .add_service(ClusterServiceServer::new(Cluster::new(
            Arc::clone(&control_plane),
            fingerprint,
            config.security.clone(),
            SnapshotSaves::new(Arc::clone(&control_plane), &snapshots_path, shutdown.clone()),
        )))
        .add_service(raft_transport)
        .add_service(health)
        .add_service(reflection.build_v1().context("reflection")?)
        .add_service(reflection_v1alpha.build_v1alpha().context("reflection")?);
    let forwarding = LeaderForwardingLayer::new(config.member, config.security.clone(), log.status());
    let server = tonic::transport::Server::builder()
        .layer(AccessLayer)
        .layer(forwarding)
        .http2_keepalive_interval(Some(Duration::from_secs(20)))
        .add_routes(routes.routes());

    // gRPC outlives the other tasks: the log needs it to hand leadership over.
    let grpc_stop = CancellationToken::new();
    let incoming = GrpcIncoming::new(listeners.grpc, config.security.clone());
    let grpc = tokio::spawn(server.serve_with_incoming_shutdown(incoming, grpc_stop.clone().cancelled_owned()));

    tasks.spawn(
        "leader tasks",
        leader_tasks::run(Arc::clone(&control_plane), tasks.token()),
    );
    tasks.spawn("webhooks", deliverer.run(tasks.token()));
    let token = tasks.token();
    let (status, state) = (log.status(), published.clone());
    tasks.spawn("metrics", async move {
        token.run_until_cancelled(metrics::publish(status, state)).await;
    });

    let (token, folder) = (tasks.token(), config.data_dir.clone());
    tasks.spawn("disk figures", async move {
        token.run_until_cancelled(metrics::publish_disk(folder)).await;
    });

    tracing::info!(member = %config.member, listen = %config.listen, "this member runs");
    let ended = follow_status(&log, &shutdown, |status| {
        // A member that waits to be added, or for its first snapshot, has nothing to serve from.
        set(
            &leader_known,
            status.leader.is_some() && !status.members.members.addresses.is_empty(),
        );
        set(&storage_works, status.health == Health::Running);
        let serving = if status.leader.is_some() {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        let reporter = health_reporter.clone();
        async move { reporter.set_service_status("", serving).await }
    })
    .await;

    // Not ready, stop the loops, hand leadership over while gRPC still works, close the log, then the last connections.
    leader_known.hold();
    health_reporter.set_service_status("", ServingStatus::NotServing).await;
    shutdown.cancel();
    log.stop().await;
    grpc_stop.cancel();
    if let Err(hung) = tasks.stop(STOP_DEADLINE).await {
        tracing::error!(%hung, "tasks did not end in time");
    }
    match tokio::time::timeout(STOP_DEADLINE, grpc).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => tracing::warn!(%error, "the gRPC server ended with an error"),
        Ok(Err(error)) => tracing::error!(%error, "the gRPC server panicked"),
        Err(_) => tracing::warn!("gRPC connections were still open at the end"),
    }
    // The last to go, so that probes see "not ready" until the end.
    ops_stop.cancel();
    if let Err(error) = ops_port.await {
        tracing::error!(%error, "the ops port panicked");
    }
    drop(data_dir);
    ended
}

/// Releases or holds a latch.
fn set(latch: &Latch, holds_no_longer: bool) {
    if holds_no_longer { latch.release() } else { latch.hold() }
}

/// Tells `report` of every change, until `shutdown` or until the log has failed for good.
async fn follow_status<A: Send + 'static, F: Future<Output = ()>>(
    log: &RaftHandle<A>,
    shutdown: &CancellationToken,
    report: impl Fn(&RaftStatus) -> F,
) -> anyhow::Result<()> {
    let mut status = log.status();
    let mut expelled = log.expelled();
    loop {
        let current = status.borrow_and_update().clone();
        report(&current).await;
        if let Health::Fatal { reason } = current.health {
            return Err(anyhow!("the replicated log has failed for good: {reason}"));
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Ok(expulsion) = expelled.wait_for(Option::is_some) => {
                return expulsion.map_or(Ok(()), |expulsion| Err(expulsion.into()));
            }
            changed = status.changed() => if changed.is_err() {
                return Err(anyhow!("the replicated log has ended by itself"));
            },
        }
    }
}
