//! etcd as it is started and asked: everything at its defaults, each write synced to the same disk as ours.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;

use tonic::transport::Channel;

use super::{Known, flags};
use crate::etcd_proto;
use crate::etcd_proto::maintenance_client::MaintenanceClient;

/// When etcd takes a leader for lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Timing {
    /// Heartbeats each 50 ms, elections after 500 ms to 1 s: as ours.
    LikeOurs,
    /// etcd's defaults: 100 ms, and 1 to 2 s.
    Default,
}

pub(super) fn arguments(
    index: usize,
    clients: &[SocketAddr],
    peers: &[SocketAddr],
    timing: Timing,
    folder: &Path,
) -> Vec<OsString> {
    let url = |list: &[SocketAddr]| {
        let address = list.get(index).map(ToString::to_string).unwrap_or_default();
        OsString::from(format!("http://{address}"))
    };
    let group: Vec<String> = (0..)
        .zip(peers)
        .map(|(index, peer)| format!("member-{index}=http://{peer}"))
        .collect();
    let mut arguments = flags(&[
        ("name", format!("member-{index}").into()),
        ("data-dir", folder.into()),
        ("listen-client-urls", url(clients)),
        ("advertise-client-urls", url(clients)),
        ("listen-peer-urls", url(peers)),
        ("initial-advertise-peer-urls", url(peers)),
        ("initial-cluster", group.join(",").into()),
        ("initial-cluster-state", "new".into()),
        ("log-level", "error".into()),
    ]);
    if timing == Timing::LikeOurs {
        arguments.extend(flags(&[
            ("heartbeat-interval", "50".into()),
            ("election-timeout", "500".into()),
        ]));
    }
    arguments
}

/// Whether the asked member leads, if it knows a leader at all.
pub(super) async fn leader(channel: Channel) -> Option<Known> {
    let status = MaintenanceClient::new(channel)
        .status(etcd_proto::StatusRequest {})
        .await
        .ok()?
        .into_inner();
    let itself = status.header?.member_id;
    match status.leader {
        0 => None,
        leader if leader == itself => Some(Known::Itself),
        _ => Some(Known::Another),
    }
}
