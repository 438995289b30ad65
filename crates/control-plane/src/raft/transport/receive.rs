//! The receiving side: the gRPC service that other members call.

use std::sync::Arc;

use bytes::Bytes;
use tenantry_proto::internal::v1::raft_transport_service_server::{RaftTransportService, RaftTransportServiceServer};
use tenantry_proto::internal::v1::send_snapshot_request::Part;
use tenantry_proto::internal::v1::{
    DeliverRequest, DeliverResponse, IntroduceRequest, IntroduceResponse, OfferSnapshotRequest, OfferSnapshotResponse,
    SendSnapshotRequest, SendSnapshotResponse, SnapshotHeader,
};
use tenantry_types::MemberId;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{Link, MAX_FRAME_BYTES, PIECE_BYTES, PeerBook, RaftTransport};
use crate::raft::expulsion::Expelled;
use crate::raft::handle::{Control, ControlSender};
use crate::raft::introduction::{answer, check_sender};
use crate::raft::{RaftStatus, announced_snapshot};
use crate::storage::{AnnouncedSnapshot, Expulsion, IncomingSnapshot, LogId, SnapshotError, SnapshotFolder};

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
    status: watch::Receiver<RaftStatus>,
    expelled: Expelled,
    book: PeerBook,
}

pub(in crate::raft) fn serve(
    link: Link,
    (status, expelled, book): (watch::Receiver<RaftStatus>, Expelled, PeerBook),
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
        status,
        expelled,
        book,
    };
    RaftTransportServiceServer::new(inbound).max_decoding_message_size(MAX_FRAME_BYTES)
}

impl Inbound {
    fn check(&self, fingerprint: u64, to: u64) -> Result<(), Status> {
        self.link.check(fingerprint, to)
    }

    /// Nothing is taken from a member that is out, nor for a log that this member does not have any more.
    fn check_logs(&self, from: u64, from_log: u64, to_log: u64) -> Result<(), Status> {
        if to_log != 0 && to_log != self.link.log.get() {
            self.expelled.declare(Expulsion::DiskLost);
            return Err(Status::failed_precondition(
                "this member has another log: its disk was lost",
            ));
        }
        check_sender(&self.status.borrow().members.members, from, from_log)
    }

    /// Whether a snapshot is for this member, and which file will come.
    fn announced(&self, header: &SnapshotHeader) -> Result<AnnouncedSnapshot, Status> {
        self.check(header.cluster_fingerprint, header.to)?;
        self.check_logs(header.from, header.from_log, header.to_log)?;
        let position = announced_snapshot(&header.message)
            .ok_or_else(|| Status::invalid_argument("the message announces no snapshot"))?;
        Ok(AnnouncedSnapshot {
            position,
            size_bytes: header.size_bytes,
            crc32: header.crc32,
        })
    }

    /// A stream that breaks leaves what arrived behind, for the next one to go on with.
    async fn receive(
        &self,
        announced: AnnouncedSnapshot,
        first_offset: u64,
        mut parts: Streaming<SendSnapshotRequest>,
    ) -> Result<IncomingSnapshot, Status> {
        let folder = self.folder.clone();
        let mut file = blocking(move || folder.receive(announced)).await?;
        if file.received_bytes() != first_offset {
            return Err(Status::out_of_range(format!(
                "{} bytes are here, not {first_offset}",
                file.received_bytes()
            )));
        }
        while let Some(request) = parts.message().await? {
            let Some(Part::Data(data)) = request.part else {
                return Err(Status::invalid_argument("only data may follow the header"));
            };
            if data.bytes.len() > PIECE_BYTES {
                return Err(Status::invalid_argument("a piece is too large"));
            }
            file = blocking(move || {
                if crc32fast::hash(&data.bytes) != data.crc32 {
                    let what = format!("the piece at {}", data.offset);
                    return Err(SnapshotError::Damaged { what });
                }
                file.push(data.offset, &data.bytes).map(|()| file)
            })
            .await?;
        }
        let folder = self.folder.clone();
        blocking(move || folder.verify(&mut file).map(|()| file)).await
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
            self.check_logs(frame.from, frame.from_log, frame.to_log)?;
            if let (Ok(from), false) = (MemberId::new(frame.from), frame.from_address.is_empty()) {
                self.book
                    .note_caller(from, frame.from_address, LogId::new(frame.from_log));
            }
            for message in frame.messages {
                if !(self.take)(message) {
                    return Err(stopped());
                }
            }
        }
    }

    async fn offer_snapshot(
        &self,
        request: Request<OfferSnapshotRequest>,
    ) -> Result<Response<OfferSnapshotResponse>, Status> {
        let header = request.into_inner().header.unwrap_or_default();
        let announced = self.announced(&header)?;
        let folder = self.folder.clone();
        let offset = blocking(move || folder.received_bytes(announced)).await?;
        Ok(Response::new(OfferSnapshotResponse { offset }))
    }

    async fn introduce(&self, request: Request<IntroduceRequest>) -> Result<Response<IntroduceResponse>, Status> {
        let members = &self.status.borrow().members.members;
        answer(self.link, members, request.get_ref()).map(Response::new)
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
        let announced = self.announced(&header)?;
        let _receiving = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is being received"))?;
        let received = self
            .stop
            .run_until_cancelled(self.receive(announced, header.first_offset, parts))
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
