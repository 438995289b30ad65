//! A whole member with certificates: what each role's certificate may call, over real connections.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests: what fails here fails the test"
)]

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use control_plane::config::Options;
use control_plane::server::{Listeners, run};
use mutual_tls::authority::Authority;
use mutual_tls::{Credentials, Role, Security, TlsFiles};
use tenantry_proto::internal::v1::IntroduceRequest;
use tenantry_proto::internal::v1::raft_transport_service_client::RaftTransportServiceClient;
use tenantry_proto::v1::admin_service_client::AdminServiceClient;
use tenantry_proto::v1::placement_service_client::PlacementServiceClient;
use tenantry_proto::v1::{HeartbeatRequest, ListTenantsRequest};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

const BOUND: Duration = Duration::from_secs(30);

fn write(folder: &Path, authority: &Authority, root: &str, role: Role) -> TlsFiles {
    let pair = authority.sign(role, SystemTime::now(), 1).unwrap();
    let file = |end: &str| folder.join(format!("{role}.{end}"));
    let files = TlsFiles {
        ca: file("ca"),
        cert: file("crt"),
        key: file("key"),
    };
    fs::write(&files.ca, root).unwrap();
    fs::write(&files.cert, pair.certificate).unwrap();
    fs::write(&files.key, pair.key).unwrap();
    files
}

/// What a call came to.
fn code<T>(outcome: Result<T, Status>) -> Code {
    match outcome {
        Ok(_) => Code::Ok,
        Err(status) => {
            let reason = status.get_details_error_info().map(|info| info.reason);
            let denied = status.code() == Code::PermissionDenied;
            assert_eq!(denied, reason.as_deref() == Some("ROLE_REQUIRED"), "{status:?}");
            status.code()
        }
    }
}

async fn codes(channel: Channel) -> [Code; 3] {
    let list = AdminServiceClient::new(channel.clone())
        .list_tenants(ListTenantsRequest::default())
        .await;
    let beat = PlacementServiceClient::new(channel.clone())
        .heartbeat(HeartbeatRequest::default())
        .await;
    let introduce = RaftTransportServiceClient::new(channel)
        .introduce(IntroduceRequest::default())
        .await;
    [code(list), code(beat), code(introduce)]
}

#[tokio::test(flavor = "multi_thread")]
async fn each_role_may_make_its_calls_and_no_others() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, pair) = Authority::create(SystemTime::now(), 1).unwrap();
    let [member, node, operator] = [Role::ControlPlane, Role::TenantNode, Role::Operator]
        .map(|role| write(folder.path(), &authority, &pair.certificate, role));
    let options = Options {
        member_id: Some(1),
        initial_members: Some("1=127.0.0.1:1".to_owned()),
        data_dir: Some(folder.path().join("data")),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        ops_listen: Some("127.0.0.1:0".parse().unwrap()),
        tls_ca: Some(member.ca.clone()),
        tls_cert: Some(member.cert.clone()),
        tls_key: Some(member.key.clone()),
        ..Options::default()
    };
    let config = options.check().unwrap();
    let listeners = Listeners::bind(&config).await.unwrap();
    let endpoint = Endpoint::from_shared(format!("http://{}", listeners.grpc.local_addr().unwrap())).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(config, listeners, stop.clone()));
    let channel = |files: TlsFiles| {
        let security = Security::MutualTls(Arc::new(Credentials::load(files, &Role::ALL).unwrap()));
        security.channel(&endpoint, Role::ControlPlane, BOUND)
    };
    let (member, node, operator) = (channel(member), channel(node), channel(operator));
    let led = async {
        while AdminServiceClient::new(operator.clone())
            .list_tenants(ListTenantsRequest::default())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(BOUND, led).await.unwrap();

    // The heartbeat is of nobody, and the introduction by another cluster: refused by what they say, not by who says it.
    let denied = Code::PermissionDenied;
    assert_eq!(codes(operator).await, [Code::Ok, denied, denied]);
    let [list, beat, introduce] = codes(node).await;
    assert_eq!((list, introduce), (denied, denied));
    assert_ne!(beat, denied);
    assert!(!codes(member).await.contains(&denied));
    stop.cancel();
    tokio::time::timeout(BOUND, running).await.unwrap().unwrap().unwrap();
}
