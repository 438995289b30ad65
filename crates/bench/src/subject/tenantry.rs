//! Our control plane as its operators start and ask it.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use tenantry_proto::v1;
use tenantry_proto::v1::cluster_service_client::ClusterServiceClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::Channel;

use super::{Known, flags};

const PROBE_LIMIT: Duration = Duration::from_secs(1);

/// All options but the addresses and the folder have their defaults.
pub(super) fn arguments(index: usize, endpoints: &[SocketAddr], probes: &[SocketAddr], folder: &Path) -> Vec<OsString> {
    let members: Vec<String> = (1..)
        .zip(endpoints)
        .map(|(id, address)| format!("{id}={address}"))
        .collect();
    let address = |list: &[SocketAddr]| OsString::from(list.get(index).map(ToString::to_string).unwrap_or_default());
    let mut arguments = vec!["--insecure-dev".into()];
    arguments.extend(flags(&[
        ("member-id", (index + 1).to_string().into()),
        ("initial-members", members.join(",").into()),
        ("listen", address(endpoints)),
        ("ops-listen", address(probes)),
        ("data-dir", folder.into()),
    ]));
    arguments
}

/// The leader that a member knows.
pub(super) async fn leader(channel: Channel) -> Option<Known> {
    let request = v1::GetClusterStatusRequest { local_only: true };
    let status = ClusterServiceClient::new(channel)
        .get_cluster_status(request)
        .await
        .ok()?;
    let id = usize::try_from(status.get_ref().leader_id).ok()?;
    // Before the cluster has its identity it refuses writes.
    (!status.get_ref().cluster_uid.is_empty()).then_some(())?;
    id.checked_sub(1).map(Known::Index)
}

/// Whether `/readyz` answers 200.
pub(crate) async fn is_ready(probe: SocketAddr) -> Option<()> {
    let ask = async {
        let mut stream = TcpStream::connect(probe).await.ok()?;
        let request = format!("GET /readyz HTTP/1.1\r\nhost: {probe}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.ok()?;
        answer.starts_with(b"HTTP/1.1 200 ").then_some(())
    };
    tokio::time::timeout(PROBE_LIMIT, ask).await.ok()?
}
