//! Three real members in this process: calls at any of them, while leaders go and all of them restart.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use control_plane::config::{Config, Options};
use control_plane::server::{self, Listeners};
use tempfile::TempDir;
use tenantry_proto::v1::admin_service_client::AdminServiceClient;
use tenantry_proto::v1::cluster_service_client::ClusterServiceClient;
use tenantry_proto::v1::*;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt as _;

/// Only bounds a test that would hang.
const BOUND: Duration = Duration::from_secs(90);

struct Running {
    stop: CancellationToken,
    ended: JoinHandle<anyhow::Result<()>>,
}

/// Index 0 is member 1.
struct Cluster {
    configs: Vec<Config>,
    running: Vec<Option<Running>>,
    _folder: TempDir,
}

impl Cluster {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut listeners = Vec::new();
        for _ in 0..3 {
            let bind = || TcpListener::bind("127.0.0.1:0");
            listeners.push(Listeners {
                grpc: bind().await.unwrap(),
                ops: bind().await.unwrap(),
            });
        }
        let address = |listener: &TcpListener| listener.local_addr().unwrap();
        let numbered = (1..)
            .zip(&listeners)
            .map(|(id, listeners)| format!("{id}={}", address(&listeners.grpc)));
        let list = numbered.collect::<Vec<_>>().join(",");
        let configs = (1..).zip(&listeners).map(|(id, listeners)| {
            let options = Options {
                member_id: Some(id),
                initial_members: Some(list.clone()),
                data_dir: Some(folder.path().join(id.to_string())),
                listen: Some(address(&listeners.grpc)),
                ops_listen: Some(address(&listeners.ops)),
                insecure_dev: Some(true),
                ..Options::default()
            };
            options.check().unwrap()
        });
        let configs: Vec<Config> = configs.collect();
        let mut cluster = Self {
            running: (0..3).map(|_| None).collect(),
            configs,
            _folder: folder,
        };
        for (member, listeners) in listeners.into_iter().enumerate() {
            cluster.run(member, listeners);
        }
        cluster
    }

    fn run(&mut self, member: usize, listeners: Listeners) {
        let stop = CancellationToken::new();
        let ended = tokio::spawn(server::run(self.configs[member].clone(), listeners, stop.clone()));
        self.running[member] = Some(Running { stop, ended });
    }

    async fn stop(&mut self, member: usize) {
        let running = self.running[member].take().unwrap();
        running.stop.cancel();
        running.ended.await.unwrap().unwrap();
    }

    async fn restart(&mut self, member: usize) {
        let config = self.configs[member].clone();
        let listeners = until("the ports to be free", || Listeners::bind(&config)).await;
        self.run(member, listeners);
    }

    fn address(&self, member: usize) -> SocketAddr {
        self.configs[member].listen
    }

    fn channel(&self, member: usize) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address(member)))
            .unwrap()
            .connect_lazy()
    }

    fn admin(&self, member: usize) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel(member))
    }

    fn alive(&self) -> Vec<usize> {
        (0..3).filter(|member| self.running[*member].is_some()).collect()
    }

    /// Who leads, as soon as those that run agree.
    async fn leader(&self) -> usize {
        until("a leader", || async {
            let mut leaders = Vec::new();
            for member in self.alive() {
                let request = GetClusterStatusRequest { local_only: true };
                let status = ClusterServiceClient::new(self.channel(member))
                    .get_cluster_status(request)
                    .await?;
                leaders.push(status.into_inner().leader_id);
            }
            let first = *leaders.first().unwrap();
            match first > 0 && leaders.iter().all(|leader| *leader == first) {
                true => Ok(usize::try_from(first).unwrap() - 1),
                false => Err(Status::unavailable(format!("{leaders:?}"))),
            }
        })
        .await
    }
}

