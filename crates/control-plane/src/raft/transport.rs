//! Raft messages over gRPC: one ordered stream to each peer, and snapshots on streams of their own.
//!
//! Messages may be lost, and the raft thread is told; they are never waited for. What is not meant for this member of
//! this cluster is refused.

mod peer_book;
mod receive;
mod send;
mod send_snapshot;

use std::sync::Arc;

use futures_util::future::BoxFuture;
use tenantry_proto::internal::v1::raft_transport_service_server::RaftTransportServiceServer;
use tenantry_types::MemberId;
use tonic::Status;
use tonic::transport::Channel;

use crate::storage::LogId;

pub(super) use peer_book::PeerBook;
pub(super) use receive::{Inbound, serve};
pub(super) use send::{GrpcPeers, PeerContext};

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
    pub(super) log: LogId,
}

impl Link {
    /// Refuses what is not meant for this member of this cluster.
    pub(super) fn check(&self, fingerprint: u64, to: u64) -> Result<(), Status> {
        if fingerprint != self.fingerprint {
            return Err(Status::failed_precondition(format!(
                "this member is of cluster {:016x}, not {fingerprint:016x}",
                self.fingerprint
            )));
        }
        if to != self.own.get() {
            return Err(Status::failed_precondition(format!(
                "this is member {}, not {to}",
                self.own
            )));
        }
        Ok(())
    }
}
