//! The receiving side: the gRPC service that other members call.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_proto::internal::v1::raft_transport_service_server::{RaftTransportService, RaftTransportServiceServer};
use tenantry_proto::internal::v1::send_snapshot_request::Part;
use tenantry_proto::internal::v1::{
    DeliverRequest, DeliverResponse, SendSnapshotRequest, SendSnapshotResponse, SnapshotHeader,
};
use tokio::sync::{Semaphore, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{Link, MAX_FRAME_BYTES, PIECE_BYTES, RaftTransport};
use crate::raft::announced_snapshot;
use crate::raft::handle::{Control, ControlSender};
use crate::storage::{IncomingSnapshot, LogPosition, SnapshotError, SnapshotFolder};

/// Hands what arrives to the raft thread.
pub struct Inbound {
    link: Link,
    /// Takes a message, or drops it when too many wait. `false` when the member has stopped.
    take: Arc<dyn Fn(Bytes) -> bool + Send + Sync>,
    control: ControlSender,
    folder: SnapshotFolder,
    /// One snapshot is received at a time.
    receiving: Arc<Semaphore>,
    stop: CancellationToken,
}

pub(in crate::raft) fn serve(
    link: Link,
    take: Arc<dyn Fn(Bytes) -> bool + Send + Sync>,
    control: ControlSender,
    folder: SnapshotFolder,
    stop: CancellationToken,
) -> RaftTransport {
    let inbound = Inbound {
        link,
        take,
        control,
        folder,
        receiving: Arc::new(Semaphore::new(1)),
        stop,
    };
    RaftTransportServiceServer::new(inbound).max_decoding_message_size(MAX_FRAME_BYTES)
}

impl Inbound {
    fn check(&self, fingerprint: u64, to: u64) -> Result<(), Status> {
        if fingerprint != self.link.fingerprint {
            return Err(Status::failed_precondition(format!(
                "this member is of cluster {:016x}, not {fingerprint:016x}",
                self.link.fingerprint
            )));
        }
        if to != self.link.own.get() {
            return Err(Status::failed_precondition(format!(
                "this is member {}, not {to}",
                self.link.own
            )));
        }
        Ok(())
    }

    async fn receive(
        &self,
        header: &SnapshotHeader,
        position: LogPosition,
        mut parts: Streaming<SendSnapshotRequest>,
    ) -> Result<IncomingSnapshot, Status> {
        let folder = self.folder.clone();
        let (size, crc) = (header.size_bytes, header.crc32);
        let mut file = blocking(move || folder.receive(size, crc)).await?;
        while let Some(request) = parts.message().await? {
            let Some(Part::Data(data)) = request.part else {
                return Err(Status::invalid_argument("only data may follow the header"));
            };
            if data.bytes.len() > PIECE_BYTES {
                return Err(Status::invalid_argument("a piece is too large"));
            }
            file = blocking(move || file.push(data.offset, &data.bytes).map(|()| file)).await?;
        }
        let folder = self.folder.clone();
        blocking(move || folder.verify(&mut file, position).map(|()| file)).await
    }
}

#[tonic::async_trait]
impl RaftTransportService for Inbound {
    async fn deliver(&self, request: Request<Streaming<DeliverRequest>>) -> Result<Response<DeliverResponse>, Status> {
        let mut frames = request.into_inner();
        loop {
            let frame = tokio::select! {
                frame = frames.message() => frame?,
                () = self.stop.cancelled() => return Err(stopped()),
            };
            let Some(frame) = frame else {
                return Ok(Response::new(DeliverResponse {}));
            };
            self.check(frame.cluster_fingerprint, frame.to)?;
            for message in frame.messages {
                if !(self.take)(message) {
                    return Err(stopped());
                }
            }
        }
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<SendSnapshotRequest>>,
    ) -> Result<Response<SendSnapshotResponse>, Status> {
        let mut parts = request.into_inner();
        let first = parts.message().await?.and_then(|request| request.part);
        let Some(Part::Header(header)) = first else {
            return Err(Status::invalid_argument("a header comes first"));
        };
        self.check(header.cluster_fingerprint, header.to)?;
        let position = announced_snapshot(&header.message)
            .ok_or_else(|| Status::invalid_argument("the message announces no snapshot"))?;
        let _receiving = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is being received"))?;
        let received = self
            .stop
            .run_until_cancelled(self.receive(&header, position, parts))
            .await;
        let file = received.unwrap_or_else(|| Err(stopped()))?;
        let (reply, answer) = oneshot::channel();
        self.control.send(Control::ReceivedSnapshot {
            message: header.message,
            file,
            reply,
        });
        match answer.await {
            Ok(Ok(())) => Ok(Response::new(SendSnapshotResponse {})),
            Ok(Err(reason)) => Err(Status::aborted(reason)),
            Err(_) => Err(stopped()),
        }
    }
}

fn stopped() -> Status {
    Status::unavailable("this member has stopped")
}

/// Files are not touched on async workers.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
) -> Result<T, Status> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error @ SnapshotError::Io { .. })) => Err(Status::unavailable(error.to_string())),
        Ok(Err(error)) => Err(Status::data_loss(error.to_string())),
        Err(_) => Err(Status::internal("receiving the snapshot panicked")),
    }
}
