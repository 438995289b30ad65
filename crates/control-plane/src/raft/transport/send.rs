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

use super::send_snapshot::{SnapshotSender, send_snapshot};
use super::{ConnectPeer, Link};
use crate::raft::handle::{Control, ControlSender};
use crate::raft::{OutgoingSnapshot, Peers, Unreachable};
use crate::storage::SnapshotFolder;

/// Messages waiting for one peer; a further one is dropped.
const QUEUE: usize = 1024;
/// Messages put into one frame.
const BATCH: usize = 256;
const BATCH_BYTES: usize = 2 * 1024 * 1024;
const FIRST_BACKOFF: Duration = Duration::from_millis(50);
const LAST_BACKOFF: Duration = Duration::from_secs(1);

/// All peers of a member, over gRPC. Dropping it ends the connections.
pub(in crate::raft) struct GrpcPeers {
    runtime: Handle,
    tasks: TaskTracker,
    stop: CancellationToken,
    queues: BTreeMap<MemberId, mpsc::Sender<Bytes>>,
    snapshots: SnapshotSender,
}

impl GrpcPeers {
    pub(in crate::raft) fn start(
        link: Link,
        addresses: &BTreeMap<MemberId, String>,
        connect: &ConnectPeer,
        folder: SnapshotFolder,
        control: &ControlSender,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let mut queues = BTreeMap::new();
        for (&to, address) in addresses.iter().filter(|(to, _)| **to != link.own) {
            let (queue, waiting) = mpsc::channel(QUEUE);
            let peer = Peer {
                link,
                to,
                address: address.clone(),
                connect: connect.clone(),
                control: control.clone(),
            };
            let stop = stop.clone();
            tasks.spawn(async move { stop.run_until_cancelled(peer.deliver_for_ever(waiting)).await });
            queues.insert(to, queue);
        }
        let snapshots = SnapshotSender {
            link,
            addresses: addresses.clone(),
            connect: connect.clone(),
            folder,
            control: control.clone(),
        };
        Self {
            runtime: Handle::current(),
            tasks,
            stop,
            queues,
            snapshots,
        }
    }
}

impl Peers for GrpcPeers {
    fn send(&mut self, to: MemberId, message: Bytes) -> Result<(), Unreachable> {
        let queue = self.queues.get(&to).ok_or(Unreachable)?;
        queue.try_send(message).map_err(|_| Unreachable)
    }

    fn send_snapshot(&mut self, snapshot: OutgoingSnapshot) {
        let sender = self.snapshots.clone();
        let stop = self.stop.clone();
        let work = async move { stop.run_until_cancelled(send_snapshot(sender, snapshot)).await };
        self.tasks.spawn_on(work, &self.runtime);
    }
}

impl Drop for GrpcPeers {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

struct Peer {
    link: Link,
    to: MemberId,
    address: String,
    connect: ConnectPeer,
    control: ControlSender,
}

impl Peer {
    async fn deliver_for_ever(&self, mut waiting: mpsc::Receiver<Bytes>) {
        let mut backoff = FIRST_BACKOFF;
        loop {
            if self.deliver(&mut waiting).await {
                backoff = FIRST_BACKOFF;
            }
            self.control.send(Control::Unreachable(self.to));
            tokio::time::sleep(backoff).await;
            backoff = (backoff * 2).min(LAST_BACKOFF);
            if waiting.is_closed() && waiting.is_empty() {
                return;
            }
        }
    }

    /// Connects and sends until the stream breaks. Whether it ever stood.
    async fn deliver(&self, waiting: &mut mpsc::Receiver<Bytes>) -> bool {
        let Ok(channel) = (self.connect)(self.to, self.address.clone()).await else {
            return false;
        };
        // What queued meanwhile is out of date: heartbeats of the past, appends that will be probed anew.
        while waiting.try_recv().is_ok() {}
        let (frames, stream) = mpsc::channel(4);
        let mut client = RaftTransportServiceClient::new(channel);
        let call = client.deliver(ReceiverStream::new(stream));
        let pump = async {
            let mut messages = Vec::new();
            while waiting.recv_many(&mut messages, BATCH).await > 0 {
                while !messages.is_empty() {
                    let frame = self.frame(&mut messages);
                    if frames.send(frame).await.is_err() {
                        return;
                    }
                }
            }
        };
        tokio::select! {
            outcome = call => {
                if let Err(status) = outcome {
                    tracing::debug!(to = %self.to, %status, "the stream to a member ended");
                }
            }
            () = pump => {}
        }
        true
    }

    /// Takes messages off the front, up to the size of a frame, at least one.
    fn frame(&self, messages: &mut Vec<Bytes>) -> DeliverRequest {
        let mut bytes = 0;
        let count = messages
            .iter()
            .take_while(|message| {
                bytes += message.len();
                bytes <= BATCH_BYTES
            })
            .count();
        DeliverRequest {
            cluster_fingerprint: self.link.fingerprint,
            from: self.link.own.get(),
            to: self.to.get(),
            messages: messages.drain(..count.max(1).min(messages.len())).collect(),
        }
    }
}
