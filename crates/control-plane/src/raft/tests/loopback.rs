//! Three real members: sled, gRPC over loopback, threads and clocks.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;
use tenantry_proto::internal::v1::raft_transport_service_client::RaftTransportServiceClient;
use tenantry_proto::internal::v1::send_snapshot_request::Part;
use tenantry_proto::internal::v1::{DeliverRequest, SendSnapshotRequest, SnapshotData, SnapshotHeader};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Server;

use super::bag::id;
use super::key_values::{KeyValues, set};
use crate::raft::transport::ConnectPeer;
use crate::raft::{
    ControlError, Health, InitialMembers, ProposeError, RaftConfig, RaftHandle, RaftNode, RaftStatus, StartError,
};

pub(super) type Handle = RaftHandle<Option<String>>;

struct Running {
    handle: Handle,
    shutdown: CancellationToken,
    server: JoinHandle<()>,
}

pub(super) struct Cluster {
    /// How members reach each other, if not directly.
    connect: Option<ConnectPeer>,
    pub(super) addresses: BTreeMap<u64, String>,
    folders: BTreeMap<u64, TempDir>,
    running: BTreeMap<u64, Running>,
}

impl Cluster {
    async fn of_three() -> Self {
        Self::connected_by(None).await
    }

    pub(super) async fn connected_by(connect: Option<ConnectPeer>) -> Self {
        let listeners: Vec<TcpListener> = (1..=3).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let addresses = (1..)
            .zip(&listeners)
            .map(|(member, l)| (member, l.local_addr().unwrap().to_string()));
        let mut cluster = Self {
            connect,
            addresses: addresses.collect(),
            folders: (1..=3).map(|member| (member, tempfile::tempdir().unwrap())).collect(),
            running: BTreeMap::new(),
        };
        for (member, listener) in (1..).zip(listeners) {
            cluster.start_on(member, listener).await;
        }
        cluster
    }

    pub(super) fn config(&self, member: u64) -> RaftConfig {
        let list = self.addresses.iter().map(|(m, address)| (id(*m), address.clone()));
        let initial = InitialMembers::new(id(member), list.collect()).unwrap();
        let mut config = RaftConfig::new(id(member), self.folder(member).to_owned(), initial);
        config.tick = Duration::from_millis(30);
        config.replica.snapshot_every = 50;
        config.replica.log_keep = 10;
        if let Some(connect) = &self.connect {
            config.connect = connect.clone();
        }
        config
    }

    pub(super) fn folder(&self, member: u64) -> &Path {
        self.folders[&member].path()
    }

    async fn start_on(&mut self, member: u64, listener: TcpListener) {
        let (handle, service) = RaftNode::start(self.config(member), KeyValues::default())
            .await
            .unwrap();
        listener.set_nonblocking(true).unwrap();
        let incoming = TcpListenerStream::new(tokio::net::TcpListener::from_std(listener).unwrap());
        let shutdown = CancellationToken::new();
        let stopped = shutdown.clone().cancelled_owned();
        let router = Server::builder().add_service(service);
        let server = tokio::spawn(async move { router.serve_with_incoming_shutdown(incoming, stopped).await.unwrap() });
        self.running.insert(
            member,
            Running {
                handle,
                shutdown,
                server,
            },
        );
    }

    pub(super) async fn start(&mut self, member: u64) {
        let listener = TcpListener::bind(&self.addresses[&member]).unwrap();
        self.start_on(member, listener).await;
    }

    pub(super) async fn stop(&mut self, member: u64) {
        let running = self.running.remove(&member).unwrap();
        running.handle.stop().await;
        assert_eq!(running.handle.status().borrow().health, Health::Stopped);
        running.shutdown.cancel();
        running.server.await.unwrap();
    }

    pub(super) fn handle(&self, member: u64) -> &Handle {
        &self.running[&member].handle
    }

    pub(super) async fn until(&self, member: u64, what: impl FnMut(&RaftStatus) -> bool) -> RaftStatus {
        let mut status = self.handle(member).status();
        let reached = tokio::time::timeout(Duration::from_secs(30), status.wait_for(what)).await;
        reached.expect("in time").expect("running").clone()
    }