/// Tries again until it works, bounded.
async fn until<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    what: &str,
    mut attempt: impl FnMut() -> F,
) -> T {
    let start = tokio::time::Instant::now();
    loop {
        match attempt().await {
            Ok(done) => return done,
            Err(error) => assert!(start.elapsed() < BOUND, "waited in vain for {what}: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn create(name: &str, request_id: &str) -> CreateTenantRequest {
    CreateTenantRequest {
        tenant_id: name.to_owned(),
        request_id: request_id.to_owned(),
        ..CreateTenantRequest::default()
    }
}

fn get(name: &str, read: Option<ReadOptions>) -> GetTenantRequest {
    GetTenantRequest {
        name: format!("tenants/{name}"),
        read,
    }
}

fn stale(min_revision: u64) -> Option<ReadOptions> {
    Some(ReadOptions {
        stale_ok: true,
        min_revision,
    })
}

fn reason(status: &Status) -> String {
    status
        .get_details_error_info()
        .map(|info| info.reason)
        .unwrap_or_default()
}

/// The tenant that a mutation answered, tried until there is an answer; a retry carries the same request id.
async fn created(cluster: &Cluster, member: usize, request: &CreateTenantRequest) -> Tenant {
    let response = until("an answer", || async {
        cluster.admin(member).create_tenant(request.clone()).await
    });
    response.await.into_inner().tenant.unwrap()
}

const ID_1: &str = "00000000-0000-4000-8000-000000000001";
const ID_2: &str = "00000000-0000-4000-8000-000000000002";
const ID_3: &str = "00000000-0000-4000-8000-000000000003";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_member_takes_every_write_and_every_read() {
    let cluster = Cluster::start().await;
    cluster.leader().await;
    for writer in 0..3 {
        let name = format!("t{writer}");
        let made = created(&cluster, writer, &create(&name, "")).await;
        // Acknowledged once, seen by everybody at once.
        for reader in 0..3 {
            let read = cluster
                .admin(reader)
                .get_tenant(get(&name, None))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(
                read.tenant.unwrap().uid,
                made.uid,
                "written at {writer}, read at {reader}"
            );
            assert!(read.revision > 0);
        }
    }
    // Pages from different members make up one list, while it changes.
    let mut names = Vec::new();
    let (mut token, mut revision) = (String::new(), 0);
    for reader in [0, 1, 2, 0, 1] {
        let request = ListTenantsRequest {
            page_size: 1,
            page_token: token.clone(),
            read: stale(0),
            ..ListTenantsRequest::default()
        };
        let page = cluster.admin(reader).list_tenants(request).await.unwrap().into_inner();
        assert!(page.revision >= revision, "no page is from before the one before it");
        (token, revision) = (page.next_page_token, page.revision);
        names.extend(page.tenants.into_iter().map(|tenant| tenant.name));
        created(&cluster, reader, &create(&format!("a{reader}"), "")).await;
        if token.is_empty() {
            break;
        }
    }
    names.retain(|name| name.starts_with("tenants/t"));
    assert_eq!(names, ["tenants/t0", "tenants/t1", "tenants/t2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_quota_is_explained_alike_by_every_member_and_as_it_is_after_the_last_change() {
    let cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    created(&cluster, leader, &create("acme", "")).await;
    let explain = |member, name: &str| {
        let name = format!("tenants/{name}");
        let mut admin = cluster.admin(member);
        async move { admin.explain_tenant_quota(ExplainTenantQuotaRequest { name }).await }
    };
    for (member, limit) in [(0, 20), (1, 30), (2, 40)] {
        let own = QuotaOverrides {
            requests_per_day: Some(limit),
            ..QuotaOverrides::default()
        };
        let update = UpdateTenantRequest {
            tenant: Some(Tenant {
                name: "tenants/acme".to_owned(),
                spec: Some(TenantSpec {
                    quota: Some(own),
                    ..TenantSpec::default()
                }),
                ..Tenant::default()
            }),
            ..UpdateTenantRequest::default()
        };
        cluster.admin(leader).update_tenant(update).await.unwrap();
        let answer = explain(member, "acme").await.unwrap().into_inner();
        let explained = answer.quota.unwrap().requests_per_day.unwrap();
        assert_eq!(
            (explained.in_force, explained.origin(), explained.of_tier),
            (limit, LimitOrigin::Tenant, 10_000)
        );
        let unknown = explain(member, "nobody").await.unwrap_err();
        assert_eq!(
            (unknown.code(), reason(&unknown).as_str()),
            (Code::NotFound, "NOT_FOUND")
        );
        let malformed = explain(member, "No Name").await.unwrap_err();
        assert_eq!(malformed.code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_is_answered_the_same_after_its_leader_is_gone_and_after_all_restart() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    let made = created(&cluster, leader, &create("acme", ID_1)).await;
    let deletion = DeleteTenantRequest {
        name: "tenants/acme".to_owned(),
        request_id: ID_2.to_owned(),
        ..DeleteTenantRequest::default()
    };
    let deleted = cluster
        .admin(leader)
        .delete_tenant(deletion.clone())
        .await
        .unwrap()
        .into_inner();
    // Another tenant has the name now: the answer to the first request is still the first tenant.
    let second = created(&cluster, leader, &create("acme", ID_3)).await;
    assert_ne!(second.uid, made.uid);
    cluster.stop(leader).await;
    let other = cluster.leader().await;
    assert_eq!(created(&cluster, other, &create("acme", ID_1)).await, made);
    // The name leads to the second tenant, and to nobody on a member that has not applied everything yet.
    let again = until("an answer", || async {
        cluster.admin(other).delete_tenant(deletion.clone()).await
    })
    .await;
    assert_eq!(again.into_inner(), deleted);
    let reused = cluster
        .admin(other)
        .create_tenant(create("other", ID_1))
        .await
        .unwrap_err();
    assert_eq!(
        (reused.code(), reason(&reused).as_str()),
        (Code::InvalidArgument, "REQUEST_ID_REUSED")
    );

    for member in cluster.alive() {
        cluster.stop(member).await;
    }
    for member in 0..3 {
        cluster.restart(member).await;
    }
    for member in 0..3 {
        assert_eq!(created(&cluster, member, &create("acme", ID_1)).await, made);
        let again = until("an answer", || async {
            cluster.admin(member).delete_tenant(deletion.clone()).await
        })
        .await;
        assert_eq!(again.into_inner(), deleted);
        assert_eq!(created(&cluster, member, &create("acme", ID_3)).await, second);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_alone_answers_stale_reads_with_what_it_has_and_nothing_else() {
    let mut cluster = Cluster::start().await;
    let leader = cluster.leader().await;
    created(&cluster, leader, &create("acme", "")).await;
    let left = (leader + 1) % 3;
    let at_leader = cluster
        .admin(leader)
        .get_tenant(get("acme", None))
        .await
        .unwrap()
        .into_inner();
    // At least this revision: waited for, wherever the follower is.
    let seen = cluster
        .admin(left)
        .get_tenant(get("acme", stale(at_leader.revision)))
        .await
        .unwrap()
        .into_inner();
    assert!(seen.revision >= at_leader.revision);
    for member in (0..3).filter(|member| *member != left) {
        cluster.stop(member).await;
    }
    let alone = cluster
        .admin(left)
        .get_tenant(get("acme", stale(0)))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(alone.tenant, at_leader.tenant);
    assert!(alone.revision >= at_leader.revision);
    // What it cannot know is never made up, and the wait ends with the call's own time.
    let with_time = |request: GetTenantRequest| {
        let mut request = Request::new(request);
        request.set_timeout(Duration::from_secs(4));
        request
    };
    let certain = cluster
        .admin(left)
        .get_tenant(with_time(get("acme", None)))
        .await
        .unwrap_err();
    assert!(
        matches!(certain.code(), Code::Unavailable | Code::Cancelled),
        "{certain}"
    );
    let ahead = cluster
        .admin(left)
        .get_tenant(get("acme", stale(alone.revision + 1_000)))
        .await
        .unwrap_err();
    assert_eq!(
        (ahead.code(), reason(&ahead).as_str()),
        (Code::Unavailable, "REVISION_NOT_REACHED")
    );
    let write = cluster.admin(left).create_tenant(create("more", "")).await.unwrap_err();
    assert_eq!(write.code(), Code::Unavailable, "{write}");
}
