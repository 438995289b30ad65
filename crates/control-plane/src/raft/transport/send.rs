//! The sending side: a bounded queue and a task for each peer.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use tenantry_proto::internal::v1::DeliverRequest;
use tenantry_proto::internal::v1::raft_transport_service_client::RaftTransportServiceClient;
use tenantry_types::MemberId;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::peer_book::PeerRecord;
use super::send_snapshot::{SnapshotSender, send_snapshot};
use super::{ConnectPeer, Link, PeerBook};
use crate::raft::expulsion::{Expelled, in_refusal};
use crate::raft::handle::{Control, ControlSender};
use crate::raft::{OutgoingSnapshot, Peers, Unreachable};
use crate::storage::{LogId, Members, SnapshotFolder};

/// Messages waiting for one peer; a further one is dropped.
const QUEUE: usize = 1024;
/// Messages put into one frame.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 2 * 1024 * 1024;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// All peers of a member, over gRPC; they come and go with the members. Dropping it ends the connections.
pub(in crate::raft) struct GrpcPeers {
    peer: PeerContext,
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    queues: BTreeMap<MemberId, (PeerRecord, mpsc::Sender<Bytes>)>,
    snapshots: SnapshotSender,
}

impl GrpcPeers {
    pub(in crate::raft) fn start(
        peer: PeerContext,
        members: &Members,
        folder: SnapshotFolder,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let snapshots = SnapshotSender {
            link: peer.link,
            book: peer.book.clone(),
            connect: peer.connect.clone(),
            folder,
            control: peer.control.clone(),
        };
        let mut peers = Self {
            peer,
            runtime: Handle::current(),
            tasks,
            stop,
            queues: BTreeMap::new(),
            snapshots,
        };
        peers.members_changed(members);
        peers
    }

    fn open(&mut self, to: MemberId, record: PeerRecord) {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let peer = Peer {
            context: self.peer.clone(),
            to,
            record: record.clone(),
        };
        let stop = self.stop.clone();
        let work = async move { stop.run_until_cancelled(peer.deliver_for_ever(waiting)).await };
        self.tasks.spawn_on(work, &self.runtime);
        self.queues.insert(to, (record, queue));
    }
}

impl Peers for GrpcPeers {
    fn send(&mut self, to: MemberId, message: Bytes) -> Result<(), Unreachable> {
        if !self.queues.contains_key(&to) {
            // A member that knows nobody yet answers whoever has called.
            let caller = self.peer.book.get(to).ok_or(Unreachable)?;
            self.open(to, caller);
        }
        let (_, queue) = self.queues.get(&to).ok_or(Unreachable)?;
        queue.try_send(message).map_err(|_| Unreachable)
    }

    fn send_snapshot(&mut self, snapshot: OutgoingSnapshot) {
        let sender = self.snapshots.clone();
        let stop = self.stop.clone();
        let work = async move { stop.run_until_cancelled(send_snapshot(sender, snapshot)).await };
        self.tasks.spawn_on(work, &self.runtime);
    }

    /// A dropped queue ends its task, and with it the connection.
    fn members_changed(&mut self, members: &Members) {
        let book = &self.peer.book;
        book.set(members);
        self.queues
            .retain(|to, (record, _)| book.get(*to).as_ref() == Some(record));
        for member in members.addresses.keys() {
            if *member != self.peer.link.own
                && !self.queues.contains_key(member)
                && let Some(record) = self.peer.book.get(*member)
            {
                self.open(*member, record);
            }
        }
    }
}

impl Drop for GrpcPeers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// What all peers share.
#[derive(Clone)]
pub(in crate::raft) struct PeerContext {
    pub(in crate::raft) link: Link,
    pub(in crate::raft) book: PeerBook,
    pub(in crate::raft) connect: ConnectPeer,
    pub(in crate::raft) control: ControlSender,
    pub(in crate::raft) expelled: Expelled,
}

struct Peer {
    context: PeerContext,
    to: MemberId,
    record: PeerRecord,
}

impl Peer {
    async fn deliver_for_ever(&self, mut waiting: mpsc::Receiver<Bytes>) {
        let mut backoff = FIRST_BACKOFF;
        // Closed when the member is gone, or has moved.
        while !waiting.is_closed() {
            if self.deliver(&mut waiting).await {
                backoff = FIRST_BACKOFF;
            }
            self.context.control.send(Control::Unreachable(self.to));
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    /// Connects and sends until the stream breaks. Whether it ever stood.
    async fn deliver(&self, waiting: &mut mpsc::Receiver<Bytes>) -> bool {
        let Ok(channel) = (self.context.connect)(self.to, self.record.address.clone()).await else {
            return false;
        };
        // What queued meanwhile is out of date: heartbeats of the past, appends that will be probed anew.
        while waiting.try_recv().is_ok() {}
        let (frames, stream) = mpsc::channel(4);
        let mut client = RaftTransportServiceClient::new(channel);
        let call = client.deliver(ReceiverStream::new(stream));
        let pump = async {
            let mut messages = Vec::new();
            let own_record = self.context.book.get(self.context.link.own);
            let mut own_address = own_record.map(|record| record.address).unwrap_or_default();
            while waiting.recv_many(&mut messages, BATCH).await > 0 {
                while !messages.is_empty() {
                    let frame = self.frame(&mut messages, std::mem::take(&mut own_address));
                    if frames.send(frame).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            outcome = call => {
                if let Err(status) = outcome {
                    if let Some(expulsion) = in_refusal(&status) {
                        self.context.expelled.declare(expulsion);
                    }
                    tracing::debug!(to = %self.to, %status, "the stream to a member ended");
                }
            }
            () = pump => {}
        }
        true
    }

    /// Takes messages off the front, up to the size of a frame, at least one.
    fn frame(&self, messages: &mut Vec<Bytes>, from_address: String) -> DeliverRequest {
        let link = self.context.link;
        let mut bytes = 0;
        let count = messages
            .iter()
            .take_while(|message| {
                bytes += message.len();
                bytes <= BATCH_BYTES
            })
            .count();
        DeliverRequest {
            cluster_fingerprint: link.fingerprint,
            from: link.own.get(),
            to: self.to.get(),
            messages: messages.drain(..count.max(1).min(messages.len())).collect(),
            from_log: link.log.get(),
            to_log: self.record.log.map_or(0, LogId::get),
            from_address,
        }
    }
}