    /// A leader that another member confirms.
    pub(super) async fn leader(&self) -> u64 {
        let any = *self.running.keys().next().unwrap();
        loop {
            let status = self.until(any, |s| s.leader.is_some()).await;
            let leader = status.leader.unwrap().get();
            if self.running.contains_key(&leader) {
                self.until(leader, |s| s.is_leader() || s.leader != Some(id(leader)))
                    .await;
                return leader;
            }
            self.until(any, |s| s.leader != status.leader).await;
        }
    }

    /// Writes through whoever leads, and says how the attempts before the success ended.
    pub(super) async fn write(&self, key: &str, value: &str) -> Vec<ProposeError> {
        let mut failures = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(30);
        while Instant::now() < deadline {
            let leader = self.leader().await;
            match self.handle(leader).propose(set(key, value)).await {
                Ok(_) => return failures,
                Err(error) => failures.push(error),
            }
            tokio::task::yield_now().await;
        }
        panic!("no write succeeded: {failures:?}");
    }

    pub(super) async fn assert_equal(&self) {
        let leader = self.leader().await;
        let applied = self.handle(leader).read_index(soon()).await.unwrap();
        let mut digests = BTreeMap::new();
        for member in self.running.keys() {
            let status = self.until(*member, |s| s.applied >= applied).await;
            digests.insert(status.applied, status.digest);
            assert_eq!(digests[&status.applied], status.digest, "member {member} differs");
        }
        assert_eq!(digests.len(), 1, "{digests:?}");
    }
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_members_commit_survive_the_leader_and_restart_with_nothing_lost() {
    let mut cluster = Cluster::of_three().await;
    let first = cluster.leader().await;
    let follower = first % 3 + 1;
    cluster.until(follower, |s| s.leader == Some(id(first))).await;
    assert_eq!(
        cluster.handle(follower).propose(set("k", "0")).await,
        Err(ProposeError::NotLeader {
            leader: Some(id(first))
        })
    );
    let (revision, _) = cluster.handle(first).propose(set("k", "1")).await.unwrap();
    assert!(cluster.handle(follower).read_index(soon()).await.unwrap() >= revision);
    cluster.assert_equal().await;

    cluster.stop(first).await;
    let failures = cluster.write("k", "2").await;
    assert!(
        failures
            .iter()
            .all(|error| matches!(error, ProposeError::NotLeader { .. } | ProposeError::OutcomeUnknown)),
        "{failures:?}"
    );
    cluster.start(first).await;
    cluster.assert_equal().await;

    for member in 1..=3 {
        cluster.stop(member).await;
    }
    for member in 1..=3 {
        cluster.start(member).await;
    }
    let leader = cluster.leader().await;
    let (_, before) = cluster.handle(leader).propose(set("k", "3")).await.unwrap();
    assert_eq!(before.as_deref(), Some("2"));
    cluster.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_was_away_too_long_gets_a_snapshot_over_the_network() {
    let mut cluster = Cluster::of_three().await;
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
    cluster.start(away).await;
    let caught_up = cluster.until(away, |s| s.applied >= status.applied).await;
    assert!(caught_up.snapshot_index > 100, "it came by snapshot");
    cluster.assert_equal().await;
    cluster.stop(away).await;
    cluster.start(away).await;
    cluster.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_moves_on_request_and_only_to_a_voter() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    cluster.write("k", "1").await;
    let next = leader % 3 + 1;
    cluster.until(next, |s| s.leader == Some(id(leader))).await;
    assert_eq!(
        cluster.handle(leader).transfer_leadership(id(9)).await,
        Err(ControlError::NotVoter { member: id(9) })
    );
    cluster.handle(leader).transfer_leadership(id(next)).await.unwrap();
    cluster.until(next, RaftStatus::is_leader).await;
    cluster.write("k", "2").await;
    cluster.assert_equal().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_is_not_this_members_or_not_whole_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let config = |own: u64, list: &str| {
        let initial = InitialMembers::parse(id(own), list).unwrap();
        RaftConfig::new(id(own), folder.path().to_owned(), initial)
    };
    let refusal = async |config: RaftConfig| {
        let outcome = RaftNode::start(config, KeyValues::default()).await;
        outcome.map(drop).unwrap_err()
    };
    let list = "1=127.0.0.1:1,2=127.0.0.1:2";
    let (handle, _service) = RaftNode::start(config(1, list), KeyValues::default()).await.unwrap();
    handle.stop().await;
    for other in [config(2, list), config(1, "1=127.0.0.1:1,2=127.0.0.1:3")] {
        assert!(matches!(refusal(other).await, StartError::Identity(_)));
    }
    let (handle, _service) = RaftNode::start(config(1, list), KeyValues::default()).await.unwrap();
    handle.stop().await;
    std::fs::remove_dir_all(folder.path().join("log")).unwrap();
    let error = refusal(config(1, list)).await;
    assert!(matches!(error, StartError::Store { .. }), "{error}");
    let text = format!("{:#}", anyhow::Error::from(error));
    assert!(text.contains("Raft log is gone"), "{text}");
    assert!(!folder.path().join("log").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_meant_for_this_member_of_this_cluster_is_refused() {
    let cluster = Cluster::of_three().await;
    let leader = cluster.leader().await;
    let to = leader % 3 + 1;
    let fingerprint = cluster.config(to).origin.fingerprint();
    let address = format!("http://{}", cluster.addresses[&to]);
    let mut client = RaftTransportServiceClient::connect(address).await.unwrap();
    let frame = |cluster_fingerprint, to| DeliverRequest {
        cluster_fingerprint,
        from: leader,
        to,
        messages: vec![bytes::Bytes::from_static(b"junk")],
        ..DeliverRequest::default()
    };
    for (frame, expected) in [
        (frame(fingerprint + 1, to), Err(Code::FailedPrecondition)),
        (frame(fingerprint, leader), Err(Code::FailedPrecondition)),
        (frame(fingerprint, to), Ok(())),
    ] {
        let outcome = client.deliver(tokio_stream::iter([frame])).await;
        assert_eq!(outcome.map(drop).map_err(|status| status.code()), expected);
    }

    let announcement = snapshot_message(leader, to);
    let header = |cluster_fingerprint, message: &bytes::Bytes| {
        Part::Header(SnapshotHeader {
            cluster_fingerprint,
            from: leader,
            to,
            message: message.clone(),
            size_bytes: 4,
            crc32: crc32fast::hash(b"junk"),
            first_offset: 0,
            ..SnapshotHeader::default()
        })
    };
    let data = |offset, bytes: &'static [u8]| {
        let crc32 = crc32fast::hash(bytes);
        let bytes = bytes::Bytes::from_static(bytes);
        Part::Data(SnapshotData { offset, bytes, crc32 })
    };
    let good = || header(fingerprint, &announcement);
    for (parts, expected) in [
        (vec![data(0, b"junk")], Code::InvalidArgument),
        (vec![header(fingerprint, &bytes::Bytes::new())], Code::InvalidArgument),
        (vec![header(fingerprint + 1, &announcement)], Code::FailedPrecondition),
        (vec![good(), good()], Code::InvalidArgument),
        (vec![good(), data(1, b"junk")], Code::DataLoss),
        (vec![good(), data(0, b"more than announced")], Code::DataLoss),
        (vec![good(), data(0, b"knuj")], Code::DataLoss),
        (vec![good(), data(0, b"junk")], Code::DataLoss),
    ] {
        let parts = parts.into_iter().map(|part| SendSnapshotRequest { part: Some(part) });
        let outcome = client
            .send_snapshot(tokio_stream::iter(parts.collect::<Vec<_>>()))
            .await;
        assert_eq!(outcome.unwrap_err().code(), expected);
    }
    let left: Vec<_> = std::fs::read_dir(cluster.folder(to).join("snapshots"))
        .unwrap()
        .collect();
    assert_eq!(left.len(), 1, "only the first snapshot is there: {left:?}");
    cluster.write("k", "1").await;
    cluster.assert_equal().await;
}

pub(super) fn snapshot_message(from: u64, to: u64) -> bytes::Bytes {
    let mut message = raft::eraftpb::Message::default();
    message.set_msg_type(raft::eraftpb::MessageType::MsgSnapshot);
    (message.from, message.to, message.term) = (from, to, 9);
    (
        message.mut_snapshot().mut_metadata().index,
        message.mut_snapshot().mut_metadata().term,
    ) = (77, 9);
    crate::raft::codec::encode_message(&message).unwrap()
}
