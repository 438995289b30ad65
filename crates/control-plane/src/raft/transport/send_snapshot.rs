//! Sends one snapshot file on a stream of its own, and reports how that ended whatever happens.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tenantry_proto::internal::v1::raft_transport_service_client::RaftTransportServiceClient;
use tenantry_proto::internal::v1::send_snapshot_request::Part;
use tenantry_proto::internal::v1::{OfferSnapshotRequest, SendSnapshotRequest, SnapshotData, SnapshotHeader};
use tenantry_types::MemberId;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use super::peer_book::PeerRecord;
use super::{ConnectPeer, Link, PIECE_BYTES, PeerBook};
use crate::raft::handle::{Control, ControlSender};
use crate::raft::{OutgoingSnapshot, SnapshotOutcome};
use crate::storage::{LogId, SnapshotFolder, measure};

/// A transfer that takes longer is given up. What has arrived is kept: the next one goes on from there.
const TIME_LIMIT: Duration = Duration::from_secs(300);
/// A broken transfer is gone on with so many times in a row without any progress.
const ATTEMPTS: u32 = 3;
const PAUSE: Duration = Duration::from_millis(300);
/// Pieces read ahead of the network.
const READ_AHEAD: usize = 4;

#[derive(Clone)]
pub(super) struct SnapshotSender {
    pub(super) link: Link,
    pub(super) book: PeerBook,
    pub(super) connect: ConnectPeer,
    pub(super) folder: SnapshotFolder,
    pub(super) control: ControlSender,
}

#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("the member has no address")]
    NoAddress,
    #[error("cannot read the file")]
    File,
    #[error("cannot connect")]
    Connect(#[source] tonic::transport::Error),
    #[error("the receiver refused: {0}")]
    Refused(tonic::Status),
    #[error("it took too long")]
    TimedOut,
}

/// Raft sends a member nothing else until it hears how this ended; so it hears it even if the task is cancelled.
struct Report {
    control: ControlSender,
    to: MemberId,
    outcome: SnapshotOutcome,
}

impl Drop for Report {
    fn drop(&mut self) {
        self.control.send(Control::SnapshotReport {
            to: self.to,
            outcome: self.outcome,
        });
    }
}

pub(super) async fn send_snapshot(sender: SnapshotSender, snapshot: OutgoingSnapshot) {
    let to = snapshot.to;
    let mut report = Report {
        control: sender.control.clone(),
        to,
        outcome: SnapshotOutcome::Failed,
    };
    let index = snapshot.position.index;
    let sent = tokio::time::timeout(TIME_LIMIT, sender.send(snapshot)).await;
    match sent.unwrap_or(Err(Failed::TimedOut)) {
        Ok(()) => {
            tracing::info!(%to, index, "sent a snapshot");
            report.outcome = SnapshotOutcome::Delivered;
        }
        Err(error) => {
            tracing::warn!(%to, index, error = &error as &dyn std::error::Error, "a snapshot was not delivered");
        }
    }
}

impl Failed {
    /// Whether the same transfer may go on a moment later: the connection broke, or the receiver is still busy with what
    /// broke before.
    fn may_go_on(&self) -> bool {
        match self {
            Self::NoAddress | Self::File | Self::TimedOut => false,
            Self::Connect(_) => true,
            Self::Refused(status) => matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Internal | Code::Cancelled | Code::ResourceExhausted
            ),
        }
    }
}

impl SnapshotSender {
    async fn send(self, snapshot: OutgoingSnapshot) -> Result<(), Failed> {
        let to = snapshot.to;
        let PeerRecord { address, log } = self.book.get(to).ok_or(Failed::NoAddress)?;
        let folder = self.folder.clone();
        let (file, size_bytes, crc32) = tokio::task::spawn_blocking(move || {
            let mut file = folder.open_raw(snapshot.position).ok()?;
            let (size, crc) = measure(&mut file).ok()?;
            Some((Arc::new(file), size, crc))
        })
        .await
        .ok()
        .flatten()
        .ok_or(Failed::File)?;
        let mut header = SnapshotHeader {
            cluster_fingerprint: self.link.fingerprint,
            from: self.link.own.get(),
            to: to.get(),
            message: snapshot.message,
            size_bytes,
            crc32,
            first_offset: 0,
            from_log: self.link.log.get(),
            to_log: log.map_or(0, LogId::get),
        };
        let mut failures = 0;
        loop {
            let before = header.first_offset;
            let error = match self.send_rest(to, &address, &mut header, &file).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            failures = if header.first_offset > before { 1 } else { failures + 1 };
            if failures > ATTEMPTS || !error.may_go_on() {
                return Err(error);
            }
            tracing::info!(%to, error = &error as &dyn std::error::Error, "a snapshot's transfer broke off and goes on");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Asks how much the receiver has, notes that in the header, and sends what follows.
    async fn send_rest(
        &self,
        to: MemberId,
        address: &str,
        header: &mut SnapshotHeader,
        file: &Arc<File>,
    ) -> Result<(), Failed> {
        let channel = (self.connect)(to, address.to_owned()).await.map_err(Failed::Connect)?;
        let mut client = RaftTransportServiceClient::new(channel);
        let offer = OfferSnapshotRequest {
            header: Some(header.clone()),
        };
        let offered = client.offer_snapshot(offer).await.map_err(Failed::Refused)?;
        header.first_offset = offered.into_inner().offset;
        let (parts, stream) = mpsc::channel(READ_AHEAD);
        let (header, file) = (header.clone(), Arc::clone(file));
        // Ends by itself when the receiving side of the channel is gone.
        let reader = tokio::task::spawn_blocking(move || read_parts(header, &file, &parts));
        let answer = client.send_snapshot(ReceiverStream::new(stream)).await;
        let _ = reader.await;
        answer.map(drop).map_err(Failed::Refused)
    }
}

/// A file that cannot be read on ends the stream early; the receiver then refuses it.
fn read_parts(header: SnapshotHeader, file: &File, parts: &mpsc::Sender<SendSnapshotRequest>) {
    let request = |part| SendSnapshotRequest { part: Some(part) };
    let mut offset = header.first_offset;
    if parts.blocking_send(request(Part::Header(header))).is_err() {
        return;
    }
    let mut buffer = vec![0; PIECE_BYTES];
    loop {
        let read = match file.read_at(&mut buffer, offset) {
            Ok(0) | Err(_) => return,
            Ok(read) => read,
        };
        let bytes = Bytes::copy_from_slice(buffer.get(..read).unwrap_or_default());
        let crc32 = crc32fast::hash(&bytes);
        let data = SnapshotData { offset, bytes, crc32 };
        if parts.blocking_send(request(Part::Data(data))).is_err() {
            return;
        }
        offset += read as u64;
    }
}
