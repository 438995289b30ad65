//! Raft messages over gRPC: one ordered stream to each peer, and snapshots on streams of their own.
//!
//! Messages may be lost, and the raft thread is told; they are never waited for. What is not meant for this member of
//! this cluster is refused.

mod receive;
mod send;
mod send_snapshot;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenantry_proto::internal::v1::raft_transport_service_server::RaftTransportServiceServer;
use tenantry_types::MemberId;
use tonic::transport::Channel;

pub(super) use receive::{Inbound, serve};
pub(super) use send::GrpcPeers;

/// No gRPC message between members is larger, in bytes.
pub(super) const MAX_FRAME_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of a snapshot file in one message.
pub(super) const PIECE_BYTES: usize = 256 * 1024;

/// The service to mount on the router that listens on this member's address.
pub type RaftTransport = RaftTransportServiceServer<Inbound>;

/// Connects to a member at `host:port`. It should fail within a fraction of a second rather than wait.
pub type ConnectPeer =
    Arc<dyn Fn(MemberId, String) -> BoxFuture<'static, Result<Channel, tonic::transport::Error>> + Send + Sync>;

/// Who talks to whom; sent along and checked with everything.
#[derive(Debug, Clone, Copy)]
pub(super) struct Link {
    pub(super) fingerprint: u64,
    pub(super) own: MemberId,
}
