//! Snapshots between real members whose connections break.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tenantry_proto::internal::v1::raft_transport_service_client::RaftTransportServiceClient;
use tenantry_proto::internal::v1::send_snapshot_request::Part;
use tenantry_proto::internal::v1::{OfferSnapshotRequest, SendSnapshotRequest, SnapshotData, SnapshotHeader};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use super::key_values::set;
use super::loopback::{Cluster, snapshot_message};
use crate::raft::transport::ConnectPeer;
use crate::storage::{LogPosition, MembersAt, SnapshotFolder, SnapshotHeader as FileHeader, measure};

/// Bytes that a connection carries before it breaks: less than half of the snapshot below.
const CARRIED: u64 = 2_000_000;

/// While it is armed, every new connection breaks after so many bytes.
#[derive(Default)]
struct Scissors {
    armed: AtomicBool,
    cuts: AtomicUsize,
}

impl Scissors {
    fn connect(self: Arc<Self>) -> ConnectPeer {
        Arc::new(move |_, address| {
            let scissors = Arc::clone(&self);
            Box::pin(async move {
                let address = if scissors.armed.load(Ordering::SeqCst) {
                    scissors.proxy(address).await
                } else {
                    address
                };
                Endpoint::from_shared(format!("http://{address}"))?.connect().await
            })
        })
    }

    /// The address of a listener that passes one connection on.
    async fn proxy(self: Arc<Self>, to: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            let (mut client, _) = listener.accept().await?;
            let mut server = TcpStream::connect(to).await?;
            let (from_client, mut to_client) = client.split();
            let (mut from_server, mut to_server) = server.split();
            let mut carried = from_client.take(CARRIED);
            tokio::select! {
                _ = tokio::io::copy(&mut carried, &mut to_server) => {}
                _ = tokio::io::copy(&mut from_server, &mut to_client) => {}
            }
            if carried.limit() == 0 {
                self.cuts.fetch_add(1, Ordering::SeqCst);
            }
            Ok::<_, std::io::Error>(())
        });
        address
    }
}

/// No connection lives long enough for the whole snapshot: it arrives only if each goes on where the last one broke.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_arrives_in_parts_over_connections_that_break() {
    let scissors = Arc::new(Scissors::default());
    let mut cluster = Cluster::connected_by(Some(Arc::clone(&scissors).connect())).await;
    let leader = cluster.leader().await;
    let away = leader % 3 + 1;
    cluster.stop(away).await;
    let value = "v".repeat(20_000);
    for round in 0..4 {
        let handle = cluster.handle(leader);
        let calls = (0..60).map(|n| handle.propose(set(&format!("k{round}-{n}"), &value)));
        for outcome in futures_util::future::join_all(calls).await {
            outcome.unwrap();
        }
        cluster.handle(leader).take_snapshot().await.unwrap();
    }
    let status = cluster.until(leader, |s| s.first_index > 100).await;
    scissors.armed.store(true, Ordering::SeqCst);
    cluster.start(away).await;
    let caught_up = cluster.until(away, |s| s.applied >= status.applied).await;
    assert!(caught_up.snapshot_index > 100, "it came by snapshot");
    assert!(scissors.cuts.load(Ordering::SeqCst) >= 2, "no connection broke");
    scissors.armed.store(false, Ordering::SeqCst);
    cluster.assert_equal().await;
    let left = std::fs::read_dir(cluster.folder(away).join("snapshots")).unwrap();
    let partial = left
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .find(|name| !name.ends_with(".snap"));
    assert_eq!(partial, None, "nothing of the broken transfers is left");
}

/// A snapshot as no member has it, sent by hand.
struct ByHand {
    client: RaftTransportServiceClient<Channel>,
    header: SnapshotHeader,
    file: Vec<u8>,
}

impl ByHand {
    fn part(&self, range: std::ops::Range<usize>, flip: u8) -> Part {
        let mut bytes = self.file[range.clone()].to_vec();
        let crc32 = crc32fast::hash(&bytes);
        bytes[0] ^= flip;
        Part::Data(SnapshotData {
            offset: range.start as u64,
            bytes: bytes.into(),
            crc32,
        })
    }

    async fn send(&mut self, first_offset: u64, data: Vec<Part>) -> Code {
        let header = Part::Header(SnapshotHeader {
            first_offset,
            ..self.header.clone()
        });
        let parts = std::iter::once(header).chain(data);
        let parts: Vec<_> = parts.map(|part| SendSnapshotRequest { part: Some(part) }).collect();
        let outcome = self.client.send_snapshot(tokio_stream::iter(parts)).await;
        outcome.unwrap_err().code()
    }

    async fn offered(&mut self) -> u64 {
        let offer = OfferSnapshotRequest {
            header: Some(self.header.clone()),
        };
        self.client.offer_snapshot(offer).await.unwrap().into_inner().offset
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_piece_is_refused_and_what_came_before_it_is_kept() {
    let cluster = Cluster::connected_by(None).await;
    let leader = cluster.leader().await;
    let to = leader % 3 + 1;
    let fingerprint = cluster.config(to).fingerprint().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let folder = SnapshotFolder::open(scratch.path(), fingerprint).unwrap();
    let position = LogPosition { index: 77, term: 9 };
    let header = FileHeader {
        position,
        members: MembersAt::default(),
        fingerprint,
    };
    folder.write(&header, |out| out.write_all(&[7; 5000])).unwrap();
    let mut raw = folder.open_raw(position).unwrap();
    let (size_bytes, crc32) = measure(&mut raw).unwrap();
    let mut file = Vec::new();
    raw.read_to_end(&mut file).unwrap();
    let address = format!("http://{}", cluster.addresses[&to]);
    let mut sender = ByHand {
        client: RaftTransportServiceClient::connect(address).await.unwrap(),
        header: SnapshotHeader {
            cluster_fingerprint: fingerprint,
            from: 9,
            to,
            // Its message is meant for another member, so that Raft refuses it once it is whole.
            message: snapshot_message(9, leader),
            size_bytes,
            crc32,
            first_offset: 0,
            ..SnapshotHeader::default()
        },
        file,
    };
    let end = sender.file.len();
    assert_eq!(sender.offered().await, 0);
    let parts = vec![sender.part(0..1000, 0), sender.part(1000..2000, 0)];
    assert_eq!(sender.send(0, parts).await, Code::DataLoss, "it is not whole");
    assert_eq!(sender.offered().await, 2000);
    let parts = vec![sender.part(2000..3000, 0), sender.part(3000..4000, 1)];
    assert_eq!(sender.send(2000, parts).await, Code::DataLoss, "a piece is damaged");
    assert_eq!(sender.offered().await, 3000);
    let parts = vec![sender.part(0..end, 0)];
    assert_eq!(sender.send(0, parts).await, Code::OutOfRange, "that is here already");
    let parts = vec![sender.part(3000..end, 0)];
    assert_eq!(
        sender.send(3000, parts).await,
        Code::Aborted,
        "whole, and refused by Raft"
    );
    assert_eq!(sender.offered().await, 0, "what is refused is not kept");
    cluster.write("k", "1").await;
    cluster.assert_equal().await;
}
